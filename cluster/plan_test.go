package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const threeHosts = `
name: demo
image: registry/ray:1
head: {host: u@10.0.0.1}
workers: [{hosts: ["u@10.0.0.[2-3]"]}]
`

func testImage(version string) ImageFacts {
	return ImageFacts{Ref: "registry/ray@" + digest1, Digest: digest1, RayVersion: version, Python: "3.12.3",
		Arch:       []string{"amd64"},
		MediaTypes: []string{"application/vnd.oci.image.layer.v1.tar+gzip"}}
}

func factsAt(addresses ...string) hostFacts {
	f := hostFacts{CPUs: 8, Memory: 32 << 30, Arch: "amd64", Engine: "28.2.2", Looked: true}
	for _, a := range addresses {
		f.Addresses = append(f.Addresses, netip.MustParseAddr(a))
	}
	return f
}

func rootless(engine string, addresses ...string) hostFacts {
	f := factsAt(addresses...)
	f.Engine, f.Rootless = engine, true
	return f
}

// Case 21: since 29.5 a rootless Engine gives containers the host's network. A version that is no number is let be.
func TestCase21RootlessWithHostNetwork(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"29.5.0", "29.12.1-ce", "30.0.0", "dev"} {
		s := load(t, threeHosts)
		facts := factsOf(s)
		facts["u@10.0.0.2"] = rootless(engine, "10.0.0.2")
		if _, err := planContainers(s, facts, testImage("2.52.0")); err != nil {
			t.Errorf("%s: %v", engine, err)
		}
	}
}

// factsOf gives every host of a spec the address that it is reached by.
func factsOf(s *Spec) map[string]hostFacts {
	out := map[string]hostFacts{}
	for _, h := range s.Hosts() {
		if h.Local {
			out[h.ID()] = factsAt("192.168.1.7", "172.17.0.1")
		} else {
			out[h.ID()] = factsAt(h.Address, "172.17.0.1")
		}
	}
	return out
}

