package cluster

import (
	"net/netip"
	"time"
)

// Labels on every container (and volume) of a cluster. They are all the state there is.
const (
	LabelCluster = "raybuild.cluster" // cluster name
	LabelRole    = "raybuild.role"    // head, worker (a launcher's lock: lock)
	LabelNode    = "raybuild.node"    // Node.ID
	LabelConfig  = "raybuild.config"  // digest of the container's description, image excluded
	// short digest of each part of it: "args=1a2b3c4d,env=…": names what changed
	LabelParts   = "raybuild.parts"
	LabelImage   = "raybuild.image"   // image digest
	LabelAddress = "raybuild.address" // address that the node advertises
	// counts head starts by the launcher; workers carry the generation of the head that they joined
	LabelGeneration = "raybuild.generation"
)

// The token's place. The launcher puts the file into the volume TokenVolume(cluster) through the
// Docker API (copy into a created, never started container that mounts it), mode 0444 in a
// root-owned directory, so that no argument, environment or inspect shows it.
const (
	TokenDir  = "/run/raybuild" // where the volume is mounted, read-only
	TokenPath = TokenDir + "/token"
)

// TokenVolume is the name of the volume that holds the cluster's token on each host.
func TokenVolume(cluster string) string { return "raybuild-" + cluster + "-auth" }

// HostFacts is what preflight learned about a host.
type HostFacts struct {
	CPUs      int
	Memory    int64 // total bytes
	GPUs      int
	Arch      string        // Go's name: amd64, arm64
	Engine    string        // version of the Docker Engine, "20.10.24"; of podman with a "podman-" prefix
	Addresses []netip.Addr  // every address of the host's interfaces, loopback excluded
	Skew      time.Duration // host's clock minus ours
}

// ImageFacts is what the launcher learned about the image.
type ImageFacts struct {
	Ref        string                  // name@sha256:…, what every host pulls and runs
	Digest     string                  // sha256:…
	RayVersion string                  // "2.60.0"
	Python     string                  // full version "3.12.3"; empty: not known
	Arch       []string                // Go's names
	MediaTypes []string                // of its layers
	Layers     map[string][]ImageLayer // by Arch, the lowest first; empty: not known
	User       string                  // of its config
	Client     bool                    // ray[client] is installed: the head then opens Ports.Client
}

// Container is the full description of a node's container, independent of how it is created.
type Container struct {
	Node            Node
	Host            string // Host.ID()
	Name            string
	Image           string   // name@sha256:…
	Cmd             []string // exec form; replaces the image's entrypoint and command
	Env             []string // KEY=VALUE, sorted
	Labels          map[string]string
	Network         string // "host"
	Init            bool
	Restart         string  // "unless-stopped"
	StopTimeout     int     // seconds
	NoFile          int64   // soft and hard ulimit
	SHM             int64   // bytes
	Mounts          []Mount // sorted by target
	NoNewPrivileges bool
	GPUs            int        // devices to request; 0: none
	Address         netip.Addr // that the node advertises
	Resources       Resources  // that Ray must report for it
}

// Resources is what Ray's API must say about a node once it is up.
type Resources struct {
	CPU, GPU            float64
	Memory, ObjectStore int64 // bytes; 0: not asked for
	Custom              map[string]float64
}

// Observed is a container found on a host by its labels.
type Observed struct {
	Host   string // Host.ID()
	ID     string // of the container
	Name   string
	State  string // Docker's: created, running, exited, …
	Young  bool   // it runs for less than a minute
	Labels map[string]string
	Token  string // directory of the host that is its TokenDir; empty: it has none
}

// ActionKind is what has to happen to a node.
type ActionKind string

// Kinds of Action.
const (
	Create   ActionKind = "create"
	Recreate ActionKind = "recreate" // remove, then create
	Remove   ActionKind = "remove"
	Start    ActionKind = "start" // it is there as wanted, but stopped
	Keep     ActionKind = "keep"
)

// Action is one step of a plan.
type Action struct {
	Kind ActionKind
	Node string // Node.ID, or the node label of a container that is no longer wanted
	Host string // Host.ID()
	Role Role
	// one line, lower case: "image changed sha256:1a2b… → sha256:3c4d…", "env changed", "no longer
	// in cluster.yaml"
	Why  string
	ID   string     // container to remove or start; empty for Create
	Want *Container // nil for Remove
}

// PlanOptions of Desired. Its zero value is the first start of a cluster.
type PlanOptions struct {
	Generation int // lowest generation label of new containers; 0: 1. Diff raises it when a head starts anew
}
