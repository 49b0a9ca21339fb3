package real

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/test/bed"
)

// versions are those of Ray that people run, on the one Python that the world's conda channel has.
var versions = []string{"2.9.3", "2.31.0", "2.40.0", "2.49.2", "2.52.1", "2.56.1", world.RayReal}

const versionsPython = "3.11"

// versionsEnv says where TestVersions writes its page; without it what the page says is compared with what was found.
const versionsEnv = "RAYBUILD_RAY_VERSIONS_PAGE"

const versionsPage = "../../docs/ray-versions.md"

// found is what one version of Ray came to. What depends on the day and the machine is apart.
type found struct {
	ray, pins, token, flags, works string

	packages        int
	check           string // pip's
	build, up, mebi float64
}

const pageHead = `# Versions of Ray, as tried

Written by §make ray-versions§; do not edit. §make test§ does the same and compares. For each version the
program resolves and builds §ray[default]§ for Python %s from the real Python index, with the constraints that
raybuild's tables hold for it, and the launcher runs it on one host with Docker Engine: §up§, §status§, §submit§
with exit codes, §down§, after which nothing may be left. *Flags* are those that raybuild passes to §ray start§
for a head and for a worker, with all that cluster.yaml can ask for, looked for in the options of that version.
Other Pythons are not tried: conda and the installer are stand-ins where these tests run, and have %[1]s alone.
Versions before 2.3 have no wheel for it.

| Ray | constraints of the tables | flags passed, all there | token | up, status, submit, down |
| --- | --- | --- | --- | --- |
`

const pageDay = `
What depends on the day and the machine (%s; tests and hosts share its CPUs):

| Ray | packages | pip check | image, MiB compressed | build, s | up with its pull, s |
| --- | ---: | --- | ---: | ---: | ---: |
`

func (f found) row() string {
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", f.ray, f.pins, f.flags, f.token, f.works)
}

func (f found) dayRow() string {
	return fmt.Sprintf("| %s | %d | %s | %.0f | %.0f | %.0f |\n", f.ray, f.packages, f.check, f.mebi, f.build, f.up)
}

// TestVersions builds and runs each version of Ray, on one host.
func TestVersions(t *testing.T) {
	p := needPlace(t)
	b := needHosts(t)
	var all []found
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			f := p.try(t, b, v)
			all = append(all, f)
			t.Log(f.row(), f.dayRow())
		})
	}
	if t.Failed() || len(all) != len(versions) {
		return
	}
	var rows, day strings.Builder
	for _, f := range all {
		rows.WriteString(f.row())
		day.WriteString(f.dayRow())
	}
	if file := os.Getenv(versionsEnv); file != "" {
		text := fmt.Sprintf(strings.ReplaceAll(pageHead, "§", "`"), versionsPython) + rows.String() +
			fmt.Sprintf(pageDay, time.Now().UTC().Format("2 January 2006")) + day.String()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	page, err := os.ReadFile(versionsPage)
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(rows.String()) {
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/ray-versions.md does not have this row, see its head for how it is written:\n%s", row)
		}
	}
}

var recipeRay = regexp.MustCompile(`(?m)^ray: .*\npip: .*\n`)

// try builds one version and runs it.
func (p *place) try(t *testing.T, b *bed.Bed, v string) found {
	recipe := recipeRay.ReplaceAllString(string(p.testEnv.RealRecipe()),
		fmt.Sprintf("ray: {version: %q, extras: [default]}\n", v))
	x := p.project(t, recipe)
	f := found{ray: v, pins: x.pins()}
	img := x.push("ray-"+v, "--metadata-file", "meta.json")
	if img.err != nil {
		t.Fatal(img.err)
	}
	f.build, f.mebi, f.packages = img.seconds, x.size(), strings.Count(img.lock, ".whl")

	more, token := "wait: 5m\n", hasToken(t, v)
	if !token {
		more += "accept_no_auth: true\n"
	}
	d := &demo{Bed: b, spec: b.Spec(t, "versions", p.onHosts(img.ref), more)}
	t.Cleanup(func() {
		b.Down(t, "versions")
		b.Must(t, "exec", "1", "docker", "image", "prune", "-af")
	})
	if !token {
		d.refusedWithoutToken(t, p.onHosts(img.ref))
	}
	start := time.Now()
	d.up(t, 1)
	f.up = time.Since(start).Seconds()
	if s, err := cluster.Inspect(t.Context(), d.spec, b.Reach()); err != nil || !s.Healthy || s.Ray != v {
		t.Errorf("status: %v\n%s", err, s)
	}
	for _, code := range []int{0, 3} {
		d.submits(t, v, code)
	}
	f.flags, f.token, f.works = d.flags(t, v), d.wantsToken(t, v, token), "yes"
	f.check = d.pipCheck(t)
	return f
}

