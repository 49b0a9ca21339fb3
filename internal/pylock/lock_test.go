package pylock

import (
	"errors"
	"os"
	"strings"
	"testing"
)

const sum = "286e71c82c1a38e75bbcf185f9b37d0305ad7786535107cb49bf4df9ff2e1f95"

func TestReadTakesWhatUVWrites(t *testing.T) {
	data, err := os.ReadFile("testdata/pylock.ray.toml")
	if err != nil {
		t.Fatal(err)
	}
	lock, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(lock.Packages) != 99 || lock.CreatedBy != "uv" || lock.RequiresPython != ">=3.11.9" {
		t.Errorf("%d packages by %q for %q", len(lock.Packages), lock.CreatedBy, lock.RequiresPython)
	}
	picker, err := NewPicker(Target{Python: "3.11.9", Platform: "linux/amd64", Glibc: "2.35"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"aiohttp": "aiohttp-3.14.5-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl",
		"ray":     "ray-2.60.0-cp311-cp311-manylinux2014_x86_64.whl",
		"absl-py": "absl_py-2.5.1-py3-none-any.whl",
	}
	for _, p := range lock.Packages {
		f, err := picker.Pick(p)
		if err != nil {
			t.Error(err)
		}
		if w := want[p.Name]; w != "" && f.Name != w {
			t.Errorf("%s: picked %s, want %s", p.Name, f.Name, w)
		}
		if f.Size == 0 || !strings.HasPrefix(f.URL, "https://") || len(f.SHA256) != 64 {
			t.Errorf("%s: %+v", p.Name, f)
		}
	}
}

func TestReadIsStrictAboutWhatItNeeds(t *testing.T) {
	head := "lock-version = '1.0'\ncreated-by = 'x'\n[[packages]]\nname = 'a'\nversion = '1'\n"
	file := func(more string) string { return head + "sdist = { " + more + " }\n" }
	tests := []struct{ name, text, want string }{
		{"another major", "lock-version = '2.0'", `lock-version "2.0"`},
		{"no version", "created-by = 'x'", `lock-version ""`},
		{"no TOML", "lock-version = ", "read pylock.toml"},
		{"a name", "lock-version = '1.0'\n[[packages]]\nname = 'A_b'\n", "not normalised"},
		{"no hash", file("url = 'https://o.example/a.tar.gz'"), `"a.tar.gz" has no sha256`},
		{"another hash", file("url = 'https://o.example/a.tar.gz', hashes = {md5 = 'aa'}"), "no sha256"},
		{"no place", file("hashes = {sha256 = '" + sum + "'}"), "a url or a path"},
		{"two places", file("url = 'https://o.example/a', path = 'a', hashes = {sha256 = '" + sum + "'}"), "either"},
		{"a relative url", file("url = 'a.tar.gz', hashes = {sha256 = '" + sum + "'}"), "not absolute"},
		{"a directory for a name", file("name = '../a', url = 'https://o.example/a', hashes = {sha256 = '" + sum +
			"'}"), "no file name"},
		{"a size", file("url = 'https://o.example/a', size = -1, hashes = {sha256 = '" + sum + "'}"), "below 0"},
		{"two ways", head + "directory = {path = '.'}\narchive = {path = 'a.zip', hashes = {sha256 = '" + sum + "'}}",
			"more than one"},
		{"too long", strings.Repeat("#", MaxSize+1), "more than"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Read([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestReadPassesOverWhatItDoesNotKnow(t *testing.T) {
	lock, err := Read([]byte(`lock-version = "1.7"
created-by = "x"
environments = ["sys_platform == 'linux'"]
new = {a = 1}
[[packages]]
name = "a-b"
version = "1"
marker = "python_version < '3.12'"
requires-python = ">=3.8"
index = "https://o.example/simple"
dependencies = [{name = "c"}]
sdist = {path = "dir/a.tar.gz", upload-time = 2025-01-01T00:00:00Z, hashes = {sha256 = "` + sum + `"}}
[packages.tool.x]
y = 1
`))
	if err != nil {
		t.Fatal(err)
	}
	p := lock.Packages[0]
	if p.Marker != "python_version < '3.12'" || p.RequiresPython != ">=3.8" || p.Sdist.Name != "a.tar.gz" ||
		p.Sdist.Path != "dir/a.tar.gz" || p.Index != "https://o.example/simple" || len(lock.Environments) != 1 {
		t.Errorf("%+v", p)
	}
}

func TestPickSaysWhatThereIs(t *testing.T) {
	picker, err := NewPicker(Target{Python: "3.11", Platform: "linux/arm64", Glibc: "2.28"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = picker.Pick(Package{Name: "a", Version: "1", Wheels: []File{{Name: "a-1-cp311-cp311-win_amd64.whl"}}})
	const want = "pick a file of a 1 for Python 3.11 on linux/arm64 with glibc 2.28: there is only " +
		"a-1-cp311-cp311-win_amd64.whl"
	if none, ok := errors.AsType[*NoFileError](err); !ok || none.Error() != want {
		t.Errorf("got %v", err)
	}
	if _, err = picker.Pick(Package{Name: "a", Version: "1", Other: "version control"}); err == nil ||
		!strings.Contains(err.Error(), "from version control") {
		t.Errorf("got %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("lock-version = '1.0'\n[[packages]]\nname = 'a'\nwheels = [{" +
		"url = 'https://o.example/a-1-py3-none-any.whl', size = 1, hashes = {sha256 = '" + sum + "'}}]\n"))
	picker, err := NewPicker(Target{Python: "3.11", Platform: "linux/amd64", Glibc: "2.35"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lock, err := Read(data)
		if err != nil {
			return
		}
		for _, p := range lock.Packages {
			file, err := picker.Pick(p)
			if err == nil && (len(file.SHA256) != 64 || (file.URL == "") == (file.Path == "") ||
				strings.ContainsAny(file.Name, `/\`)) {
				t.Errorf("%+v", file)
			}
		}
	})
}
