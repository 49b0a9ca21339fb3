package world

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Fetch is the mirror as a value of the recipe's mirrors.fetch, in YAML's flow form.
func (m Mirror) Fetch() string {
	return fmt.Sprintf("{apt: %s, conda: %s, pip: %s, installer: %s}", m.Apt, m.Conda, m.Pip, m.Installer)
}

// Env is the file build/world/env: shell lines that describe the world to who sources it.
func (w *World) Env() []byte {
	var b bytes.Buffer
	for _, v := range [][2]string{
		{"WORLD_A", w.A.Fetch()}, {"WORLD_B", w.B.Fetch()}, {"WORLD_A_URL", w.A.URL}, {"WORLD_B_URL", w.B.URL}, {"WORLD_EXTRA", w.A.Extra}, {"WORLD_MINIFORGE", w.A.Miniforge},
		{"WORLD_REGISTRY", w.Registry}, {"WORLD_BASE", w.Base}, {"WORLD_BASE_PATCHED", w.BasePatched}, {"WORLD_RAY_OLD", RayOld}, {"WORLD_RAY_NEW", RayNew},
	} {
		fmt.Fprintf(&b, "%s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
	}
	return b.Bytes()
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
	in, _ := w.Installer("miniconda")
	return fmt.Appendf(nil, `# A Ray image from raybuild's offline package world. Debian's packages, Python and pip are real; ray and
# the other Python packages are stand-ins for tests.
base: %s
mirrors:
  fetch:
    - %s
apt: [less, wget]
miniconda: {version: %s, sha256: %s}
env: {name: ray, python: "3.11", conda: [world-tools], channels: [conda-forge]}
ray: {version: %q, extras: [default, tune]}
pip: [tensorflow, requests]
`, w.Base, w.A.Fetch(), in.Version, in.SHA256, RayOld)
}

// Write writes the files env and raybuild.yaml into dir. Each appears whole.
func (w *World) Write(dir string) error {
	for name, data := range map[string][]byte{"env": w.Env(), "raybuild.yaml": w.Recipe()} {
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
