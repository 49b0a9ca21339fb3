package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/raybuild/raybuild/bench/bed"
	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/layers"
)

// realStart is an image of real wheels before any edit, in a world that does not run.
func realStart(t *testing.T, i *image) wanted {
	t.Helper()
	b := &bench{Bed: &bed.Bed{World: &world.World{}}, options: options{image: i}}
	b.start = wanted{base: "b", mirror: world.Mirror{Real: "http://localhost/real/simple"}, python: "3.11.2",
		labels: map[string]string{"team": "none"}, app: "print(0)\n"}
	if err := b.becomeReal(); err != nil {
		t.Fatal(err)
	}
	return b.start
}

func rowNames(rows []row) string {
	var out []string
	for _, r := range rows {
		out = append(out, r.name)
	}
	return strings.Join(out, " ")
}

// Both images have the rows of the offline one, first and medium-bumped besides, and B has torch to bump.
func TestRealRows(t *testing.T) {
	const a = "first cold same-warm same-empty-runner apt-list base-patched fetch-mirror image-mirrors miniconda " +
		"python-patch ray-bumped small-added medium-bumped"
	for _, i := range images() {
		want := a + map[string]string{"A": "", "B": " big-bumped"}[i.name] + " own-file label lock"
		if got := rowNames(i.rows()); got != want {
			t.Errorf("image %s has the rows\n%s, want\n%s", i.name, got, want)
		}
		for _, name := range i.without {
			if !strings.Contains(want, name) {
				t.Errorf("image %s leaves out %s, which is no row", i.name, name)
			}
		}
	}
	if got := images()[1].asks(); got != "ray[default,tune,rllib]==2.60.0, requests, msgpack-numpy, torch==2.14.1" {
		t.Errorf("image B asks for %s", got)
	}
}

// What an edit of Python packages changes is one line of the recipe, and no two of them are alike.
func TestRealEditsChangeOneThing(t *testing.T) {
	for _, i := range images() {
		start := realStart(t, &i)
		was := strings.Split(start.recipe()+start.app, "\n")
		for _, r := range i.rows() {
			if r.kind != kindEdit || slices.Contains([]string{"base-patched", "fetch-mirror", "miniconda"}, r.name) {
				continue
			}
			seen := map[string]bool{strings.Join(was, "\n"): true}
			for n := 1; n <= variants; n++ {
				w, err := r.edit(t.Context(), nil, start, n)
				if err != nil {
					t.Fatal(err)
				}
				text := w.recipe() + w.app
				if seen[text] {
					t.Errorf("image %s, %s: edit %d is like one before it", i.name, r.name, n)
				}
				seen[text] = true
				changed := 0
				for at, line := range strings.Split(text, "\n") {
					if line != was[at] {
						changed++
					}
				}
				if changed != 1 {
					t.Errorf("image %s, %s: edit %d changes %d lines", i.name, r.name, n, changed)
				}
			}
		}
	}
}

// runs parses a Dockerfile as BuildKit does, and gives the RUN instructions of its last stage. A warning of its linter
// is a defect.
func runs(t *testing.T, text string) []*instructions.RunCommand {
	t.Helper()
	ast, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	warned := func(rule, _, _, said string, _ []parser.Range) {
		t.Errorf("the linter says %s: %s of\n%s", rule, said, text)
	}
	stages, _, err := instructions.Parse(ast.AST, linter.New(&linter.Config{Warn: warned}))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var out []*instructions.RunCommand
	for _, c := range stages[len(stages)-1].Commands {
		if run, ok := c.(*instructions.RunCommand); ok {
			if err := run.Expand(func(word string) (string, error) { return word, nil }); err != nil {
				t.Fatal(err)
			}
			out = append(out, run)
		}
	}
	return out
}

// Each list of wheels has a step with a cache mount, what changes least first; a package that is added is a further
// line at the end; and uv is mounted, copies, and compiles.
func TestRealDockerfiles(t *testing.T) {
	for _, i := range images() {
		start := realStart(t, &i)
		added := start
		added.pip = []string{"tabulate"}
		lists := map[string]string{"A": "requirements ray", "B": "torch requirements ray"}[i.name]
		for _, tool := range []*installer{uvInstaller("localhost/tools/uv"), pipInstaller()} {
			for _, c := range []struct {
				name, lists string
				v           *variation
			}{
				{"locked", lists, &variation{wanted: start}},
				{"added", lists + " added", &variation{wanted: added}},
				{"unlocked", strings.TrimSuffix(lists, " ray"), &variation{wanted: start, unlocked: true}},
			} {
				t.Run(i.name+" "+tool.name+" "+c.name, func(t *testing.T) {
					var got []string
					for _, run := range runs(t, tool.dockerfile(c.v, false, "http://localhost/channel")) {
						if list := tool.installs(t, run, !c.v.unlocked); list != "" {
							got = append(got, list)
						}
					}
					if strings.Join(got, " ") != c.lists {
						t.Errorf("it installs the lists %q, want %q", got, c.lists)
					}
				})
			}
			before, after := tool.dockerfile(&variation{wanted: start}, false, ""),
				tool.dockerfile(&variation{wanted: added}, false, "")
			at := strings.Index(after, "COPY --link activate.sh")
			last := strings.LastIndex(after[:at], "RUN ")
			if after[:last]+after[at:] != before {
				t.Errorf("a package more changes more than the Dockerfile's last step:\n%s", after)
			}
		}
	}
}

