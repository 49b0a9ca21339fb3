package cli

import (
	"encoding/json"
	"regexp"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersionInfo(t *testing.T) {
	t.Parallel()
	built := func(replaced *debug.Module, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{
			Deps: []*debug.Module{
				{Path: "github.com/moby/buildkit/frontend", Version: "v9.9.9"},
				{Path: "github.com/moby/buildkit", Version: "v0.34.2", Replace: replaced},
			},
			Settings: settings,
		}
	}
	const commit = "deee2132d8724042bfe293408a5b3aa022bd462d"
	revision := debug.BuildSetting{Key: "vcs.revision", Value: commit}
	fork := &debug.Module{Path: "fork.example/buildkit", Version: "v0.35.0"}
	changed := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	for what, c := range map[string]struct {
		version          string
		info             *debug.BuildInfo
		commit, buildkit string
	}{
		"release in a repository":     {"v0.1.0", built(nil, revision), commit, "v0.34.2"},
		"changed files":               {"v0.1.0", built(nil, revision, changed), commit + "-dirty", "v0.34.2"},
		"replaced BuildKit":           {"v0.1.0", built(fork), "", "v0.35.0"},
		"release without history":     {"v0.1.0", built(nil), "", "v0.34.2"},
		"git describe of no tag":      {"deee213", built(nil), "deee213", "v0.34.2"},
		"git describe, changed files": {"v0.1.0-3-gdeee213-dirty", built(nil), "deee213-dirty", "v0.34.2"},
		"module of no tag":            {"v0.0.0-20261129161906-deee2132d872", built(nil), "deee2132d872", "v0.34.2"},
		"module after a tag":          {"v0.1.1-0.20261129161906-deee2132d872", built(nil), "deee2132d872", "v0.34.2"},
		"prerelease":                  {"v0.1.0-rc.1", built(nil), "", "v0.34.2"},
		"date as prerelease":          {"v0.1.0-20261129", built(nil), "", "v0.34.2"},
		"nothing known":               {"dev", nil, "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			want := versionInfo{c.version, c.commit, c.buildkit, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if got := newVersionInfo(c.version, c.info); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestVersionPrintsJSON(t *testing.T) {
	t.Parallel()
	got := call(t, t.TempDir(), "version", "--json")
	var fields map[string]string
	if err := json.Unmarshal([]byte(got.stdout), &fields); err != nil {
		t.Fatalf("%v in %q (stderr %q)", err, got.stdout, got.stderr)
	}
	for key, pattern := range map[string]string{
		"version": `.`, "commit": `^([0-9a-f]{7,40}(-dirty)?)?$`, "buildkit": `^(v\d+\.\d+\.\d+.*)?$`,
		"go": `^(go1\.|devel)`, "platform": `^\w+/\w+$`,
	} {
		value, there := fields[key]
		if !there || !regexp.MustCompile(pattern).MatchString(value) {
			t.Errorf("%s: %q (there: %v) does not match %s", key, value, there, pattern)
		}
		delete(fields, key)
	}
	if len(fields) > 0 {
		t.Errorf("unknown fields: %v", fields)
	}
}
