package cluster

import (
	"net/netip"
	"time"
)

// Role is the part of a node in its cluster.
type Role string

// The two roles of a Ray node.
const (
	Head   Role = "head"
	Worker Role = "worker"
)

// Spec is a cluster.yaml after Load has checked it, filled in defaults and expanded ranges. It has one Node for each
// container.
type Spec struct {
	File    string // where it was read from, for messages
	Name    string // [a-z][a-z0-9-]*, at most 40 characters
	Image   string // reference as written: a name, a tag or a digest; the launcher resolves it to a digest
	Head    Node
	Workers []Node // in file order; may be empty

	MinWorkers      int  // fewest workers that make `up` succeed; len(Workers) unless the file says less
	SkipUnreachable bool // go on without workers whose host cannot be reached (never the head's)
	Parallel        int  // hosts worked on at once; 32 unless the file says otherwise

	Filter       bool          // install the packet filter, which lets in members and little else
	Allow        Allow         // what the packet filter lets in besides
	AllowPublic  []netip.Addr  // public addresses that the user accepts
	AllowUnknown bool          // accept hosts that do not show their addresses
	AcceptNoAuth bool          // run a Ray without token authentication (before 2.52) all the same
	Wait         time.Duration // how long nodes may take to join; 2 minutes unless the file says otherwise

	Trust Trust // whose signatures of the image are believed; empty: signatures are not asked for

	Kubernetes Kubernetes // what the export to KubeRay needs beside the nodes
}

// Nodes returns the head followed by the workers.
func (s *Spec) Nodes() []Node { return append([]Node{s.Head}, s.Workers...) }

// Hosts returns each host of the cluster once: the head's host, then the others in the order of the file.
func (s *Spec) Hosts() []Host {
	var out []Host
	seen := map[string]bool{}
	for _, n := range s.Nodes() {
		if id := n.Host.ID(); !seen[id] {
			seen[id] = true
			out = append(out, n.Host)
		}
	}
	return out
}

// Allow is what the packet filter lets in besides the cluster's members, and the ports on which a host listened before
// the cluster came.
type Allow struct {
	Ports []PortRange    // open to everybody, TCP and UDP
	From  []netip.Prefix // who reaches every port, as members do
}

// Host is a machine with a Docker Engine.
type Host struct {
	// this machine's engine (DOCKER_HOST or the default socket); every field below but Private is
	// then empty
	Local   bool
	Address string     // name or IP as written (no brackets); what SSH dials, possibly an alias of ~/.ssh/config
	User    string     // SSH user; empty: ~/.ssh/config, then the current user
	Port    int        // SSH port; 0: ~/.ssh/config, then 22
	Key     string     // private key file; empty: ~/.ssh/config, agent, default keys
	Jump    string     // "[user@]host[:port][,…]" as ssh -J takes it; empty: ~/.ssh/config
	Socket  string     // Docker's socket on the host; empty: /var/run/docker.sock
	Private netip.Addr // address that Ray advertises; invalid: Up chooses one of the host's addresses
}

// Node is one Ray node, which runs in a container of its own on a host.
type Node struct {
	// stable and unique in the cluster, and the container's name: demo-head, demo-w-10-0-0-2,
	// demo-w-10-0-0-2-2 (second one there)
	ID    string
	Role  Role
	Host  Host
	Group string // name of the worker group; "head" for the head
	Index int    // 0 for the first node of a host, 1 for the second …: selects its port block

	CPUs        int   // -1: all of the host, divided by the nodes there
	GPUs        int   // 0: none
	Memory      int64 // bytes that Ray may hand to tasks (--memory); 0: Ray's own default
	ObjectStore int64 // bytes; 0: SHM / 1.1
	SHM         int64 // bytes of /dev/shm; 0: auto, 30 % of the host's memory divided by the nodes there

	Resources map[string]float64 // custom Ray resources
	Labels    map[string]string  // Ray node labels; passed to versions that have --labels
	Env       map[string]string
	Mounts    []Mount
	Args      []string // further `ray start` arguments, each one argument
	Ports     Ports
	TempDir   string // Ray's --temp-dir in the container
	Access    Access // what the container may use of its host
	ReadOnly  bool   // the container writes only below its mounts, /tmp, /var/tmp, /run, TempDir and the user's home

	Pod       Pod       // what its pod has on Kubernetes
	Autoscale Autoscale // of its group, on Kubernetes
}

// Mount puts a file or directory of the host, or a named volume, into the container.
type Mount struct {
	Volume   bool   // Source is a volume's name, not a path
	Source   string // absolute host path, or volume name
	Target   string // absolute path in the container
	ReadOnly bool
}

// Ports are the TCP ports of one node. All ports are fixed, so Up can check and filter them.
type Ports struct {
	GCS             int // head: 6379
	Dashboard       int // head: 8265, on loopback
	Client          int // head: 10001, Ray Client
	RedisShard      int // head, before Ray 1.11: 6378
	GCSServer       int // head, 0.8.7 to 1.10: 6377
	NodeManager     int
	ObjectManager   int
	RuntimeEnvAgent int
	AgentGRPC       int
	AgentListen     int // HTTP of the dashboard agent: 52365
	Metrics         int
	WorkerMin       int // first port of worker processes
	WorkerMax       int // last one, inclusive
}