// installs is the list that a step of the Dockerfile installs; empty where it is no step of the installer's.
func (i *installer) installs(t *testing.T, run *instructions.RunCommand, locked bool) string {
	t.Helper()
	command := strings.Join(run.CmdLine, " ")
	at := strings.Index(command, "-r /tmp/")
	if at < 0 || strings.Contains(command, "apt-get") {
		return ""
	}
	if strings.Contains(command, pinned) != locked {
		t.Errorf("locked is %v: %s", locked, command)
	}
	mounts := map[string]string{}
	for _, m := range instructions.GetMounts(run) {
		mounts[m.Target] = string(m.Type) + " " + m.From + m.Source
	}
	list := strings.TrimSuffix(strings.TrimSpace(command[at+len("-r /tmp/"):]), ".txt")
	want := map[string]string{"/tmp/" + list + ".txt": "bind " + list + ".txt", "/root/.cache/" + i.name: "cache "}
	if i.name == "uv" {
		want["/bin/uv"] = "bind uv/uv"
		if !strings.Contains(command, "--link-mode=copy --compile-bytecode") {
			t.Errorf("uv is not told how an expert tells it: %s", command)
		}
	}
	if !maps.Equal(mounts, want) {
		t.Errorf("the step of %s mounts %v, want %v", list, mounts, want)
	}
	return list
}

// The lists of the Dockerfiles have all wheels of the lock, each once; without a lock they have what a person writes.
func TestRealLists(t *testing.T) {
	wheels := map[string]string{
		"ray": "ray", "torch": "torch", "nvidia-cublas-cu12": "torch", "cuda-bindings": "torch", "triton": "torch",
		"numpy": "requirements", "pandas": "requirements", "tabulate": "added",
	}
	i := images()[1]
	v := &variation{wanted: realStart(t, &i), dir: t.TempDir()}
	v.pip, v.lock = []string{"tabulate"}, &layers.LockPlatform{}
	l := layers.LockLayer{Name: "pip"}
	for _, name := range slices.Sorted(maps.Keys(wheels)) {
		l.Artifacts = append(l.Artifacts, layers.Artifact{Kind: layers.KindWheel, Name: name, Version: "1",
			SHA256: strings.Repeat("0", 64)})
	}
	v.lock.Layers = append(v.lock.Layers, l)
	if err := os.Mkdir(filepath.Join(v.dir, "app"), 0o755); err != nil {
		t.Fatal(err)
	}
	tool, to := uvInstaller("localhost/tools/uv"), filepath.Join(t.TempDir(), "context")
	if err := tool.write(bed.Context{Dir: to, Dockerfile: to, Lock: v.lock, List: listOf(v)}, v); err != nil {
		t.Fatal(err)
	}
	for name, list := range wheels {
		if text := fileText(filepath.Join(to, list+".txt")); strings.Count(text, name+"==1 --hash=sha256:0") != 1 {
			t.Errorf("the list %s has not %s once:\n%s", list, name, text)
		}
	}
	v.unlocked, v.pip = true, nil
	if err := tool.write(bed.Context{Dir: to, Dockerfile: to, Lock: v.lock, List: listOf(v)}, v); err != nil {
		t.Fatal(err)
	}
	for list, want := range map[string]string{
		"torch": "torch==2.14.1\n", "requirements": "ray[default,tune,rllib]==2.60.0\nrequests\nmsgpack-numpy\n",
		"explicit": "python=3.11.2\npip\n",
	} {
		if text := fileText(filepath.Join(to, list+".txt")); text != want {
			t.Errorf("with no lock the list %s is\n%s, want\n%s", list, text, want)
		}
	}
}

