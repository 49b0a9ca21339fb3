package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxRunDir bounds the directory of the sockets: BuildKit adds up to 45 bytes
// for a forwarded socket (".buildkit-ssh-sockN/ssh_auth_sock") below TMPDIR.
const maxRunDir = 56

// place is where one instance lives on disk.
type place struct {
	dir string // state directory: locks, log, BuildKit's own state
	run string // directory of the socket and of temporary files; dir itself if that is short
}

func (p place) socket() string    { return filepath.Join(p.run, "engine.sock") }
func (p place) tmp() string       { return filepath.Join(p.run, "tmp") }
func (p place) log() string       { return filepath.Join(p.dir, "engine.log") }
func (p place) pidFile() string   { return filepath.Join(p.dir, "engine.pid") }
func (p place) startLock() string { return filepath.Join(p.dir, "start.lock") }
func (p place) rootLock() string  { return filepath.Join(p.dir, "engine.lock") }
func (p place) state() string     { return filepath.Join(p.dir, "state") }
func (p place) pointer() string   { return filepath.Join(p.dir, "run") }

// locate makes the state directory of the instance and finds its run directory.
func locate(home, instance string) (place, error) {
	if home == "" {
		return place{}, errors.New("start engine: no home directory given")
	}
	dir, err := filepath.Abs(filepath.Join(home, "engine", instance))
	if err != nil {
		return place{}, fmt.Errorf("start engine in %q: %w", home, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return place{}, homeError(dir, err)
	}
	// One spelling for one directory, or two engines would meet in it.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return place{}, homeError(dir, err)
	}
	if err := private(dir); err != nil {
		return place{}, err
	}
	p := place{dir: dir, run: dir}
	if len(dir) <= maxRunDir {
		return p, nil
	}
	p.run, err = p.shortRun()
	return p, err
}

// shortRun gives the run directory that was chosen for a long dir before, or
// chooses one: all callers must agree on it, whatever their environment is.
func (p place) shortRun() (string, error) {
	for range 3 {
		if b, err := os.ReadFile(p.pointer()); err == nil {
			run := strings.TrimSpace(string(b))
			if len(run) <= maxRunDir && filepath.IsAbs(run) && makeRun(run) == nil {
				return run, nil
			}
			os.Remove(p.pointer())
		}
		run, err := chooseRun(p.dir)
		if err != nil {
			return "", err
		}
		if err := p.writePointer(run); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("choose a directory for the socket of %q: %s changes all the time", p.dir, p.pointer())
}

// writePointer records run unless another caller was faster: written beside
// and linked in, so that one wins, whole.
func (p place) writePointer(run string) error {
	tmp, err := os.CreateTemp(p.dir, "run-*")
	if err != nil {
		return homeError(p.dir, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(run + "\n")
	if err = errors.Join(err, tmp.Close()); err != nil {
		return homeError(p.dir, err)
	}
	if err := os.Link(tmp.Name(), p.pointer()); err != nil && !errors.Is(err, fs.ErrExist) {
		return homeError(p.dir, err)
	}
	return nil
}

// chooseRun makes a private directory with a short path for dir.
func chooseRun(dir string) (string, error) {
	sum := sha256.Sum256([]byte(dir))
	var errs []error
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/tmp", "/run"} {
		run := filepath.Join(base, "raybuild-"+strconv.Itoa(os.Geteuid()), hex.EncodeToString(sum[:6]))
		if !filepath.IsAbs(base) || len(run) > maxRunDir {
			continue
		}
		err := makeRun(run)
		if err == nil {
			return run, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("make a short directory for the socket of %q: %w; choose a RAYBUILD_HOME of at most 30 bytes",
		dir, errors.Join(errs...))
}

// makeRun makes run and its parent, both for this user alone. The parent is
// checked before anything is made in it: /tmp is everybody's.
func makeRun(run string) error {
	for _, d := range []string{filepath.Dir(run), run} {
		if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := private(d); err != nil {
			return err
		}
	}
	return nil
}

// private reports an error unless path is a directory of this user alone.
func private(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("look at %q: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("use %q: not a directory", path)
	}
	if int(st.Uid) != os.Geteuid() {
		return &Error{Kind: ErrInUse, Detail: fmt.Sprintf("%s belongs to uid %d, this is uid %d", path, st.Uid,
			os.Geteuid()),
			Fix: "set RAYBUILD_HOME to a directory of your own"}
	}
	if st.Mode&0o077 != 0 {
		if err := os.Chmod(path, 0o700); err != nil {
			return fmt.Errorf("make %q private: %w", path, err)
		}
	}
	return nil
}

// homeError says why nothing can be written below RAYBUILD_HOME.
func homeError(path string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &Error{Kind: ErrNoSpace, Detail: fmt.Sprintf("write %s: %v", path, err),
			Fix: fixSpace}
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return fmt.Errorf("use engine directory %q: %w; set RAYBUILD_HOME to a directory that you may write", path, err)
	}
	return fmt.Errorf("use engine directory %q: %w", path, err)
}
