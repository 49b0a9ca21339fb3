package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// pages runs docs and gives what it wrote, by file name.
func pages(t *testing.T, args ...string) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	if got := call(t, dir, append([]string{"docs", "out"}, args...)...); got.code != exitDone {
		t.Fatalf("code %d, stderr %q", got.code, got.stderr)
	}
	files, err := filepath.Glob(filepath.Join(dir, "out", "*"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(file)] = data
	}
	return out
}

func TestManPagesAreTheCommandsAndDoNotMove(t *testing.T) {
	t.Parallel()
	man, markdown := pages(t, "--format", "man"), pages(t)
	if len(man) != len(markdown) || len(man) < 30 {
		t.Errorf("%d man pages, %d Markdown pages", len(man), len(markdown))
	}
	again := pages(t, "--format", "man")
	for name, page := range man {
		if !bytes.Equal(page, again[name]) {
			t.Errorf("%s differs from call to call", name)
		}
	}
	page := string(man["raybuild-cluster-up.1"])
	for _, want := range []string{`.TH "RAYBUILD-CLUSTER-UP" "1" "Jan 1980"`, ".SH SYNOPSIS", ".SH SEE ALSO"} {
		if !strings.Contains(page, want) {
			t.Errorf("raybuild-cluster-up.1 lacks %s:\n%.400s", want, page)
		}
	}
}

func TestPageDate(t *testing.T) {
	t.Parallel()
	built := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.time", Value: "2026-11-29T16:19:06Z"}}}
	for what, c := range map[string]struct {
		epoch string
		info  *debug.BuildInfo
		want  string
	}{
		"SOURCE_DATE_EPOCH":      {"1767225600", built, "2026-01-01"},
		"the commit's time":      {"", built, "2026-11-29"},
		"nothing known":          {"", nil, "1980-01-01"},
		"SOURCE_DATE_EPOCH of 0": {"0", nil, "1970-01-01"},
	} {
		got, err := pageDate(c.epoch, c.info)
		if err != nil || got.Format(time.DateOnly) != c.want {
			t.Errorf("%s: %v, %v; want %s", what, got, err, c.want)
		}
	}
	if _, err := pageDate("yesterday", nil); err == nil || !strings.Contains(err.Error(), `"yesterday"`) {
		t.Errorf("a bad SOURCE_DATE_EPOCH gives %v", err)
	}
}

func TestDocsRefusesAnUnknownFormat(t *testing.T) {
	t.Parallel()
	got := call(t, t.TempDir(), "docs", "out", "--format", "mann")
	if got.code != exitUsage || !strings.Contains(got.stderr, `did you mean "man"?`) {
		t.Errorf("code %d, stderr %q", got.code, got.stderr)
	}
}
