package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// shell prints the lines that change a POSIX shell: activate NAME-OR-PREFIX, deactivate.
func (a *app) shell(args []string) error {
	if len(args) == 0 {
		return newError("ArgumentError", "'activate' or 'deactivate' command must be given")
	}
	var err error
	if a.conf, err = loadConfig(options{}); err != nil {
		return err
	}
	switch args[0] {
	case "activate":
		prefix := a.conf.root
		if len(args) > 1 {
			prefix = a.find(args[1])
		}
		if !isEnv(prefix) {
			return newError("EnvironmentNameNotFound", "Could not find conda environment: %s\n"+
				"You can list all discoverable environments with `conda info --envs`.\n", args[1])
		}
		put(a.stdout, a.activation(prefix))
	case "deactivate":
		put(a.stdout, a.deactivation())
	default:
		return newError("ArgumentError", "invalid command %s", args[0])
	}
	return nil
}

// find is the prefix of an environment's name or path.
func (a *app) find(name string) string {
	switch {
	case name == "base" || name == "root":
		return a.conf.root
	case strings.Contains(name, "/"):
		if p, err := filepath.Abs(name); err == nil {
			return p
		}
	}
	return a.conf.envPrefix(name)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func level() int {
	n, _ := strconv.Atoi(os.Getenv("CONDA_SHLVL"))
	return n
}

// without is PATH without the directories.
func without(path string, dirs ...string) string {
	parts := strings.Split(path, ":")
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return slices.Contains(dirs, p) }), ":")
}

func scripts(prefix, kind string) []string {
	found, _ := filepath.Glob(filepath.Join(prefix, "etc", "conda", kind, "*.sh"))
	return found
}

func (a *app) activation(prefix string) string {
	var b strings.Builder
	old, n := os.Getenv("CONDA_PREFIX"), level()
	path := os.Getenv("PATH")
	condabin := filepath.Join(a.conf.root, "condabin")
	if old != "" {
		for _, s := range scripts(old, "deactivate.d") {
			fmt.Fprintf(&b, ". %s\n", quote(s))
		}
		path = without(path, filepath.Join(old, "bin"))
		if old != prefix {
			fmt.Fprintf(&b, "export CONDA_PREFIX_%d=%s\n", n, quote(old))
		}
	}
	if old == "" || old != prefix {
		n++
	}
	path = filepath.Join(prefix, "bin") + ":" + condabin + ":" + without(path, condabin)
	name := a.envName(prefix)
	if name == "" {
		name = prefix
	}
	for _, v := range [][2]string{
		{"PATH", path}, {"CONDA_PREFIX", prefix}, {"CONDA_SHLVL", strconv.Itoa(n)}, {"CONDA_DEFAULT_ENV", name},
		{"CONDA_PROMPT_MODIFIER", "(" + name + ") "},
	} {
		fmt.Fprintf(&b, "export %s=%s\n", v[0], quote(v[1]))
	}
	for _, s := range scripts(prefix, "activate.d") {
		fmt.Fprintf(&b, ". %s\n", quote(s))
	}
	return b.String()
}

func (a *app) deactivation() string {
	old, n := os.Getenv("CONDA_PREFIX"), level()
	if old == "" || n < 1 {
		return ""
	}
	var b strings.Builder
	for _, s := range scripts(old, "deactivate.d") {
		fmt.Fprintf(&b, ". %s\n", quote(s))
	}
	path := without(os.Getenv("PATH"), filepath.Join(old, "bin"))
	n--
	before := os.Getenv(fmt.Sprintf("CONDA_PREFIX_%d", n))
	if n == 0 || before == "" {
		fmt.Fprintf(&b, "export PATH=%s\nunset CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_PROMPT_MODIFIER\n"+
			"export CONDA_SHLVL=0\n", quote(path))
		return b.String()
	}
	name := a.envName(before)
	fmt.Fprintf(&b, "export PATH=%s\nexport CONDA_PREFIX=%s\nexport CONDA_SHLVL=%d\nexport CONDA_DEFAULT_ENV=%s\n"+
		"unset CONDA_PREFIX_%d\n", quote(filepath.Join(before, "bin")+":"+path), quote(before), n, quote(name), n)
	for _, s := range scripts(before, "activate.d") {
		fmt.Fprintf(&b, ". %s\n", quote(s))
	}
	return b.String()
}

// runIn is conda run: a program in an activated environment.
func (a *app) runIn(ctx context.Context) error {
	prefix, err := a.target()
	if err != nil {
		return err
	}
	if !isEnv(prefix) {
		return newError("EnvironmentLocationNotFound", "Not a conda environment: %s", prefix)
	}
	if len(a.opts.specs) == 0 {
		return newError("ArgumentError", "conda run: the following arguments are required: executable_call")
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", a.activation(prefix) + "exec \"$@\"", "sh"},
		a.opts.specs...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState != nil {
			printf(a.stderr, "\nERROR conda.cli.main_run:execute(): `conda run %s` failed. (See above for error)\n",
				strings.Join(a.opts.specs, " "))
			return statusError(cmd.ProcessState.ExitCode())
		}
		return err
	}
	return nil
}

const (
	initBegin = "# >>> conda initialize >>>"
	initEnd   = "# <<< conda initialize <<<"
)

// initShell is conda init: a block in ~/.bashrc, between conda's own marks, replaced where it is there already.
func (a *app) initShell(args []string) error {
	for _, arg := range args {
		if arg != "bash" && arg != "--all" && arg != "-q" && arg != "-v" {
			return newError("ArgumentError", "conda init: this stand-in initialises bash alone, not %s", arg)
		}
	}
	file := filepath.Join(home(), ".bashrc")
	data, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	text := string(data)
	if i, j := strings.Index(text, initBegin), strings.Index(text, initEnd); i >= 0 && j > i {
		text = strings.TrimSuffix(text[:i], "\n") + strings.TrimPrefix(text[j+len(initEnd):], "\n")
	}
	text = strings.TrimSuffix(text, "\n")
	if text != "" {
		text += "\n\n"
	}
	text += fmt.Sprintf("%s\n# This block is managed by 'conda init' (a stand-in for tests; not conda).\n. %s\n"+
		"conda activate base\n%s\n", initBegin, quote(filepath.Join(rootPrefix(), "etc", "profile.d", "conda.sh")),
		initEnd)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	printf(a.stdout, "modified      %s\n\n"+
		"==> For changes to take effect, close and re-open your current shell. <==\n\n", file)
	return nil
}
