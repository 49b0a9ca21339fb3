package cluster

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed data/rayflags.txt
var flagData string

// flag is an option of `ray start` and the versions that have it.
type flag struct {
	name, kind  string
	since, last version
	still       bool // no last version
}

// flagTable reads the embedded table once. A row that is not as it should be counts as missing,
// which a test would notice.
//
//nolint:gochecknoglobals // a cache of embedded facts, never written to
var flagTable = sync.OnceValue(func() map[string]flag {
	out := map[string]flag{}
	for _, line := range strings.Split(flagData, "\n") {
		f := strings.Fields(line)
		if len(f) != 4 || strings.HasPrefix(line, "#") {
			continue
		}
		since, err := parseVersion(f[1])
		x := flag{name: f[0], kind: f[3], since: since, still: f[2] == "-"}
		if !x.still && err == nil {
			x.last, err = parseVersion(f[2])
		}
		if err == nil {
			out[x.name] = x
		}
	}
	return out
})

// flagIn says whether `ray start` of a version has an option.
func flagIn(v version, name string) bool {
	f, ok := flagTable()[name]
	return ok && v.atLeast(f.since.release...) && (f.still || v.within(f.last))
}

// usesRedis says whether this version's head runs Redis: GCS took its place in 1.11 (ray.io release notes of 1.11.0).
func usesRedis(v version) bool { return v.before(1, 11) }

// supported parses a version and refuses those that are older than the table.
func supported(s string) (version, error) {
	v, err := parseVersion(s)
	if err != nil {
		return v, err
	}
	if v.before(0, 8, 6) {
		return v, fmt.Errorf("ray version %q: older than 0.8.6, the first one whose options are known; use "+
			"0.8.6 or later", s)
	}
	return v, nil
}

// StartInput holds a node's values for `ray start`.
type StartInput struct {
	Role        Role
	Name        string // node name that Ray reports, from 1.13 on; empty: not passed
	Address     string // of this node, as other nodes reach it; empty: Ray finds it
	HeadAddress string // host:port of the GCS; workers only
	CPUs        int
	GPUs        int
	Memory      int64 // bytes; 0: not passed
	ObjectStore int64 // bytes
	Resources   map[string]float64
	Labels      map[string]string
	Ports       Ports
	Dashboard   string // address that the dashboard listens on; empty: 127.0.0.1
	TempDir     string // empty or /tmp/ray: not passed
	Client      bool   // open the Ray Client port on the head, where the version has it
	Extra       []string
}

// StartArgs returns the command line of `ray start` for a version of Ray. It uses only flags that this version has. It
// fails for a version before 0.8.6, and for labels or extra arguments that the version does not take.
func StartArgs(ray string, n StartInput) ([]string, error) {
	v, err := supported(ray)
	if err != nil {
		return nil, err
	}
	a := &argv{version: v, args: []string{"ray", "start"}}
	if n.Role == Head {
		a.head(n)
	} else {
		a.add("--address", n.HeadAddress)
	}
	if n.Address != "" {
		a.add("--node-ip-address", n.Address)
	}
	if n.Name != "" {
		a.optional("--node-name", n.Name)
	}
	a.ports(n.Ports)
	a.add("--num-cpus", strconv.Itoa(n.CPUs))
	a.add("--num-gpus", strconv.Itoa(n.GPUs))
	if n.Memory > 0 {
		a.add("--memory", strconv.FormatInt(n.Memory, 10))
	}
	a.add("--object-store-memory", strconv.FormatInt(n.ObjectStore, 10))
	if len(n.Resources) > 0 {
		a.json("--resources", n.Resources)
	}
	a.labels(n.Labels)
	// Until about 2.55 a worker's --temp-dir is ignored with a warning, because it took the head's.
	if n.TempDir != "" && n.TempDir != defaultTemp && (n.Role == Head || v.atLeast(2, 55)) {
		a.add("--temp-dir", n.TempDir)
	}
	a.args = append(a.args, "--block")
	a.extra(n.Extra)
	return a.args, a.err
}

// argv gathers arguments; the first error sticks.
type argv struct {
	version version
	args    []string
	err     error
}

func (a *argv) fail(format string, x ...any) {
	if a.err == nil {
		a.err = fmt.Errorf(format, x...)
	}
}

// add passes a flag that every version has to have; optional passes it where the version does.
func (a *argv) add(name, value string) {
	if !flagIn(a.version, name) {
		a.fail("ray %s has no option %s of `ray start`", a.version, name)
		return
	}
	a.args = append(a.args, name+"="+value)
}

func (a *argv) optional(name, value string) {
	if flagIn(a.version, name) {
		a.args = append(a.args, name+"="+value)
	}
}

func (a *argv) json(name string, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		a.fail("encode %s: %w", name, err)
		return
	}
	a.add(name, string(b))
}