// pins are the constraints that the tables have for the project's recipe.
func (x *project) pins() string {
	data, err := os.ReadFile(filepath.Join(x.dir, "raybuild.yaml"))
	if err != nil {
		x.t.Fatal(err)
	}
	r, err := layers.LoadRecipe(data, "raybuild.yaml", nil)
	if err != nil {
		x.t.Fatal(err)
	}
	if _, err := layers.Check(r); err != nil {
		x.t.Fatal(err)
	}
	if len(r.Pins) == 0 {
		return "none"
	}
	return "`" + strings.Join(r.Pins, "`, `") + "`"
}

// size is what the layers weigh, in MiB.
func (x *project) size() (mebi float64) {
	var meta struct {
		Raybuild struct{ Layers []struct{ Size int64 } }
	}
	data, err := os.ReadFile(filepath.Join(x.dir, "meta.json"))
	if err == nil {
		err = json.Unmarshal(data, &meta)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	for _, l := range meta.Raybuild.Layers {
		mebi += float64(l.Size) / (1 << 20)
	}
	return mebi
}

// hasToken says whether a Ray has token authentication: 2.52 and later have it.
func hasToken(t *testing.T, v string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(v, "%d.%d", &major, &minor); err != nil {
		t.Fatalf("read version %q: %v", v, err)
	}
	return major > 2 || major == 2 && minor >= 52
}

// refusedWithoutToken has up refuse a Ray that has no token and that nobody accepted.
func (d *demo) refusedWithoutToken(t *testing.T, image string) {
	t.Helper()
	spec := d.Spec(t, "versions", image, "")
	if s, err := cluster.Up(t.Context(), spec, d.Options(t)); err == nil ||
		!strings.Contains(err.Error(), "accept_no_auth: true") {
		t.Errorf("up of a Ray without token authentication: %v\n%s", err, s)
	}
}

func (d *demo) submits(t *testing.T, v string, code int) {
	t.Helper()
	program := fmt.Sprintf("import ray, sys; ray.init(); f = ray.remote(lambda: ray.__version__); print('a task of', "+
		"ray.get(f.remote())); sys.exit(%d)", code)
	var out bytes.Buffer
	res, err := cluster.Submit(t.Context(), d.spec, cluster.Job{Argv: []string{"python", "-c", program}}, &out,
		io.Discard, d.Options(t))
	if err != nil || res.ExitCode != code || res.By != "jobs-api" || !strings.Contains(out.String(), "a task of "+v) {
		t.Errorf("a job that ends with %d: %+v, %v\n%s", code, res, err, out.String())
	}
}

// askOptions prints all options of `ray start`, those too that its help does not show.
const askOptions = "from ray.scripts.scripts import start; print(' '.join(o for p in start.params for o in [*p.opts, " +
	"*p.secondary_opts]))"

// flags counts those that raybuild passes to this version's `ray start`, each of which has to be one of its options.
func (d *demo) flags(t *testing.T, v string) string {
	t.Helper()
	there := strings.Fields(d.inHead(t, "python", "-c", askOptions))
	passed := map[string]bool{}
	for _, role := range []cluster.Role{cluster.Head, cluster.Worker} {
		in := cluster.StartInput{Role: role, Name: "a", Address: "10.0.0.2", CPUs: 1, GPUs: 1, Memory: 1 << 30,
			ObjectStore: 1 << 30,
			Resources:   map[string]float64{"disk": 1}, Ports: d.spec.Head.Ports, TempDir: "/var/ray", Client: true,
			Labels: map[string]string{"zone": "a"}}
		if role == cluster.Worker {
			in.HeadAddress = "10.0.0.1:6379"
		}
		args, err := cluster.StartArgs(v, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range args {
			if flag, _, _ := strings.Cut(a, "="); strings.HasPrefix(flag, "--") {
				passed[flag] = true
			}
		}
	}
	for flag := range passed {
		if !slices.Contains(there, flag) {
			t.Errorf("raybuild passes %s, which `ray start` of %s does not have: %v", flag, v, there)
		}
	}
	return fmt.Sprint(len(passed))
}

// wantsToken asks the dashboard with no token, as anyone on the head's host can.
func (d *demo) wantsToken(t *testing.T, v string, token bool) string {
	t.Helper()
	code := strings.TrimSpace(d.Must(t, "exec", "1", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
		"http://127.0.0.1:8265/api/jobs/"))
	switch {
	case token && code == "401":
		return "wanted (401 without)"
	case !token && code == "200":
		return "has none: `accept_no_auth: true`"
	}
	t.Errorf("the Jobs API of %s without token answers %s, and raybuild takes it to have a token: %v", v, code, token)
	return code
}

// pipCheck is what pip says of the image's packages.
func (d *demo) pipCheck(t *testing.T) string {
	t.Helper()
	var out, errs bytes.Buffer
	code, err := cluster.Exec(t.Context(), d.spec, []string{"python", "-m", "pip", "check"},
		cluster.ExecOptions{Stdout: &out, Stderr: &errs}, d.Reach())
	if err != nil || code != 0 {
		t.Errorf("pip check: exit %d, %v\n%s%s", code, err, out.String(), errs.String())
		return "fails"
	}
	return "content"
}
