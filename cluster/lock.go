package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

const (
	roleLock    = "lock"
	roleToken   = "token"
	roleVersion = "version"

	// toolImage is an image of one small file that up loads over the API: what containers that never run are made of.
	toolImage = "raybuild-lock:1"

	labelOwner    = "raybuild.lock.owner"    // who: user@machine
	labelProcess  = "raybuild.lock.process"  // which process there, as processID has it
	labelDeadline = "raybuild.lock.deadline" // first deadline; later ones are in leaseFile
	leaseFile     = "lease"
	// with which a name's owner is looked for: on a busy host the Engine takes that long to make a
	// container
	lockPatience = 10 * time.Second
)

func lockName(cluster string) string { return "raybuild-lock-" + cluster }

// LockInfo says who holds the lock of a cluster.
type LockInfo struct {
	Owner    string    `json:"owner"`
	Deadline time.Time `json:"deadline"` // by the host's clock
	Left     float64   `json:"seconds_left"`
}

// LockedError is the error of a launcher if another launcher has the cluster's lock.
type LockedError struct {
	Cluster string
	LockInfo
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s runs `up`, `scale` or `down` on cluster %q now: wait until that ends, then run again (if "+
		"it was killed, its lock ends in %.0f s)", e.Owner, e.Cluster, e.Left)
}

// lock is a cluster's lock: a container whose fixed name the Engine gives to one launcher only. It
// is created and never started. Its lease is judged by the host's clock, so that launchers with
// wrong clocks agree.
type lock struct {
	host    *docker.Host
	cluster string
	id      string
	lease   time.Duration
	stop    context.CancelFunc
	done    chan struct{}
}

// acquire takes the lock of a cluster on a host, breaking one whose lease ran out or whose launcher
// died on this machine. The returned context ends when the lock is lost.
func acquire(ctx context.Context, h *docker.Host, m mark, lease time.Duration) (context.Context, *lock, error) {
	cluster := m.cluster
	fail := func(err error) (context.Context, *lock, error) {
		return ctx, nil, fmt.Errorf("lock cluster %q: %w", cluster, err)
	}
	now, arch, err := hostTime(ctx, h)
	if err != nil {
		return fail(err)
	}
	skew := time.Until(now) // their clock minus ours
	if err := ensureToolImage(ctx, h, arch); err != nil {
		return fail(err)
	}
	// The Engine keeps a name for a container that it is still making: it is taken then, and nobody is seen to hold it.
	for end := time.Now().Add(lockPatience); time.Now().Before(end); time.Sleep(pollFirst / 2) {
		now := time.Now().Add(skew)
		labels := m.labels(roleLock)
		labels[labelOwner], labels[labelProcess] = m.owner, processID()
		labels[labelDeadline] = now.Add(lease).Format(time.RFC3339Nano)
		id, err := h.Create(ctx, docker.Create{Name: lockName(cluster), Image: toolImage, Cmd: []string{"/raybuild"},
			Labels: labels})
		switch {
		case err == nil:
			ctx, k := hold(ctx, &lock{host: h, cluster: cluster, id: id, lease: lease})
			return ctx, k, nil
		case docker.IsNotFound(err): // the down of another cluster took the image away
			err = ensureToolImage(ctx, h, arch)
		case docker.IsConflict(err):
			err = breakStale(ctx, h, cluster, now)
			var busy *LockedError
			if errors.As(err, &busy) {
				return ctx, nil, err
			}
		}
		if err != nil {
			return fail(err)
		}
	}
	return fail(errors.New("it changes hands all the time; run again"))
}

// breakStale removes a lock that nobody holds any more. It removes it by ID: a lock that was taken
// in the meantime stays.
func breakStale(ctx context.Context, h *docker.Host, cluster string, now time.Time) error {
	c, err := h.Inspect(ctx, lockName(cluster))
	if docker.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.Labels[labelRole] != roleLock || c.Labels[labelCluster] != cluster {
		return fmt.Errorf("container %q has the name of the cluster's lock and is not raybuild's; remove or rename it",
			lockName(cluster))
	}
	info := LockInfo{Owner: c.Labels[labelOwner], Deadline: leaseOf(ctx, h, c.ID, c.Labels)}
	info.Left = info.Deadline.Sub(now).Seconds()
	if info.Left > 0 && !processIsDead(c.Labels[labelProcess]) {
		return &LockedError{Cluster: cluster, LockInfo: info}
	}
	err = h.Remove(ctx, c.ID)
	if docker.IsConflict(err) { // being removed by another launcher
		return nil
	}
	return err
}

