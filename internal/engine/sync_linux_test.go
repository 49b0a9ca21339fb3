package engine

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/moby/buildkit/util/db/boltutil"
	bolt "go.etcd.io/bbolt"

	"github.com/raybuild/raybuild/internal/wholefile"
)

// Databases wait for the disk when no client is there, and only then; the mark is on the disk whenever they don't.
func TestDatabasesWaitForTheDiskWhenNobodyBuilds(t *testing.T) {
	t.Parallel()
	s := newSyncer(place{dir: t.TempDir()})
	d, err := boltutil.Open(filepath.Join(t.TempDir(), "a.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ms, err := storage.NewMetaStore(filepath.Join(t.TempDir(), "b.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer ms.Close()
	s.add(d)
	s.addSnapshots(t.Context(), ms)
	check := func(when string, relaxed bool) {
		t.Helper()
		for i, in := range s.dbs {
			if err := in(func(db *bolt.DB) {
				if db.NoSync != relaxed {
					t.Errorf("%s: database %d has NoSync %v, want %v", when, i, db.NoSync, relaxed)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(s.p.unsynced()); (err == nil) != relaxed {
			t.Errorf("%s: the mark is there: %v, want %v", when, err == nil, relaxed)
		}
	}
	check("before the first client", false)
	s.enter()
	check("with a client", true)
	s.enter()
	s.leave()
	s.settle()
	check("with one of two clients", true)
	s.leave()
	s.settle()
	check("after the last client", false)
	s.enter()
	check("with the next client", true)
}

// Without a place for the mark, databases wait for the disk.
func TestWithoutAMarkDatabasesWaitForTheDisk(t *testing.T) {
	t.Parallel()
	s := newSyncer(place{dir: filepath.Join(t.TempDir(), "missing")})
	d, err := boltutil.Open(filepath.Join(t.TempDir(), "a.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s.add(d)
	s.enter()
	if err := s.dbs[0](func(db *bolt.DB) {
		if db.NoSync {
			t.Error("the database does not wait for the disk, and no mark says so")
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// State that was not all on the disk is given up when the kernel is another one, and kept when only
// the engine has ended.
func TestStateThatAMachineLostIsGivenUp(t *testing.T) {
	t.Parallel()
	boot, err := wholefile.Boot()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		mark string
		kept bool
	}{"the engine was killed": {boot, true}, "the machine went down": {"another", false},
		"the mark was cut short": {"", false}} {
		t.Run(name, func(t *testing.T) {
			p := place{dir: t.TempDir()}
			p.run = p.dir
			if err := os.Mkdir(p.state(), 0o700); err != nil {
				t.Fatal(err)
			}
			for path, text := range map[string]string{p.unsynced(): c.mark, p.format(): stateFormat,
				filepath.Join(p.state(), "cache.db"): "what was built"} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var notes bytes.Buffer
			if err := p.prepare(t.Context(), func(s string) { notes.WriteString(s) }); err != nil {
				t.Fatal(err)
			}
			_, err := os.Stat(filepath.Join(p.state(), "cache.db"))
			if kept := err == nil; kept != c.kept || (notes.Len() == 0) != c.kept {
				t.Errorf("the state is kept: %v, want %v, and the note is %q", kept, c.kept, notes.String())
			}
			if _, err := os.Stat(p.unsynced()); (err == nil) != c.kept {
				t.Errorf("the mark is there: %v, want %v: it belongs to the state", err == nil, c.kept)
			}
		})
	}
}
