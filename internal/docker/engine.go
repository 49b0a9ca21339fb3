package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
)

// IsNotFound says that the container, image or volume of a call is not there.
func IsNotFound(err error) bool { return cerrdefs.IsNotFound(err) }

// IsConflict says that the Engine refused a call because of what is there: the name is taken, or the volume or image
// is in use.
func IsConflict(err error) bool {
	// podman 4.3 says 500 of a container's name that is taken, where Docker says 409.
	return cerrdefs.IsConflict(err) || cerrdefs.IsInternal(err) && strings.Contains(err.Error(), "is already in use")
}

// Info is what an Engine says about itself and its host.
type Info struct {
	Name    string // of the host
	Version string // of the Engine: 20.10.24
	CPUs    int
	Memory  int64     // bytes
	Arch    string    // as the kernel says it: x86_64
	Root    string    // where the Engine keeps images
	Time    time.Time // the host's clock; zero when the Engine's answer cannot be read
	GPUs    bool      // a runtime for GPUs is installed; the Engine does not say how many GPUs
	// GraphDriver says that images are kept unpacked by a graph driver, not in containerd's image store.
	GraphDriver bool
	// Rootless says that the Engine runs as a user other than root, by RootlessKit.
	Rootless bool
}

// Info asks the Engine about its host.
func (h *Host) Info(ctx context.Context) (Info, error) {
	res, err := h.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return Info{}, h.fail("ask the Engine of", "", err)
	}
	i := res.Info
	_, nvidia := i.Runtimes["nvidia"]
	out := Info{Name: i.Name, Version: i.ServerVersion, CPUs: i.NCPU, Memory: i.MemTotal, Arch: i.Architecture,
		Root: i.DockerRootDir,
		GPUs: nvidia || len(i.DiscoveredDevices) > 0, GraphDriver: true,
		Rootless: slices.Contains(i.SecurityOptions, "name=rootless")}
	for _, pair := range i.DriverStatus {
		if pair == [2]string{"driver-type", "io.containerd.snapshotter.v1"} { // as buildx tells them apart, too
			out.GraphDriver = false
		}
	}
	if t, err := time.Parse(time.RFC3339Nano, i.SystemTime); err == nil {
		out.Time = t
	}
	return out, nil
}

// fail says what was done where, and the true cause.
func (h *Host) fail(verb, noun string, err error) error {
	if err == nil {
		return nil
	}
	if noun != "" {
		verb += fmt.Sprintf(" %q on", noun)
	}
	return fmt.Errorf("%s %s: %w", verb, h.target, unanswered(h.explain(err)))
}

// Container describes a container as a list of containers shows it.
type Container struct {
	ID      string
	Name    string
	State   string            // created, running, paused, restarting, removing, exited, dead
	Labels  map[string]string // those that it was made with, and those of its image
	Made    time.Time         // when it was made, by the host's clock, to a second in a list
	ImageID string            // of its image; in a list only
	Young   bool              // it runs for less than a minute; in a list only
	Kept    map[string]string // where the host keeps what is mounted, by its place in the container; in a list only
}

// Containers lists the containers that have a label, also those that do not run. label is key or key=value.
func (h *Host) Containers(ctx context.Context, label string) ([]Container, error) {
	res, err := h.api.ContainerList(ctx, client.ContainerListOptions{All: true,
		Filters: client.Filters{}.Add("label", label)})
	if err != nil {
		return nil, h.fail("list containers of", "", err)
	}
	out := make([]Container, len(res.Items))
	for i, c := range res.Items {
		out[i] = Container{ID: c.ID, State: string(c.State), Labels: c.Labels, ImageID: c.ImageID,
			Made: time.Unix(c.Created, 0)}
		// "Up 3 seconds": go-units' words
		out[i].Young = out[i].State == "running" && strings.Contains(c.Status, "second")
		if len(c.Names) > 0 {
			out[i].Name = strings.TrimPrefix(c.Names[0], "/")
		}
		for _, m := range c.Mounts {
			if out[i].Kept == nil {
				out[i].Kept = map[string]string{}
			}
			out[i].Kept[m.Destination] = m.Source
		}
	}
	return out, nil
}

// Detail describes a container as an inspection shows it.
type Detail struct {
	Container
	Running  bool
	ExitCode int
	OOM      bool      // the kernel killed it for its memory
	Restarts int       // by its restart policy
	Started  time.Time // zero: never
	// its program began after this: the end of the run before, or the making of the container
	Before  time.Time
	Error   string            // why it could not be started
	Image   string            // as it was created with
	Volumes map[string]string // names of its volumes, by where they are in it
}

