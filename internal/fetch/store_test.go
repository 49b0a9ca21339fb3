package fetch

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestCorruptStoredFileIsFetchedAgain(t *testing.T) {
	t.Parallel()
	data := noise(20, 100<<10)
	tests := []struct {
		name   string
		damage func(t *testing.T, path string)
	}{
		{"bit flip", func(t *testing.T, path string) {
			b := append([]byte(nil), data...)
			b[777] ^= 4
			write(t, path, b)
		}},
		{"truncated", func(t *testing.T, path string) { write(t, path, data[:5000]) }},
		{"emptied", func(t *testing.T, path string) { write(t, path, nil) }},
		{"longer", func(t *testing.T, path string) { write(t, path, append(data[:len(data):len(data)], 'x')) }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			m := newMirror(t, data, nil)
			o := fast(t)
			r := newRig(t, o, m)
			d := r.want(data)
			r.mustRead(t, d)
			tc.damage(t, r.store.path(d))
			next := newRig(t, o, m) // as the next process does
			next.want(data)
			next.mustRead(t, d)
			if n := len(m.requests()); n != 2 {
				t.Errorf("%d requests, want 2", n)
			}
			if !strings.Contains(next.warnings(), "was damaged") {
				t.Errorf("warnings %q", next.warnings())
			}
			if b, _ := os.ReadFile(r.store.path(d)); digest.FromBytes(b) != d {
				t.Error("the damaged file is still in the store")
			}
		})
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPartialOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	data := noise(21, 1<<20)
	tests := []struct {
		name    string
		partial []byte
		bytes   int64
	}{
		{"is gone on with", data[:700<<10], 1<<20 - 700<<10},
		{"is enough when whole", data, 0},
		{"is thrown away when wrong", noise(22, 700<<10), 1<<20 - 700<<10 + 1<<20},
		{"is thrown away when wrong and whole", noise(22, 1<<20), 1 << 20},
		{"is thrown away when too long", append(data[:len(data):len(data)], 1, 2, 3), 1 << 20},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, fast(t), newMirror(t, data, nil))
			d := r.want(data)
			write(t, r.store.partialPath(d), tc.partial)
			r.mustRead(t, d)
			if got := r.Stats().Bytes; got != tc.bytes {
				t.Errorf("%d bytes moved, want %d", got, tc.bytes)
			}
			if s := r.Stats().Mirrors["m1"]; s.Lies != 0 {
				t.Errorf("the mirror is blamed for an earlier run: %+v", s)
			}
		})
	}
}

// second starts this test binary as another process that fetches d.
func second(t *testing.T, store, url string, d digest.Digest) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FETCH_CHILD_STORE="+store, "FETCH_CHILD_URL="+url, "FETCH_CHILD_DIGEST="+d.String())
	return cmd
}

func TestProcessesShareAStore(t *testing.T) {
	t.Parallel()
	data := noise(23, 2<<20)
	m := newMirror(t, data, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(100 * time.Millisecond) // so that the others come while it is under way
		serve(w, r, data)
	})
	d, store := digest.FromBytes(data), t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			out, err := second(t, store, m.URL+"/a.whl", d).Output()
			if err != nil || strings.TrimSpace(string(out)) != d.String() {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if n := len(m.requests()); n != 1 {
		t.Errorf("%d requests of 4 processes, want 1", n)
	}
	if left, _ := os.ReadDir(filepath.Join(store, "partial")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestKilledDownloadIsGoneOnWith(t *testing.T) {
	t.Parallel()
	data := noise(24, 4<<20)
	sent, block := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(block) })
	hang := newMirror(t, data, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data[:3<<20])
		_ = http.NewResponseController(w).Flush()
		close(sent)
		select {
		case <-block:
		case <-r.Context().Done():
		}
	})
	o := fast(t)
	d := digest.FromBytes(data)
	cmd := second(t, o.Store, hang.URL+"/a.whl", d)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-sent
	partial := filepath.Join(o.Store, "partial", d.Encoded())
	for st, err := os.Stat(partial); err != nil || st.Size() < 2<<20; st, err = os.Stat(partial) {
		time.Sleep(5 * time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if _, err := os.Stat(filepath.Join(o.Store, "sha256", d.Encoded()[:2], d.Encoded())); err == nil {
		t.Fatal("half a file counts as whole")
	}
	r := newRig(t, o, newMirror(t, data, nil))
	r.want(data)
	r.mustRead(t, d)
	if s := r.Stats(); s.Bytes > 2<<20 || s.Mirrors["m1"].Resumes != 1 {
		t.Errorf("went on badly: %+v", s)
	}
}

// smallDisk is a directory with room for a megabyte.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "mounting a small tmpfs needs root")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir).CombinedOutput(); err != nil {
		skip(t, "cannot mount a tmpfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	data := noise(25, 3<<20)
	o := fast(t)
	o.Store = dir
	check := func(t *testing.T, r *rig, d digest.Digest) {
		_, err := r.read(t, d)
		var full *diskFullError
		if !errors.As(err, &full) {
			t.Fatalf("got %v", err)
		}
		if full.Path != dir || full.Free < 0 || full.Free > 1<<20 || !strings.Contains(err.Error(), dir) {
			t.Errorf("%+v: %v", full, err)
		}
		if u, err := usage(dir); err != nil || u.Artifacts != 0 || u.PartialBytes != 0 {
			t.Errorf("left: %+v, %v", u, err)
		}
	}
	t.Run("known before", func(t *testing.T) {
		m := newMirror(t, data, nil)
		r := newRig(t, o, m)
		check(t, r, r.want(data))
		if len(m.requests()) != 0 {
			t.Error("asked a mirror for what has no room")
		}
	})
	t.Run("found out by writing", func(t *testing.T) {
		m := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush() // no Content-Length
			_, _ = w.Write(data)
		})
		r := newRig(t, o, m, newMirror(t, data, nil))
		d := digest.FromBytes(data)
		r.Add(Item{Digest: d, URL: "http://x.example/a.whl"})
		check(t, r, d)
		if n := len(m.requests()); n != 1 {
			t.Errorf("%d requests: a full disk is not the mirror's fault", n)
		}
	})
	t.Run("and works again when there is room", func(t *testing.T) {
		small := noise(26, 300<<10)
		r := newRig(t, o, newMirror(t, small, nil))
		r.mustRead(t, r.want(small))
	})
}

