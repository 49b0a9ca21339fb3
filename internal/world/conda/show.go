package main

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// envs lists environments: base, those in the environment directories, and those in environments.txt. An environment
// elsewhere is not found without that file; observed on 26.7.1.
func (a *app) envs() []string {
	out := []string{a.conf.root}
	add := func(p string) {
		if isEnv(p) && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, d := range a.conf.envsDirs {
		entries, _ := os.ReadDir(d)
		for _, e := range entries {
			add(filepath.Join(d, e.Name()))
		}
	}
	if f, err := os.Open(filepath.Join(home(), ".conda", "environments.txt")); err == nil {
		for sc := bufio.NewScanner(f); sc.Scan(); {
			add(strings.TrimSpace(sc.Text()))
		}
		_ = f.Close()
	}
	return out
}

func (a *app) envName(prefix string) string {
	if prefix == a.conf.root {
		return "base"
	}
	if slices.Contains(a.conf.envsDirs, filepath.Dir(prefix)) {
		return filepath.Base(prefix)
	}
	return ""
}

func (a *app) printEnvs() {
	if a.opts.json {
		writeJSON(a.stdout, map[string]any{"envs": a.envs()})
		return
	}
	put(a.stdout, "\n# conda environments:\n#\n")
	for _, p := range a.envs() {
		mark := " "
		if p == os.Getenv("CONDA_PREFIX") {
			mark = "*"
		}
		printf(a.stdout, "%-20s %s %s\n", a.envName(p), mark, p)
	}
	putln(a.stdout)
}

// env is conda env list.
func (a *app) env(_ context.Context) error {
	if len(a.opts.specs) != 1 || a.opts.specs[0] != "list" {
		return newError("CommandNotSupported", "this stand-in has conda env list and nothing else of conda env")
	}
	a.printEnvs()
	return nil
}

const isStandIn = "a stand-in for tests; not conda"

// info is conda info.
func (a *app) info(_ context.Context) error {
	if a.opts.envs {
		a.printEnvs()
		return nil
	}
	var virtual [][]string
	v := virtualPackages()
	for _, name := range sortedKeys(v) {
		virtual = append(virtual, []string{name, v[name], "0"})
	}
	urls := []string{}
	for _, ch := range a.conf.resolveChannels(a.conf.channels) {
		for _, s := range subdirs {
			urls = append(urls, ch.url+"/"+s)
		}
	}
	files := []string{}
	for _, s := range a.conf.sources {
		files = append(files, s.path)
	}
	if a.opts.json {
		writeJSON(a.stdout, map[string]any{
			"conda_version": a.conf.version, "stand_in": isStandIn, "root_prefix": a.conf.root,
			"conda_prefix": a.conf.root, "default_prefix": a.conf.root, "active_prefix": os.Getenv("CONDA_PREFIX"),
			"envs": a.envs(), "envs_dirs": a.conf.envsDirs, "pkgs_dirs": a.conf.pkgsDirs, "channels": urls,
			"platform": subdirs[0], "virtual_pkgs": virtual, "offline": a.conf.offline,
			"config_files": files, "solver": map[string]any{"name": "stand-in", "default": true},
		})
		return nil
	}
	for _, line := range [][2]string{
		{"this program", isStandIn}, {"conda version", a.conf.version}, {"base environment", a.conf.root},
		{"package cache", strings.Join(a.conf.pkgsDirs, ", ")},
		{"envs directories", strings.Join(a.conf.envsDirs, ", ")}, {"channel URLs", strings.Join(urls, ", ")},
		{"platform", subdirs[0]}, {"populated config files", strings.Join(files, ", ")},
	} {
		printf(a.stdout, "%24s : %s\n", line[0], line[1])
	}
	for _, p := range virtual {
		printf(a.stdout, "%24s : %s\n", "virtual package", strings.Join(p, "="))
	}
	return nil
}

// row is a line of conda list.
type row struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Build   string `json:"build_string"`
	Number  int    `json:"build_number"`
	Channel string `json:"channel"`
	Dist    string `json:"dist_name"`
	Base    string `json:"base_url"`
	Subdir  string `json:"platform"`
	url     string
	md5     string
	sha256  string
}

// list is conda list.
func (a *app) list(_ context.Context) error {
	prefix, err := a.target()
	if err != nil {
		return err
	}
	if !isEnv(prefix) {
		return newError("EnvironmentLocationNotFound", "Not a conda environment: %s", prefix)
	}
	rows := a.rows(prefix)
	switch {
	case a.opts.explicit:
		printf(a.stdout, "# This file may be used to create an environment using:\n"+
			"# $ conda create --name <env> --file <this file>\n# platform: %s\n@EXPLICIT\n", subdirs[0])
		for _, r := range rows {
			hash := ""
			switch {
			case a.opts.md5 && r.md5 != "":
				hash = "#" + r.md5
			case a.opts.sha256 && r.sha256 != "":
				hash = "#sha256:" + r.sha256
			}
			if r.url != "" {
				putln(a.stdout, r.url+hash)
			}
		}
	case a.opts.json:
		writeJSON(a.stdout, rows)
	default:
		printf(a.stdout, "# packages in environment at %s:\n#\n"+
			"# %-23s %-25s %15s  %s\n", prefix, "Name", "Version", "Build", "Channel")
		for _, r := range rows {
			printf(a.stdout, "%-25s %-25s %15s  %s\n", r.Name, r.Version, r.Build, r.Channel)
		}
	}
	return nil
}

func (a *app) rows(prefix string) []row {
	rows := []row{}
	for _, m := range installedIn(prefix) {
		root, subdir, _ := channelOf(m.URL)
		rows = append(rows, row{Name: m.Name, Version: m.Version, Build: m.Build, Number: m.BuildNumber,
			Channel: a.conf.resolveChannel(root).name, Dist: m.dist(), Base: root, Subdir: subdir, url: m.URL,
			md5: m.MD5, sha256: m.SHA256})
	}
	// What pip installed is listed too, as of the channel pypi.
	infos, _ := filepath.Glob(filepath.Join(prefix, "lib", "python3.*", "site-packages", "*.dist-info"))
	for _, dir := range infos {
		by, _ := os.ReadFile(filepath.Join(dir, "INSTALLER"))
		name, version, ok := strings.Cut(strings.TrimSuffix(filepath.Base(dir), ".dist-info"), "-")
		if !ok || strings.TrimSpace(string(by)) == "conda" {
			continue
		}
		name = strings.ReplaceAll(name, "_", "-")
		rows = append(rows, row{Name: name, Version: version, Build: "pypi_0", Channel: "pypi",
			Base: "https://conda.anaconda.org/pypi", Dist: name + "-" + version + "-pypi_0", Subdir: "pypi"})
	}
	slices.SortStableFunc(rows, func(x, y row) int { return strings.Compare(x.Name, y.Name) })
	return rows
}
