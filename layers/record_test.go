package layers

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// inputs of the subject's graph, after a trip through their text.
func (s *subject) inputs(t *testing.T) *BuildRecord {
	t.Helper()
	g, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err != nil {
		t.Fatal(err)
	}
	in, err := g.Record(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	data, err := in.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := in.Marshal(); err != nil || !bytes.Equal(data, again) {
		t.Errorf("the same record is written as other bytes (%v)", err)
	}
	back, err := ParseBuildRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

const amd64 = "linux/amd64"

// Each row changes one input. Exactly the layers that have it as their own must name it, and nothing else; every other
// layer whose operations changed must name the layer that brought it.
func TestInputsNameTheOneThatChanged(t *testing.T) {
	t.Parallel()
	wheels := []string{"pip-1", "pip-2", "tensorflow", "ray"} // requests and click are in the first two
	all := slices.Concat([]string{"base", "user", "apt", "originals", "miniconda", "env", "activate", "mirrors",
		"files", "fonts", "warm"}, wheels)
	tests := map[string]struct {
		change  func(t *testing.T, s *subject)
		layers  []string // that name an input of their own
		input   string   // which all of them name, alone
		follows []string // that stand on one of those
		config  string   // input of the config
	}{
		"nothing": {change: func(*testing.T, *subject) {}},
		"the base patched": {change: func(_ *testing.T, s *subject) {
			s.lock.Platforms[amd64].Base.Digest = digest.FromString("patched")
		}, layers: []string{"base"}, input: "base", follows: []string{"user", "apt", "originals", "fonts"},
			config: "annotation org.opencontainers.image.base.digest"},
		"the tool stage moved": {change: func(_ *testing.T, s *subject) {
			s.lock.Platforms[amd64].Tool.Digest = digest.FromString("tool")
		}, layers: []string{"miniconda", "env", "warm"}, input: "tool"},
		"a package of apt": {change: func(_ *testing.T, s *subject) {
			artifact(s.lock, "apt", "wget").Version = "2"
			artifact(s.lock, "apt", "wget").SHA256 = sum("wget2")
		},
			layers: []string{"apt"}, input: "deb wget", follows: []string{"originals", "fonts"}},
		"the mirrors to fetch from": {change: func(_ *testing.T, s *subject) {
			s.recipe.Mirrors.Fetch = Presets()[:1]
		}},
		"the installer": {change: func(_ *testing.T, s *subject) {
			artifact(s.lock, "miniconda", "miniconda").SHA256 = sum("m2")
		},
			layers: []string{"miniconda"}, input: "installer miniconda",
			follows: []string{"env", "warm"}},
		"a conda package": {change: func(_ *testing.T, s *subject) {
			artifact(s.lock, "env", "python").SHA256 = sum("p2")
		},
			layers: []string{"env"}, input: "conda python", follows: []string{"warm"}},
		"where a conda package comes from": {change: func(_ *testing.T, s *subject) {
			artifact(s.lock, "env", "pip").Path = "noarch/pip-25.1-h_0.conda"
		},
			layers: []string{"env"}, input: "conda pip", follows: []string{"warm"}},
		"the Python of the byte code": {change: func(_ *testing.T, s *subject) {
			artifact(s.lock, "ray", "python").SHA256 = sum("p2")
		}, layers: wheels, input: "byte code", follows: []string{"warm"}},
		"ray": {change: func(_ *testing.T, s *subject) { artifact(s.lock, "ray", "ray").SHA256 = sum("ray2") },
			layers: []string{"ray"}, input: "wheel ray", follows: []string{"warm"}},
		"a big wheel": {change: func(_ *testing.T, s *subject) {
			artifact(s.lock, "ray", "tensorflow").SHA256 = sum("tf2")
		},
			layers: []string{"tensorflow"}, input: "wheel tensorflow", follows: []string{"warm"}},
		"a small wheel": {change: func(_ *testing.T, s *subject) {
			artifact(s.lock, "ray", "click").SHA256 = sum("c2")
		},
			layers: []string{"pip-1"}, input: "wheel click", follows: []string{"warm"}},
		"a byte of a file": {change: func(t *testing.T, s *subject) { s.write(t, "app/main.py", "print(2)\n", 0o644) },
			layers: []string{"files"}, input: "file app/main.py"},
		"a mode of a file": {change: func(t *testing.T, s *subject) { s.write(t, "app/main.py", "print(1)\n", 0o755) },
			layers: []string{"files"}, input: "file app/main.py"},
		"a new file": {change: func(t *testing.T, s *subject) { s.write(t, "app/more.py", "", 0o644) },
			layers: []string{"files"}, input: "file app/more.py"},
		"a step's text": {change: func(_ *testing.T, s *subject) { s.recipe.Steps[0].Run = "echo more > /opt/fonts" },
			layers: []string{"fonts"}, input: "steps.fonts.run"},
		"a step's network": {change: func(_ *testing.T, s *subject) { s.recipe.Steps[1].Network = true },
			layers: []string{"warm"}, input: "steps.warm.network"},
		"a step on the host's network": {
			change: func(_ *testing.T, s *subject) { s.recipe.Steps[1].HostNetwork = true },
			layers: []string{"warm"}, input: "steps.warm.network"},
		"a step's secret": {change: func(_ *testing.T, s *subject) { s.recipe.Steps[1].Secrets = []string{"token"} },
			layers: []string{"warm"}, input: "steps.warm.secrets"},
		"a label": {change: func(_ *testing.T, s *subject) { s.recipe.Image.Labels["team"] = "b" },
			config: "label team"},
		"an annotation": {change: func(_ *testing.T, s *subject) { s.o.Annotations = map[string]string{"x.y": "z"} },
			config: "annotation x.y"},
		"the command": {change: func(_ *testing.T, s *subject) { s.recipe.Image.Cmd = []string{"ray"} },
			config: "image.cmd"},
		"a variable": {change: func(_ *testing.T, s *subject) { s.recipe.Image.Env["A"] = "2" },
			layers: []string{"fonts", "warm"}, input: "env A", config: "env A"},
		"the time": {change: func(_ *testing.T, s *subject) { s.o.Created = time.Unix(1, 0) }, config: "created"},
		"the compression": {change: func(_ *testing.T, s *subject) { s.o.Compression = "zstd" }, layers: all,
			input:  "compression",
			config: "compression"},
		"the platform": {change: func(_ *testing.T, s *subject) {
			s.recipe.Platforms = []string{"linux/arm64"}
			s.lock.Platforms = map[string]*LockPlatform{"linux/arm64": s.lock.Platforms[amd64]}
		}, layers: all, config: "platform"},
	}
	before := newSubject(t).inputs(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSubject(t)
			tt.change(t, s)
			compared, configs := CompareRecords(before, s.inputs(t))
			var own, follows []string
			for _, f := range compared {
				switch f.Status {
				case Built, Recompressed:
					own = append(own, f.Name)
					if tt.input != "" && (len(f.Changes) != 1 || f.Changes[0].Input != tt.input) {
						t.Errorf("layer %s names %v, want %s alone", f.Name, f.Changes, tt.input)
					}
				case MayRebuild:
					follows = append(follows, f.Name)
					if len(f.Because) == 0 {
						t.Errorf("layer %s follows nothing", f.Name)
					}
				case Removed:
					t.Errorf("layer %s has gone", f.Name)
				}
			}
			sameSet(t, "named an input of their own", own, tt.layers)
			sameSet(t, "follow", follows, tt.follows)
			for _, c := range configs {
				names := inputNames(c)
				if tt.config == "" && len(names) > 0 || tt.config != "" && !slices.Contains(names, tt.config) {
					t.Errorf("inputs of the config are %v, want %q", names, tt.config)
				}
			}
		})
	}
	if len(tests) < 20 {
		t.Errorf("%d kinds of change, want at least 20", len(tests))
	}
}

