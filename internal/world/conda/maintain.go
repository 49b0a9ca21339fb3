package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"
)

// configShow is conda config --show, --show-sources and --validate.
func (a *app) configShow(_ context.Context) error {
	switch {
	case a.opts.validate:
		return nil
	case a.opts.showSources:
		for _, s := range a.conf.sources {
			text, err := yaml.Marshal(s.data)
			if err != nil {
				return err
			}
			printf(a.stdout, "==> %s <==\n%s\n", s.path, text)
		}
		return nil
	}
	custom := map[string]string{}
	for name, u := range a.conf.customURLs() {
		custom[name] = strings.TrimSuffix(u, "/"+name)
	}
	all := map[string]any{
		"channels": orEmpty(a.conf.channels), "default_channels": a.conf.defaults, "channel_alias": a.conf.alias,
		"custom_channels": custom, "custom_multichannels": map[string]any{"defaults": a.conf.defaults,
			"local": []string{}},
		"pkgs_dirs": a.conf.pkgsDirs, "envs_dirs": a.conf.envsDirs, "offline": a.conf.offline,
		"register_envs": a.conf.registerEnvs, "add_pip_as_python_dependency": a.conf.addPip,
		"pinned_packages":  orEmpty(a.conf.pinned),
		"use_only_tar_bz2": a.conf.onlyBz2, "root_prefix": a.conf.root,
	}
	if len(a.opts.specs) > 0 {
		for k := range all {
			if !slices.Contains(a.opts.specs, k) {
				delete(all, k)
			}
		}
	}
	if a.opts.json {
		writeJSON(a.stdout, all)
		return nil
	}
	for _, k := range sortedKeys(all) {
		text, err := yaml.Marshal(map[string]any{k: all[k]})
		if err != nil {
			return err
		}
		put(a.stdout, string(text))
	}
	return nil
}

// clean is conda clean: -i removes the repodata caches and nothing else; -a also archives and the
// unpacked packages that no environment has hard links to; urls and urls.txt stay. Observed on
// 26.7.1.
func (a *app) clean(_ context.Context) error {
	o := a.opts
	index, tarballs, packages := o.index || o.all, o.tarballs || o.all, o.packages || o.all
	if !index && !tarballs && !packages {
		return newError("ArgumentError", "At least one removal target must be given. See 'conda clean --help'.")
	}
	var caches, archives, dirs []string
	for _, d := range a.conf.pkgsDirs {
		entries, _ := os.ReadDir(d)
		for _, e := range entries {
			full := filepath.Join(d, e.Name())
			_, archive := distName(e.Name())
			switch {
			case e.Name() == "cache" && e.IsDir():
				caches = append(caches, full)
			case archive:
				archives = append(archives, full)
			case e.IsDir() && unused(full):
				dirs = append(dirs, full)
			}
		}
	}
	for _, part := range []struct {
		on    bool
		what  string
		paths []string
	}{{index, "index cache(s)", caches}, {tarballs, "tarball(s)", archives}, {packages, "package(s)", dirs}} {
		if !part.on {
			continue
		}
		if len(part.paths) == 0 {
			printf(a.stdout, "There are no unused %s to remove.\n", part.what)
			continue
		}
		printf(a.stdout, "Will remove %d %s.\n", len(part.paths), part.what)
		for _, p := range part.paths {
			if err := os.RemoveAll(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// unused says whether nothing in an unpacked package has a second name.
func unused(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "info", "index.json")); err != nil {
		return false
	}
	free := true
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			free = false
			return filepath.SkipAll
		}
		return nil
	})
	return free && err == nil
}

// tosFile is the note of an accepted channel.
func tosFile(channel string) string {
	sum := sha256.Sum256([]byte(strings.TrimSuffix(channel, "/")))
	return filepath.Join(home(), ".conda", "tos", fmt.Sprintf("%x", sum), "accepted.json")
}

// tos is conda tos accept.
func (a *app) tos(_ context.Context) error {
	if len(a.opts.specs) != 1 || a.opts.specs[0] != "accept" {
		return newError("CommandNotSupported", "this stand-in has conda tos accept and nothing else of conda tos")
	}
	for _, ch := range a.conf.resolveChannels(a.conf.channels) {
		file := tosFile(ch.url)
		data, err := json.Marshal(map[string]any{"base_url": ch.url, "tos_accepted": true,
			"acceptance_timestamp": time.Now().UTC().Format(time.RFC3339)})
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return err
		}
		printf(a.stdout, "accepted Terms of Service for %s\n", ch.url)
	}
	return nil
}

// checkTerms asks a channel for terms.json, as the plugin conda-anaconda-tos does: a channel
// without one asks nothing of the user; with one it must have been accepted. The plugin's source is
// the only ground for this; no run of it was observed.
func (a *app) checkTerms(ctx context.Context, channels []channel) error {
	if a.conf.offline || a.conf.autoAcceptTOS || compareVersions(a.conf.version, "25.5") < 0 {
		return nil
	}
	var open []string
	for _, ch := range channels {
		if !strings.Contains(ch.url, "://repo.anaconda.com/") {
			continue
		}
		if _, err := os.Stat(tosFile(ch.url)); err == nil {
			continue
		}
		body, _, err := get(ctx, ch.url+"/terms.json")
		if err != nil {
			continue
		}
		_ = body.Close()
		if os.Getenv("CI") != "" {
			printf(a.stderr, "WARNING: CI detected: Terms of Service of %s count as accepted\n", ch.url)
			continue
		}
		open = append(open, ch.url)
	}
	if len(open) == 0 {
		return nil
	}
	return newError("CondaToSNonInteractiveError", "Terms of Service have not been accepted for the following "+
		"channels. Please accept or remove them before proceeding:\n    - %s\n\n"+
		"To accept these channels' Terms of Service, run:\n    conda tos accept --override-channels --channel CHANNEL",
		strings.Join(open, "\n    - "))
}