// Inspect inspects one container by its ID or name.
func (h *Host) Inspect(ctx context.Context, id string) (Detail, error) {
	res, err := h.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return Detail{}, h.fail("look at container", id, err)
	}
	c := res.Container
	d := Detail{Container: Container{ID: c.ID, Name: strings.TrimPrefix(c.Name, "/")}, Restarts: c.RestartCount}
	if c.Config != nil {
		d.Labels, d.Image = c.Config.Labels, c.Config.Image
	}
	for _, m := range c.Mounts {
		if m.Type == mount.TypeVolume {
			if d.Volumes == nil {
				d.Volumes = map[string]string{}
			}
			d.Volumes[m.Destination] = m.Name
		}
	}
	if s := c.State; s != nil {
		d.State, d.Running, d.ExitCode, d.OOM, d.Error = string(s.Status), s.Running, s.ExitCode, s.OOMKilled, s.Error
		d.Started, d.Before = timeOf(s.StartedAt), timeOf(s.FinishedAt)
	}
	if d.Made = timeOf(c.Created); d.Made.After(d.Before) {
		d.Before = d.Made
	}
	return d, nil
}

// timeOf reads a time of an Engine; zero: it says none.
func timeOf(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}

// Create describes a container. The zero value of a field is the Engine's default.
type Create struct {
	Name, Image     string
	Cmd             []string // exec form; the image's entrypoint does not come into it
	Env             []string // KEY=VALUE
	Labels          map[string]string
	Network         string // "host", "none", …
	Init            bool   // an init process reaps what is left behind
	Restart         string // unless-stopped, …
	StopTimeout     int    // seconds
	Ulimits         []Ulimit
	SHM             int64 // bytes of /dev/shm
	GPUs            int
	GPUIDs          []string // the numbers of GPUs; none: the first ones
	NoNewPrivileges bool
	DropCaps        []string // capabilities that it does not get: ALL, or names without CAP_
	AddCaps         []string // and those that it gets beside the Engine's own, or beside none
	ReadOnly        bool     // it cannot write to its root
	NoSELinux       bool     // it may read files of the host that SELinux keeps from containers
	Pids            int64    // most processes
	Memory          int64    // most bytes of memory
	Mounts          []Mount
	Devices         []Device
	CDI             []string // names of devices of the Container Device Interface
	Groups          []string // further groups of its user
	Runtime         string   // of the Engine; "": its default
}

// Ulimit is a limit of processes, soft and hard.
type Ulimit struct {
	Name  string // memlock, nofile, …
	Limit int64  // -1: none
}

// Device is a device of the host.
type Device struct {
	Source, Target string
	May            string // read, write, make a node: some of "rwm"
}

// Mount is a directory of the host, or a volume, in a container.
type Mount struct {
	Volume         bool
	Source, Target string
	ReadOnly       bool
}

// Create makes a container and does not start it. A name that is taken is an error for which IsConflict holds.
func (h *Host) Create(ctx context.Context, c Create) (string, error) {
	cfg := &container.Config{Image: c.Image, Env: c.Env, Labels: c.Labels}
	if len(c.Cmd) > 0 {
		cfg.Entrypoint, cfg.Cmd = c.Cmd[:1], c.Cmd[1:]
	}
	if c.StopTimeout > 0 {
		cfg.StopTimeout = &c.StopTimeout
	}
	host := &container.HostConfig{NetworkMode: container.NetworkMode(c.Network), ShmSize: c.SHM,
		CapDrop: c.DropCaps, CapAdd: c.AddCaps, ReadonlyRootfs: c.ReadOnly,
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyMode(c.Restart)}}
	if c.Init {
		host.Init = &c.Init
	}
	for _, u := range c.Ulimits {
		host.Ulimits = append(host.Ulimits, &container.Ulimit{Name: u.Name, Soft: u.Limit, Hard: u.Limit})
	}
	host.GroupAdd, host.Runtime = c.Groups, c.Runtime
	if c.NoNewPrivileges {
		host.SecurityOpt = []string{"no-new-privileges"}
	}
	if c.NoSELinux {
		host.SecurityOpt = append(host.SecurityOpt, "label=disable")
	}
	if c.Pids > 0 {
		host.PidsLimit = &c.Pids
	}
	host.Memory = c.Memory
	if c.GPUs > 0 {
		host.DeviceRequests = []container.DeviceRequest{{Count: c.GPUs, Capabilities: [][]string{{"gpu"}}}}
		if len(c.GPUIDs) > 0 { // an Engine takes one of the two
			host.DeviceRequests[0].Count, host.DeviceRequests[0].DeviceIDs = 0, c.GPUIDs
		}
	}
	for _, d := range c.Devices {
		host.Devices = append(host.Devices, container.DeviceMapping{PathOnHost: d.Source, PathInContainer: d.Target,
			CgroupPermissions: d.May})
	}
	if len(c.CDI) > 0 {
		host.DeviceRequests = append(host.DeviceRequests, container.DeviceRequest{Driver: "cdi", DeviceIDs: c.CDI})
	}
	for _, m := range c.Mounts {
		kind := mount.TypeBind
		if m.Volume {
			kind = mount.TypeVolume
		}
		host.Mounts = append(host.Mounts, mount.Mount{Type: kind, Source: m.Source, Target: m.Target,
			ReadOnly: m.ReadOnly})
	}
	ctx, why, stop := h.attend(ctx)
	defer stop()
	res, err := h.api.ContainerCreate(ctx, client.ContainerCreateOptions{Name: c.Name, Config: cfg, HostConfig: host})
	return res.ID, h.fail("create container", c.Name, why(err))
}

