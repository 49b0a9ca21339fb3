package cluster

import (
	"fmt"
	"strings"
	"testing"
)

// TestCase20DevicesAndLimits: a node gets the devices, capabilities, groups and limits of the file, and others keep the
// container that they have.
func TestCase20DevicesAndLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ yaml, want string }{
		"InfiniBand": {"devices: [/dev/infiniband]\nulimits: {memlock: -1}\ncap_add: [CAP_IPC_LOCK]\n",
			"[{/dev/infiniband /dev/infiniband rwm}] [] [IPC_LOCK] [] [{memlock -1} {nofile 65536}] gpus 0"},
		"AMD": {"num_gpus: 2\ndevices: [/dev/kfd, \"/dev/dri:/dev/dri:rw\"]\ngroup_add: [video, \"109\"]\n",
			"[{/dev/kfd /dev/kfd rwm} {/dev/dri /dev/dri rw}] [] [] [video 109] [{nofile 65536}] gpus 0"},
		"AMD by CDI": {"num_gpus: 1\ndevices: [amd.com/gpu=0]\n",
			"[] [amd.com/gpu=0] [] [] [{nofile 65536}] gpus 0"},
		"Ascend": {"resources: {NPU: 1}\ndevices: [/dev/davinci0, /dev/davinci_manager]\nruntime: ascend\n",
			"[{/dev/davinci0 /dev/davinci0 rwm} {/dev/davinci_manager /dev/davinci_manager rwm}] [] [] [] " +
				"[{nofile 65536}] gpus 0"},
		"NVIDIA's and another device": {"num_gpus: 1\ndevices: [/dev/fuse]\n",
			"[{/dev/fuse /dev/fuse rwm}] [] [] [] [{nofile 65536}] gpus 1"},
		"more files": {"ulimits: {nofile: 1048576, core: 0}\n", "[] [] [] [] [{core 0} {nofile 1048576}] gpus 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := load(t, threeHosts+c.yaml)
			all, err := planContainers(s, factsOfNamed(s), testImage("2.55.0"))
			if err != nil {
				t.Fatal(err)
			}
			w := all[1]
			paths, names := w.Node.Access.devices()
			got := fmt.Sprint(paths, names, w.Node.Access.CapAdd, w.Node.Access.Groups, w.Ulimits) +
				fmt.Sprintf(" gpus %d", w.GPUs)
			if got != c.want {
				t.Errorf("the node gets\n%s\nwant\n%s", got, c.want)
			}
			if w.Labels[labelParts] == desired(t, load(t, threeHosts), "2.55.0")[1].Labels[labelParts] {
				t.Error("a node that gets more is the container that it was")
			}
		})
	}
	if parts := desired(t, load(t, threeHosts), "2.55.0")[1].Labels[labelParts]; strings.Contains(parts, "devices") {
		t.Errorf("a node without devices has another label: %s", parts)
	}
}

// TestCase20Refused: what is no device, no capability and no limit, and what would make a node root of its host.
func TestCase20Refused(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string]string{
		"devices: [/etc/shadow]\n":          `"/etc/shadow" is not a device; write a path such as /dev/infiniband`,
		"devices: [\"/dev/../etc\"]\n":      "is not a device",
		"devices: [\"/dev/fuse:/x:rwz\"]\n": "is not a device",
		"devices: [gpu0]\n":                 "is not a device",
		"cap_add: [ALL]\n":                  "ALL makes the container root of its host",
		"cap_add: [CAP_SYS_ADMIN]\n":        "SYS_ADMIN makes the container root of its host",
		"cap_add: [ipc_lock]\n":             "is not a capability; write a name such as IPC_LOCK",
		"ulimits: {memlok: -1}\n":           `did you mean "memlock"`,
		"ulimits: {memlock: many}\n":        "write a whole number, or -1 for no limit",
		"runtime: \"--x\"\n":                "write a name of docker info",
	} {
		_, err := Load("cluster.yaml", []byte(threeHosts+yaml))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", yaml, err, want)
		}
	}
}
