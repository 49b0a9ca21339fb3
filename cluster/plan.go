package cluster

import (
	"net/netip"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// Labels of every container and volume of a cluster. A cluster has no other state.
const (
	labelCluster = "raybuild.cluster" // cluster name
	labelRole    = "raybuild.role"    // head, worker (a launcher's lock: lock)
	labelNode    = "raybuild.node"    // Node.ID
	labelConfig  = "raybuild.config"  // digest of the container's description, image excluded
	// short digest of each part of it: "args=1a2b3c4d,env=…": names what changed
	labelParts   = "raybuild.parts"
	labelImage   = "raybuild.image"   // image digest
	labelAddress = "raybuild.address" // address that the node advertises
	// counts head starts by the launcher; workers carry the generation of the head that they joined
	labelGeneration = "raybuild.generation"
)

// The token's place. The launcher copies the file into the volume tokenVolume(cluster) through a container that mounts
// the volume and never starts. So no argument, environment or inspect shows the token. The file has mode 0444 in a
// directory of root.
const (
	tokenDir  = "/run/raybuild" // where the volume is mounted, read-only
	tokenPath = tokenDir + "/token"
)

// tokenVolume is the name of the volume that holds the cluster's token on each host.
func tokenVolume(cluster string) string { return "raybuild-" + cluster + "-auth" }

// hostFacts are facts about a host.
type hostFacts struct {
	CPUs      int
	Memory    int64 // total bytes
	GPUs      int
	Arch      string        // Go's name: amd64, arm64
	Engine    string        // version of the Docker Engine, "20.10.24"; of podman with a "podman-" prefix
	Addresses []netip.Addr  // every address of the host's interfaces, loopback excluded
	Looked    bool          // Addresses are known; a host without a network shows none
	Skew      time.Duration // host's clock minus ours
	Rootless  bool          // a Docker Engine that does not run as root
}

// ImageFacts are facts about an image.
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

// container is the full description of a node's container.
type container struct {
	Node            Node
	Host            string // Host.ID()
	Name            string
	Image           string   // name@sha256:…
	Cmd             []string // exec form; replaces the image's entrypoint and command
	Gated           bool     // Cmd starts once the host's packet filter is there
	Env             []string // KEY=VALUE, sorted
	Labels          map[string]string
	Network         string // "host"
	Init            bool
	Restart         string // "unless-stopped"
	StopTimeout     int    // seconds
	Ulimits         []docker.Ulimit
	SHM             int64   // bytes
	Mounts          []Mount // sorted by target
	NoNewPrivileges bool
	GPUs            int           // devices to request; 0: none
	GPUIDs          []string      // which ones; none: the Engine's first ones
	Address         netip.Addr    // that the node advertises
	Resources       nodeResources // that Ray must report for it
}

// nodeResources are the resources that Ray must report for a node.
type nodeResources struct {
	CPU, GPU            float64
	Memory, ObjectStore int64 // bytes; 0: not asked for
	Custom              map[string]float64
}

// containerState is a container on a host that has the labels of the cluster.
type containerState struct {
	Host   string // Host.ID()
	ID     string // of the container
	Name   string
	State  string    // Docker's: created, running, exited, …
	Young  bool      // it runs for less than a minute
	Made   time.Time // by the host's clock
	Labels map[string]string
	Token  string // directory of the host that is its tokenDir; empty: it has none
}

// ActionKind says what has to happen to a node.
type ActionKind string

// Kinds of action.
const (
	Create   ActionKind = "create"   // the node has no container
	Recreate ActionKind = "recreate" // remove, then create
	Remove   ActionKind = "remove"   // the file does not name the node any more
	Start    ActionKind = "start"    // its container is as wanted, but stopped
	Keep     ActionKind = "keep"     // its container runs as wanted
)

// action is one step of a plan.
type action struct {
	Kind ActionKind
	Node string // Node.ID, or the node label of a container that is no longer wanted
	Host string // Host.ID()
	Role Role
	// one line, lower case: "image changed sha256:1a2b… → sha256:3c4d…", "env changed", "no longer
	// in cluster.yaml"
	Why  string
	ID   string     // container to remove or start; empty for Create
	Want *container // nil for Remove
}
