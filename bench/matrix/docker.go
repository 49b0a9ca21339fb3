package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raybuild/raybuild/bench/bed"
)

// dockerd is a Docker Engine of the benchmark's own.
type dockerd struct {
	b       *bench
	dir     string // all of its state
	process *exec.Cmd
	ended   chan error
}

// startDockerd starts an engine with nothing in it.
func startDockerd(ctx context.Context, b *bench, name string) (*dockerd, error) {
	dir := filepath.Join(b.Dir, "docker-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	d := &dockerd{b: b, dir: dir, ended: make(chan error, 1)}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the engine has it
	// The engine ends by close alone: a kill would leave its containerd behind.
	d.process = exec.CommandContext(context.WithoutCancel(ctx), b.dockerd, "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", d.address(), "--bridge", "none", "--iptables=false",
		"--ip6tables=false",
		"--storage-driver", "overlay2", "--log-level", "error")
	d.process.Stdout, d.process.Stderr = log, log
	d.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt of the terminal is not for the engine
	if err := d.process.Start(); err != nil {
		return nil, fmt.Errorf("start Docker Engine: %w", err)
	}
	go func() { d.ended <- d.process.Wait() }()
	deadline := time.Now().Add(time.Minute)
	for {
		if _, err = d.docker(ctx, "version"); err == nil {
			return d, nil
		}
		select {
		case err := <-d.ended:
			d.ended <- err // for close
			return nil, fmt.Errorf("start Docker Engine: it ended:\n%s", fileText(filepath.Join(dir, "log")))
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), d.close())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("start Docker Engine: no answer in a minute: %w", err), d.close())
		}
	}
}

// address is the engine's. The directory may be deep, and a socket's path is short, so it is
// relative to the working directory.
func (d *dockerd) address() string { return "unix://" + filepath.Join(d.dir, "s") }

func (d *dockerd) cmd(ctx context.Context, args ...string) *exec.Cmd {
	cmd := d.b.Cmd(ctx, d.dir, d.b.docker, append([]string{"--host", d.address()}, args...)...)
	cmd.Env = append(cmd.Env, "DOCKER_BUILDKIT=1", "DOCKER_CONFIG="+filepath.Join(d.dir, "config"))
	return cmd
}

func (d *dockerd) docker(ctx context.Context, args ...string) (string, error) {
	_, said, err := timed(d.cmd(ctx, args...))
	return said, err
}

// close ends the engine and takes away what it has.
func (d *dockerd) close() error {
	if err := d.process.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-d.ended:
		if err != nil {
			return fmt.Errorf("end Docker Engine: %w", err)
		}
	case <-time.After(30 * time.Second):
		return fmt.Errorf("end Docker Engine of process %d: it runs on after 30 s", d.process.Process.Pid)
	}
	if err := d.unmount(); err != nil {
		return err
	}
	return d.b.Discard(d.dir)
}

// unmount lets go of what the engine leaves mounted: the network namespace of containers that have the host's.
func (d *dockerd) unmount() error {
	for line := range strings.Lines(fileText("/proc/self/mounts")) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], d.dir+"/") {
			if err := unix.Unmount(fields[1], unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %q: %w", fields[1], err)
			}
		}
	}
	return nil
}

// engines are a peer's engine, and the one that comes back.
type engines struct {
	b         *bench
	now, kept *dockerd
	n         int
}

func (e *engines) fresh(ctx context.Context, name string, keep bool) (err error) {
	switch {
	case keep:
		e.kept = e.now
	case e.now != nil:
		if err := e.now.close(); err != nil {
			return err
		}
	}
	e.n++
	e.now, err = startDockerd(ctx, e.b, fmt.Sprintf("%s-%d", name, e.n))
	return err
}

func (e *engines) restore(context.Context) error {
	err := e.now.close()
	e.now, e.kept = e.kept, nil
	return err
}

func (e *engines) close(context.Context) error {
	var errs []error
	for _, d := range []*dockerd{e.now, e.kept} {
		if d != nil {
			errs = append(errs, d.close())
		}
	}
	return errors.Join(errs...)
}

// dockerBuild is docker build and docker push. The engine's own frontend may be older than
// BuildKit's: it gets the Dockerfile without what that would not read.
type dockerBuild struct{ engines }

func (d *dockerBuild) fresh(ctx context.Context, keep bool) error {
	return d.engines.fresh(ctx, "build", keep)
}

func (d *dockerBuild) context(v *variation) bed.Context {
	dir := filepath.Join(v.dir, "docker")
	return bed.Context{Dir: dir, Dockerfile: dir, Lock: v.lock, Mirror: v.mirror, List: bigLists()}
}

func (d *dockerBuild) prepare(_ context.Context, v *variation) error {
	return writeDockerfile(d.context(v), v, false)
}

