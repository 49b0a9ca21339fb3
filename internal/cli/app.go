// Package cli is raybuild's command line. It reads flags and files, calls the packages that do the
// work, and prints their results.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/llb"
)

// Exit codes: a contract with users of the command line.
const (
	exitDone        = 0
	exitFailed      = 1
	exitChanges     = 2
	exitUsage       = 64
	exitInterrupted = 130
)

// Streams are the program's standard streams.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// app has what every command needs: streams and the environment.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	version        string     // set by the linker; "dev": not set
	dir            string     // working directory; "": the process's
	saying         sync.Mutex // keeps lines of several goroutines apart
}

// Main runs the program and returns its exit code: 0 done, 1 failed, 2 there are changes, 64 wrong
// usage, 130 interrupted. args are the arguments without the program's name. version is set by the
// linker; "dev" means the version of the Go module. The first SIGINT or SIGTERM cancels the
// command's context, the second one ends the process.
func Main(ctx context.Context, version string, args []string, std Streams) int {
	builder.ServesEngine()
	if len(args) == 0 || args[0] != builder.EngineCommand { // the engine handles signals itself
		interrupted, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(interrupted, stop)
		ctx = interrupted
	}
	a := &app{stdin: std.In, stdout: std.Out, stderr: std.Err, getenv: os.Getenv, version: version}
	root := a.rootCommand() //nolint:contextcheck // cobra hands the context to the commands
	root.SetArgs(args)
	return a.exit(ctx, root.ExecuteContext(ctx))
}

// usageError is a wrong command line: exit code 64.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// optionText returns the text of an option's error, which names the option by its flag.
func optionText(e *raybuild.OptionError) string {
	flag := map[string]string{"Names": "image name (-t)", "Image": "argument IMAGE", "Push": "--push",
		"Compression": "--compression", "Outputs": "--output", "CacheBudget": "--cache-budget",
		"CacheFrom": "--cache-from", "CacheTo": "--cache-to", "Platforms": "--platform", "Base": "--base",
		"Dir": "-o", "Sign": "--sign", "Trust": "--trust"}[e.Field]
	if flag == "" {
		return e.Error()
	}
	return flag + " " + e.Err.Error()
}

// changesError ends a command that worked and found changes: exit code 2, without a message.
type changesError struct{}

func (changesError) Error() string { return "there are changes" }

// exit prints the error and returns the exit code.
func (a *app) exit(ctx context.Context, err error) int {
	var (
		usage   *usageError
		option  *raybuild.OptionError
		changes changesError
		stopped *raybuild.InterruptedError
		program *programError
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &program): // the program has printed its own messages
		return program.code
	case errors.As(err, &changes):
		return exitChanges
	case errors.As(err, &option):
		a.say("raybuild: %s", optionText(option))
		return exitUsage
	case errors.As(err, &usage):
		a.say("raybuild: %v", err)
		return exitUsage
	case ctx.Err() != nil:
		if !errors.As(err, &stopped) {
			stopped = &raybuild.InterruptedError{State: "run again to continue"}
		}
		a.say("raybuild: %v", stopped)
		return exitInterrupted
	}
	var step *llb.StepError
	if errors.As(err, &step) {
		for _, line := range step.Log {
			a.say("  | %s", line)
		}
	}
	a.say("raybuild: %v", err)
	return exitFailed
}

// say writes one line to standard error. It ignores errors, because the work must not end if the terminal is gone.
func (a *app) say(format string, args ...any) {
	a.saying.Lock()
	defer a.saying.Unlock()
	_, _ = fmt.Fprintf(a.stderr, strings.TrimRight(format, "\n")+"\n", args...)
}

// warn writes a warning. The command continues.
func (a *app) warn(format string, args ...any) { a.say("warning: "+format, args...) }

// print writes a line of the result to standard output.
func (a *app) print(format string, args ...any) error {
	if _, err := fmt.Fprintf(a.stdout, format+"\n", args...); err != nil {
		return fmt.Errorf("write result to standard output: %w", err)
	}
	return nil
}

// path makes a path that the user gave absolute.
func (a *app) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(a.dir, p)
}

// options returns the library options that every command has.
func (a *app) options() raybuild.Options {
	return raybuild.Options{
		Dir: a.dir, Getenv: a.getenv, ProgressTo: a.stderr, Progress: llb.ProgressQuiet,
		Log: func(e raybuild.Event) { a.say("%s", e) },
	}
}

// makeHome returns raybuild's directory. It creates the directory if it is missing, with access for its owner only.
func (a *app) makeHome() (string, error) { return a.options().MakeHome() }

// versionText returns the version, with the commit if this is not a release.
func (a *app) versionText() string {
	info, ok := debug.ReadBuildInfo()
	if v := cmp.Or(a.version, "dev"); v != "dev" || !ok {
		return v
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "dev"
}

// noArgs refuses arguments. If there are some, it suggests the command that was meant.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasAvailableSubCommands() {
		hint := meant(args[0], commandNames(cmd))
		if hint == "" {
			hint = fmt.Sprintf(": see %s --help", cmd.CommandPath())
		}
		return usagef("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)
	}
	return usagef("%q takes no arguments, got %q: see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())
}

// oneArg requires exactly one argument. what is its name in messages.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("%q takes one %s, got %d: see %s --help", cmd.CommandPath(), what, len(args),
				cmd.CommandPath())
		}
		return nil
	}
}

// flagError explains an error about an unknown flag or a bad value.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usagef("%w: see %s --help", err, cmd.CommandPath())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	hint := meant("--"+unknown.GetSpecifiedName(), names)
	if unknown.GetSpecifiedShortnames() != "" {
		hint = ""
	}
	if hint != "" {
		return usagef("%w%s", err, hint)
	}
	return usagef("%w: see %s --help", err, cmd.CommandPath())
}

// meant suggests the name that is most similar to what was typed, if one is similar enough.
func meant(typed string, names []string) string {
	best, least := "", 3
	for _, name := range names {
		if d := levenshtein.Distance(typed, name, nil); d < least {
			best, least = name, d
		}
		if len(typed) > 4 && strings.HasPrefix(name, typed) && best == "" {
			best = name
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	return names
}
