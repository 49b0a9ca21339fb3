package world

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Fetch is the mirror as a value of the recipe's mirrors.fetch, in YAML's flow form.
func (m Mirror) Fetch() string {
	return fmt.Sprintf("{apt: %s, conda: %s, pip: %s, installer: %s}", m.Apt, m.Conda, m.Pip, m.Installer)
}

// env is the file build/world/env: shell lines that describe the world to who sources it.
func (w *World) env() []byte {
	var b bytes.Buffer
	for _, v := range [][2]string{
		{"WORLD_A", w.A.Fetch()}, {"WORLD_B", w.B.Fetch()}, {"WORLD_A_URL", w.A.URL}, {"WORLD_B_URL", w.B.URL},
		{"WORLD_EXTRA", w.A.Extra}, {"WORLD_MINIFORGE", w.A.Miniforge},
		{"WORLD_REGISTRY", w.Registry}, {"WORLD_BASE", w.Base}, {"WORLD_BASE_PATCHED", w.BasePatched},
		{"WORLD_RAY_OLD", RayOld}, {"WORLD_RAY_NEW", RayNew},
	} {
		fmt.Fprintf(&b, "%s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
	}
	// A number needs no quotes, and is looked for by programs that are no shells.
	fmt.Fprintf(&b, "WORLD_REAL=%s\n", w.realFlag())
	return b.Bytes()
}

// realFlag is 1 where the real Python index answers, else empty.
func (w *World) realFlag() string {
	if w.NotReal == nil {
		return "1"
	}
	return ""
}

// Installer is the installer of a distribution (miniconda or miniforge), the newest of the world; false
// where there is none.
func (w *World) Installer(distribution string) (Installer, bool) {
	var out Installer
	found := false
	for _, i := range w.Installers {
		if i.Distribution == distribution && i.Version >= out.Version {
			out, found = i, true
		}
	}
	return out, found
}

// Recipe is a raybuild.yaml that builds in this world, from mirror A.
func (w *World) Recipe() []byte {
	return w.recipe(standInHead, w.A.Fetch(), RayOld, "", "tensorflow, requests")
}

const standInHead = `# A Ray image from raybuild's offline package world. Debian's packages, Python and pip are real;
# ray and the other Python packages are stand-ins for tests.`

func (w *World) recipe(head, fetch, ray, extra, pip string) []byte {
	in, _ := w.Installer("miniconda")
	extras := "default, tune"
	if extra != "" {
		extras += ", " + extra
	}
	return fmt.Appendf(nil, `%s
base: %s
mirrors:
  fetch:
    - %s
apt: [less, wget]
miniconda: {version: %s, sha256: %s}
env: {name: ray, python: "3.11", conda: [world-tools], channels: [conda-forge]}
ray: {version: %q, extras: [%s]}
pip: [%s]
`, head, w.Base, fetch, in.Version, in.SHA256, ray, extras, pip)
}

// worldFile has what other processes need to know of a running world.
const worldFile = "world.json"

// Read is the world that another process runs and that [World.Write] described in dir. It cannot be
// closed, nor be made faulty.
func Read(dir string) (*World, error) {
	data, err := os.ReadFile(filepath.Join(dir, worldFile))
	if err != nil {
		return nil, fmt.Errorf("read the world of %q: %w", dir, err)
	}
	w := &World{}
	if err := json.Unmarshal(data, w); err != nil {
		return nil, fmt.Errorf("read the world of %q: %w", dir, err)
	}
	return w, nil
}

// Write writes the files env, world.json and raybuild.yaml into dir, and real.yaml where the real
// Python index answers. Each appears whole.
func (w *World) Write(dir string) error {
	self, err := json.Marshal(w)
	if err != nil {
		return err
	}
	files := map[string][]byte{"env": w.env(), worldFile: self, "raybuild.yaml": w.Recipe()}
	if w.NotReal == nil {
		files["real.yaml"] = w.RealRecipe()
	} else if err := os.Remove(filepath.Join(dir, "real.yaml")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for name, data := range files {
		if err := writeWhole(filepath.Join(dir, name), data); err != nil {
			return fmt.Errorf("write %q: %w", name, err)
		}
	}
	return nil
}

func writeWhole(file string, data []byte) error {
	if err := os.WriteFile(file+".tmp", data, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".tmp", file)
}
