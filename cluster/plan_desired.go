package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// What every container of a node gets.
const (
	stopTimeout = 40      // seconds: Ray gives each of its processes a second after SIGTERM, and flushes its logs
	noFile      = 65536   // Ray's own minimum advice for `ulimit -n`
	maxPids     = 1 << 16 // processes and threads: some 60 for each of Ray's worker processes, and no fork bomb
	granule     = 64 << 20
	autoPart    = 0.3 // of the host's memory: what Ray's default object store takes
)

// droppedCaps are capabilities that Docker gives and Ray does not use. NET_RAW counts most: a node has the host's
// network, where it could read the packets of others. Neither these nor maxPids are in a container's digest: a node
// gets them with its next container.
func droppedCaps() []string {
	return []string{"NET_RAW", "MKNOD", "AUDIT_WRITE", "SETFCAP", "SETPCAP", "SYS_CHROOT"}
}

// shmFor is the size of /dev/shm for an object store: 1.1 times, as Ray's own warning asks.
// Source: ray python/ray/_private/services.py, determine_plasma_store_config.
func shmFor(store int64) int64 { return store + (store+9)/10 }

// storeFor is the largest object store for a size of /dev/shm.
func storeFor(shm int64) int64 { return shm / 11 * 10 }

// planner gathers what does not fit while it describes containers.
type planner struct {
	spec    *Spec
	facts   map[string]hostFacts
	image   ImageFacts
	version version
	perHost map[string]int        // nodes by Host.ID
	address map[string]netip.Addr // by Host.ID
	errs    []error
}

func (p *planner) fail(format string, a ...any) { p.errs = append(p.errs, fmt.Errorf(format, a...)) }

