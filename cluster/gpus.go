package cluster

import (
	"fmt"
	"strconv"
	"strings"
)

// gpuIDs are the numbers of a node's GPUs on its host, if other nodes there have GPUs too. An Engine that is asked for
// a number of GPUs gives the first ones to each container.
func (p *planner) gpuIDs(n Node) []string {
	first, shared := 0, false
	for _, other := range p.spec.Nodes() {
		if other.Host.ID() != n.Host.ID() || other.GPUs == 0 {
			continue
		}
		if other.ID == n.ID {
			break
		}
		first += other.GPUs
	}
	for _, other := range p.spec.Nodes() {
		shared = shared || other.GPUs > 0 && other.ID != n.ID && other.Host.ID() == n.Host.ID()
	}
	if n.GPUs == 0 || !shared {
		return nil
	}
	ids := make([]string, n.GPUs)
	for i := range ids {
		ids[i] = strconv.Itoa(first + i)
	}
	return ids
}

// explainGPUs says what to do when an Engine cannot give a node its GPUs.
func explainGPUs(c *container, err error) error {
	if err == nil || c.GPUs == 0 {
		return err
	}
	text := strings.ToLower(err.Error())
	says := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	asked := strconv.Itoa(c.GPUs) + " GPUs"
	if len(c.GPUIDs) > 0 {
		asked = "GPUs " + strings.Join(c.GPUIDs, ", ")
	}
	switch {
	// moby/daemon/devices.go; the words of libnvidia-container and of moby's CDI
	case says("could not select device driver"):
		return fmt.Errorf("host %s: its Engine cannot give GPUs to containers; install NVIDIA's container toolkit "+
			"there, and run: sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker (%w)",
			c.Host, err)
	case says("unknown device", "device error", "unresolvable cdi devices"):
		return fmt.Errorf("host %s: it has fewer GPUs than num_gpus asks for (node %s: %s); nvidia-smi -L lists them "+
			"there; lower num_gpus or nodes_per_host (%w)", c.Host, c.Name, asked, err)
	case says("driver not loaded", "driver/library version mismatch", "libnvidia-ml.so", "nvml error"):
		return fmt.Errorf("host %s: NVIDIA's driver does not work there; run nvidia-smi there, and reboot it if the "+
			"driver was upgraded (%w)", c.Host, err)
	}
	return err
}
