package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// options are the options of all commands.
type options struct {
	command                          string
	name, prefix                     string
	channels                         []string
	overrideChannels                 bool
	file                             []string
	specs                            []string // what is not an option
	dryRun, json, yes, quiet         bool
	offline, force, noDefault        bool
	explicit, md5, sha256, envs, all bool
	index, tarballs, packages        bool
	show, showSources, validate      bool
	noDeps, noCapture, useLocal      bool
}

// boolean options by their names on the command line.
func (o *options) flags() map[string]*bool {
	return map[string]*bool{
		"--override-channels": &o.overrideChannels, "-O": &o.overrideChannels, "--dry-run": &o.dryRun, "-d": &o.dryRun,
		"--json": &o.json, "--yes": &o.yes, "-y": &o.yes, "--quiet": &o.quiet, "-q": &o.quiet,
		"--offline": &o.offline, "--force-reinstall": &o.force, "--no-default-packages": &o.noDefault,
		"--explicit": &o.explicit, "--md5": &o.md5, "--sha256": &o.sha256,
		"--envs": &o.envs, "-e": &o.envs, "--all": &o.all, "-a": &o.all, "--index-cache": &o.index, "-i": &o.index,
		"--tarballs": &o.tarballs, "-t": &o.tarballs,
		"--packages": &o.packages, "--show": &o.show, "--show-sources": &o.showSources, "--validate": &o.validate,
		"--no-deps": &o.noDeps, "--no-capture-output": &o.noCapture, "--live-stream": &o.noCapture,
		"--use-local": &o.useLocal, "--force-pkgs-dirs": &o.force,
	}
}

// combined are letters that may stand together, as in -yp.
const combined = "yqdiat"

func parseOptions(command string, args []string) (options, error) {
	o := options{command: command}
	flags := o.flags()
	if command == "clean" {
		// In conda clean -p means the packages, elsewhere the prefix.
		flags["-p"] = &o.packages
	}
	if command == "list" {
		flags["-e"] = &o.explicit
	}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if command == "run" && !strings.HasPrefix(arg, "-") {
			o.specs = append(o.specs, args[i:]...)
			return o, nil
		}
		if b, ok := flags[arg]; ok {
			*b = true
			continue
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			o.specs = append(o.specs, arg)
			continue
		}
		if arg == "-v" || arg == "-vv" || arg == "--verbose" {
			continue
		}
		key, value, given := strings.Cut(arg, "=")
		if !strings.HasPrefix(arg, "--") {
			// -yp PREFIX: letters without a value, then one that may have one.
			rest := arg[1:]
			for len(rest) > 1 && strings.IndexByte(combined, rest[0]) >= 0 {
				*flags["-"+rest[:1]] = true
				rest = rest[1:]
			}
			key, value = "-"+rest[:1], rest[1:]
			given = value != ""
			if b, ok := flags[key]; ok && !given {
				*b = true
				continue
			}
		}
		if !given {
			if i+1 >= len(args) {
				fmt.Fprintf(os.Stderr, "conda %s: error: argument %s: expected one argument\n", command, key)
				return o, statusError(2)
			}
			i++
			value = args[i]
		}
		if !o.value(key, value) {
			fmt.Fprintf(os.Stderr, "conda: error: unrecognized arguments: %s\n", arg)
			return o, statusError(2)
		}
	}
	return o, nil
}

// value sets an option that has a value; false for an unknown one.
func (o *options) value(key, value string) bool {
	switch key {
	case "-n", "--name":
		o.name = value
	case "-p", "--prefix":
		o.prefix = value
	case "-c", "--channel":
		o.channels = append(o.channels, value)
	case "--file", "-f":
		o.file = append(o.file, value)
	case "--solver", "--subdir", "--platform", "--repodata-fn", "--tos-root":
		// Taken and without effect here: one solver, one platform.
	default:
		return false
	}
	return true
}

// target is the prefix that a command is about.
func (a *app) target() (string, error) {
	switch {
	case a.opts.prefix != "":
		return filepath.Abs(a.opts.prefix)
	case a.opts.name == "base" || a.opts.name == "root":
		return a.conf.root, nil
	case strings.ContainsAny(a.opts.name, "/ :#"):
		return "", newError("CondaValueError", "Invalid environment name: '%s'\n"+
			"  Characters not allowed: {'/', ' ', ':', '#'}", a.opts.name)
	case a.opts.name != "":
		return a.conf.envPrefix(a.opts.name), nil
	case a.opts.command == "create":
		return "", newError("ArgumentError", "one of the arguments -n/--name -p/--prefix is required")
	}
	if p := os.Getenv("CONDA_PREFIX"); p != "" {
		return p, nil
	}
	return a.conf.root, nil
}
