package main

import (
	"context"
	"crypto/md5" //nolint:gosec // conda's formats name packages by MD5
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// unpacked is a package in the package cache, ready to be linked.
type unpacked struct {
	wanted
	dir, tarball string
	index        map[string]any
	rec          record
}

// writableDir is the first package cache that can be written to.
func (a *app) writableDir() (string, error) {
	for _, d := range a.conf.pkgsDirs {
		if os.MkdirAll(d, 0o755) == nil && writable(d) {
			return d, nil
		}
	}
	return "", newError("NoWritablePkgsDirError", "No writeable pkgs directories configured.\n%s",
		"  - "+strings.Join(a.conf.pkgsDirs, "\n  - "))
}

// listed says whether a cache's urls.txt names the file. conda looks by the file's name alone
// (observed), and 4.12.0 finds no .conda there.
func (a *app) listed(dir, fn string) bool {
	if strings.HasSuffix(fn, ".conda") && compareVersions(a.conf.version, "23") < 0 {
		return false
	}
	data, err := os.ReadFile(filepath.Join(dir, "urls.txt"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if path.Base(strings.TrimSpace(line)) == fn {
			return true
		}
	}
	return false
}

// cached says whether a package need not be fetched.
func (a *app) cached(r *record) bool {
	dist, _ := distName(r.fn)
	for _, d := range a.conf.pkgsDirs {
		if a.extracted(d, dist, wanted{url: r.url(), md5: r.MD5}) {
			return true
		}
		if a.listed(d, r.fn) && sumIs(filepath.Join(d, r.fn), r.MD5) {
			return true
		}
	}
	return false
}

// extracted says whether a cache has the package unpacked, from the URL that is asked for or with its hash.
func (a *app) extracted(dir, dist string, w wanted) bool {
	data, err := os.ReadFile(filepath.Join(dir, dist, "info", "repodata_record.json"))
	if err != nil {
		return false
	}
	var r struct{ URL, MD5 string }
	if json.Unmarshal(data, &r) != nil || path.Base(r.URL) != path.Base(w.url) {
		return false
	}
	if w.md5 != "" && r.MD5 != "" {
		return w.md5 == r.MD5
	}
	return r.URL == w.url && w.sha256 == ""
}

func sumIs(file, want string) bool {
	got, _, err := sums(file)
	return err == nil && (want == "" || got == want)
}

func sums(file string) (md5sum, sha256sum string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = f.Close() }()
	m, s := md5.New(), sha256.New() //nolint:gosec // as above
	if _, err := io.Copy(io.MultiWriter(m, s), f); err != nil {
		return "", "", err
	}
	return hex.EncodeToString(m.Sum(nil)), hex.EncodeToString(s.Sum(nil)), nil
}

// obtain brings a package into the first writable cache and unpacks it there; one that another
// writable cache has is used where it is.
func (a *app) obtain(ctx context.Context, w wanted) (*unpacked, error) {
	first, err := a.writableDir()
	if err != nil {
		return nil, err
	}
	fn := path.Base(w.url)
	dist, ok := distName(fn)
	if !ok {
		return nil, newError("ParseError", "Could not parse explicit URL: %s", w.url)
	}
	if file, ok := strings.CutPrefix(w.url, "file://"); ok {
		if file, err = url.PathUnescape(file); err != nil {
			return nil, err
		}
		// The hash that the line names is not looked at; observed on 4.12.0, 24.11.3 and 26.7.1.
		if w.md5, w.sha256, err = sums(file); err != nil {
			return nil, httpError(w.url, "CONNECTION FAILED", "000", err)
		}
		return a.take(first, dist, file, w)
	}
	for _, d := range a.conf.pkgsDirs {
		archive := filepath.Join(d, fn)
		if a.extracted(d, dist, w) {
			return readUnpacked(filepath.Join(d, dist), archive, w)
		}
		// A line with sha256 does not fit what urls.txt tells of an archive (no hash); observed on 24.11.3 and 26.7.1.
		if !a.listed(d, fn) || w.record == nil && w.sha256 != "" || !sumIs(archive, w.md5) {
			continue
		}
		if writable(d) {
			first = d
		}
		return a.take(first, dist, archive, w)
	}
	if a.conf.offline {
		return nil, offlineError(w.url)
	}
	archive := filepath.Join(first, fn)
	if err := a.download(ctx, &w, archive); err != nil {
		return nil, err
	}
	return a.take(first, dist, archive, w)
}

// download fetches a package and checks the hash that is known.
func (a *app) download(ctx context.Context, w *wanted, archive string) error {
	body, _, err := get(ctx, w.url)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	f, err := os.Create(archive + ".partial")
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, body); err != nil {
		return errors.Join(httpError(w.url, "CONNECTION FAILED", "000", err), f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(archive+".partial", archive); err != nil {
		return err
	}
	m, s, err := sums(archive)
	if err != nil {
		return err
	}
	if w.md5 != "" && m != w.md5 {
		return checksumMismatch(w.url, archive, "md5", w.md5, m)
	}
	if w.sha256 != "" && s != w.sha256 {
		return checksumMismatch(w.url, archive, "sha256", w.sha256, s)
	}
	w.md5, w.sha256 = m, s
	return nil
}

// take copies an archive to the cache dir, if it lies elsewhere, and unpacks it there.
func (a *app) take(dir, dist, archive string, w wanted) (*unpacked, error) {
	to := filepath.Join(dir, filepath.Base(archive))
	if to != archive {
		if err := copyFile(archive, to); err != nil {
			return nil, err
		}
	}
	target := filepath.Join(dir, dist)
	if err := os.RemoveAll(target); err != nil {
		return nil, err
	}
	if err := extract(to, target); err != nil {
		return nil, err
	}
	if err := a.writeRepodataRecord(target, w); err != nil {
		return nil, err
	}
	a.noteURL(dir, w.url)
	return readUnpacked(target, to, w)
}

// noteURL adds a URL to the cache's lists urls and urls.txt.
func (a *app) noteURL(dir, url string) {
	a.touchURLs(dir)
	data, err := os.ReadFile(filepath.Join(dir, "urls.txt"))
	if err != nil || strings.Contains("\n"+string(data), "\n"+url+"\n") {
		return
	}
	for _, name := range []string{"urls", "urls.txt"} {
		if f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
			_, _ = fmt.Fprintln(f, url) // a list that misses a line costs a download
			_ = f.Close()
		}
	}
}

// writeRepodataRecord writes what conda knows of the package beside it.
func (a *app) writeRepodataRecord(dir string, w wanted) error {
	index, _, err := readIndex(dir)
	if err != nil {
		return err
	}
	root, subdir, fn := channelOf(w.url)
	index["url"], index["fn"], index["channel"] = w.url, fn, root+"/"+subdir
	if w.md5 != "" {
		index["md5"] = w.md5
	}
	if w.sha256 != "" {
		index["sha256"] = w.sha256
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "info", "repodata_record.json"), data, 0o644)
}

func readIndex(dir string) (map[string]any, record, error) {
	var r record
	data, err := os.ReadFile(filepath.Join(dir, "info", "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, r, newError("CorruptedPackageError", "no info/index.json in %s", dir)
	}
	if err != nil {
		return nil, r, err
	}
	m := map[string]any{}
	if err := errors.Join(json.Unmarshal(data, &m), json.Unmarshal(data, &r)); err != nil {
		return nil, r, newError("CorruptedPackageError", "info/index.json in %s: %v", dir, err)
	}
	return m, r, nil
}

func readUnpacked(dir, tarball string, w wanted) (*unpacked, error) {
	index, rec, err := readIndex(dir)
	return &unpacked{wanted: w, dir: dir, tarball: tarball, index: index, rec: rec}, err
}

// copyFile copies content, mode and time.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close())
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := os.Chmod(to, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