// Rows of an earlier run stay where they are of the same program, each in its place, and those of another one go.
func TestRealResultsAreMerged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench-real.json")
	take := func(version string, rows ...string) *report {
		all, err := readReal(file)
		if err != nil {
			t.Fatal(err)
		}
		i := images()[0]
		r := all.take("A", &report{Machine: machine{Scale: "real", Versions: map[string]string{"raybuild": version}}})
		b := &bench{options: options{image: &i}, now: []*state{{name: "raybuild"}, {name: "pip"}}}
		for _, name := range rows {
			r.row(row{name: name, kind: kindEdit}, b).add("pip", sample{took: took{seconds: 1}, pulled: 5})
		}
		if err := bed.WriteResults(file, all, "", ""); err != nil {
			t.Fatal(err)
		}
		return r
	}
	names := func(r *report) string {
		var out []string
		for _, row := range r.Rows {
			out = append(out, row.Name)
		}
		return strings.Join(out, " ")
	}
	take("1", "cold", "label")
	if got := names(take("1-dirty", "small-added", "label")); got != "cold small-added label" {
		t.Errorf("the rows of both runs are %q", got)
	}
	if got := names(take("2", "cold")); got != "cold" {
		t.Errorf("another program's rows stayed: %q", got)
	}
	var read struct {
		Images map[string]struct {
			Rows []struct {
				Name string
				Pip  *struct {
					Pulled int64 `json:"bytes_pulled"`
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(fileText(file)), &read); err != nil {
		t.Fatal(err)
	}
	if rows := read.Images["A"].Rows; len(rows) != 1 || rows[0].Pip == nil || rows[0].Pip.Pulled != 5 {
		t.Errorf("the file has %+v", read)
	}
}

// The page has each image's rows with the peers of real wheels, says what was not measured, and what falls short.
func TestRealPage(t *testing.T) {
	f := func(seconds float64, pulled int64) *figures {
		return &figures{Seconds: seconds, Samples: []float64{seconds}, Pulled: pulled}
	}
	r := &report{Machine: machine{Scale: "real", Wheels: 60, WheelBytes: 390e6}, Rows: []*result{
		{Name: "first", Kind: kindFirst, Raybuild: f(65, 0), Dockerfile: f(52, 0), Pip: f(72, 0)},
		{Name: "small-added", Kind: kindEdit, Raybuild: f(5, 14e6), Dockerfile: f(0.5, 90e3), Pip: f(2, 90e3)},
	}}
	r.Verdicts = r.verdicts()
	page := (&realReport{Images: map[string]*report{"A": r}}).page()
	for _, want := range []string{
		"(60 wheels, 390.0 MB)", "| | raybuild | dockerfile | pip |",
		"| `small-added` | 5.00 (1) | 0.500 (1) | 2.00 (1) |",
		"NOT REACHED 1.250 ×, at most 0.5: first", "first takes 1.25 × the Dockerfile's seconds: raybuild resolves",
		"small-added takes 9.18 × the Dockerfile's seconds", "small-added lets a node pull 132.23 ×",
		"beside the Dockerfile with pip, 1 edits: 2.463 ×",
		"Not measured: `cold`", "## Image B\n\nNot measured yet.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	if strings.ContainsAny(page, "§") || bytes.Contains([]byte(page), []byte("%!")) {
		t.Errorf("the page is not written out:\n%s", page)
	}
}

// A disk without room for an image is said before anything is made.
func TestNoRoom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	if why := (&image{name: "B", room: 1 << 62}).noRoom(dir); !strings.Contains(why, "image B was left out: it takes") {
		t.Errorf("it says %q", why)
	}
	if why := (&image{name: "A"}).noRoom(dir); why != "" {
		t.Errorf("there is room for nothing, and it says %q", why)
	}
}

// Peers of an image for which disk is scarce are measured one after the other, and resolving is raybuild's alone.
func TestScarceDiskHasOnePeerAtATime(t *testing.T) {
	all := []*state{{name: "raybuild"}, {name: "dockerfile"}, {name: "pip"}}
	for _, i := range images() {
		b := &bench{options: options{image: &i}, states: all}
		got := ""
		for _, b.now = range b.groups() {
			for _, r := range i.rows() {
				if b.wants(r) && (r.kind == kindLock || r.name == "python-patch") {
					got += b.now[0].name + " " + r.name + " "
				}
			}
		}
		want := map[string]string{"A": "raybuild python-patch raybuild lock ", "B": "raybuild lock "}[i.name]
		if got != want {
			t.Errorf("image %s: %q, want %q", i.name, got, want)
		}
		if n := map[string]int{"A": 1, "B": 3}[i.name]; len(b.groups()) != n {
			t.Errorf("image %s has %d groups of peers, want %d", i.name, len(b.groups()), n)
		}
	}
}