// keep puts an artifact into the store, as a download does at its end.
func (r *rig) keep(t *testing.T, data []byte) digest.Digest {
	t.Helper()
	tmp, err := r.store.temp()
	if err != nil {
		t.Fatal(err)
	}
	defer tmp.discard()
	if _, err := tmp.Write(data); err != nil {
		t.Fatal(err)
	}
	d := tmp.digest()
	if err := r.store.keep(tmp, d); err != nil {
		t.Fatal(err)
	}
	return d
}

// usage is how much of the disk the store in dir takes. A store that does not exist takes nothing.
func usage(dir string) (Use, error) {
	s := &store{dir: dir}
	whole, err := s.list("sha256")
	if err != nil {
		return Use{}, err
	}
	rest, err := s.unfinished()
	if err != nil {
		return Use{}, err
	}
	u := Use{Artifacts: len(whole), Partial: len(rest)}
	for _, e := range whole {
		u.Bytes += e.size
	}
	for _, e := range rest {
		u.PartialBytes += e.size
	}
	return u, nil
}

// putOld stores five artifacts of a kilobyte, the first of them used longest ago.
func putOld(t *testing.T, r *rig) (ds []digest.Digest) {
	t.Helper()
	for i := range 5 {
		d := r.keep(t, bytes.Repeat([]byte{byte('a' + i)}, 1000))
		used := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(r.store.path(d), used, used); err != nil {
			t.Fatal(err)
		}
		ds = append(ds, d)
	}
	return ds
}

func TestPrune(t *testing.T) {
	t.Parallel()
	o := fast(t)
	r := newRig(t, o)
	ds := putOld(t, r)
	r.mustRead(t, ds[0]) // the oldest, but used now
	busy, idle := digest.FromString("busy"), digest.FromString("idle")
	write(t, r.store.partialPath(busy), []byte("half"))
	write(t, r.store.partialPath(idle), []byte("half"))
	unlock, err := r.store.lock(t.Context(), busy)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	tmp, err := r.store.temp()
	if err != nil {
		t.Fatal(err)
	}
	defer tmp.discard()

	gone, err := Prune(t.Context(), o.Store, 2500)
	if err != nil || gone.Artifacts != 3 || gone.Partial != 0 {
		t.Errorf("pruned %+v, %v", gone, err)
	}
	for i, want := range []bool{true, false, false, false, true} {
		if r.store.has(ds[i]) != want {
			t.Errorf("artifact %d is there: %v", i, !want)
		}
	}
	old := time.Now().Add(-2 * sweepAfter)
	for _, d := range []digest.Digest{busy, idle} {
		if err := os.Chtimes(r.store.partialPath(d), old, old); err != nil {
			t.Fatal(err)
		}
	}
	newRig(t, o) // opening a store sweeps it
	if _, err := os.Stat(r.store.partialPath(idle)); err == nil {
		t.Error("an old unfinished download was not swept")
	}
	if _, err := os.Stat(r.store.partialPath(busy)); err != nil {
		t.Error("a download under way was swept")
	}
	if _, err := Prune(t.Context(), o.Store, 0); err != nil {
		t.Error(err)
	}
	if u, _ := usage(o.Store); u.Artifacts != 0 || u.Partial != 2 {
		t.Errorf("left %+v, want what is being written", u)
	}
	if u, err := usage(filepath.Join(t.TempDir(), "none")); err != nil || u != (Use{}) {
		t.Errorf("no store: %+v, %v", u, err)
	}
}
