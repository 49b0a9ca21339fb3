package channel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const module = "github.com/raybuild/raybuild"

// moduleRoot is the directory of this module's sources: the stand-in conda is compiled from them.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(data, []byte("module "+module+"\n")) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find raybuild's sources: not in or above the working directory: the offline " +
				"package world is made from a checkout of raybuild: run it there")
		}
		dir = parent
	}
}

// programs compiles the stand-in conda and the program with a prefix in it.
func (b *builder) programs(ctx context.Context) (conda, where []byte, err error) {
	if conda, err = b.compile(ctx, "conda"); err != nil {
		return nil, nil, err
	}
	if where, err = b.compile(ctx, "where"); err != nil {
		return nil, nil, err
	}
	if !bytes.Contains(where, []byte(placeholder+"/share\x00")) {
		return nil, nil, errors.New("compile program where: its placeholder is not the channel's")
	}
	return conda, where, nil
}

func (b *builder) compile(ctx context.Context, name string) ([]byte, error) {
	to := filepath.Join(b.dir, name+".bin")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", to,
		module+"/internal/world/"+name)
	cmd.Dir = b.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %q: %w\n%s", name, err, out)
	}
	data, err := os.ReadFile(to)
	if err != nil {
		return nil, err
	}
	return data, os.Remove(to)
}

// condaPackage is the stand-in conda as a package of the base environment.
func condaPackage(version string, program []byte) *pkg {
	return &pkg{
		name: "conda", version: version, build: "py311world_0", depends: []string{"python >=3.11,<3.12"},
		summary: "Stand-in for tests; not conda: answers as conda " + version + " does where raybuild's tests need it",
		license: "Apache-2.0",
		entries: []entry{
			{path: "bin/conda", mode: 0o755, data: program},
			{path: "condabin/conda", link: "../bin/conda"},
			{path: "bin/activate", mode: 0o755, data: []byte("#!/bin/sh\n_CONDA_ROOT=\"" + placeholder +
				"\"\n. \"$_CONDA_ROOT/etc/profile.d/conda.sh\" || return $?\nconda activate \"$@\"\n"), prefix: "text"},
			{path: "etc/profile.d/conda.sh", data: []byte(profileScript), prefix: "text"},
		},
	}
}

// profileScript defines the shell function conda, whose activate and deactivate change the shell itself:
// the program prints the lines that do it.
const profileScript = `# Stand-in for tests; not conda.
export CONDA_EXE="` + placeholder + `/bin/conda"
export CONDA_PYTHON_EXE="` + placeholder + `/bin/python"

conda() {
    case "${1:-}" in
        activate | deactivate)
            world_lines=$("$CONDA_EXE" shell.posix "$@") || return
            eval "$world_lines"
            unset world_lines
            ;;
        *) "$CONDA_EXE" "$@" ;;
    esac
}

case "${CONDA_SHLVL:-}" in
    "")
        export CONDA_SHLVL=0
        export PATH="` + placeholder + `/condabin:$PATH"
        ;;
esac
`