func (d *dockerBuild) build(ctx context.Context, v *variation, ref, cache string) (took, error) {
	c := d.context(v)
	values, err := c.BuildArgs()
	if err != nil {
		return took{}, err
	}
	args := []string{"build", "--progress", "plain", "--network", "host", "--tag", ref, "--build-arg",
		"BUILDKIT_INLINE_CACHE=1"}
	for _, value := range values {
		args = append(args, "--build-arg", value)
	}
	if cache != "" {
		args = append(args, "--cache-from", cache)
	}
	seconds, said, err := timed(d.now.cmd(ctx, append(args, c.Dir)...))
	if err != nil {
		return took{}, err
	}
	pushing, _, err := timed(d.now.cmd(ctx, "push", "--quiet", ref))
	return took{seconds + pushing, stepsRun(said)}, err
}

func (d *dockerBuild) keepCache(context.Context, *variation, string) error { return nil } // it is in the image

// commit is the way without any file: a container is run, commands are typed into it, and what came of it is an image.
type commit struct{ engines }

func (c *commit) fresh(ctx context.Context, keep bool) error {
	return c.engines.fresh(ctx, "commit", keep)
}

func (c *commit) prepare(_ context.Context, v *variation) error {
	return writeDockerfile(c.context(v), v, false)
}

func (c *commit) context(v *variation) bed.Context {
	return bed.Context{Dir: filepath.Join(v.dir, "commit"), Dockerfile: v.dir, Lock: v.lock, Mirror: v.mirror}
}

func (c *commit) keepCache(context.Context, *variation, string) error { return nil } // there is none

// build types all commands, whatever changed: nothing knows what the image before was made of.
func (c *commit) build(ctx context.Context, v *variation, ref, _ string) (took, error) {
	values, err := c.context(v).BuildArgs()
	if err != nil {
		return took{}, err
	}
	args := map[string]string{}
	for _, value := range values {
		name, value, _ := strings.Cut(value, "=")
		args[name] = value
	}
	start := time.Now()
	typed := c.commands(v, args, ref)
	for _, command := range typed {
		if _, err := c.now.docker(ctx, command...); err != nil {
			return took{}, err
		}
	}
	out := took{time.Since(start).Seconds(), len(typed)}
	_, err = c.now.docker(ctx, "rm", "--force", "ray")
	return out, err
}

func (c *commit) commands(v *variation, args map[string]string, ref string) [][]string {
	dir := c.context(v).Dir
	exec := func(script string) []string { return []string{"exec", "ray", "bash", "-ec", script} }
	out := [][]string{
		{"run", "--detach", "--name", "ray", "--network", "host", args["BASE"], "sleep", "infinity"},
		{"cp", dir + "/.", "ray:/tmp/context"},
		exec("useradd --uid 1000 --gid 100 --no-create-home --shell /bin/bash ray; install -d -o 1000 -g " +
			"100 /home/ray"),
		exec("cp /etc/apt/sources.list.d/debian.sources /tmp/original; cp /tmp/context/debian.sources " +
			"/etc/apt/sources.list.d/debian.sources; apt-get update -q"),
		exec("xargs apt-get install -yq --no-install-recommends < /tmp/context/apt.txt; cp /tmp/original " +
			"/etc/apt/sources.list.d/debian.sources"),
		exec("wget -q -O /tmp/installer.sh " + args["INSTALLER_URL"] + "; sh /tmp/installer.sh -b -p /opt/conda"),
		exec("CONDA_REGISTER_ENVS=false /opt/conda/bin/conda create -yq -p /opt/conda/envs/ray --file " +
			"/tmp/context/explicit.txt"),
		exec("cd /tmp/context; /opt/conda/envs/ray/bin/python -m pip install -q --no-deps " +
			"--disable-pip-version-check --root-user-action=ignore --index-url " +
			args["PIP_INDEX_URL"] + " -r requirements.txt -r ray.txt"),
		exec("cp /tmp/context/activate.sh /etc/profile.d/raybuild.sh; cp -r /tmp/context/app /home/ray/; chown -R " +
			"1000:100 /home/ray; [ ! -d /tmp/context/mirrors ] || cp -r /tmp/context/mirrors/. /; rm -rf /tmp/*"),
	}
	image := []string{"commit", "--change", "USER 1000:100", "--change", "WORKDIR /home/ray", "--change",
		`CMD ["/bin/bash"]`,
		"--change", "ENV HOME=/home/ray CONDA_PREFIX=/opt/conda/envs/ray CONDA_DEFAULT_ENV=ray " +
			"PATH=/opt/conda/envs/ray/bin:/opt/conda/condabin:" +
			"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for k, value := range v.labels {
		image = append(image, "--change", fmt.Sprintf("LABEL %s=%q", k, value))
	}
	return append(out, append(image, "ray", ref), []string{"push", "--quiet", ref})
}
