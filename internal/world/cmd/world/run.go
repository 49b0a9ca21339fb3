package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
)

func runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run IMAGE COMMAND [ARG…]",
		Short: "Pull an image from its registry and run a command in it with runc",
		Long: `run pulls every layer of IMAGE (this machine's platform), unpacks it into a
temporary directory, and runs COMMAND there as a container does: by the image's
user, in its working directory, with its variables; without network and without
capabilities. It needs root, runc and tar, and no Docker.`,
		Args:               cobra.MinimumNArgs(2),
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			return runImage(c.Context(), args[0], args[1:], c.OutOrStdout(), c.ErrOrStderr())
		},
	}
}

// runImage runs a command in a pulled image, and removes what was unpacked.
func runImage(ctx context.Context, ref string, command []string, stdout, stderr io.Writer) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("run an image: only root can: its files belong to several users")
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return fmt.Errorf("read reference %q: %w", ref, err)
	}
	image, err := remote.Image(parsed, remote.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("pull image %q: %w", ref, err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("pull image %q: %w", ref, err)
	}
	bundle, err := os.MkdirTemp("", "raybuild-run-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bundle)) }()
	root := filepath.Join(bundle, "rootfs")
	if err := unpack(ctx, image, root); err != nil {
		return fmt.Errorf("unpack image %q: %w", ref, err)
	}
	if err := writeHosts(root); err != nil {
		return err
	}
	if err := writeSpec(ctx, bundle, config.Config, command); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "runc", "run", "--bundle", bundle, filepath.Base(bundle))
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %q in image %q: %w", command[0], ref, err)
	}
	return nil
}

// unpack lays the merged layers out below dir. tar is what knows every kind of entry.
func unpack(ctx context.Context, image v1.Image, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	files := mutate.Extract(image)
	defer func() { _ = files.Close() }()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "tar", "-x", "-p", "--numeric-owner", "--xattrs", "-C", dir)
	cmd.Stdin, cmd.Stderr = files, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// writeSpec writes the bundle's config.json: runc's own default, with what the image says.
func writeSpec(ctx context.Context, bundle string, c v1.Config, command []string) error {
	if out, err := exec.CommandContext(ctx, "runc", "spec", "--bundle", bundle).CombinedOutput(); err != nil {
		return fmt.Errorf("write a container's specification: %w: %s", err, bytes.TrimSpace(out))
	}
	file := filepath.Join(bundle, "config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return fmt.Errorf("read %q: %w", file, err)
	}
	user, err := numericUser(c.User)
	if err != nil {
		return err
	}
	spec.Process.Terminal = false
	spec.Process.User = user
	spec.Process.Args = command
	spec.Process.Cwd = "/"
	if c.WorkingDir != "" {
		spec.Process.Cwd = c.WorkingDir
	}
	home, err := homeOf(filepath.Join(bundle, "rootfs/etc/passwd"), user.UID)
	if err != nil {
		return err
	}
	spec.Process.Env = append([]string{"HOME=" + home}, c.Env...)
	spec.Process.Capabilities = &specs.LinuxCapabilities{}
	spec.Root.Readonly = false
	spec.Hostname = "raybuild"
	enlargeShm(spec.Mounts)
	if spec.Process.Rlimits, err = openFiles(); err != nil {
		return err
	}
	if data, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// openFiles lets a process have as many files open as Ray asks for in a production cluster, or as this one may have.
func openFiles() ([]specs.POSIXRlimit, error) {
	var here syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &here); err != nil {
		return nil, fmt.Errorf("ask how many files a process may have open: %w", err)
	}
	n := min(here.Max, 65536)
	return []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: n, Soft: n}}, nil
}

// enlargeShm lifts runc's limit of 64 MB on shared memory, which is too little for Ray's object
// store. Linux's own, half of the machine's memory, stays.
func enlargeShm(mounts []specs.Mount) {
	for i, m := range mounts {
		if m.Destination == "/dev/shm" {
			mounts[i].Options = slices.DeleteFunc(m.Options,
				func(o string) bool { return strings.HasPrefix(o, "size=") })
		}
	}
}

// writeHosts gives the container the files that engines give each one: without them nothing is
// called localhost. A link in the image that leads out of it is an error.
func writeHosts(root string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // a directory
	if err := r.MkdirAll("etc", 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"etc/hosts": "127.0.0.1\tlocalhost raybuild\n::1\tlocalhost\n",
		"etc/hostname": "raybuild\n"} {
		if err := r.Remove(name); err != nil && !os.IsNotExist(err) { // it may be a link to another file
			return err
		}
		if err := r.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// numericUser reads an image's user, "1000:1000", "1000", or "" for root. A name would have to be
// looked up in the image, and raybuild's images have numbers.
func numericUser(user string) (specs.User, error) {
	if user == "" {
		return specs.User{}, nil
	}
	uid, gid, _ := strings.Cut(user, ":")
	u, err := strconv.ParseUint(uid, 10, 32)
	g := uint64(0)
	if err == nil && gid != "" {
		g, err = strconv.ParseUint(gid, 10, 32)
	}
	if err != nil {
		return specs.User{}, fmt.Errorf("read the image's user %q: want UID or UID:GID", user)
	}
	return specs.User{UID: uint32(u), GID: uint32(g)}, nil
}

// homeOf is a user's home, as container engines set it where the image does not.
func homeOf(passwd string, uid uint32) (string, error) {
	f, err := os.Open(passwd)
	if os.IsNotExist(err) {
		return "/", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if p := strings.Split(lines.Text(), ":"); len(p) > 5 && p[2] == strconv.FormatUint(uint64(uid), 10) {
			return p[5], nil
		}
	}
	return "/", lines.Err()
}