func desired(t *testing.T, s *Spec, version string) []container {
	t.Helper()
	c, err := planContainers(s, factsOf(s), testImage(version))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDesiredContainer(t *testing.T) {
	t.Parallel()
	s := load(t, threeHosts+"env: {B: \"2\", A: \"1\"}\nmounts: [\"/data:/data:ro\"]\n")
	c := desired(t, s, "2.52.0")
	if len(c) != 3 {
		t.Fatalf("%d containers", len(c))
	}
	w := c[2]
	if w.Name != "demo-w-10-0-0-3" || w.Image != "registry/ray@"+digest1 || w.Network != "host" ||
		!w.Init || w.Restart != "unless-stopped" ||
		w.StopTimeout < 30 || fmt.Sprint(w.Ulimits) != "[{nofile 65536}]" || !w.NoNewPrivileges ||
		w.Address != netip.MustParseAddr("10.0.0.3") {
		t.Errorf("worker %+v", w)
	}
	if fmt.Sprint(w.Env) != "[A=1 B=2 RAY_ADDRESS=10.0.0.1:6379 RAY_AUTH_MODE=token "+
		"RAY_AUTH_TOKEN_PATH=/run/raybuild/token RAY_USAGE_STATS_ENABLED=0]" {
		t.Errorf("env %v", w.Env)
	}
	want := []Mount{{Source: "/data", Target: "/data", ReadOnly: true},
		{Volume: true, Source: "raybuild-demo-auth", Target: "/run/raybuild", ReadOnly: true}}
	if !slices.Equal(w.Mounts, want) {
		t.Errorf("mounts %+v", w.Mounts)
	}
	store := w.Resources.ObjectStore
	if w.SHM != 9792<<20 || shmFor(store) > w.SHM || store < w.SHM*9/10-1 || w.Resources.CPU != 8 {
		t.Errorf("shm %d MiB, store %d", w.SHM>>20, store)
	}
	if !slices.Contains(w.Cmd, "--address=10.0.0.1:6379") ||
		!slices.Contains(w.Cmd, fmt.Sprintf("--object-store-memory=%d", store)) ||
		!slices.Contains(w.Cmd, "--num-cpus=8") || !slices.Contains(c[0].Cmd, "--head") {
		t.Errorf("cmd %v", w.Cmd)
	}
	for _, l := range []string{labelCluster, labelRole, labelNode, labelConfig, labelParts, labelImage, labelGeneration,
		labelAddress} {
		if w.Labels[l] == "" {
			t.Errorf("no label %s", l)
		}
	}
	if strings.Contains(fmt.Sprint(c), "RAY_AUTH_TOKEN=") {
		t.Error("a token in a description")
	}
}

func TestDesiredIsStable(t *testing.T) {
	t.Parallel()
	s := load(t, threeHosts+"resources: {a: 1, b: 2, c: 3}\nenv: {A: \"1\", B: \"2\", C: \"3\"}\n")
	first := desired(t, s, "2.52.0")
	for range 20 {
		for i, c := range desired(t, s, "2.52.0") {
			if c.Labels[labelConfig] != first[i].Labels[labelConfig] ||
				c.Labels[labelParts] != first[i].Labels[labelParts] {
				t.Fatalf("config of %s changed", c.Name)
			}
		}
	}
	facts := factsOf(s)
	for k, f := range facts {
		f.Memory += 3 << 20 // another kernel reports a little more
		f.Engine = "29.0.0"
		facts[k] = f
	}
	again, err := planContainers(s, facts, testImage("2.52.0"))
	if err != nil || again[1].Labels[labelConfig] != first[1].Labels[labelConfig] {
		t.Errorf("a kernel update changes the configuration (%v)", err)
	}
}

func TestDesiredSeveralNodesOnAHost(t *testing.T) {
	t.Parallel()
	s := load(t, "name: d\nimage: r\nshare_hosts: true\nhead: {host: local}\n"+
		"workers: [{hosts: [local], nodes_per_host: 3}]\n")
	c := desired(t, s, "2.55.0")
	if len(c) != 4 {
		t.Fatalf("%d containers", len(c))
	}
	taken := map[int]string{}
	var shm int64
	for _, x := range c {
		needs, err := portsNeeded(x.Node, "2.55.0", false)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range needs {
			for p := n.First; p <= n.Last; p++ {
				if taken[p] != "" {
					t.Fatalf("port %d of %s is also that of %s", p, x.Name, taken[p])
				}
				taken[p] = x.Name
			}
		}
		if x.Resources.CPU != 2 || x.Address != netip.MustParseAddr("192.168.1.7") {
			t.Errorf("%s: %v CPUs at %s", x.Name, x.Resources.CPU, x.Address)
		}
		shm += x.SHM
	}
	if shm > 32<<30*3/10 {
		t.Errorf("shm of all is %d MiB", shm>>20)
	}
	if c[1].Name != "d-w-local-2" || !slices.Contains(c[1].Cmd, "--temp-dir=/tmp/ray-2") {
		t.Errorf("second node %s %v", c[1].Name, c[1].Cmd)
	}
}

func TestDesiredRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, yaml string
		change     func(map[string]hostFacts, *ImageFacts)
		want       string
	}{
		{"no facts of the head", threeHosts, func(f map[string]hostFacts, _ *ImageFacts) { delete(f, "u@10.0.0.1") },
			"head host u@10.0.0.1: nothing is known"},
		{"image for another CPU", threeHosts, func(f map[string]hostFacts, _ *ImageFacts) {
			f["u@10.0.0.2"] = arch(f["u@10.0.0.2"], "arm64")
		},
			"host u@10.0.0.2: its CPU is arm64, and the image is for amd64; build with --platform linux/arm64"},
		{"zstd on an old engine", threeHosts, func(f map[string]hostFacts, i *ImageFacts) {
			x := f["u@10.0.0.3"]
			x.Engine = "20.10.24"
			f["u@10.0.0.3"] = x
			i.MediaTypes = []string{"application/vnd.oci.image.layer.v1.tar+zstd"}
		}, "host u@10.0.0.3: docker 20.10.24 cannot unpack zstd"},
		{"case 21: a rootless Engine", threeHosts, func(f map[string]hostFacts, _ *ImageFacts) {
			f["u@10.0.0.2"] = rootless("28.2.2", "10.0.0.2")
		}, "host u@10.0.0.2: its Docker Engine 28.2.2 is rootless, and the host network of its containers is not the " +
			"host's: nodes would not reach each other; update Docker to 29.5 or later, or use the host's own Engine"},
		{"case 21: the head's", threeHosts, func(f map[string]hostFacts, _ *ImageFacts) {
			f["u@10.0.0.1"] = rootless("29.4.9", "10.0.0.1")
		}, "host u@10.0.0.1: its Docker Engine 29.4.9 is rootless"},
		{"case 21: this machine's", "name: c\nimage: r/ray@" + digest1 + "\nhead: {host: local}\n",
			func(f map[string]hostFacts, _ *ImageFacts) { f["local"] = rootless("20.10.24+dfsg1", "192.168.1.7") },
			"host local: its Docker Engine 20.10.24+dfsg1 is rootless"},
		{"Ray without tokens", threeHosts, func(_ map[string]hostFacts, i *ImageFacts) { i.RayVersion = "2.51.0" },
			"ray 2.51.0 has no token authentication"},
		{"public address", threeHosts, func(f map[string]hostFacts, _ *ImageFacts) {
			f["u@10.0.0.2"] = factsAt("10.0.0.2", "8.8.8.8")
		},
			"host u@10.0.0.2 has the public address 8.8.8.8"},
		{"public IPv6 address", threeHosts, func(f map[string]hostFacts, _ *ImageFacts) {
			f["u@10.0.0.2"] = factsAt("10.0.0.2", "2001:db8::1")
		},
			"public address 2001:db8::1"},
		{"only a public address", "name: a\nimage: r\nhead: {host: u@9.9.9.9}\n" +
			"workers: [{host: u@10.0.0.2}]\n", nil, "9.9.9.9 is a public address"},
		{"loopback in a larger cluster", "name: a\nimage: r\nhead: {host: u@a, private_address: 127.0.0.1}\n" +
			"workers: [{host: u@10.0.0.2}]\n",
			func(f map[string]hostFacts, _ *ImageFacts) { f["u@a"] = factsAt("10.0.0.1") },
			"reached from its own machine only"},
		{"link-local", "name: a\nimage: r\nhead: {host: u@a, private_address: 169.254.1.1}\n",
			func(f map[string]hostFacts, _ *ImageFacts) { f["u@a"] = factsAt("10.0.0.1") },
			"169.254.1.1 is link-local"},
		{"several addresses", "name: a\nimage: r\nhead: {host: u@a}\nworkers: [{host: u@10.0.0.2}]\n",
			func(f map[string]hostFacts, _ *ImageFacts) {
				f["u@a"] = factsAt("192.168.1.5", "10.9.0.5", "172.17.0.1")
			},
			"several addresses could be the one for Ray (192.168.1.5, 10.9.0.5); give private_address"},
		{"the same address", "name: a\nimage: r\nhead: {host: u@a}\nworkers: [{host: u@b}]\n",
			func(f map[string]hostFacts, _ *ImageFacts) {
				f["u@a"], f["u@b"] = factsAt("10.0.0.5"), factsAt("10.0.0.5")
			}, "would both advertise 10.0.0.5"},
		{"more memory than there is", threeHosts + "memory: 40g\n", nil, "and the host has 32768 MiB"},
		{"labels in an old Ray", threeHosts + "accept_no_auth: true\nlabels: {a: b}\n",
			func(_ map[string]hostFacts, i *ImageFacts) { i.RayVersion = "1.8.0" }, "no node labels"},
		{"no Ray version", threeHosts, func(_ map[string]hostFacts, i *ImageFacts) { i.RayVersion = "" },
			"not a version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := load(t, tt.yaml)
			facts, image := factsOfNamed(s), testImage("2.55.0")
			if tt.change != nil {
				tt.change(facts, &image)
			}
			if _, err := planContainers(s, facts, image); err == nil ||
				!strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v\nwant %s", err, tt.want)
			}
		})
	}
}

