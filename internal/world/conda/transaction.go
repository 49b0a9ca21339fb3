package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// transaction installs packages into a prefix. update are the user's specs for history; nil makes them of the packages,
// in the order of want, as an explicit install does.
func (a *app) transaction(ctx context.Context, prefix string, want []wanted, update []string) error {
	var packages []*unpacked
	for _, w := range want {
		u, err := a.obtain(ctx, w)
		if err != nil {
			return err
		}
		if w.record == nil {
			u.requested = a.requestedExplicit(u)
			update = append(update, u.requested)
		}
		packages = append(packages, u)
	}
	a.say("Preparing transaction: ...working... done\nVerifying transaction: ...working... ")
	py, err := pythonOf(prefix, packages)
	if err != nil {
		return err
	}
	a.say("done\nExecuting transaction: ...working... ")
	if err := os.MkdirAll(filepath.Join(prefix, "conda-meta"), 0o755); err != nil {
		return newError("NotWritableError", "The current user does not have write permissions to a required "+
			"path.\n  path: %s", prefix)
	}
	removed, err := a.unlinkOld(prefix, packages)
	if err != nil {
		return err
	}
	all, err := a.linkAll(ctx, prefix, sorted(packages), py)
	if err != nil {
		return err
	}
	for _, l := range all {
		if err := a.writeMeta(prefix, l); err != nil {
			return err
		}
	}
	if err := a.writeHistory(prefix, removed, all, update); err != nil {
		return err
	}
	a.say("done\n")
	a.register(prefix)
	if !a.opts.json && !a.opts.quiet && a.opts.command == "create" {
		printf(a.stdout, "#\n# To activate this environment, use\n#\n#     $ conda activate %s\n#\n"+
			"# To deactivate an active environment, use\n#\n#     $ conda deactivate\n\n", filepath.Base(prefix))
	}
	return nil
}

// say prints progress, also with -q (observed on 26.7.1); with --json nothing.
func (a *app) say(text string) {
	if !a.opts.json {
		put(a.stdout, text)
	}
}

// requestedExplicit is the spec of a package that was named by its URL; observed on 26.7.1.
func (a *app) requestedExplicit(u *unpacked) string {
	return a.conf.display(u.url) + "::" + u.rec.Name + "==" + u.rec.Version + "=" + u.rec.Build
}

// sorted orders packages as toposort does.
func sorted(list []*unpacked) []*unpacked {
	var recs []*record
	for _, u := range list {
		recs = append(recs, &u.rec)
	}
	var out []*unpacked
	for _, r := range toposort(recs) {
		i := slices.IndexFunc(list, func(u *unpacked) bool { return &u.rec == r })
		out = append(out, list[i])
	}
	return out
}

var minorVersion = regexp.MustCompile(`^\d+\.\d+`)

// pythonOf is the Python of the packages or of the prefix. Noarch packages can't do without one; observed on 26.7.1.
func pythonOf(prefix string, packages []*unpacked) (python, error) {
	version := ""
	for _, m := range installedIn(prefix) {
		if m.Name == "python" {
			version = m.Version
		}
	}
	noarch := false
	for _, u := range packages {
		if u.rec.Name == "python" {
			version = u.rec.Version
		}
		noarch = noarch || u.rec.Noarch == "python"
	}
	if noarch && version == "" {
		return python{}, newError("CondaError", "Unable to determine python site-packages dir in target_prefix!\n"+
			"Please make sure python is installed in %s", prefix)
	}
	return python{minorVersion.FindString(version)}, nil
}

// linkAll links packages, compiles what is noarch, and runs post-link scripts.
func (a *app) linkAll(ctx context.Context, prefix string, packages []*unpacked, py python) ([]*linked, error) {
	var all []*linked
	var sources []string
	for _, u := range packages {
		l, err := link(u, prefix, py)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
		sources = append(sources, l.pyc...)
	}
	compile(ctx, prefix, py, sources)
	for _, l := range all {
		l.dropMissing(prefix)
		if err := a.postLink(ctx, prefix, l); err != nil {
			return nil, err
		}
	}
	a.messages(prefix)
	return all, nil
}

