package registry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/wholefile"
)

// blobStore keeps blobs as files named by their digest, and uploads as files that grow until they
// are committed. The bytes are shared by all repositories, so that a mount moves none; an empty
// file in a repository's directory says that it has a blob, because who may read one repository
// need not know what is in another.
type blobStore struct {
	dir, uploads, repos string
	mu                  sync.Mutex
	open                map[string]*upload // by id
}

// upload is one open upload. Its lock is held while a chunk is written: a client that stalls holds up nobody else.
type upload struct {
	mu   sync.Mutex
	repo string
	file *os.File
	hash digest.Digester
	size int64
	used time.Time
}

// blobDir lies in a repository's directory, as linkDir does.
const blobDir = "_blobs"

// abandoned is how long an upload stays open with nothing sent: a client that was killed does not come back.
const abandoned = time.Hour

// openBlobs opens the store under dir and throws away what a crash left of uploads.
func openBlobs(dir string) (*blobStore, error) {
	s := &blobStore{dir: filepath.Join(dir, "blobs"), uploads: filepath.Join(dir, "uploads"),
		repos: filepath.Join(dir, "repos"), open: map[string]*upload{}}
	left, err := os.ReadDir(s.uploads)
	if err != nil {
		return nil, fmt.Errorf("read registry directory: %w", err)
	}
	for _, entry := range left {
		if err := os.Remove(filepath.Join(s.uploads, entry.Name())); err != nil {
			return nil, fmt.Errorf("remove unfinished upload: %w", err)
		}
	}
	return s, nil
}

// path is where the blob d lies; d is validated first.
func (s *blobStore) path(d digest.Digest) string {
	return filepath.Join(s.dir, d.Algorithm().String(), d.Encoded())
}

// member is the file that says that a repository has the blob d.
func (s *blobStore) member(repo string, d digest.Digest) string {
	return filepath.Join(s.repos, filepath.FromSlash(repo), blobDir, fileName(d.String()))
}

// has tells whether the repository has the blob d.
func (s *blobStore) has(repo string, d digest.Digest) bool {
	if _, err := os.Stat(s.member(repo, d)); err != nil {
		return false
	}
	info, err := os.Stat(s.path(d))
	// A blob that a power cut has emptied is not there. (Earlier versions did not wait for the disk.)
	return err == nil && (info.Size() > 0 || d == d.Algorithm().FromBytes(nil))
}

func (s *blobStore) serve(w http.ResponseWriter, r *http.Request, repo, rest string) {
	if id, ok := strings.CutPrefix(rest, "uploads/"); ok {
		s.serveUpload(w, r, repo, id)
		return
	}
	d, err := digest.Parse(rest)
	if err != nil {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("%q is no digest", rest))
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.read(w, r, repo, d)
	case http.MethodDelete:
		s.remove(w, repo, d)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", r.Method+" is not for blobs")
	}
}

