package real

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world"
)

// venv is the bin directory of a Python environment with packages of the real index, which is kept between runs.
func venv(t *testing.T, name string, packages ...string) string {
	t.Helper()
	testneeds.Root(t, "python3")
	p := needPlace(t)
	cache, err := world.TestCache()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, name)
	bin, whole := filepath.Join(dir, "bin"), filepath.Join(dir, "whole")
	if _, err := os.Stat(whole); err == nil {
		return bin
	}
	if err := os.RemoveAll(dir); err != nil { // half of one
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"python3", "-m", "venv", dir},
		append([]string{filepath.Join(bin, "python"), "-m", "pip", "install", "--quiet", "--no-cache-dir",
			"--disable-pip-version-check",
			"--index-url", p.testEnv.A.Real}, packages...)} {
		command(t, "", nil, argv...)
	}
	if err := os.WriteFile(whole, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return bin
}

// tools are programs of other people that read what raybuild and the world make.
func tools(t *testing.T) string {
	return venv(t, "tools-1", "conda-index==0.13.0", "py-rattler==0.28.0", "uv==0.13.9")
}

// command runs a program, which has to succeed, and gives its standard output.
func command(t *testing.T, dir string, env []string, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	var errs strings.Builder
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), env...), &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(argv, " "), err, out, errs.String())
	}
	return string(out)
}

// shim is what conda-index takes of conda, which PyPI has not: the order of versions, which is
// rattler's here, and names.
var shim = map[string]string{
	"conda/__init__.py": "", "conda/models/__init__.py": "", "conda/base/__init__.py": "",
	"conda/models/version.py": "from rattler import Version as VersionOrder\n",
	"conda/base/constants.py": "PLATFORM_DIRECTORIES = ('noarch', 'linux-64')\n",
}

// solveAndInstall makes an environment of the channel by rattler, the solver and installer of pixi.
const solveAndInstall = `import asyncio, sys
from rattler import Channel, install, solve

async def main(url, prefix, cache):
    records = await solve([Channel(url)], ["python 3.11.*", "pip", "world-tools"], platforms=["linux-64", "noarch"])
    await install(records, target_prefix=prefix, cache_dir=cache, show_progress=False)

asyncio.run(main(*sys.argv[1:]))
`

// TestOthersToolsTakeTheChannel has conda-index and rattler read the world's conda channel.
func TestOthersToolsTakeTheChannel(t *testing.T) {
	p := needPlace(t)
	bin := tools(t)
	channel := p.testEnv.A.Conda + "/cloud/conda-forge"
	t.Run("conda-index", func(t *testing.T) {
		dir := t.TempDir()
		for name, text := range shim {
			put(t, filepath.Join(dir, "shim", name), []byte(text))
		}
		theirs := map[string]string{}
		for _, subdir := range []string{"linux-64", "noarch"} {
			theirs[subdir] = get(t, channel+"/"+subdir+"/repodata.json")
			var repodata map[string]json.RawMessage
			if err := json.Unmarshal([]byte(theirs[subdir]), &repodata); err != nil {
				t.Fatal(err)
			}
			for _, kind := range []string{"packages", "packages.conda"} {
				var files map[string]json.RawMessage
				if err := json.Unmarshal(repodata[kind], &files); err != nil {
					t.Fatal(err)
				}
				for file := range files {
					put(t, filepath.Join(dir, "channel", subdir, file), []byte(get(t, channel+"/"+subdir+"/"+file)))
				}
			}
		}
		command(t, dir, []string{"PYTHONPATH=" + filepath.Join(dir, "shim")}, filepath.Join(bin, "python"), "-m",
			"conda_index", "--no-current-repodata", "channel")
		for subdir, text := range theirs {
			made, err := os.ReadFile(filepath.Join(dir, "channel", subdir, "repodata.json"))
			if err != nil {
				t.Fatal(err)
			}
			if a, b := canonical(t, text), canonical(t, string(made)); a != b {
				t.Errorf("%s: the channel's repodata.json is not what conda-index makes of its packages:\n%s\n%s",
					subdir, a, b)
			}
		}
	})
	t.Run("rattler", func(t *testing.T) {
		dir := t.TempDir()
		prefix := filepath.Join(dir, "env")
		command(t, dir, nil, filepath.Join(bin, "python"), "-c", solveAndInstall, channel, prefix,
			filepath.Join(dir, "cache"))
		out := command(t, dir, nil, filepath.Join(prefix, "bin/python"), "-c",
			"import sys, pip; print(sys.prefix, sys.version_info[:2], pip.__version__)")
		if !strings.HasPrefix(out, prefix+" (3, 11) ") {
			t.Errorf("Python as rattler installs it says: %s", out)
		}
	})
}

func put(t *testing.T, file string, data []byte) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("get %s: %s, %v", url, res.Status, err)
	}
	return string(text)
}

// canonical is JSON with sorted keys.
func canonical(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
