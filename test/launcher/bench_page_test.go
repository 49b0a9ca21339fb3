package launcher

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// pageEnv names the page that the figures are published on; bench/cluster sets it.
const pageEnv = "RAYBUILD_BENCH_CLUSTER_PAGE"

const pageHead = `# The launcher's benchmark

Written by §make bench-cluster§; do not edit. raybuild beside a shell loop of §ssh HOST docker run§ (one host
after the other as people type it, and all at once) and §docker compose§ %s over SSH for each
host, on the same hosts in one run.

* **Machine**: %d CPUs (%s) for everything: up to 8 hosts in network namespaces (§test/hosts.sh§), each with its own
  sshd and Docker Engine %s, the registry, and the launcher itself; load averages at the start %s; %s. On real hosts
  each would have its own CPUs, and the work on hosts, which here is done one after the other, would be done at once.
* **Stand-in**: what runs is §miniray§, which answers as Ray does and starts in no time.
* **Not the same work**: the loops and compose are done when containers are started; raybuild when Ray counts every node
  alive, with preflight (ports between hosts, disk, clock), token, lock, and a probe from outside.

Seconds, medians of 3 runs (5 where there is nothing to do):

| hosts | what | raybuild | ssh loop | ssh loop, at once | docker compose |
| ---: | --- | ---: | ---: | ---: | ---: |
`

// machine is what the page says of where and when the figures were measured.
type machine struct {
	cpu, load string
	at        time.Time
}

func thisMachine(t *testing.T) machine {
	t.Helper()
	m := machine{at: time.Now().UTC()}
	for file, into := range map[string]*string{"/proc/cpuinfo": &m.cpu, "/proc/loadavg": &m.load} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		*into = strings.TrimSpace(string(data))
	}
	_, m.cpu, _ = strings.Cut(m.cpu, "model name\t: ")
	m.cpu, _, _ = strings.Cut(m.cpu, "\n")
	m.load = strings.Join(strings.Fields(m.load)[:3], " ")
	return m
}

// page is what is published of the figures.
func (f *figures) page(compose, engine string) string {
	var b strings.Builder
	fmt.Fprintf(&b, strings.ReplaceAll(pageHead, "§", "`"), compose, runtime.NumCPU(), f.machine.cpu, engine,
		f.machine.load, f.machine.at.Format("2 January 2006, 15:04 MST"))
	for _, hosts := range []int{1, 3, 8} {
		for _, what := range []string{whatCold, whatThere, whatNothing} {
			fmt.Fprintf(&b, "| %d | %s |", hosts, what)
			for _, by := range []string{"raybuild", "ssh loop", "ssh loop, at once", "docker compose"} {
				if r := f.find(hosts, what, by); r != nil {
					fmt.Fprintf(&b, " %.2f |", r.Seconds)
				} else {
					b.WriteString(" – |")
				}
			}
			b.WriteString("\n")
		}
	}
	if r := f.find(1, whatDead, "raybuild"); r != nil {
		fmt.Fprintf(&b, "\nA host that dies in the middle of a stream is noticed after %.1f s.\n", r.Seconds)
	}
	if r := f.find(8, whatNothing, "raybuild"); r != nil {
		verdict := "reached"
		if r.Seconds > mostNoOp.Seconds() {
			verdict = "**not reached**"
		}
		fmt.Fprintf(&b, "\nWith 8 hosts and nothing to do the bar is %.0f s; it is %s: %.2f s.\n", mostNoOp.Seconds(),
			verdict, r.Seconds)
	}
	return b.String()
}

func (f *figures) find(hosts int, what, by string) *figure {
	for i, r := range f.rows {
		if r.Hosts == hosts && r.What == what && r.By == by {
			return &f.rows[i]
		}
	}
	return nil
}

// publish writes the page where all of it was measured.
func (f *figures) publish(t *testing.T, b *bed) {
	file := os.Getenv(pageEnv)
	if file == "" || f.find(8, whatNothing, "docker compose") == nil || f.find(1, whatDead, "raybuild") == nil {
		return
	}
	compose, err := b.compose(t, 1, "version", "--short")
	if err != nil {
		t.Fatal(err)
	}
	engine := strings.TrimSpace(b.Must(t, "exec", "1", "docker", "version", "-f", "{{.Server.Version}}"))
	if err := os.WriteFile(file, []byte(f.page("v"+strings.TrimPrefix(strings.TrimSpace(compose), "v"), engine)),
		0o644); err != nil {
		t.Fatal(err)
	}
}