// planContainers returns the container of every node in the order of spec.Nodes, the head first. facts has Host.ID as
// its key. It leaves out nodes whose host has no facts: the caller has decided that the cluster can do without these.
// If spec, facts and image do not fit each other, it fails and names every problem: Ray may advertise no address of a
// host, the image is of another architecture, the Engine cannot unpack its layers, a host has too little memory or too
// few GPUs, or Ray has no tokens and the file does not accept that.
func planContainers(spec *Spec, facts map[string]hostFacts, image ImageFacts) ([]container, error) {
	v, err := supported(image.RayVersion)
	if err != nil {
		return nil, err
	}
	p := &planner{spec: spec, facts: facts, image: image, version: v, perHost: map[string]int{}}
	if _, ok := facts[spec.Head.Host.ID()]; !ok {
		return nil, fmt.Errorf("head host %s: nothing is known about it, and there is no cluster without its head",
			spec.Head.Host.ID())
	}
	if !hasToken(v) && !spec.AcceptNoAuth {
		p.fail("ray %s has no token authentication (2.52 and later have): everyone who reaches its ports runs code on "+
			"the cluster; use a newer image, or say `accept_no_auth: true`, best with `filter: true`", image.RayVersion)
	}
	for _, n := range spec.Nodes() {
		p.perHost[n.Host.ID()]++
	}
	p.checkHosts()
	p.address = p.addresses()
	var out []container
	for _, n := range spec.Nodes() {
		if f, ok := facts[n.Host.ID()]; ok {
			out = append(out, p.container(n, f))
		}
	}
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// container describes one node.
func (p *planner) container(n Node, f hostFacts) container {
	n = p.sizes(n, f)
	head := headAddress(p.address[p.spec.Head.Host.ID()].String(), p.spec.Head.Ports.GCS)
	address := p.address[n.Host.ID()]
	args, err := StartArgs(p.image.RayVersion, StartInput{Role: n.Role, Name: n.ID, Address: address.String(),
		HeadAddress: head,
		CPUs:        n.CPUs, GPUs: n.GPUs, Memory: n.Memory, ObjectStore: n.ObjectStore, Resources: n.Resources,
		Labels: n.Labels,
		Ports:  n.Ports, TempDir: n.TempDir, Client: p.image.Client, Extra: n.Args})
	if err != nil {
		p.fail("node %s: %w", n.ID, err)
	}
	c := container{Node: n, Host: n.Host.ID(), Name: n.ID, Image: p.image.Ref, Cmd: args, Network: "host", Init: true,
		Restart: "unless-stopped", StopTimeout: stopTimeout, Ulimits: n.Access.limits(noFile), SHM: n.SHM,
		NoNewPrivileges: true,
		Address:         address,
		Resources: nodeResources{CPU: float64(n.CPUs), GPU: float64(n.GPUs), Memory: n.Memory,
			ObjectStore: n.ObjectStore, Custom: n.Resources}}
	if !n.Access.bringsGPUs() {
		c.GPUs, c.GPUIDs = n.GPUs, p.gpuIDs(n)
	}
	c.Mounts = append(slices.Clone(n.Mounts), writable(n.writablePaths(p.image.User))...)
	in := envInput{Address: head}
	if hasToken(p.version) {
		in.TokenPath = tokenPath
		c.Mounts = append(c.Mounts, Mount{Volume: true, Source: tokenVolume(p.spec.Name), Target: tokenDir,
			ReadOnly: true})
	}
	if c.Gated = p.spec.Filter; c.Gated {
		c.Mounts = append(c.Mounts, Mount{Volume: true, Source: gateVolume(p.spec.Name), Target: gateDir,
			ReadOnly: true})
	}
	slices.SortFunc(c.Mounts, func(a, b Mount) int { return strings.Compare(a.Target, b.Target) })
	env := maps.Clone(n.Env)
	if env == nil {
		env = map[string]string{}
	}
	own, err := rayEnv(p.image.RayVersion, in)
	if err != nil {
		p.fail("node %s: %w", n.ID, err)
	}
	maps.Copy(env, own)
	for _, k := range slices.Sorted(maps.Keys(env)) {
		c.Env = append(c.Env, k+"="+env[k])
	}
	c.Labels = p.labels(&c)
	return c
}

func (p *planner) labels(c *container) map[string]string {
	parts := c.parts()
	var short []string
	for _, k := range slices.Sorted(maps.Keys(parts)) {
		short = append(short, k+"="+parts[k][:8])
	}
	return map[string]string{
		labelCluster: p.spec.Name, labelRole: string(c.Node.Role), labelNode: c.Node.ID, labelImage: p.image.Digest,
		labelConfig: digestOf(parts), labelParts: strings.Join(short, ","), labelAddress: c.Address.String(),
		labelGeneration: "1",
	}
}

// parts digests each part of a container's description that a user knows by name. The image is not
// one: it has its own label.
func (c *container) parts() map[string]string {
	engine := []any{c.Name, c.Network, c.Init, c.Restart, c.NoNewPrivileges}
	if c.Node.ReadOnly { // other nodes keep the digest that they have
		engine = append(engine, "read-only")
	}
	limits := []any{c.SHM, noFile, c.GPUs, c.StopTimeout}
	if len(c.GPUIDs) > 0 {
		limits = append(limits, c.GPUIDs)
	}
	parts := map[string]string{
		"args":   digestOf(c.command()),
		"env":    digestOf(c.Env),
		"mounts": digestOf(c.Mounts),
		"limits": digestOf(limits),
		"engine": digestOf(engine),
	}
	if !c.Node.Access.empty() {
		parts["devices"] = digestOf(c.Node.Access)
	}
	return parts
}

// command is what the container runs.
func (c *container) command() []string {
	if c.Gated {
		return gated(c.Cmd)
	}
	return c.Cmd
}

// digestOf is the SHA-256 of a value's JSON, which Go writes in one way: struct fields in order, map keys sorted.
func digestOf(v any) string {
	h := sha256.New()
	//nolint:errcheck // strings, numbers and booleans always encode, and a hash always takes them
	json.NewEncoder(h).Encode(v)
	return hex.EncodeToString(h.Sum(nil))
}

// sizes fills in what the file leaves to the host.
func (p *planner) sizes(n Node, f hostFacts) Node {
	share := int64(p.perHost[n.Host.ID()])
	if n.CPUs < 0 {
		n.CPUs = max(1, f.CPUs/int(share))
	}
	switch {
	case n.SHM > 0 && n.ObjectStore == 0:
		n.ObjectStore = storeFor(n.SHM)
	case n.SHM == 0 && n.ObjectStore > 0:
		n.SHM = shmFor(n.ObjectStore)
	case n.SHM == 0:
		auto := int64(float64(f.Memory) * autoPart / float64(share))
		// rounded: the memory that a kernel reports differs a little from boot to boot
		n.SHM = max(minSHM, auto/granule*granule)
		n.ObjectStore = storeFor(n.SHM)
	}
	if n.Memory == 0 && p.version.before(1, 0) {
		// 0.8.6 reads the memory limit of cgroup v1 only, and would promise tasks what the host does not have.
		n.Memory = max(granule, (f.Memory/share-n.ObjectStore)*7/10/granule*granule)
	}
	return n
}

// checkHosts finds what does not fit a host, once for each.
func (p *planner) checkHosts() {
	for _, h := range p.spec.Hosts() {
		f, ok := p.facts[h.ID()]
		if !ok {
			continue
		}
		if len(p.image.Arch) > 0 && f.Arch != "" && !slices.Contains(p.image.Arch, f.Arch) {
			p.fail("host %s: its CPU is %s, and the image is for %s; build with --platform linux/%s, too",
				h.ID(), f.Arch, strings.Join(p.image.Arch, ", "), f.Arch)
		}
		if err := canUnpack(f.Engine, p.image.MediaTypes); err != nil {
			p.fail("host %s: %w", h.ID(), err)
		}
		if f.Rootless && !hasHostNetwork(f.Engine) {
			p.fail("host %s: its Docker Engine %s is rootless, and the host network of its containers is not the "+
				"host's: nodes would not reach each other; update Docker to 29.5 or later, or use the host's own "+
				"Engine (leave ssh.socket out)", h.ID(), f.Engine)
		}
		var shm, memory int64
		for _, n := range p.spec.Nodes() {
			if n.Host.ID() == h.ID() {
				n = p.sizes(n, f)
				shm, memory = shm+n.SHM, memory+n.Memory
			}
		}
		if f.Memory > 0 && shm+memory > f.Memory {
			p.fail("host %s: shm_size and memory ask for %d MiB, and the host has %d MiB; lower them", h.ID(),
				(shm+memory)>>20, f.Memory>>20)
		}
		p.exposure(h, f)
	}
}

// hasHostNetwork tells whether containers of a rootless Docker Engine can have the host's network: since 29.5
// (https://github.com/moby/moby/pull/47103). Before, they had that of RootlessKit.
func hasHostNetwork(engine string) bool {
	var major, minor int
	n, err := fmt.Sscanf(engine, "%d.%d", &major, &minor)
	return err != nil || n < 2 || major > 29 || major == 29 && minor >= 5
}

// canUnpack says whether a Docker Engine can unpack layers of these media types. Docker learnt zstd
// in 23.0; 20.10 was seen to fail.
func canUnpack(engine string, mediaTypes []string) error {
	if !slices.ContainsFunc(mediaTypes, func(t string) bool {
		return strings.HasSuffix(t, "+zstd") ||
			strings.HasSuffix(t, ".zstd")
	}) {
		return nil
	}
	major, _, _ := strings.Cut(engine, ".")
	if n, err := strconv.Atoi(major); err == nil && n < 23 {
		return fmt.Errorf("docker %s cannot unpack zstd layers (23.0 and later can): build with --compression gzip, "+
			"or update Docker", engine)
	}
	return nil
}
