package cluster

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// rayVersions reads testdata/ray-start-options.txt: the options of `ray start` at each version that was looked at.
func rayVersions(t *testing.T) (versions []string, options map[string][]string) {
	t.Helper()
	b, err := os.ReadFile("testdata/ray-start-options.txt")
	if err != nil {
		t.Fatal(err)
	}
	options = map[string][]string{}
	for _, line := range strings.Split(string(b), "\n") {
		name, rest, found := strings.Cut(line, ": ")
		if !found || strings.HasPrefix(line, "#") {
			continue
		}
		versions = append(versions, name)
		options[name] = strings.Fields(strings.ReplaceAll(rest, "~", ""))
	}
	if len(versions) < 18 {
		t.Fatalf("%d versions", len(versions))
	}
	return versions, options
}

func TestFlagTableIsTheObservedOne(t *testing.T) {
	t.Parallel()
	versions, options := rayVersions(t)
	for _, name := range versions {
		v, err := parseVersion(name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for f := range flagTable() {
			if flagIn(v, f) {
				got = append(got, f)
			}
		}
		slices.Sort(got)
		want := slices.Sorted(slices.Values(options[name]))
		if !slices.Equal(got, want) {
			t.Errorf("%s: table has\n%v\nRay has\n%v", name, got, want)
		}
	}
}

func fullInput(role Role) StartInput {
	p := defaultPorts()
	if role == Worker {
		p = p.shift(1, Worker)
	}
	return StartInput{Role: role, Name: "demo-x", Address: "10.0.0.2", HeadAddress: "10.0.0.1:6379", CPUs: 4, GPUs: 1,
		Memory:      1 << 30,
		ObjectStore: 1 << 30, Resources: map[string]float64{"b": 1, "a": 0.5}, Ports: p,
		TempDir: "/scratch", Client: true}
}

// Whatever is passed exists in that version, in each version that was looked at.
func TestStartArgsPassesOnlyFlagsOfTheVersion(t *testing.T) {
	t.Parallel()
	versions, options := rayVersions(t)
	for _, v := range versions {
		for _, role := range []Role{Head, Worker} {
			in := fullInput(role)
			if slices.Contains(options[v], "--labels") {
				in.Labels = map[string]string{"zone": "a", "rack": "1"}
			}
			args, err := StartArgs(v, in)
			if err != nil {
				t.Errorf("%s %s: %v", v, role, err)
				continue
			}
			if args[0] != "ray" || args[1] != "start" || !slices.Contains(args, "--block") {
				t.Errorf("%s %s: %v", v, role, args)
			}
			seen := map[string]bool{}
			for _, a := range args[2:] {
				name, _, _ := strings.Cut(a, "=")
				if !slices.Contains(options[v], name) || seen[name] {
					t.Errorf("ray %s (%s) has no %s, or it is there twice", v, role, a)
				}
				seen[name] = true
			}
			for _, must := range []string{"--num-cpus", "--num-gpus", "--object-store-memory", "--node-ip-address",
				"--min-worker-port"} {
				if !seen[must] {
					t.Errorf("ray %s (%s): %s is not passed", v, role, must)
				}
			}
		}
	}
}

func TestStartArgsLines(t *testing.T) {
	t.Parallel()
	const block = " --node-manager-port=6380 --object-manager-port=6381"
	tests := []struct {
		version string
		role    Role
		want    string
	}{
		{"0.8.6", Head,
			"ray start --head --port=6379 --include-webui=true --webui-host=127.0.0.1 --redis-shard-ports=6378 " +
				"--node-ip-address=10.0.0.2" +
				block + " --min-worker-port=10002 --max-worker-port=10999 --num-cpus=4 --num-gpus=1 " +
				"--memory=1073741824 --object-store-memory=1073741824" +
				` --resources={"a":0.5,"b":1} --temp-dir=/scratch --block`},
		{"1.8.0", Head,
			"ray start --head --port=6379 --include-dashboard=true --dashboard-host=127.0.0.1 --dashboard-port=8265" +
				" --redis-shard-ports=6378 --gcs-server-port=6377 --ray-client-server-port=10001 " +
				"--node-ip-address=10.0.0.2" + block +
				" --dashboard-agent-listen-port=52365 --metrics-export-port=6384" +
				" --min-worker-port=10002 --max-worker-port=10999 --num-cpus=4 --num-gpus=1 --memory=1073741824 " +
				"--object-store-memory=1073741824" +
				` --resources={"a":0.5,"b":1} --temp-dir=/scratch --block`},
		{"2.52.0", Head,
			"ray start --head --port=6379 --include-dashboard=true --dashboard-host=127.0.0.1 --dashboard-port=8265" +
				" --ray-client-server-port=10001 --disable-usage-stats --node-ip-address=10.0.0.2 --node-name=demo-x" +
				block +
				" --runtime-env-agent-port=6382 --dashboard-agent-grpc-port=6383 --dashboard-agent-listen-port=52365 " +
				"--metrics-export-port=6384 --min-worker-port=10002 --max-worker-port=10999 --num-cpus=4 " +
				"--num-gpus=1 --memory=1073741824 --object-store-memory=1073741824" +
				` --resources={"a":0.5,"b":1} --temp-dir=/scratch --block`},
		{"2.59.0", Worker, "ray start --address=10.0.0.1:6379 --node-ip-address=10.0.0.2 --node-name=demo-x " +
			"--node-manager-port=6390 --object-manager-port=6391 --runtime-env-agent-port=6392 " +
			"--dashboard-agent-grpc-port=6393 --dashboard-agent-listen-port=52366 --metrics-export-port=6394 " +
			"--min-worker-port=11002 --max-worker-port=11999 --num-cpus=4 --num-gpus=1 --memory=1073741824" +
			` --object-store-memory=1073741824 --resources={"a":0.5,"b":1} --temp-dir=/scratch --block`},
	}
	for _, tt := range tests {
		t.Run(tt.version+" "+string(tt.role), func(t *testing.T) {
			args, err := StartArgs(tt.version, fullInput(tt.role))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(args, " "); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestStartArgsRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, version string
		change        func(*StartInput)
		want          string
	}{
		{"no version", "latest", func(*StartInput) {}, "not a version"},
		{"too old", "0.8.5", func(*StartInput) {}, "older than 0.8.6"},
		{"labels in a Ray without them", "2.0.0", func(n *StartInput) { n.Labels = map[string]string{"a": "b"} },
			"no node labels"},
		{"an option that came later", "2.44.0", func(n *StartInput) { n.Extra = []string{"--labels-file=/x"} },
			"has no such option"},
		{"an option that is gone", "2.49.0", func(n *StartInput) { n.Extra = []string{"--storage=/x"} },
			"has no such option"},
		{"an unknown option", "2.55.0", func(n *StartInput) { n.Extra = []string{"--bogus=1"} }, "has no such option"},
		{"a flag with a value", "2.55.0", func(n *StartInput) { n.Extra = []string{"--verbose=1"} }, "takes no value"},
		{"an option without its value", "2.55.0", func(n *StartInput) { n.Extra = []string{"--plasma-directory"} },
			"needs a value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := fullInput(Head)
			tt.change(&in)
			if _, err := StartArgs(tt.version, in); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestStartArgsLabelsByVersion(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{"2.9.3": `--labels={"a":"1","z":"2"}`, "2.55.1": "--labels=a=1,z=2"} {
		in := fullInput(Worker)
		in.Labels = map[string]string{"z": "2", "a": "1"}
		args, err := StartArgs(version, in)
		if err != nil || !slices.Contains(args, want) {
			t.Errorf("%s: %v %v", version, args, err)
		}
	}
}

func TestVersionOrder(t *testing.T) {
	t.Parallel()
	order := []string{"0.8.6", "0.8.7", "1.0.0.dev0", "1.0.0a1", "1.0.0rc2", "1.0.0", "1.0.1", "1.0.1.post1", "1.10.0",
		"2.0", "2.9.0", "2.52.0rc0",
		"2.52.0", "2.56.0.dev0", "2.56.0", "3.0.0.dev0"}
	for i, a := range order {
		for j, b := range order {
			va, errA := parseVersion(a)
			vb, errB := parseVersion(b)
			if errA != nil || errB != nil {
				t.Fatal(errA, errB)
			}
			if got := va.compare(vb); got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("compare %s %s = %d", a, b, got)
			}
		}
	}
	for _, bad := range []string{"", "latest", "2.", ".2", "2.52.0; rm", "1e3", "-1", "2..1", "1.0rc",
		strings.Repeat("1.", 50) + "1"} {
		if _, err := parseVersion(bad); err == nil {
			t.Errorf("%q is a version", bad)
		}
	}
	short, _ := parseVersion("2.48")
	if full, _ := parseVersion("2.48.0"); short.compare(full) != 0 {
		t.Error("2.48 is not 2.48.0")
	}
}

func TestEnvAndFeaturesByVersion(t *testing.T) {
	t.Parallel()
	tests := []struct {
		version string
		env     map[string]string
		f       features
	}{
		{"0.8.6", map[string]string{"RAY_ADDRESS": "h:1"}, features{}},
		{"1.8.0", map[string]string{"RAY_ADDRESS": "h:1"}, features{Status: true, HealthCmd: true}},
		{"2.20.0", map[string]string{"RAY_ADDRESS": "h:1", "RAY_USAGE_STATS_ENABLED": "0"},
			features{JobsAPI: true, StateAPI: true, Status: true,
				HealthCmd: true, NodeName: true, HeadHealth: "/api/gcs_healthz",
				AgentHealth: "/api/local_raylet_healthz"}},
		{"2.52.1", map[string]string{"RAY_ADDRESS": "h:1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token",
			"RAY_AUTH_TOKEN_PATH": "/t"},
			features{Token: true, JobsAPI: true, StateAPI: true, Status: true, HealthCmd: true, NodeName: true,
				HeadHealth:  "/api/gcs_healthz",
				AgentHealth: "/api/local_raylet_healthz"}},
		{"2.59.0", map[string]string{"RAY_ADDRESS": "h:1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token",
			"RAY_AUTH_TOKEN_PATH": "/t"},
			features{Token: true, JobsAPI: true, StateAPI: true, Status: true, HealthCmd: true, NodeName: true,
				HeadHealth:  "/api/gcs_healthz",
				AgentHealth: "/api/healthz"}},
	}
	for _, tt := range tests {
		env, err := rayEnv(tt.version, envInput{Address: "h:1", TokenPath: "/t"})
		if err != nil || len(env) != len(tt.env) {
			t.Errorf("%s: env %v, %v", tt.version, env, err)
		}
		for k, v := range tt.env {
			if env[k] != v {
				t.Errorf("%s: %s=%q, want %q", tt.version, k, env[k], v)
			}
		}
		if f, err := featuresOf(tt.version); err != nil || f != tt.f {
			t.Errorf("%s: features %+v, %v", tt.version, f, err)
		}
	}
	if env, err := rayEnv("2.59.0", envInput{Address: "h:1"}); err != nil || env["RAY_AUTH_MODE"] != "disabled" {
		t.Errorf("mode is not explicit without a token: %v %v", env, err)
	}
}

func TestVulnerabilities(t *testing.T) {
	t.Parallel()
	ids := func(v string, token bool) string {
		var out []string
		for _, c := range vulnerabilities(v, token) {
			out = append(out, c.ID)
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct{ version, token, none string }{
		{"2.60.0", "", "CVE-2023-48022"}, {"2.56.1", "", "CVE-2023-48022"},
		{"2.56.0", "ray#64701", "CVE-2023-48022 ray#64701"}, {"nonsense", "", ""},
		{"2.55.1", "CVE-2026-57516 ray#64701", "CVE-2023-48022 CVE-2026-57516 ray#64701"},
		{"2.52.1", "CVE-2026-41486 CVE-2026-57516 ray#64701",
			"CVE-2023-48022 CVE-2026-27482 CVE-2026-41486 CVE-2026-57516 ray#64701"},
		// Ray before 2.52 has no token, whatever the caller thinks.
		{"2.49.2", "CVE-2025-62593 CVE-2023-48022 CVE-2026-27482 CVE-2026-41486 CVE-2026-57516 ray#64701",
			"CVE-2025-62593 CVE-2023-48022 CVE-2026-27482 CVE-2026-41486 CVE-2026-57516 ray#64701"},
		{"2.48.0", "CVE-2025-62593 CVE-2023-48022 CVE-2026-27482 CVE-2026-57516 ray#64701",
			"CVE-2025-62593 CVE-2023-48022 CVE-2026-27482 CVE-2026-57516 ray#64701"},
	} {
		if got := ids(tt.version, true); got != tt.token {
			t.Errorf("%s with the token on: %q, want %q", tt.version, got, tt.token)
		}
		if got := ids(tt.version, false); got != tt.none {
			t.Errorf("%s without token: %q, want %q", tt.version, got, tt.none)
		}
	}
	for _, c := range holes() {
		if c.ID == "" || c.Source == "" || c.Text == "" || c.Fixed == "" && !c.Token {
			t.Errorf("row is not whole: %+v", c)
		}
		for _, v := range []string{c.Since, c.Fixed} {
			if _, err := parseVersion(v); v != "" && err != nil {
				t.Errorf("%s: %v", c.ID, err)
			}
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("2.52.0rc1")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseVersion(s)
		if err == nil && v.compare(v) != 0 {
			t.Errorf("%q differs from itself", s)
		}
	})
}
