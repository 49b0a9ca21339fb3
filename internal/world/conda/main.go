// Command conda is a stand-in for conda, for the tests of raybuild. It is not conda: it has those
// of its commands, files, answers and errors that an image build meets, so that raybuild's own use
// of conda is exercised where conda itself can't be had. Where a comment says "observed", the
// behaviour was seen on real conda of the version named.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// app is one call of the program.
type app struct {
	args   []string
	opts   options
	conf   *config
	stdout io.Writer
	stderr io.Writer
	stdin  io.Reader
}

// run carries out one call; its result is the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{args: args, stdin: stdin, stdout: stdout, stderr: stderr}
	err := a.dispatch(ctx, args)
	if err == nil {
		return 0
	}
	var status statusError
	if errors.As(err, &status) {
		return int(status)
	}
	var c *condaError
	if !errors.As(err, &c) {
		c = &condaError{name: "CondaError", message: err.Error()}
	}
	if a.opts.json {
		// Errors are JSON on stdout and nothing on stderr; observed on conda 4.12.0 to 26.7.1.
		writeJSON(a.stdout, c.json())
	} else {
		printf(a.stderr, "\n%s: %s\n\n", c.name, c.message)
	}
	return 1
}

// statusError ends the program with a status and no words.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func (a *app) dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		a.usage(a.stdout)
		return nil
	}
	switch args[0] {
	case "--version", "-V":
		putln(a.stdout, "conda "+condaVersion(rootPrefix()))
		return nil
	case "--help", "-h", "help":
		a.usage(a.stdout)
		return nil
	case "shell.posix":
		return a.shell(args[1:])
	case "constructor":
		return a.constructor(args[1:])
	case "init":
		return a.initShell(args[1:])
	}
	commands := map[string]func(context.Context) error{
		"create": a.create, "install": a.install, "info": a.info, "list": a.list, "env": a.env, "run": a.runIn,
		"config": a.configShow, "clean": a.clean, "tos": a.tos,
	}
	command, ok := commands[args[0]]
	if !ok {
		printf(a.stderr, "usage: conda [-h] [-V] COMMAND ...\n"+
			"conda: error: argument COMMAND: invalid choice: '%s' (choose from %s)\n", args[0],
			strings.Join(sortedKeys(commands), ", "))
		return statusError(2)
	}
	var err error
	if a.opts, err = parseOptions(args[0], args[1:]); err != nil {
		return err
	}
	if a.conf, err = loadConfig(a.opts); err != nil {
		return err
	}
	return command(ctx)
}

func (a *app) usage(w io.Writer) {
	put(w, `usage: conda [-h] [-V] COMMAND ...

A stand-in for tests; not conda. It has these commands of conda:
  create, install, info, list, env list, run, config, clean, init, tos
`)
}

// rootPrefix is the prefix of the base environment: that of this program.
func rootPrefix() string {
	if p := os.Getenv("CONDA_ROOT_PREFIX"); p != "" {
		return p
	}
	exe, err := os.Executable()
	if err != nil {
		return "/opt/conda"
	}
	if target, err := filepath.EvalSymlinks(exe); err == nil {
		exe = target
	}
	dir := filepath.Dir(exe)
	if base := filepath.Base(dir); base == "bin" || base == "condabin" {
		return filepath.Dir(dir)
	}
	return dir
}

// newest is the version that this program answers as where no conda package says another.
const newest = "26.7.1"

// condaVersion is the version of the conda package in the base environment.
func condaVersion(root string) string {
	found, err := filepath.Glob(filepath.Join(root, "conda-meta", "conda-[0-9]*.json"))
	if err != nil || len(found) == 0 {
		return newest
	}
	slices.Sort(found)
	version, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(found[len(found)-1]), "conda-"), "-")
	return version
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// printf, put and putln write to the streams of the program. One that is closed leaves nobody to tell.
func printf(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

func put(w io.Writer, args ...any) { _, _ = fmt.Fprint(w, args...) }

func putln(w io.Writer, args ...any) { _, _ = fmt.Fprintln(w, args...) }
