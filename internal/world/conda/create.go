package main

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// create is conda create.
func (a *app) create(ctx context.Context) error {
	prefix, err := a.target()
	if err != nil {
		return err
	}
	if !a.opts.dryRun {
		if err := a.makeWay(prefix); err != nil {
			return err
		}
		a.probeEnvs()
	}
	return a.change(ctx, prefix)
}

// install is conda install.
func (a *app) install(ctx context.Context) error {
	prefix, err := a.target()
	if err != nil {
		return err
	}
	if !isEnv(prefix) {
		return newError("EnvironmentLocationNotFound", "Not a conda environment: %s", prefix)
	}
	return a.change(ctx, prefix)
}

// makeWay removes an environment that is there already, where the user agrees: end of input is
// "no"; observed on 26.7.1.
func (a *app) makeWay(prefix string) error {
	if !isEnv(prefix) {
		return nil
	}
	if prefix == a.conf.root {
		return newError("CondaValueError", "The target prefix is the base prefix. Aborting.")
	}
	if !a.opts.yes {
		printf(a.stdout, "WARNING: A conda environment already exists at '%s'\n\nRemove existing environment?\n"+
			"This will remove ALL directories contained within this specified prefix directory, including any other "+
			"conda environments.\n\n (y/[n])? ", prefix)
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(line)), "y") {
			return newError("CondaSystemExit", "Exiting.")
		}
	}
	// The prefix itself may be a mount.
	entries, err := os.ReadDir(prefix)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(prefix, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// probeEnvs leaves an empty file in the directory of environments and touches base's history;
// observed on 4.12.0 to 26.7.1.
func (a *app) probeEnvs() {
	for _, d := range a.conf.envsDirs {
		if os.MkdirAll(d, 0o755) != nil {
			continue
		}
		if os.WriteFile(filepath.Join(d, ".conda_envs_dir_test"), nil, 0o644) == nil {
			break
		}
	}
	if f, err := os.OpenFile(filepath.Join(a.conf.root, "conda-meta", "history"), os.O_RDWR, 0); err == nil {
		one := make([]byte, 1)
		if n, err := f.ReadAt(one, 0); err == nil && n == 1 {
			_, _ = f.WriteAt(one, 0) // the same content, a new time
		}
		_ = f.Close()
	}
}

// change brings packages into a prefix: from explicit files, or by solving.
func (a *app) change(ctx context.Context, prefix string) error {
	specs := slices.Clone(a.opts.specs)
	for _, f := range a.opts.file {
		lines, explicit, err := readSpecFile(f)
		if err != nil {
			return err
		}
		if explicit {
			return a.explicit(ctx, prefix, lines)
		}
		specs = append(specs, lines...)
	}
	if n := slices.IndexFunc(specs, isURL); n >= 0 {
		return a.explicit(ctx, prefix, specs)
	}
	return a.solved(ctx, prefix, specs)
}

// readSpecFile reads a file of specs, or of URLs below the line @EXPLICIT. Without that line it is
// not explicit; observed on 26.7.1.
func readSpecFile(file string) (lines []string, explicit bool, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, false, newError("CondaFileIOError", "'%s'. [Errno 2] No such file or directory: '%s'", file, file)
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case line == "@EXPLICIT":
			explicit = true
		default:
			lines = append(lines, line)
		}
	}
	return lines, explicit, nil
}