// Start starts a container. It does nothing if the container runs.
func (h *Host) Start(ctx context.Context, id string) error {
	ctx, why, stop := h.attend(ctx)
	defer stop()
	_, err := h.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return h.fail("start container", short(id), why(err))
}

// Stop ends a container, within the container's stop time-out. It is no error if the container is not there.
func (h *Host) Stop(ctx context.Context, id string) error {
	ctx, why, stop := h.attend(ctx)
	defer stop()
	_, err := h.api.ContainerStop(ctx, id, client.ContainerStopOptions{})
	if IsNotFound(err) {
		return nil
	}
	return h.fail("stop container", short(id), why(err))
}

// Remove removes a container with its anonymous volumes, by its ID or name, also if it runs. It is no error if the
// container is not there.
func (h *Host) Remove(ctx context.Context, id string) error {
	ctx, why, stop := h.attend(ctx)
	defer stop()
	_, err := h.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if IsNotFound(err) {
		return nil
	}
	return h.fail("remove container", short(id), why(err))
}

func short(id string) string {
	if len(id) == 64 {
		return id[:12]
	}
	return id
}

// TarFile makes a tar of one file that belongs to root.
func TarFile(name string, mode int64, data []byte) io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	// A write into memory fails only on a bad header, which this is not.
	//nolint:errcheck // see above
	w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), ModTime: time.Unix(0, 0)})
	w.Write(data) //nolint:errcheck // see above
	w.Close()
	return &b
}

// PutTar unpacks a tar into a directory of a container. The container need not run.
func (h *Host) PutTar(ctx context.Context, id, dir string, tar io.Reader) error {
	ctx, why, stop := h.attend(ctx)
	defer stop()
	_, err := h.api.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: dir, Content: tar})
	return h.fail("copy into container", short(id), why(err))
}

// Dir is a directory of a container.
type Dir struct {
	UID, GID int
	Empty    bool
}

// Dir looks at a directory of a container. The container need not run.
func (h *Host) Dir(ctx context.Context, id, path string) (Dir, error) {
	fail := func(err error) (Dir, error) { return Dir{}, h.fail("look at "+path+" of container", short(id), err) }
	res, err := h.api.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: path})
	if err != nil {
		return fail(err)
	}
	defer res.Content.Close() // only its beginning is wanted
	t := tar.NewReader(res.Content)
	head, err := t.Next()
	if err != nil {
		return fail(err)
	}
	if head.Typeflag != tar.TypeDir {
		return fail(errors.New("it is no directory"))
	}
	if _, err = t.Next(); err != nil && !errors.Is(err, io.EOF) {
		return fail(err)
	}
	return Dir{UID: head.Uid, GID: head.Gid, Empty: err != nil}, nil
}

// Own gives a directory of a container to an owner. The container need not run.
func (h *Host) Own(ctx context.Context, id, path string, uid, gid int) error {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	// A write into memory fails only on a bad header, which this is not.
	//nolint:errcheck // see above
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(path, "/") + "/", Mode: 0o755, Uid: uid,
		Gid: gid, ModTime: time.Unix(0, 0)})
	w.Close()
	return h.PutTar(ctx, id, "/", &b)
}

// ReadFile reads a file of a container. The file has at most 1 MiB, and the container need not run.
func (h *Host) ReadFile(ctx context.Context, id, path string) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, h.fail("read "+path+" of container", short(id), err) }
	res, err := h.api.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: path})
	if err != nil {
		return fail(err)
	}
	defer res.Content.Close() // only its first file is wanted
	t := tar.NewReader(res.Content)
	head, err := t.Next()
	if err != nil {
		return fail(err)
	}
	if head.Size > 1<<20 {
		return fail(errors.New("it is larger than 1 MiB"))
	}
	data, err := io.ReadAll(t)
	if err != nil {
		return fail(err)
	}
	return data, nil
}
