package main

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
)

// wanted is a package to install.
type wanted struct {
	url, md5, sha256 string
	// record is repodata's record, nil for an explicit install.
	record *record
	// requested is what asked for it; for an explicit install it is made from the package itself.
	requested string
}

var (
	explicitLine = regexp.MustCompile(`^(\S+\.(?:conda|tar\.bz2))(?:#([0-9a-fA-F]{32}|(?:sha256:)?[0-9a-fA-F]{64}))?$`)
	isHex32      = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)
)

func isURL(s string) bool {
	return strings.Contains(s, "://") || strings.HasPrefix(s, "/") && explicitLine.MatchString(s)
}

// explicit installs the packages of URLs, without a solver, without repodata, and without a look at
// dependencies; with a dry run it does nothing at all. All observed on conda 26.7.1.
func (a *app) explicit(ctx context.Context, prefix string, lines []string) error {
	var want []wanted
	for _, line := range lines {
		m := explicitLine.FindStringSubmatch(line)
		// sha256 came after 23.11.0 (observed: 24.11.3 takes it, 23.11.0 does not).
		if m == nil || m[2] != "" && !isHex32.MatchString(m[2]) && compareVersions(a.conf.version, "24") < 0 {
			return newError("ParseError", "Could not parse explicit URL: %s", line)
		}
		w := wanted{url: m[1]}
		if strings.HasPrefix(w.url, "/") {
			w.url = "file://" + w.url
		}
		if isHex32.MatchString(m[2]) {
			w.md5 = strings.ToLower(m[2])
		} else {
			w.sha256 = strings.ToLower(strings.TrimPrefix(m[2], "sha256:"))
		}
		want = append(want, w)
	}
	if a.opts.dryRun {
		return nil
	}
	return a.transaction(ctx, prefix, want, nil)
}

// constructor is what the installer's own program does beside being conda: it unpacks the packages that came with it.
func (a *app) constructor(args []string) error {
	prefix := ""
	for i, arg := range args {
		if arg == "--prefix" && i+1 < len(args) {
			prefix = args[i+1]
		}
	}
	if prefix == "" {
		return newError("ArgumentError", "the following arguments are required: --prefix")
	}
	found, err := filepath.Glob(filepath.Join(prefix, "pkgs", "*"))
	if err != nil {
		return err
	}
	for _, f := range found {
		if dist, ok := distName(filepath.Base(f)); ok {
			if err := extract(f, filepath.Join(prefix, "pkgs", dist)); err != nil {
				return err
			}
		}
	}
	return nil
}

// distName is a package file's name without its ending; false for another file.
func distName(fn string) (string, bool) {
	for _, end := range []string{".conda", ".tar.bz2"} {
		if dist, ok := strings.CutSuffix(fn, end); ok {
			return dist, true
		}
	}
	return fn, false
}
