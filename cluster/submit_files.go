package cluster

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// jobFile is a regular file of a job's directory.
type jobFile struct {
	name string // slash-separated, relative
	mode fs.FileMode
	size int64
}

// jobFiles lists what of a job's directory goes along: regular files, without .git and what
// .rayignore and exclude name (names or path.Match patterns of one path element, or of the whole
// relative path). Symbolic links inside are followed by nobody: they are left out, so that nothing
// outside the directory leaves this machine.
func jobFiles(root *os.Root, exclude []string) ([]jobFile, error) {
	ignore := append([]string{".git", "__pycache__", ".venv"}, exclude...)
	if f, err := root.Open(".rayignore"); err == nil {
		s := bufio.NewScanner(f)
		for s.Scan() {
			if line := strings.TrimSpace(s.Text()); line != "" && !strings.HasPrefix(line, "#") {
				ignore = append(ignore, strings.Trim(line, "/"))
			}
		}
		f.Close() // it was read
	}
	var out []jobFile
	var total int64
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if slices.ContainsFunc(ignore, func(p string) bool { return ignored(p, name) }) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if total += info.Size(); total > maxUpload {
			return fmt.Errorf("its files are more than %d MiB, the most that Ray takes; name what to leave out "+
				"in .rayignore", maxUpload>>20)
		}
		out = append(out, jobFile{name: name, mode: info.Mode().Perm(), size: info.Size()})
		return nil
	})
	return out, err
}

func ignored(pattern, name string) bool {
	whole, err := path.Match(pattern, name)
	base, berr := path.Match(pattern, path.Base(name))
	return err == nil && whole || berr == nil && base
}

// upload sends a job's directory as Ray's package, a zip named by its content, and returns its URI.
func (r *ray) upload(ctx context.Context, j Job, logf logFunc) (string, error) {
	data, err := zipDir(j)
	if err != nil {
		return "", fmt.Errorf("pack %q: %w", j.Dir, err)
	}
	sum := sha256.Sum256(data)
	name := "_ray_pkg_" + hex.EncodeToString(sum[:8]) + ".zip"
	res, err := r.do(ctx, http.MethodGet, "/api/packages/gcs/"+name, "", nil)
	var missing *statusError
	if err == nil {
		return "gcs://" + name, res.Body.Close()
	}
	if !errors.As(err, &missing) || missing.code != http.StatusNotFound {
		return "", err
	}
	res, err = r.do(ctx, http.MethodPut, "/api/packages/gcs/"+name, "application/octet-stream", bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	logf("uploaded %s (%d kB)", j.Dir, (len(data)+999)/1000)
	return "gcs://" + name, res.Body.Close()
}

// zipDir packs a directory with fixed times: the same files give the same package.
func zipDir(j Job) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	err := eachFile(j, func(f jobFile, content io.Reader) error {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		h.SetMode(f.mode)
		to, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		_, err = io.Copy(to, content)
		return err
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// eachFile opens the files of a job's directory one after the other. os.Root keeps every access inside.
func eachFile(j Job, f func(jobFile, io.Reader) error) error {
	root, err := os.OpenRoot(j.Dir)
	if err != nil {
		return err
	}
	defer root.Close() // only read
	files, err := jobFiles(root, j.Exclude)
	if err != nil {
		return err
	}
	for _, jf := range files {
		file, err := root.Open(jf.name)
		if err != nil {
			return err
		}
		err = f(jf, io.LimitReader(file, jf.size))
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// runInHead runs a job where there is no jobs API: its files go into the head's container, the
// program runs there, and they are removed.
func (r *ray) runInHead(ctx context.Context, j Job, stdout, stderr io.Writer) (*JobResult, error) {
	b := make([]byte, 6)
	rand.Read(b)
	out := &JobResult{ID: "raybuild-job-" + hex.EncodeToString(b), Status: "RUNNING", By: "exec"}
	if j.ID != "" {
		out.ID = j.ID
	}
	if j.Detach {
		return nil, errors.New("this version of Ray has no jobs API, so a job cannot go on by itself; " +
			"leave --detach out")
	}
	run := docker.Exec{Cmd: j.Argv, Stdout: stdout, Stderr: stderr}
	for _, k := range slices.Sorted(maps.Keys(j.Env)) {
		run.Env = append(run.Env, k+"="+j.Env[k])
	}
	if j.Dir != "" {
		files, err := tarDir(j, out.ID)
		if err != nil {
			return nil, fmt.Errorf("pack %q: %w", j.Dir, err)
		}
		if err := r.host.PutTar(ctx, r.container, "/tmp", files); err != nil {
			return nil, err
		}
		run.Dir = "/tmp/" + out.ID
		defer r.cleanUp(context.WithoutCancel(ctx), run.Dir)
	}
	code, err := r.host.Exec(ctx, r.container, run)
	if err != nil {
		return out, err
	}
	out.Status, out.ExitCode = "SUCCEEDED", code
	if code != 0 {
		out.Status = "FAILED"
	}
	return out, nil
}

// cleanUp removes a job's directory: what the job made as its user, what was sent as root, whose
// command has no rights over files of others here. At the latest they go with the container.
func (r *ray) cleanUp(ctx context.Context, dir string) {
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	for _, user := range []string{"", "0"} {
		//nolint:errcheck // see above
		r.host.Exec(ctx, r.container, docker.Exec{Cmd: []string{"rm", "-rf", "--", dir}, User: user, Stdout: io.Discard,
			Stderr: io.Discard})
	}
}

func tarDir(j Job, top string) (io.Reader, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: top + "/", Mode: 0o777})
	if err != nil {
		return nil, err
	}
	err = eachFile(j, func(f jobFile, content io.Reader) error {
		h := &tar.Header{Name: top + "/" + f.name, Mode: int64(f.mode | 0o444), Size: f.size, ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(w, content)
		return err
	})
	return &buf, errors.Join(err, w.Close())
}