func sameSet(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func inputNames(changes []InputChange) []string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Input)
	}
	return out
}

// Changes that several inputs tell of at once.
func TestInputsOfWiderChanges(t *testing.T) {
	t.Parallel()
	before := newSubject(t).inputs(t)
	for name, tt := range map[string]struct {
		change func(s *subject)
		want   map[string]string // layer to one of the inputs that it names
	}{
		"the image's mirrors": {func(s *subject) {
			m, _ := Preset("aliyun")
			s.recipe.Mirrors.Image = &m
		}, map[string]string{"mirrors": "mirrors.image"}},
		"no mirrors": {func(s *subject) { s.recipe.Mirrors.Image = nil },
			map[string]string{"mirrors": "", "originals": "", "fonts": "layers that it stands on"}},
		"where files go": {func(s *subject) { s.recipe.Files[0].To = "/srv/app" },
			map[string]string{"files": "files.to"}},
		"the user": {func(s *subject) { s.recipe.Image.User = "worker" },
			map[string]string{"user": "image.user", "files": "owner of /home/ray", "fonts": "env HOME",
				"warm": "env HOME"}},
		"what a step needs": {func(s *subject) { s.recipe.Steps[1].Needs = []string{"env"} },
			map[string]string{"warm": "steps.warm.needs"}},
		"the budget of layers, without layers in the lock": {func(s *subject) { s.recipe.Layers.Budget = leastBudget },
			map[string]string{"tensorflow": "wheel tensorflow", "pip-1": "wheel tensorflow",
				"pip-2": "wheel click", "pip-3": "wheel requests", "warm": "layers that it stands on"}},
		"another layer of one's own": {func(s *subject) { s.o.Extra = []Layer{ownLayer{}} },
			map[string]string{"own": "operations"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSubject(t)
			tt.change(s)
			compared, _ := CompareRecords(before, s.inputs(t))
			seen := map[string]bool{}
			for _, f := range compared {
				want, ok := tt.want[f.Name]
				seen[f.Name] = true
				if !ok && (f.Status == Built || f.Status == Removed) {
					t.Errorf("layer %s is %s by %v", f.Name, f.Status, f.Changes)
				}
				if ok && f.Status != Built && f.Status != Removed ||
					want != "" && !slices.Contains(inputNames(f.Changes), want) {
					t.Errorf("layer %s is %s by %v, want %q", f.Name, f.Status, f.Changes, want)
				}
			}
			for name := range tt.want {
				if !seen[name] {
					t.Errorf("layer %s is not there", name)
				}
			}
		})
	}
}

