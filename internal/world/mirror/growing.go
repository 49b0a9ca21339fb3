package mirror

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// growing is a file that is being fetched.
type growing struct {
	answered, done chan struct{}

	mu       sync.Mutex
	more     sync.Cond
	path     string
	size     int64 // -1: upstream did not say
	modified time.Time
	kind     string
	have     int64
	ended    bool
	err      error
}

func (g *growing) begin(path string, size int64, modified time.Time, kind string) {
	g.mu.Lock()
	g.path, g.size, g.modified, g.kind = path, size, modified, kind
	g.mu.Unlock()
	close(g.answered)
}

// Write counts what has come. The file gets it first.
func (g *growing) Write(p []byte) (int, error) {
	g.mu.Lock()
	g.have += int64(len(p))
	g.mu.Unlock()
	g.more.Broadcast()
	return len(p), nil
}

func (g *growing) end(err error) {
	g.mu.Lock()
	g.ended, g.err = true, err
	g.mu.Unlock()
	g.more.Broadcast()
	close(g.done)
}

// open is called when upstream has answered, or the fetch has ended.
func (g *growing) open() (*File, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended && g.err != nil {
		return nil, g.err
	}
	f, err := os.Open(g.path)
	if err != nil {
		return nil, err
	}
	return &File{f: f, g: g, Modified: g.modified, Size: g.size, Type: g.kind}, nil
}

// wait waits until there are bytes after n, or no more will come.
func (g *growing) wait(n int64) (more bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.have <= n && !g.ended {
		g.more.Wait()
	}
	return g.have > n, g.err
}

// File is a file of a [Cache]. Reading one that is still being fetched waits for its bytes.
type File struct {
	// Modified is upstream's Last-Modified; zero where it did not say.
	Modified time.Time
	// Size in bytes; -1 where upstream did not say and the file is still being fetched.
	Size int64
	// Type is upstream's Content-Type.
	Type string

	f   *os.File
	g   *growing // nil: the file is whole
	off int64
}

// Read reads on, and waits for what is not there yet.
func (f *File) Read(p []byte) (int, error) {
	for {
		n, err := f.f.Read(p)
		f.off += int64(n)
		if n > 0 || err != io.EOF || f.g == nil {
			return n, err
		}
		if more, err := f.g.wait(f.off); err != nil {
			return 0, err
		} else if !more {
			return 0, io.EOF
		}
	}
}

// Close ends reading. The fetch goes on.
func (f *File) Close() error { return f.f.Close() }

// Whole waits until the file is there in full.
func (f *File) Whole() error {
	if f.g == nil {
		return nil
	}
	<-f.g.done
	if _, err := f.g.wait(f.g.have); err != nil {
		return err
	}
	f.g = nil
	info, err := f.f.Stat()
	if err == nil {
		f.Size = info.Size()
	}
	return err
}

// serve answers a request with the file. A request for a range waits for the whole of it.
func (f *File) serve(w http.ResponseWriter, r *http.Request) {
	if f.g != nil && r.Method == http.MethodGet && r.Header.Get("Range") == "" {
		if f.Size >= 0 {
			w.Header().Set("Content-Length", strconv.FormatInt(f.Size, 10))
		}
		if !f.Modified.IsZero() {
			w.Header().Set("Last-Modified", f.Modified.UTC().Format(http.TimeFormat))
		}
		w.Header().Set("Accept-Ranges", "bytes")
		if _, err := io.Copy(flushing{w}, f); err != nil {
			panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's own way to break an answer off
		}
		return
	}
	if err := f.Whole(); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	http.ServeContent(w, r, "", f.Modified, f.f)
}

// flushing sends on at once what came: the rest may be long in coming.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}