func arch(f hostFacts, a string) hostFacts { f.Arch = a; return f }

func factsOfNamed(s *Spec) map[string]hostFacts {
	out := map[string]hostFacts{}
	for _, h := range s.Hosts() {
		out[h.ID()] = factsAt("172.17.0.1")
		if a, err := netip.ParseAddr(h.Address); err == nil {
			out[h.ID()] = factsAt(a.String(), "172.17.0.1")
		}
	}
	return out
}

func TestDesiredAccepts(t *testing.T) {
	t.Parallel()
	public := func(f map[string]hostFacts, _ *ImageFacts) { f["u@10.0.0.2"] = factsAt("10.0.0.2", "8.8.8.8") }
	tests := []struct {
		name, yaml, version, address string
		change                       func(map[string]hostFacts, *ImageFacts)
	}{
		{"public address behind the filter", threeHosts + "filter: true\n", "2.55.0", "10.0.0.2", public},
		{"public address that is named", threeHosts + "allow_public: [8.8.8.8]\n", "2.55.0", "10.0.0.2", public},
		{"old Ray that is accepted", threeHosts + "accept_no_auth: true\n", "0.8.6", "10.0.0.2", nil},
		{"zstd on a new engine", threeHosts, "2.55.0", "10.0.0.2",
			func(_ map[string]hostFacts, i *ImageFacts) { i.MediaTypes = []string{"x+zstd"} }},
		{"host name with one private address", "name: a\nimage: r\nhead: {host: u@a}\n" +
			"workers: [{host: u@b}]\n", "2.55.0", "10.0.0.6",
			func(f map[string]hostFacts, _ *ImageFacts) {
				f["u@a"], f["u@b"] = factsAt("10.0.0.5", "172.17.0.1", "fe80::1"),
					factsAt("172.18.0.1", "192.168.7.6", "10.0.0.6")
			}},
		{"unreachable worker left out", threeHosts, "2.55.0", "10.0.0.3",
			func(f map[string]hostFacts, _ *ImageFacts) { delete(f, "u@10.0.0.2") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := load(t, tt.yaml)
			facts, image := factsOfNamed(s), testImage(tt.version)
			if tt.change != nil {
				tt.change(facts, &image)
			}
			c, err := planContainers(s, facts, image)
			if err != nil || c[1].Address.String() != tt.address {
				t.Errorf("%v %v", c, err)
			}
		})
	}
	s := load(t, "name: a\nimage: r\nhead: {host: local}\n")
	if c, err := planContainers(s, map[string]hostFacts{"local": factsAt()}, testImage("2.55.0")); err != nil ||
		!c[0].Address.IsLoopback() {
		t.Errorf("machine without network: %v %v", c, err)
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for a, want := range map[string]addrKind{"127.0.0.1": addrLoopback, "::1": addrLoopback, "10.1.2.3": addrPrivate,
		"172.16.0.1": addrPrivate, "172.32.0.1": addrPublic,
		"192.168.0.1": addrPrivate, "100.64.0.1": addrPrivate, "100.127.255.255": addrPrivate,
		"100.128.0.1": addrPublic,
		"fd00::1":     addrPrivate, "fe80::1": addrLinkLocal,
		"169.254.169.254": addrLinkLocal, "8.8.8.8": addrPublic, "2001:db8::1": addrPublic,
		"::ffff:10.0.0.1": addrPrivate} {
		if got := classify(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s is %s, want %s", a, got, want)
		}
	}
}

func TestPortsNeededByVersion(t *testing.T) {
	t.Parallel()
	s := load(t, threeHosts)
	names := func(n Node, v string, client bool) string {
		needs, err := portsNeeded(n, v, client)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, p := range needs {
			out = append(out, p.Use)
		}
		return strings.Join(out, ",")
	}
	if got, want := names(s.Head, "0.8.6", true),
		"gcs,dashboard,redis shard,node manager,object manager,worker processes"; got != want {
		t.Errorf("0.8.6: %s, want %s", got, want)
	}
	if got, want := names(s.Head, "1.8.0", false), "gcs,dashboard,redis shard,gcs server,node manager,object "+
		"manager,dashboard agent http,metrics,worker processes"; got != want {
		t.Errorf("1.8.0: %s, want %s", got, want)
	}
	if got, want := names(s.Workers[0], "2.55.0", true), "node manager,object manager,runtime env agent,dashboard "+
		"agent,dashboard agent http,metrics,worker processes"; got != want {
		t.Errorf("2.55.0 worker: %s, want %s", got, want)
	}
}