// leaseOf reads a lock's deadline: the file that renewals write, else its first one.
func leaseOf(ctx context.Context, h *docker.Host, id string, labels map[string]string) time.Time {
	first, _ := time.Parse(time.RFC3339Nano, labels[labelDeadline])
	data, err := h.ReadFile(ctx, id, "/"+leaseFile)
	if err != nil {
		return first
	}
	t, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(data)))
	if err != nil || t.Before(first) {
		return first
	}
	return t
}

// hold renews a lock until it is released.
func hold(ctx context.Context, k *lock) (context.Context, *lock) {
	work, lost := context.WithCancelCause(ctx)
	renewing, stop := context.WithCancel(ctx)
	k.stop, k.done = stop, make(chan struct{})
	go func() {
		defer close(k.done)
		tick := time.NewTicker(k.lease / 3)
		defer tick.Stop()
		renewed := time.Now()
		for {
			select {
			case <-renewing.Done():
				return
			case <-tick.C:
			}
			err := k.renew(renewing)
			if err == nil {
				renewed = time.Now()
			} else if time.Since(renewed) > k.lease*2/3 || docker.IsNotFound(err) {
				lost(fmt.Errorf("lost the lock of cluster %q: %w", k.cluster, err))
				return
			}
		}
	}()
	return work, k
}

func (k *lock) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.lease/3)
	defer cancel()
	now, _, err := hostTime(ctx, k.host)
	if err != nil {
		return err
	}
	return k.host.PutTar(ctx, k.id, "/", docker.TarFile(leaseFile, 0o444,
		[]byte(now.Add(k.lease).Format(time.RFC3339Nano))))
}

// release removes the lock, also when the work was cancelled.
func (k *lock) release(ctx context.Context) error {
	k.stop()
	<-k.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := k.host.Remove(ctx, k.id); err != nil {
		return fmt.Errorf("unlock cluster %q: %w (the lock ends by itself in %s)", k.cluster, err, k.lease)
	}
	return nil
}

// hostTime asks for a host's clock, and for Go's name of its CPU, which comes with it.
func hostTime(ctx context.Context, h *docker.Host) (now time.Time, arch string, err error) {
	i, err := h.Info(ctx)
	if err == nil && i.Time.IsZero() {
		err = errors.New("the Engine does not tell its host's time")
	}
	return i.Time, goArch(i.Arch), err
}

// ensureToolImage brings toolImage to where it is missing. arch is that of the host's CPU; empty:
// it is asked for where it matters.
func ensureToolImage(ctx context.Context, h *docker.Host, arch string) error {
	if _, err := h.Image(ctx, toolImage); err == nil || !docker.IsNotFound(err) {
		return err
	}
	if arch == "" {
		i, err := h.Info(ctx)
		if err != nil {
			return err
		}
		arch = goArch(i.Arch)
	}
	tar, err := docker.TinyImage(toolImage, arch, map[string]string{labelRole: roleLock})
	if err != nil {
		return err
	}
	_, err = h.Load(ctx, tar)
	return err
}

// processID names this process so that another one on this machine can tell whether it still lives:
// boot, PID namespace, PID and start time. Empty where /proc does not tell.
func processID() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	start := startTime(os.Getpid())
	if start == "" {
		return ""
	}
	return strings.Join([]string{strings.TrimSpace(string(boot)), ns, strconv.Itoa(os.Getpid()), start}, " ")
}

// processIsDead says that the process ran on this machine and is no more. Of other machines it knows nothing.
func processIsDead(id string) bool {
	theirs, ours := strings.Fields(id), strings.Fields(processID())
	if len(theirs) != 4 || len(ours) != 4 || theirs[0] != ours[0] || theirs[1] != ours[1] {
		return false
	}
	pid, err := strconv.Atoi(theirs[2])
	return err == nil && startTime(pid) != theirs[3]
}

// startTime is field 22 of /proc/PID/stat, in clock ticks since boot; the command's name before it
// may hold blanks and brackets.
func startTime(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	i := bytes.LastIndexByte(data, ')')
	if i < 0 {
		return ""
	}
	f := strings.Fields(string(data[i+1:]))
	if len(f) < 20 || f[0] == "Z" {
		return ""
	}
	return f[19]
}