func (a *argv) head(n StartInput) {
	p, dashboard := n.Ports, n.Dashboard
	if dashboard == "" {
		dashboard = "127.0.0.1"
	}
	a.args = append(a.args, "--head")
	a.add("--port", strconv.Itoa(p.GCS))
	if a.version.before(0, 8, 7) { // its dashboard has the fixed port 8265
		a.add("--include-webui", "true")
		a.add("--webui-host", dashboard)
	} else {
		// Without an explicit true, a dashboard that cannot start is only logged.
		a.add("--include-dashboard", "true")
		a.add("--dashboard-host", dashboard)
		a.add("--dashboard-port", strconv.Itoa(p.Dashboard))
	}
	if usesRedis(a.version) {
		a.add("--redis-shard-ports", strconv.Itoa(p.RedisShard))
		// later versions have it, print an error and use --port
		a.optional("--gcs-server-port", strconv.Itoa(p.GCSServer))
	}
	if n.Client {
		a.optional("--ray-client-server-port", strconv.Itoa(p.Client))
	}
	if flagIn(a.version, "--disable-usage-stats") {
		a.args = append(a.args, "--disable-usage-stats")
	}
}

func (a *argv) ports(p Ports) {
	a.add("--node-manager-port", strconv.Itoa(p.NodeManager))
	a.add("--object-manager-port", strconv.Itoa(p.ObjectManager))
	a.optional("--runtime-env-agent-port", strconv.Itoa(p.RuntimeEnvAgent))
	a.optional("--dashboard-agent-grpc-port", strconv.Itoa(p.AgentGRPC))
	a.optional("--dashboard-agent-listen-port", strconv.Itoa(p.AgentListen))
	a.optional("--metrics-export-port", strconv.Itoa(p.Metrics))
	a.add("--min-worker-port", strconv.Itoa(p.WorkerMin))
	a.add("--max-worker-port", strconv.Itoa(p.WorkerMax))
}

// labels are JSON from 2.6 (ray#35433) and key=value pairs from 2.46 (ray#52085).
func (a *argv) labels(l map[string]string) {
	switch {
	case len(l) == 0:
	case !flagIn(a.version, "--labels"):
		a.fail("ray %s has no node labels, remove labels from cluster.yaml or use resources", a.version)
	case a.version.before(2, 46):
		a.json("--labels", l)
	default:
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(l)) {
			pairs = append(pairs, k+"="+l[k])
		}
		a.add("--labels", strings.Join(pairs, ","))
	}
}

func (a *argv) extra(args []string) {
	for _, x := range args {
		name, _, hasValue := strings.Cut(x, "=")
		f, known := flagTable()[name]
		switch {
		case known && !flagIn(a.version, name):
			a.fail("argument %s: ray %s has no such option of `ray start`, remove it from args", name, a.version)
		case known && f.kind == "flag" && hasValue:
			a.fail("argument %s: takes no value", clip(x))
		case known && f.kind != "flag" && !hasValue:
			a.fail("argument %s: needs a value, write %s=…", name, name)
		case !known && a.version.before(2, 57): // the table's end: a later Ray may have options that it does not know
			a.fail("argument %s: ray %s has no such option of `ray start`, remove it from args", clip(name), a.version)
		default:
			a.args = append(a.args, x)
		}
	}
}

// envInput holds a node's values for its environment.
type envInput struct {
	Address   string // RAY_ADDRESS: host:port of the GCS
	TokenPath string // empty: authentication is off
}

// rayEnv returns the variables that a node of this Ray version, and every client in its container, needs.
func rayEnv(ray string, n envInput) (map[string]string, error) {
	v, err := supported(ray)
	if err != nil {
		return nil, err
	}
	out := map[string]string{"RAY_ADDRESS": n.Address}
	if v.atLeast(1, 11) {
		out["RAY_USAGE_STATS_ENABLED"] = "0"
	}
	if hasToken(v) {
		// Explicit on every node: from 2.59 a head turns authentication on by itself when it finds
		// a token, and workers do not.
		out["RAY_AUTH_MODE"] = "disabled"
		if n.TokenPath != "" {
			out["RAY_AUTH_MODE"], out["RAY_AUTH_TOKEN_PATH"] = "token", n.TokenPath
		}
	}
	return out, nil
}

// hasToken: ray doc/source/ray-security/token-auth.md, "Ray 2.52.0 and later". On by default: from
// 2.59 for a local ray.init() (ray#64755, ray#66248), from 2.61 for all clusters (the banner of
// that page, 2026-11).
func hasToken(v version) bool { return v.atLeast(2, 52) }

// headAddress joins an address and the GCS port.
func headAddress(address string, port int) string {
	return net.JoinHostPort(address, strconv.Itoa(port))
}
