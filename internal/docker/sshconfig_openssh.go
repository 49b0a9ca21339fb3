package docker

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// opensshTime limits how long ssh may take to read its configuration: Match exec runs commands.
const opensshTime = 10 * time.Second

// settings are what a client configuration says of one host. Keys are those of ssh_config(5), in any case.
type settings interface {
	// get is the first value of a key, or "".
	get(key string) string
	// all are the values of a key that adds up.
	all(key string) ([]string, error)
}

// opensshSettings are what ssh(1) itself makes of a configuration, by lower-case key.
type opensshSettings map[string][]string

func (s opensshSettings) get(key string) string {
	if all := s[strings.ToLower(key)]; len(all) > 0 {
		return all[0]
	}
	return ""
}

func (s opensshSettings) all(key string) ([]string, error) { return s[strings.ToLower(key)], nil }

// askOpenSSH asks ssh(1) what a configuration says of a host. It connects to nothing. It is for what only ssh
// understands: Match exec, user, localuser, canonical, tagged, localnetwork.
func askOpenSSH(ctx context.Context, program, file string, t Target) (opensshSettings, error) {
	args := []string{"-G", "-F", file}
	if t.User != "" {
		args = append(args, "-l", t.User)
	}
	if t.Port != 0 {
		args = append(args, "-p", strconv.Itoa(t.Port))
	}
	ctx, cancel := context.WithTimeout(ctx, opensshTime)
	defer cancel()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, append(args, "--", t.Address)...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &said, time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s: does a command of Match exec hang?", opensshTime)
		}
		return nil, fmt.Errorf("ask ssh what SSH configuration %q says of %q: %w: %s; name another file with "+
			"--ssh-config, or none", file, t.Address, err, strings.TrimSpace(said.String()))
	}
	return readOpenSSH(out.String()), nil
}

// readOpenSSH reads the answer of ssh -G: a key in lower case and its value on each line. It leaves out the private
// keys that ssh names of itself: whether they are there is looked at in any case.
func readOpenSSH(text string) opensshSettings {
	s := opensshSettings{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || key == "identityfile" && defaultIdentity(value) {
			continue
		}
		s[key] = append(s[key], value)
	}
	return s
}

// defaultIdentity tells whether a private key is one that ssh tries though nobody names it, and that is not there.
func defaultIdentity(file string) bool {
	rest, ok := strings.CutPrefix(file, "~/.ssh/id_")
	if !ok {
		return false
	}
	_, err := os.Stat(inHome(".ssh/id_" + rest))
	return err != nil
}

// knownFiles are the files of host keys that a configuration names. People name /dev/null to have no host checked;
// raybuild checks all of them.
func knownFiles(s settings) []string {
	var files []string
	for _, key := range []string{"UserKnownHostsFile", "GlobalKnownHostsFile"} {
		for _, f := range strings.Fields(s.get(key)) {
			if f = strings.Trim(f, `"`); f != "none" && f != os.DevNull {
				files = append(files, f)
			}
		}
	}
	return files
}

// usualHosts tells whether a file is one that ssh reads if its configuration names none.
func usualHosts(file string) bool {
	return slices.Contains([]string{inHome(".ssh/known_hosts"), inHome(".ssh/known_hosts2"),
		"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}, file)
}