// The record says where each layer of the image is, and holds no text of a command.
func TestInputsCountLayersAndKeepSecrets(t *testing.T) {
	t.Parallel()
	s := newSubject(t)
	s.recipe.Steps[0].Run = "echo hunter2"
	s.recipe.Steps[0].Secrets = []string{"token"}
	in := s.inputs(t)
	g, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, l := range in.Platforms[0].Layers {
		count += l.Count
	}
	if want := len(g.Images[0].BaseLayers) + len(g.Images[0].Layers); count != want {
		t.Errorf("the record has %d layers, the image %d", count, want)
	}
	data, err := in.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "hunter2") || !strings.Contains(string(data), "token") {
		t.Error("the record holds a command's text, or not the id of its secret")
	}
	compared, _ := CompareRecords(nil, in)
	for _, f := range compared {
		if f.Status != Built {
			t.Errorf("without an image before, layer %s is %s", f.Name, f.Status)
		}
	}
}

func TestAnImageLaidOutAsALineMovesWhatFollows(t *testing.T) {
	t.Parallel()
	before := newSubject(t).inputs(t)
	before.Linear = true
	s := newSubject(t)
	s.recipe.Steps[0].Run = "echo more"
	compared, _ := CompareRecords(before, s.inputs(t))
	for _, f := range compared {
		if f.Name == "fonts" && f.Status != Built {
			t.Errorf("fonts is %s", f.Status)
		}
	}
	if last := compared[len(compared)-1]; last.Status != MayRebuild {
		t.Errorf("%s comes after it in the line, and is %s", last.Name, last.Status)
	}
}

func TestParseInputsRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no JSON":            "inputs",
		"an older version":   `{"version": 1}`,
		"a newer version":    `{"version": 3}`,
		"a layer of nothing": `{"version": 2, "platforms": [{"platform": "linux/amd64", "layers": [{"name": "a", "count": 0}]}]}`,
		"too many layers":    `{"version": 2, "platforms": [{"platform": "linux/amd64", "layers": [{"name": "a", "count": 1000000000}]}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseBuildRecord([]byte(text)); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

func TestInputChangeText(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]InputChange{
		"wheel ray: 2.51.1 → 2.52.0":          {"wheel ray", "2.51.1 sha256:a ray.whl", "2.52.0 sha256:b ray.whl"},
		"wheel ray: sha256:a → sha256:b":      {"wheel ray", "2.51.1 sha256:a ray.whl", "2.51.1 sha256:b ray.whl"},
		"deb vim: new, 9":                     {"deb vim", "", "9 sha256:a vim.deb"},
		"deb vim: gone, was 9":                {"deb vim", "9 sha256:a vim.deb", ""},
		"label team: a → b":                   {"label team", "a", "b"},
		"label text: one two three → 1 two 3": {"label text", "one two three", "1 two 3"},
	} {
		if got := c.Text(); got != want {
			t.Errorf("text is %q, want %q", got, want)
		}
	}
}

func FuzzParseInputs(f *testing.F) {
	f.Add(
		[]byte(
			`{"version": 1, "platforms": [{"platform": "linux/amd64", "layers": [{"name": "a", "count": 1, "values": {"x": "y"}}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := ParseBuildRecord(data)
		if err != nil {
			return
		}
		compared, _ := CompareRecords(in, in)
		for _, l := range compared {
			for _, c := range l.Changes {
				_ = c.Text()
			}
		}
	})
}