// compile makes .pyc files with the prefix's own Python. With SOURCE_DATE_EPOCH in the environment
// Python makes them of the checked-hash kind by itself. A file that does not compile is left as it
// is, as conda does.
func compile(ctx context.Context, prefix string, py python, sources []string) {
	if len(sources) == 0 {
		return
	}
	cmd := exec.CommandContext(ctx, filepath.Join(prefix, "bin", "python"+py.version), "-Wi", "-m", "compileall", "-q",
		"-l", "-i", "-", "-j", "0")
	cmd.Dir = prefix
	cmd.Stdin = strings.NewReader(strings.Join(sources, "\n") + "\n")
	_ = cmd.Run() // it exits 1 for files of another Python's syntax; dropMissing sees what came of it
}

// dropMissing takes compiled files that don't exist off the package's list.
func (l *linked) dropMissing(prefix string) {
	missing := map[string]bool{}
	l.paths = slices.DeleteFunc(l.paths, func(p pathEntry) bool {
		if p.PathType != "pyc_file" {
			return false
		}
		_, err := os.Stat(filepath.Join(prefix, p.Path))
		missing[p.Path] = err != nil
		return err != nil
	})
	l.files = slices.DeleteFunc(l.files, func(f string) bool { return missing[f] })
}

// postLink runs a package's script with the variables that conda gives it; observed on 26.7.1.
func (a *app) postLink(ctx context.Context, prefix string, l *linked) error {
	script := filepath.Join(prefix, "bin", "."+l.rec.Name+"-post-link.sh")
	if !exists(script) || os.Getenv("CONDA_STANDIN_SKIP_SCRIPTS") != "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", script)
	cmd.Env = append(os.Environ(), "PREFIX="+prefix, "PKG_NAME="+l.rec.Name, "PKG_VERSION="+l.rec.Version,
		"PKG_BUILDNUM="+strconv.Itoa(l.rec.BuildNumber), "ROOT_PREFIX="+a.conf.root,
		"PATH="+filepath.Join(prefix, "bin")+":"+os.Getenv("PATH"))
	cmd.Dir = prefix
	if out, err := cmd.CombinedOutput(); err != nil {
		return newError("LinkError", "post-link script failed for package %s\nlocation of failed script: %s\n"+
			"==> script messages <==\n%s", a.conf.display(l.url)+"::"+l.rec.dist(), script, out)
	}
	return nil
}

// messages prints what link scripts left in .messages.txt and removes it: on stdout, with --json on
// stderr; observed on 26.7.1.
func (a *app) messages(prefix string) {
	file := filepath.Join(prefix, ".messages.txt")
	data, err := os.ReadFile(file)
	if err != nil {
		return
	}
	to := a.stdout
	if a.opts.json {
		to = a.stderr
	}
	printf(to, "\n%s\n", data)
	_ = os.Remove(file) // a message that stays is shown again, which is all
}

