package cluster

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// errTooLarge is a package that is larger than what Ray takes.
var errTooLarge = errors.New("it is too large")

// upload sends a job's directory as Ray's package, a zip named by its content, and returns its URI.
func (r *ray) upload(ctx context.Context, j Job, logf logFunc) (string, error) {
	pkg, err := zipDir(ctx, j)
	if err != nil {
		return "", fmt.Errorf("pack %q: %w", j.Dir, err)
	}
	defer pkg.close()
	name := "_ray_pkg_" + pkg.digest + ".zip"
	res, err := r.do(ctx, http.MethodGet, "/api/packages/gcs/"+name, "", nil)
	var missing *statusError
	if err == nil {
		return "gcs://" + name, res.Body.Close()
	}
	if !errors.As(err, &missing) || missing.code != http.StatusNotFound {
		return "", err
	}
	body := &uploading{Reader: pkg.file, size: pkg.size, told: time.Now(), tell: func(done int64) {
		logf("uploading %s: %d of %d MB", j.Dir, done/1_000_000, (pkg.size+999_999)/1_000_000)
	}}
	res, err = r.do(ctx, http.MethodPut, "/api/packages/gcs/"+name, "application/octet-stream", body)
	if err != nil {
		return "", err
	}
	logf("uploaded %s (%d kB)", j.Dir, (pkg.size+999)/1000)
	return "gcs://" + name, res.Body.Close()
}

// tellEach is how often a long upload tells how far it is.
const tellEach = 2 * time.Second

// uploading is the body of an upload.
type uploading struct {
	io.Reader
	size, done int64
	told       time.Time
	tell       func(done int64)
}

// Size is how many bytes there are.
func (u *uploading) Size() int64 { return u.size }

func (u *uploading) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if u.done += int64(n); time.Since(u.told) > tellEach && u.done < u.size {
		u.told = time.Now()
		u.tell(u.done)
	}
	return n, err
}

// jobPackage is a packed directory in a file of its own.
type jobPackage struct {
	file   *os.File
	size   int64
	digest string // short
}

func (p *jobPackage) close() {
	p.file.Close()           // it was read
	os.Remove(p.file.Name()) // whoever cleans up temporary files finds it
}

// zipDir packs a directory with fixed times: the same files give the same package.
func zipDir(ctx context.Context, j Job) (_ *jobPackage, err error) {
	dir, err := openJobDir(ctx, j)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	file, err := os.CreateTemp("", "raybuild-job-*.zip")
	if err != nil {
		return nil, err
	}
	p := &jobPackage{file: file}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	sum := sha256.New()
	w := zip.NewWriter(&limited{w: io.MultiWriter(file, sum), p: p})
	err = dir.each(ctx, func(f jobFile, content io.Reader) error {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		h.SetMode(f.mode)
		to, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		_, err = io.Copy(to, content)
		return err
	})
	if err == nil {
		err = w.Close()
	}
	if errors.Is(err, errTooLarge) {
		return nil, fmt.Errorf("packed, its files are more than %d MiB, the most that Ray takes; the largest are %s; "+
			"name what to leave out in .rayignore", maxUpload>>20, dir.largest())
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, err
	}
	p.digest = hex.EncodeToString(sum.Sum(nil)[:8])
	return p, nil
}

// limited ends a package that grows too large.
type limited struct {
	w io.Writer
	p *jobPackage
}

func (l *limited) Write(b []byte) (int, error) {
	if l.p.size += int64(len(b)); l.p.size > maxUpload {
		return 0, errTooLarge
	}
	return l.w.Write(b)
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
			"leave --no-wait out")
	}
	vars, _ := j.RuntimeEnv["env_vars"].(map[string]any)
	if len(j.RuntimeEnv) > min(len(vars), 1) || j.GPUs > 0 || j.Memory > 0 || len(j.Resources) > 0 ||
		len(j.Metadata) > 0 {
		return nil, errors.New("this version of Ray has no jobs API, so a job has no runtime environment, metadata, " +
			"GPUs, memory or resources of its own; leave them out")
	}
	run := docker.Exec{Cmd: j.Argv, Stdout: stdout, Stderr: stderr}
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		run.Env = append(run.Env, fmt.Sprintf("%s=%v", k, vars[k]))
	}
	if j.Dir != "" {
		files, err := tarDir(ctx, j, out.ID)
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

func tarDir(ctx context.Context, j Job, top string) (io.Reader, error) {
	dir, err := openJobDir(ctx, j)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	total := int64(0)
	for _, f := range dir.files {
		if total += f.size; total > maxUpload {
			return nil, fmt.Errorf("its files are more than %d MiB; the largest are %s; name what to leave out in "+
				".rayignore", maxUpload>>20, dir.largest())
		}
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: top + "/", Mode: 0o777})
	if err != nil {
		return nil, err
	}
	err = dir.each(ctx, func(f jobFile, content io.Reader) error {
		h := &tar.Header{Name: top + "/" + f.name, Mode: int64(f.mode | 0o444), Size: f.size, ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(w, content)
		return err
	})
	return &buf, errors.Join(err, w.Close())
}
