package osv

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Limits of what is read. OSV's largest export has some ten thousand advisories of a few kB.
const (
	maxAdvisory = 32 << 20 // bytes of one advisory, unpacked
	maxExport   = 4 << 30  // bytes of an export that is fetched
	fetchWait   = 10 * time.Minute
)

// ReadOptions say how databases are read. The zero value works.
type ReadOptions struct {
	// Client fetches databases that have an address. Default: one that waits 10 minutes for each.
	Client *http.Client
	// Temp is a directory for what is fetched, while it is read. Default: the system's.
	Temp string
}

// errNothing says that a database has no advisory.
var errNothing = errors.New("there is no advisory in it: give OSV's export (ECOSYSTEM/all.zip), or a " +
	"directory of its files")

// Read looks at all advisories of a database: a JSON file, a zip of them, a directory of both, or the address of a
// zip or of a mirror of OSV's export, of which the ecosystems of the packages are fetched.
func (m *Matcher) Read(ctx context.Context, database string, o ReadOptions) error {
	var (
		n   int
		err error
	)
	if u, bad := url.Parse(database); bad == nil && (u.Scheme == "http" || u.Scheme == "https") {
		n, err = m.fetch(ctx, u, o)
	} else {
		n, err = m.readPath(ctx, database)
	}
	if err == nil && n == 0 {
		err = errNothing
	}
	if err != nil {
		return fmt.Errorf("read database %q: %w", Redacted(database), err)
	}
	return nil
}

// Redacted is a database's path, or its address without user and password.
func Redacted(database string) string {
	if u, err := url.Parse(database); err == nil && u.User != nil {
		u.User = nil
		return u.String()
	}
	return database
}

// readPath reads a file or a directory, and tells how many advisories it has.
func (m *Matcher) readPath(ctx context.Context, path string) (n int, err error) {
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		count := 0
		switch {
		case strings.HasSuffix(file, ".zip"):
			count, err = m.readZip(ctx, file)
		case strings.HasSuffix(file, ".json"):
			count, err = 1, m.readFile(file)
		}
		n += count
		return err
	})
	return n, err
}

func (m *Matcher) readFile(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return m.readOne(file, f)
}

func (m *Matcher) readOne(name string, r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, maxAdvisory+1))
	if err == nil && len(data) > maxAdvisory {
		err = fmt.Errorf("it has more than %d bytes", maxAdvisory)
	}
	if err == nil {
		err = m.Add(data)
	}
	if err != nil {
		return fmt.Errorf("file %q: %w", name, err)
	}
	return nil
}

// readZip reads the advisories of a zip.
func (m *Matcher) readZip(ctx context.Context, file string) (n int, err error) {
	archive, err := zip.OpenReader(file)
	if err != nil {
		return 0, fmt.Errorf("file %q: %w", file, err)
	}
	defer archive.Close()
	for _, member := range archive.File {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if !strings.HasSuffix(member.Name, ".json") {
			continue
		}
		r, err := member.Open()
		if err == nil {
			err = errors.Join(m.readOne(member.Name, r), r.Close())
		}
		if err != nil {
			return n, fmt.Errorf("file %q: %w", file, err)
		}
		n++
	}
	return n, nil
}

// fetch reads a zip, or the packages' ecosystems of a mirror.
func (m *Matcher) fetch(ctx context.Context, u *url.URL, o ReadOptions) (n int, err error) {
	if strings.HasSuffix(u.Path, ".zip") {
		return m.fetchZip(ctx, u, o)
	}
	for _, ecosystem := range m.Ecosystems() {
		count, err := m.fetchZip(ctx, u.JoinPath(ecosystem, "all.zip"), o)
		if n += count; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (m *Matcher) fetchZip(ctx context.Context, u *url.URL, o ReadOptions) (n int, err error) {
	client := o.Client
	if client == nil {
		client = &http.Client{Timeout: fetchWait}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, withoutAddress(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("fetch %s: the server answers %s", Redacted(u.String()), res.Status)
	}
	f, err := os.CreateTemp(o.Temp, "raybuild-osv-*.zip")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	size, err := io.Copy(f, io.LimitReader(res.Body, maxExport+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, withoutAddress(err)
	}
	if size > maxExport {
		return 0, fmt.Errorf("fetch %s: it has more than %d bytes", Redacted(u.String()), int64(maxExport))
	}
	return m.readZip(ctx, f.Name())
}

// withoutAddress is an error of a request without its address, which may have a password.
func withoutAddress(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}