// unlinkOld removes the packages that the new ones replace.
func (a *app) unlinkOld(prefix string, packages []*unpacked) ([]string, error) {
	var removed []string
	for _, m := range installedIn(prefix) {
		if !slices.ContainsFunc(packages, func(u *unpacked) bool { return u.rec.Name == m.Name }) {
			continue
		}
		for _, f := range m.Files {
			if err := os.Remove(filepath.Join(prefix, f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		if err := os.Remove(m.file); err != nil {
			return nil, err
		}
		removed = append(removed, a.conf.display(m.URL)+"::"+m.dist())
	}
	return removed, nil
}

// meta is what of conda-meta/*.json is read again.
type meta struct {
	record
	Files   []string `json:"files"`
	URL     string   `json:"url"`
	Channel string   `json:"channel"`
	file    string
}

// installedIn lists the packages of a prefix by name.
func installedIn(prefix string) []meta {
	found, _ := filepath.Glob(filepath.Join(prefix, "conda-meta", "*.json"))
	var out []meta
	for _, f := range found {
		var m meta
		if data, err := os.ReadFile(f); err == nil && json.Unmarshal(data, &m) == nil && m.Name != "" {
			m.file = f
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(x, y meta) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// writeMeta writes conda-meta/NAME.json; its keys were observed on 26.7.1.
func (a *app) writeMeta(prefix string, l *linked) error {
	root, subdir, fn := channelOf(l.url)
	m := l.index
	if _, ok := m["constrains"]; !ok {
		m["constrains"] = []string{}
	}
	m["channel"], m["url"], m["fn"] = root+"/"+subdir, l.url, fn
	m["requested_spec"], m["requested_specs"] = l.requested, []string{l.requested}
	if l.requested == "None" {
		m["requested_specs"] = []string{}
	}
	m["package_tarball_full_path"], m["extracted_package_dir"] = l.tarball, l.dir
	m["link"] = map[string]any{"source": l.dir, "type": 1}
	m["files"] = orEmpty(l.files)
	paths := l.paths
	if paths == nil {
		paths = []pathEntry{}
	}
	m["paths_data"] = map[string]any{"paths": paths, "paths_version": 1}
	if kind, ok := l.rec.Noarch.(string); ok {
		m["package_type"] = "noarch_" + kind
	}
	if l.md5 != "" {
		m["md5"] = l.md5
	}
	if l.sha256 != "" {
		m["sha256"] = l.sha256
	}
	if info, err := os.Stat(l.tarball); err == nil {
		m["size"] = info.Size()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(prefix, "conda-meta", l.rec.dist()+".json"),
		bytes.TrimRight(b.Bytes(), "\n"), 0o644)
}

// writeHistory adds a change to conda-meta/history, and writes created_at, which conda has since 25.11 (observed on
// 25.11.1 and 26.7.1, absent from 24.11.3).
func (a *app) writeHistory(prefix string, removed []string, all []*linked, update []string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	now := time.Now()
	var b strings.Builder
	fmt.Fprintf(&b, "==> %s <==\n# cmd: %s\n# conda version: %s\n", now.Format(time.DateTime),
		strings.Join(append([]string{exe}, a.args...), " "), a.conf.version)
	var lines []string
	for _, r := range removed {
		lines = append(lines, "-"+r)
	}
	slices.Sort(lines)
	var added []string
	for _, l := range all {
		added = append(added, "+"+a.conf.display(l.url)+"::"+l.rec.dist())
	}
	slices.Sort(added)
	for _, line := range append(lines, added...) {
		b.WriteString(line + "\n")
	}
	if len(update) > 0 {
		fmt.Fprintf(&b, "# update specs: %s\n", pyList(update))
	}
	f, err := os.OpenFile(filepath.Join(prefix, "conda-meta", "history"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(b.String()); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	created := filepath.Join(prefix, "conda-meta", "created_at")
	if _, err := os.Stat(created); err == nil || compareVersions(a.conf.version, "25.11") < 0 {
		return nil
	}
	return os.WriteFile(created, fmt.Appendf(nil, "%d.%06d", now.Unix(), now.Nanosecond()/1000), 0o644)
}

// register adds the prefix to ~/.conda/environments.txt; a home that can't be written to is a
// warning; observed on 26.7.1.
func (a *app) register(prefix string) {
	if !a.conf.registerEnvs || prefix == a.conf.root {
		return
	}
	file := filepath.Join(home(), ".conda", "environments.txt")
	old, _ := os.ReadFile(file)
	if strings.Contains("\n"+string(old), "\n"+prefix+"\n") {
		return
	}
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, append(old, prefix+"\n"...), 0o644)
	}
	if err != nil {
		putln(a.stderr, "WARNING conda.core.path_actions:verify: Unable to create environments file. Path "+
			"not writable.")
	}
}