func (a *app) solved(ctx context.Context, prefix string, texts []string) error {
	var specs []spec
	for _, t := range texts {
		s, err := parseSpec(t)
		if err != nil {
			return err
		}
		specs = append(specs, s)
	}
	if len(texts) == 0 && a.opts.command == "create" {
		if a.opts.dryRun {
			return a.report(prefix, nil)
		}
		return a.transaction(ctx, prefix, nil, nil)
	}
	channels := a.conf.resolveChannels(a.conf.channels)
	if len(channels) == 0 {
		return newError("NoChannelsConfiguredError", "No channels configured: use --channel or add one to .condarc.")
	}
	if err := a.checkTerms(ctx, channels); err != nil {
		return err
	}
	if !a.opts.json && !a.opts.quiet {
		put(a.stdout, "Collecting package metadata (repodata.json): ...working... done\n"+
			"Solving environment: ...working... ")
	}
	records, err := a.records(ctx, channels)
	if err != nil {
		return err
	}
	var urls []string
	for _, ch := range channels {
		for _, s := range subdirs {
			urls = append(urls, ch.url+"/"+s)
		}
	}
	installed := map[string]string{}
	for _, m := range installedIn(prefix) {
		installed[m.Name] = m.dist()
	}
	solution, err := a.solve(records, specs, installed, urls)
	if err != nil {
		return err
	}
	if !a.opts.json && !a.opts.quiet {
		put(a.stdout, "done\n")
	}
	solution = slices.DeleteFunc(solution, func(r *record) bool { return installed[r.Name] == r.dist() })
	if a.opts.dryRun {
		return a.report(prefix, solution)
	}
	if err := a.confirm(); err != nil {
		return err
	}
	var want []wanted
	for _, r := range solution {
		want = append(want, wanted{url: r.url(), md5: r.MD5, sha256: r.SHA256, record: r,
			requested: requestedBy(specs, r)})
	}
	return a.transaction(ctx, prefix, want, texts)
}

// requestedBy is the user's own word for a package that was asked for; observed on 26.7.1 as requested_spec.
func requestedBy(specs []spec, r *record) string {
	for _, s := range specs {
		if s.name == r.Name {
			return s.text
		}
	}
	return "None"
}

// confirm asks; the end of the input means yes for a new environment; observed on 26.7.1.
func (a *app) confirm() error {
	if a.opts.yes || a.opts.json {
		return nil
	}
	put(a.stdout, "\nProceed ([y]/n)? ")
	line, _ := bufio.NewReader(a.stdin).ReadString('\n')
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(line)), "n") {
		return newError("CondaSystemExit", "Exiting.")
	}
	return nil
}

// report is the answer to a dry run. FETCH leaves out what a package cache has, and comes in random order; LINK is
// complete, in order, and without hashes and URLs. Observed on 4.12.0 to 26.7.1.
func (a *app) report(prefix string, solution []*record) error {
	fetch, link := []map[string]any{}, []map[string]any{}
	for _, r := range solution {
		link = append(link, map[string]any{
			"base_url": r.ch.url, "build_number": r.BuildNumber, "build_string": r.Build, "channel": r.ch.link,
			"dist_name": r.dist(),
			"name":      r.Name, "platform": r.Subdir, "version": r.Version,
		})
		if a.cached(r) {
			continue
		}
		f := map[string]any{
			"name": r.Name, "version": r.Version, "build": r.Build, "build_number": r.BuildNumber, "channel": r.base(),
			"subdir": r.Subdir, "fn": r.fn,
			"size": r.Size, "url": r.url(), "depends": orEmpty(r.Depends), "constrains": orEmpty(r.Constrains),
			"license": r.License, "timestamp": r.Timestamp,
			"arch": nil, "platform": nil,
		}
		// The hashes are repodata's own, where it has them.
		if r.MD5 != "" {
			f["md5"] = r.MD5
		}
		if r.SHA256 != "" {
			f["sha256"] = r.SHA256
		}
		if kind, ok := r.Noarch.(string); ok {
			f["noarch"], f["package_type"] = kind, "noarch_"+kind
		} else {
			f["arch"], f["platform"] = "x86_64", "linux"
		}
		fetch = append(fetch, f)
	}
	rand.Shuffle(len(fetch), func(i, j int) { fetch[i], fetch[j] = fetch[j], fetch[i] })
	if a.opts.json {
		actions := map[string]any{"FETCH": fetch, "LINK": link, "PREFIX": prefix}
		writeJSON(a.stdout, map[string]any{"success": true, "prefix": prefix, "dry_run": true, "actions": actions})
		return nil
	}
	printf(a.stdout, "\n## Package Plan ##\n\n  environment location: %s\n\n"+
		"The following NEW packages will be INSTALLED:\n\n", prefix)
	for _, r := range solution {
		printf(a.stdout, "  %-18s %s/%s::%s\n", r.Name, r.ch.name, r.Subdir, r.dist())
	}
	return newError("DryRunExit", "Dry run. Exiting.")
}

func orEmpty(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}
