package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDryRunAnswersAsConda(t *testing.T) {
	s := newSite(t)
	ask := []string{"create", "-n", "ray", "--override-channels", "-c", s.url, "one", "--dry-run", "--json"}
	code, out, errs := s.conda(ask...)
	if code != 0 || errs != "" {
		t.Fatalf("%d, %s", code, errs)
	}
	var got struct {
		Success, DryRun bool
		Prefix          string
		Actions         struct {
			FETCH, LINK []map[string]any
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Actions.FETCH) != 2 || len(got.Actions.LINK) != 2 || got.Actions.LINK[0]["name"] != "two" ||
		got.Actions.LINK[1]["name"] != "one" {
		t.Errorf("actions: %+v", got.Actions)
	}
	for _, f := range got.Actions.FETCH {
		fn := f["fn"].(string)
		if f["url"] != s.url+"/noarch/"+fn || f["md5"] != s.md5(fn) || f["channel"] != s.url+"/noarch" ||
			f["sha256"] == nil {
			t.Errorf("FETCH %v", f)
		}
	}
	if l := got.Actions.LINK[0]; l["channel"] != "ch" || l["base_url"] != s.url ||
		l["url"] != nil || l["md5"] != nil || l["dist_name"] != "two-1.0-0" {
		t.Errorf("LINK %v", l)
	}
	if _, err := os.Stat(filepath.Join(s.root, "envs", "ray")); err == nil {
		t.Error("a dry run made the environment")
	}
	want := []string{"/ch/linux-64/current_repodata.json.zst", "/ch/linux-64/current_repodata.json",
		"/ch/linux-64/repodata.json.zst", "/ch/linux-64/repodata.json"}
	if !slices.Equal(s.requests[:4], want) {
		t.Errorf("requests %v", s.requests)
	}
	t.Run("what is cached is not in FETCH", func(t *testing.T) {
		if code, out, errs := s.conda("create", "-y", "-p", filepath.Join(s.home, "e"), "--override-channels", "-c",
			s.url, "two"); code != 0 {
			t.Fatal(out, errs)
		}
		_, out, _ := s.conda(ask...)
		if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Actions.FETCH) != 1 ||
			len(got.Actions.LINK) != 2 {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("offline from the cached repodata", func(t *testing.T) {
		n := len(s.requests)
		if code, out, _ := s.conda(append(ask, "--offline")...); code != 0 || len(s.requests) != n {
			t.Errorf("%d, %d requests more: %s", code, len(s.requests)-n, out)
		}
	})
}

func TestErrorsAreJSON(t *testing.T) {
	s := newSite(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	defer gone.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, c := range map[string]struct {
		channel, spec, exception string
		key                      string
		value                    any
	}{
		"unknown package": {s.url, "nope", "PackagesNotFoundInChannelsError", "packages", []any{"nope"}},
		"mirror down":     {closed.URL, "one", "CondaHTTPError", "status_code", "000"},
		"channel missing": {gone.URL + "/x", "one", "UnavailableInvalidChannel", "status_code", 404.0},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := s.conda("create", "-n", "x", "--override-channels", "-c", c.channel, c.spec,
				"--dry-run", "--json")
			m := readJSON(t, out)
			if code != 1 || errs != "" || m["exception_name"] != c.exception ||
				fmt.Sprint(m[c.key]) != fmt.Sprint(c.value) ||
				fmt.Sprintf("%T", m[c.key]) != fmt.Sprintf("%T", c.value) || m["success"] != nil {
				t.Errorf("%d %q: %v", code, errs, m)
			}
		})
	}
}

// The rows of the table in which explicit installs of conda 26.7.1 were observed.
func TestExplicitSources(t *testing.T) {
	const canonical = "https://conda.anaconda.org/conda-forge/noarch/"
	for name, c := range map[string]struct {
		line    func(s *site) string
		altered bool // the cached archive is another than the hash says
		listed  bool // urls.txt beside the archive
		wants   string
	}{
		// No comma in a name: the temporary directory has the name in it, and commas set off CONDA_PKGS_DIRS.
		"file without hash": {func(s *site) string { return "file://" + s.pkgs + "/blobs/two-1.0-0.tar.bz2" },
			false, false, ""},
		"file with a wrong md5": {func(s *site) string {
			return "file://" + s.pkgs + "/blobs/two-1.0-0.tar.bz2#" + strings.Repeat("0", 32)
		}, false, false, ""},
		"file with a wrong sha256": {func(s *site) string {
			return "file://" + s.pkgs + "/blobs/two-1.0-0.tar.bz2#sha256:" + strings.Repeat("0", 64)
		}, false, false, ""},
		"canonical and listed and md5": {func(s *site) string {
			return canonical + "two-1.0-0.tar.bz2#" + s.md5("two-1.0-0.tar.bz2")
		}, false, true, ""},
		"canonical .conda and listed and md5": {func(s *site) string {
			return canonical + "one-1.0-0.conda#" + s.md5("one-1.0-0.conda")
		}, false, true, ""},
		"canonical and listed and no hash": {func(*site) string { return canonical + "two-1.0-0.tar.bz2" },
			false, true, ""},
		"altered and no hash": {func(*site) string { return canonical + "one-1.0-0.conda" },
			false, true, ""},
		"canonical and listed and sha256": {func(s *site) string {
			return canonical + "two-1.0-0.tar.bz2#sha256:" + strings.Repeat("1", 64)
		}, false, true, "OfflineError: EnforceUnusedAdapter called with url " + canonical + "two-1.0-0.tar.bz2"},
		"canonical and not listed": {func(s *site) string {
			return canonical + "two-1.0-0.tar.bz2#" + s.md5("two-1.0-0.tar.bz2")
		}, false, false, "OfflineError"},
		"altered archive and listed and md5": {func(s *site) string {
			return canonical + "two-1.0-0.tar.bz2#" + s.md5("two-1.0-0.tar.bz2")
		}, true, true, "OfflineError"},
		"truncated .tar.bz2": {func(s *site) string {
			return "file://" + s.pkgs + "/blobs/two-1.0-0.tar.bz2"
		}, true, false, "EOFError('Compressed file ended before the end-of-stream marker was reached')"},
		"truncated .conda": {func(s *site) string {
			return "file://" + s.pkgs + "/blobs/one-1.0-0.conda"
		}, true, false, "InvalidArchiveError('Error with archive "},
		"not a package": {func(*site) string { return "https://x.test/noarch/readme.txt" }, false,
			false, "ParseError: Could not parse explicit URL"},
		"noarch python without a python": {func(s *site) string { return "file://" + s.pkgs + "/blobs/py-1.0-0.conda" },
			false, false, "Unable to determine python site-packages dir in target_prefix!"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.files["py-1.0-0.conda"] = archive(t, "py-1.0-0.conda", &record{Name: "py", Version: "1.0", Build: "0",
				Noarch: "python", Subdir: "noarch"}, map[string]string{"site-packages/py.py": ""})
			blobs, first := filepath.Join(s.pkgs, "blobs"), filepath.Join(s.pkgs, "first")
			for fn, data := range s.files {
				if c.altered {
					data = data[:len(data)/2]
				}
				s.put(filepath.Join(blobs, fn), data)
				if c.listed {
					f, err := os.OpenFile(filepath.Join(blobs, "urls.txt"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = fmt.Fprintln(f, "https://other.test/"+fn)
					if err := f.Close(); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Setenv("CONDA_PKGS_DIRS", first+","+blobs)
			prefix := filepath.Join(s.root, "envs", "x")
			code, out, errs := s.conda("create", "-p", prefix, "--offline", "-y", "-q", "--file", s.explicit(c.line(s)))
			if c.wants != "" {
				if code != 1 || !strings.Contains(errs, c.wants) {
					t.Errorf("%d: %s%s", code, out, errs)
				}
				return
			}
			if code != 0 || !strings.Contains(out, "Executing transaction: ...working... done") {
				t.Fatalf("%d: %s%s", code, out, errs)
			}
			if len(s.requests) != 0 {
				t.Errorf("asked for %v", s.requests)
			}
			if len(installedIn(prefix)) != 1 {
				t.Errorf("installed %v", installedIn(prefix))
			}
		})
	}
}

func TestDownloadsAreChecked(t *testing.T) {
	s := newSite(t)
	url := s.url + "/noarch/two-1.0-0.tar.bz2"
	code, _, errs := s.conda("create", "-n", "x", "-y", "--file", s.explicit(url+"#"+strings.Repeat("0", 32)))
	for _, want := range []string{"ChecksumMismatchError: Conda detected a mismatch", "for url '" + url + "'",
		"expected md5: " + strings.Repeat("0", 32), "actual md5: " + s.md5("two-1.0-0.tar.bz2")} {
		if code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%d: no %q in %s", code, want, errs)
		}
	}
}

func TestInstalledTree(t *testing.T) {
	s := newSite(t)
	prefix := filepath.Join(s.root, "envs", "ray")
	if code, out, errs := s.conda("create", "-n", "ray", "-y", "-q", "--override-channels", "-c", s.url,
		"one"); code != 0 {
		t.Fatal(out, errs)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(prefix, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := read("bin/one"); got != "#!/bin/sh\necho "+prefix+"\n" {
		t.Errorf("text file: %q", got)
	}
	bin := read("lib/one.bin")
	if len(bin) != len("x\x00"+hold+"/share\x00y") || !strings.HasPrefix(bin, "x\x00"+prefix+"/share\x00") ||
		!strings.HasSuffix(bin, "\x00y") {
		t.Errorf("binary file: %q", bin)
	}
	m := readJSON(t, read("conda-meta/one-1.0-0.json"))
	for key, want := range map[string]any{
		"url": s.url + "/noarch/one-1.0-0.conda", "channel": s.url + "/noarch", "requested_spec": "one",
		"package_tarball_full_path": filepath.Join(s.pkgs, "one-1.0-0.conda"),
		"extracted_package_dir":     filepath.Join(s.pkgs, "one-1.0-0"), "md5": s.md5("one-1.0-0.conda"),
	} {
		if m[key] != want {
			t.Errorf("conda-meta %s is %v, want %v", key, m[key], want)
		}
	}
	history := read("conda-meta/history")
	for _, want := range []string{"==> 20", "# cmd: ", " create -n ray -y -q ", "# conda version: " + newest,
		"+" + s.url + "/noarch::one-1.0-0\n", "# update specs: ['one']\n"} {
		if !strings.Contains(history, want) {
			t.Errorf("no %q in history:\n%s", want, history)
		}
	}
	if created := read("conda-meta/created_at"); !strings.Contains(created, ".") {
		t.Errorf("created_at %q", created)
	}
	for _, f := range []string{filepath.Join(s.root, "envs", ".conda_envs_dir_test"), filepath.Join(s.pkgs, "urls.txt"),
		filepath.Join(s.home, ".conda", "environments.txt")} {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
	t.Run("end of input keeps an environment", func(t *testing.T) {
		code, _, errs := s.conda("create", "-n", "ray", "--override-channels", "-c", s.url, "two")
		if code != 1 || !strings.Contains(errs, "CondaSystemExit: Exiting.") || len(installedIn(prefix)) != 2 {
			t.Errorf("%d: %s", code, errs)
		}
	})
	t.Run("list and env list", func(t *testing.T) {
		_, out, _ := s.conda("list", "-n", "ray", "--explicit", "--md5")
		if !strings.Contains(out, "@EXPLICIT\n"+s.url+"/noarch/one-1.0-0.conda#"+s.md5("one-1.0-0.conda")) {
			t.Error(out)
		}
		if _, out, _ = s.conda("env", "list"); !strings.Contains(out, "ray ") || !strings.Contains(out, prefix) {
			t.Error(out)
		}
	})
	t.Run("run sets the environment and gives the status", func(t *testing.T) {
		code, _, _ := s.conda("run", "-n", "ray", "sh", "-c", `[ "$CONDA_PREFIX" = "$0" ] && exit 7`, prefix)
		if code != 7 {
			t.Errorf("exit status %d, want 7", code)
		}
	})
	t.Run("clean -i removes the repodata cache and nothing else", func(t *testing.T) {
		_, out, _ := s.conda("clean", "-i", "-y")
		if !strings.Contains(out, "Will remove 1 index cache(s).") {
			t.Error(out)
		}
		if _, err := os.Stat(filepath.Join(s.pkgs, "one-1.0-0.conda")); err != nil {
			t.Error(err)
		}
	})
}

func TestRegisterEnvsCanBeTurnedOff(t *testing.T) {
	s := newSite(t)
	t.Setenv("CONDA_REGISTER_ENVS", "false")
	if code, out, errs := s.conda("create", "-n", "x", "-y", "--override-channels", "-c", s.url, "two"); code != 0 {
		t.Fatal(out, errs)
	}
	if _, err := os.Stat(filepath.Join(s.home, ".conda", "environments.txt")); err == nil {
		t.Error("environments.txt was written")
	}
}

func TestReadOnlyCacheAloneIsRefused(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.home, "file")
	s.put(file, nil)
	t.Setenv("CONDA_PKGS_DIRS", filepath.Join(file, "no-directory"))
	if code, _, errs := s.conda("create", "-n", "x", "-y", "--file", s.explicit("file:///x-1-0.conda")); code != 1 ||
		!strings.Contains(errs, "NoWritablePkgsDirError: No writeable pkgs directories configured.") {
		t.Errorf("%d: %s", code, errs)
	}
}

func TestChannelNames(t *testing.T) {
	const base = "https://mirror.test/anaconda"
	c := &config{alias: base, defaults: []string{base + "/pkgs/main", base + "/pkgs/r"},
		custom: map[string]string{"conda-forge": base + "/cloud"}}
	for asked, want := range map[string][2]string{
		"conda-forge":               {"conda-forge", base + "/cloud/conda-forge"},
		"nvidia":                    {"nvidia", base + "/nvidia"},
		base + "/cloud/conda-forge": {"conda-forge", base + "/cloud/conda-forge"},
		"pkgs/main":                 {"defaults", base + "/pkgs/main"},
		"https://other.test/cloud/conda-forge": {"https://other.test/cloud/conda-forge",
			"https://other.test/cloud/conda-forge"},
		"https://conda.anaconda.org/conda-forge": {"conda-forge", "https://conda.anaconda.org/conda-forge"},
		"http://conda.anaconda.org/conda-forge":  {"conda-forge", "http://conda.anaconda.org/conda-forge"},
		"https://repo.anaconda.com/pkgs/main":    {"defaults", "https://repo.anaconda.com/pkgs/main"},
	} {
		if got := c.resolveChannel(asked); got.name != want[0] || got.url != want[1] {
			t.Errorf("%s is %+v, want %v", asked, got, want)
		}
	}
	if got := c.resolveChannels([]string{"defaults", "conda-forge", "defaults"}); len(got) != 3 {
		t.Errorf("%+v", got)
	}
}

func TestCondarcOfTheWrongTypeEndsEveryCommand(t *testing.T) {
	s := newSite(t)
	s.put(filepath.Join(s.home, ".condarc"), []byte("channels: conda-forge\n"))
	for _, args := range [][]string{{"info"}, {"list"}, {"clean", "-i"}} {
		if code, _, errs := s.conda(args...); code != 1 ||
			!strings.Contains(errs, "InvalidTypeError: Parameter _channels = 'conda-forge' declared in "+
				s.home+"/.condarc has type str.") {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	if code, out, _ := s.conda("--version"); code != 0 || out != "conda "+newest+"\n" {
		t.Errorf("--version: %d %q", code, out)
	}
}

func TestArchivesCannotLeaveTheirDirectory(t *testing.T) {
	s := newSite(t)
	s.put(filepath.Join(s.home, "evil-1-0.conda"), archive(t, "evil-1-0.conda",
		&record{Name: "evil", Version: "1", Build: "0"}, map[string]string{"../../evil": "x"}))
	if code, _, errs := s.conda("create", "-n", "x", "-y", "--file",
		s.explicit("file://"+s.home+"/evil-1-0.conda")); code != 1 || !strings.Contains(errs, "leads out of") {
		t.Errorf("%d: %s", code, errs)
	}
}
