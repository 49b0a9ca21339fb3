package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/moby/buildkit/util/db"
	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/raybuild/raybuild/internal/wholefile"
)

// settleDelay is how long after the last client the state is made safe: what one command does after
// the other is one piece of work.
const settleDelay = time.Second

// syncer lets databases change without waiting for the disk while clients are there. A build makes
// some forty changes for each of its steps and artifacts, 6300 for an image of 170 of them, and
// each would wait for a millisecond or two. An engine that is killed loses nothing by it: the
// kernel has what was written. Only a machine that goes down can, and the mark that is on the disk
// all that time tells the next engine not to trust the state (see place.dropUnsynced).
type syncer struct {
	p    place
	boot string // names this run of the kernel; empty: databases always wait
	dbs  []inDatabase

	mu      sync.Mutex
	clients int
	entered int // clients so far
	relaxed bool
}

// inDatabase runs fn while it alone may write to a database.
type inDatabase func(fn func(*bolt.DB)) error

func newSyncer(p place) *syncer {
	boot, err := wholefile.Boot()
	if err != nil {
		logrus.WithError(err).Warn("builds will wait for the disk")
	}
	return &syncer{p: p, boot: boot}
}

// enter counts a client in. Databases stop to wait for the disk when it is the first.
func (s *syncer) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients++
	s.entered++
	if s.relaxed || s.boot == "" {
		return
	}
	if err := writeSynced(s.p.unsynced(), s.boot); err != nil { // a full disk: builds are slower, and as safe as ever
		logrus.WithError(err).Warn("builds wait for the disk")
		return
	}
	s.relaxed = true
	for _, in := range s.dbs {
		if err := in(func(db *bolt.DB) { db.NoSync = true }); err != nil {
			logrus.WithError(err).Warn("a database waits for the disk")
		}
	}
}

// leave counts a client out.
func (s *syncer) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients--
	if s.clients == 0 {
		time.AfterFunc(settleDelay, s.settle)
	}
}

// settle brings what was written to the disk where nobody is connected; later changes, of a
// collection of garbage, wait for the disk again. Files of snapshots come first: that may take long, and a client that
// comes meanwhile does not wait for it.
func (s *syncer) settle() {
	s.mu.Lock()
	quiet, since := s.clients == 0 && s.relaxed, s.entered
	s.mu.Unlock()
	if !quiet {
		return
	}
	if err := syncTree(s.p.dir); err != nil {
		logrus.WithError(err).Warn("cannot bring the build state to the disk")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entered != since { // what has come since is brought to the disk when it has left
		return
	}
	for _, in := range s.dbs {
		var failed error
		err := in(func(db *bolt.DB) {
			db.NoSync = false
			failed = db.Sync()
		})
		if err = errors.Join(err, failed); err != nil { // the mark stays
			logrus.WithError(err).Warn("cannot bring the build state to the disk")
			return
		}
	}
	if err := os.Remove(s.p.unsynced()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		logrus.WithError(err).Warn("cannot mark the build state as safe")
		return
	}
	s.relaxed = false
}

// syncTree brings all that the file system of a directory has to the disk.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync file system of %q: %w", dir, err)
	}
	return nil
}

// add gives the syncer a database of BuildKit's.
func (s *syncer) add(d db.Transactor) {
	s.dbs = append(s.dbs, func(fn func(*bolt.DB)) error {
		return unchanged(d.Update(func(tx *bolt.Tx) error {
			fn(tx.DB())
			return errUnchanged
		}))
	})
}

// addSnapshots gives the syncer the database of a snapshotter.
func (s *syncer) addSnapshots(ctx context.Context, ms *storage.MetaStore) {
	ctx = context.WithoutCancel(ctx) // the last thing that is done to it comes after all else has ended

	s.dbs = append(s.dbs, func(fn func(*bolt.DB)) error {
		_, t, err := ms.TransactionContext(ctx, true)
		if err != nil {
			return err
		}
		if tx, ok := t.(*bolt.Tx); ok {
			fn(tx.DB())
		}
		return t.Rollback()
	})
}

// errUnchanged ends a transaction that has changed nothing.
var errUnchanged = errors.New("nothing to write")

func unchanged(err error) error {
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// unsynced is the mark that the state is not all on the disk: it holds the boot in which that is so.
func (p place) unsynced() string { return filepath.Join(p.dir, "unsynced") }

// lost is the beginning of the names of state that is to be removed.
func (p place) lost() string { return p.state() + ".lost-" }

// dropUnsynced gives up state that was not all on the disk when the machine went down, and says so.
// It is a cache: what was in it is built again, and no build stands on half of it.
func (p place) dropUnsynced(note func(string)) error {
	mark, err := os.ReadFile(p.unsynced())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return homeError(p.unsynced(), err)
	}
	boot, bootErr := wholefile.Boot()
	if err == nil && (bootErr != nil || string(mark) != boot) {
		if err := p.unmountBelow(); err != nil {
			return err
		}
		to := p.lost() + time.Now().UTC().Format("20060102T150405")
		if err := os.Rename(p.state(), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return homeError(p.state(), err)
		}
		note("the machine went down in the middle of a build: the build cache may be damaged, so a new one begins")
		if err := os.Remove(p.unsynced()); err != nil {
			return homeError(p.unsynced(), err)
		}
	}
	lost, err := filepath.Glob(p.lost() + "*")
	if err != nil {
		return fmt.Errorf("look for leftovers in %q: %w", p.dir, err)
	}
	go func() { // it may be large; what is left when the engine ends goes with the next one
		for _, dir := range lost {
			if err := os.RemoveAll(dir); err != nil {
				logrus.WithError(err).Warn("cannot remove a lost build cache")
			}
		}
	}()
	return nil
}

// writeSynced writes a file, and waits until it and its name are on the disk.
func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return wholefile.SyncDir(filepath.Dir(path))
}
