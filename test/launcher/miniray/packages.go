package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

func (j *jobs) servePackage(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.Method == http.MethodPut {
		j.packages["gcs://"+r.PathValue("name")] = data
	} else if _, ok := j.packages["gcs://"+r.PathValue("name")]; !ok {
		http.Error(w, "Package does not exist", http.StatusNotFound)
	}
}

// unpack unpacks a package, and returns where.
func (j *jobs) unpack(uri string) (string, error) {
	j.mu.Lock()
	data, ok := j.packages[uri]
	j.mu.Unlock()
	if !ok {
		return "", fmt.Errorf("there is no package %s", uri)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", err
	}
	dir := "/" + path.Base(uri) + ".dir"
	for _, f := range z.File {
		to := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", err
		}
		text, err := fs.ReadFile(z, f.Name)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(to, text, f.Mode().Perm()); err != nil {
			return "", err
		}
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// peakMemory is the most memory that this process has had, in bytes.
func peakMemory() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(string(data))
	if m == nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(m[1]), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}
