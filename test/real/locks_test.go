package real

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// aboutPip matches what the world's recipe says of pip.
var (
	aboutPip = regexp.MustCompile(`(?m)^pip:.*\n`)
	aboutRay = regexp.MustCompile(`(?m)^ray:.*\n`)
)

// TestLocksOfOthersTools locks recipes with locks that uv and Poetry wrote, which have older packages than the index,
// and has uv read the lock that raybuild exports.
func TestLocksOfOthersTools(t *testing.T) {
	p := needPlace(t)
	const data = "../../internal/pylock/testdata/"
	for _, tc := range []struct{ file, from, pylock, want string }{
		{"uv.lock", "demo-uv.lock", "{file: uv.lock, extras: [pretty], groups: [dev]}",
			"httpx-0.28.1 pluggy-1.4.0 idna-3.11 psutil-7.2.1 rich-14.2.0 iniconfig-2.3.0 certifi-2025.11.12"},
		{"poetry.lock", "demo-poetry.lock", "{file: poetry.lock, extras: [pretty], groups: [dev]}",
			"httpx-0.28.1 pluggy-1.4.0 idna-3.20 psutil-7.2.2 rich- iniconfig- certifi-2026.10.19.post1"},
		{"poetry.lock", "old-poetry.lock", "poetry.lock", "httpx-0.27.2 pluggy-1.4.0 psutil-7.0.0"}, // with its project
		{"pylock.demo.toml", "pylock.demo.toml", "pylock.demo.toml", "httpx-0.28.1 pluggy-1.4.0 rich-14.2.0"},
	} {
		t.Run(tc.from, func(t *testing.T) {
			recipe := aboutPip.ReplaceAllString(p.realRecipe(), "") + "pip: {pylock: " + tc.pylock + "}\n"
			recipe = aboutRay.ReplaceAllString(recipe, "ray: {extras: []}\n")
			x := p.project(t, recipe)
			lock, err := os.ReadFile(data + tc.from)
			if err != nil {
				t.Fatal(err)
			}
			x.write(tc.file, string(lock))
			project := strings.Replace(tc.from, "poetry.lock", "pyproject.toml", 1)
			if old, err := os.ReadFile(data + project); err == nil {
				x.write("pyproject.toml", string(old))
			}
			start := time.Now()
			if _, said, err := x.raybuild("lock"); err != nil {
				t.Fatalf("%v\n%s", err, lastLines(said, 40))
			}
			t.Logf("locked in %.1f s", time.Since(start).Seconds())
			got, err := os.ReadFile(filepath.Join(x.dir, "raybuild.lock"))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range append(strings.Fields(tc.want), "ray-") {
				if !strings.Contains(string(got), "/"+want) {
					t.Errorf("the lock does not have %s", want)
				}
			}
			exported, said, err := x.raybuild("lock", "--export", "pylock")
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			x.write("pylock.toml", exported)
			bin := tools(t)
			cmd := command(t, x.dir, nil, "sh", "-c", `exec "$0" pip sync --dry-run --preview --no-config --no-cache `+
				`--target "$1" --python-version 3.11 --python-platform x86_64-unknown-linux-gnu pylock.toml 2>&1`,
				filepath.Join(bin, "uv"), filepath.Join(x.dir, "there"))
			for _, want := range append(strings.Fields(tc.want), "ray-") {
				name, version, _ := strings.Cut(want, "-")
				if !strings.Contains(cmd, " "+name+"=="+version) {
					t.Errorf("uv does not install %s:\n%s", want, cmd)
				}
			}
		})
	}
}