// read serves a blob or a range of it.
func (s *blobStore) read(w http.ResponseWriter, r *http.Request, repo string, d digest.Digest) {
	if !s.has(repo, d) {
		s.failed(w, os.ErrNotExist)
		return
	}
	f, err := os.Open(s.path(d))
	if err != nil {
		s.failed(w, err)
		return
	}
	defer func() { _ = f.Close() }()
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Etag", `"`+d.String()+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
}

// remove takes a blob from a repository. Its bytes stay: another repository may have it.
func (s *blobStore) remove(w http.ResponseWriter, repo string, d digest.Digest) {
	if err := os.Remove(s.member(repo, d)); err != nil {
		s.failed(w, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// failed answers for an error of the file system.
func (s *blobStore) failed(w http.ResponseWriter, err error) {
	if errors.Is(err, os.ErrNotExist) {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "no such blob")
		return
	}
	refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
}

// serveUpload does the four verbs of an upload: POST opens (or mounts, or takes all at once), PATCH
// appends, PUT commits, DELETE gives up.
func (s *blobStore) serveUpload(w http.ResponseWriter, r *http.Request, repo, id string) {
	if r.Method == http.MethodPost && id == "" {
		s.post(w, r, repo)
		return
	}
	s.mu.Lock()
	u := s.open[id]
	s.mu.Unlock()
	if u == nil || u.repo != repo {
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload")
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch r.Method {
	case http.MethodPatch:
		if s.append(w, r, id, u) {
			s.progress(w, repo, id, u.size, http.StatusAccepted)
		}
	case http.MethodPut:
		if s.append(w, r, id, u) {
			s.commit(w, r.URL.Query().Get("digest"), id, u)
		}
	case http.MethodGet:
		s.progress(w, repo, id, u.size, http.StatusNoContent)
	case http.MethodDelete:
		s.forget(id, u)
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", r.Method+" is not for uploads")
	}
}

func (s *blobStore) post(w http.ResponseWriter, r *http.Request, repo string) {
	from := r.URL.Query().Get("from")
	if d, err := digest.Parse(r.URL.Query().Get("mount")); err == nil && repositoryName.MatchString(from) &&
		s.has(from, d) {
		s.created(w, repo, d)
		return
	}
	file, err := os.CreateTemp(s.uploads, "")
	if err != nil {
		s.failed(w, err)
		return
	}
	s.expire()
	id, u := uuid.NewString(), &upload{repo: repo, file: file, hash: digest.SHA256.Digester(), used: time.Now()}
	s.mu.Lock()
	s.open[id] = u
	s.mu.Unlock()
	if whole := r.URL.Query().Get("digest"); whole != "" {
		u.mu.Lock()
		defer u.mu.Unlock()
		if s.append(w, r, id, u) {
			s.commit(w, whole, id, u)
		}
		return
	}
	s.progress(w, repo, id, 0, http.StatusAccepted)
}

// append adds the request's body to the upload, and answers itself if it cannot. What came of a
// broken request is kept: the client asks how far the upload is, and goes on from there.
func (s *blobStore) append(w http.ResponseWriter, r *http.Request, id string, u *upload) bool {
	if u.file == nil {
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "the upload has ended")
		return false
	}
	var start, end int64
	if given := r.Header.Get("Content-Range"); given != "" {
		if _, err := fmt.Sscanf(given, "%d-%d", &start, &end); err != nil || start != u.size {
			s.progress(w, u.repo, id, u.size, http.StatusRequestedRangeNotSatisfiable)
			return false
		}
	}
	to := &lastingError{w: io.MultiWriter(u.file, u.hash.Hash())}
	n, err := io.Copy(to, r.Body)
	u.size += n
	u.used = time.Now()
	if to.err != nil {
		s.forget(id, u) // file and hash may differ by now
	}
	if err != nil {
		s.failed(w, fmt.Errorf("receive blob: %w", err))
		return false
	}
	return true
}

// lastingError is a writer that remembers its first error, which tells it from one of the reader.
type lastingError struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (l *lastingError) Write(p []byte) (int, error) {
	n, err := l.w.Write(p)
	if l.err == nil {
		l.err = err
	}
	return n, err
}

// commit gives the upload its name. Digests other than SHA-256 are hashed from the file.
func (s *blobStore) commit(w http.ResponseWriter, want, id string, u *upload) {
	defer s.forget(id, u)
	d, err := digest.Parse(want)
	if err != nil {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("%q is no digest", want))
		return
	}
	got := u.hash.Digest()
	if d.Algorithm() != got.Algorithm() {
		if _, err := u.file.Seek(0, io.SeekStart); err != nil {
			s.failed(w, err)
			return
		}
		if got, err = d.Algorithm().FromReader(u.file); err != nil {
			s.failed(w, err)
			return
		}
	}
	if got != d {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("the blob has digest %s, not %s", got, d))
		return
	}
	if err := s.store(u.file, d); err != nil {
		s.failed(w, err)
		return
	}
	s.created(w, u.repo, d)
}

// store brings a whole file to the disk, and moves it to its place. The rename is atomic; a blob that is there already
// is the same. Its name is on the disk when a manifest is, see manifestStore.save.
func (s *blobStore) store(f *os.File, d digest.Digest) error {
	if err := os.MkdirAll(filepath.Dir(s.path(d)), 0o755); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(d))
}

// settle brings the names of blobs, and that they are a repository's, to the disk. Their bytes are there.
func (s *blobStore) settle(repo string) error {
	some := digest.FromBytes(nil)
	for _, dir := range []string{filepath.Dir(s.path(some)), filepath.Dir(s.member(repo, some))} {
		if err := wholefile.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// put stores a small blob.
func (s *blobStore) put(data []byte) (digest.Digest, error) {
	d := digest.FromBytes(data)
	return d, writeFile(s.uploads, s.path(d), data)
}

// forget ends an upload; its file is gone, or has a name by now.
func (s *blobStore) forget(id string, u *upload) {
	if u.file == nil {
		return
	}
	_ = u.file.Close()
	_ = os.Remove(u.file.Name())
	u.file = nil
	s.mu.Lock()
	delete(s.open, id)
	s.mu.Unlock()
}

// expire forgets uploads that were abandoned.
func (s *blobStore) expire() {
	s.mu.Lock()
	uploads := maps.Clone(s.open)
	s.mu.Unlock()
	for id, u := range uploads {
		if !u.mu.TryLock() {
			continue // something is being sent
		}
		if time.Since(u.used) > abandoned {
			s.forget(id, u)
		}
		u.mu.Unlock()
	}
}

// created makes the blob d, whose bytes are there, one of the repository's.
func (s *blobStore) created(w http.ResponseWriter, repo string, d digest.Digest) {
	if err := writeFile(s.uploads, s.member(repo, d), nil); err != nil {
		s.failed(w, err)
		return
	}
	w.Header().Set("Location", fmt.Sprintf("/v2/%s/blobs/%s", repo, d))
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
}

// progress says how far an upload is.
func (s *blobStore) progress(w http.ResponseWriter, repo, id string, size int64, status int) {
	w.Header().Set("Location", fmt.Sprintf("/v2/%s/blobs/uploads/%s", repo, id))
	w.Header().Set("Docker-Upload-UUID", id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, size-1)))
	w.WriteHeader(status)
}

// writeFile writes data to a temporary file in tmp and renames it to path, which must be on the same file system.
func writeFile(tmp, path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(tmp, "")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && len(data) > 0 { // an empty one is but a name
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
