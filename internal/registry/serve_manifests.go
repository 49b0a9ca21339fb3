package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/wholefile"
)

// manifestStore keeps names of manifests. A manifest's bytes are a blob; a small file of its
// repository, named by tag or digest, holds its descriptor, and one under its subject's name makes
// it a referrer.
type manifestStore struct {
	dir   string
	blobs *blobStore
}

const (
	// maxManifest is the size that the OCI distribution specification asks registries to accept at least, in bytes.
	maxManifest = 4 << 20
	// linkDir and referrerDir lie in a repository's directory: no component of a repository's name begins with "_".
	linkDir     = "_manifests"
	referrerDir = "_referrers"
)

// The grammar of tags: OCI distribution specification 1.1, "Pulling manifests".
var tagName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// fileName is the name of a link's file: not every file system takes a digest's colon.
func fileName(target string) string { return strings.Replace(target, ":", "@", 1) }

// link is the file that names a manifest by target, a tag or a digest.
func (s *manifestStore) link(repo, target string) string {
	return filepath.Join(s.dir, filepath.FromSlash(repo), linkDir, fileName(target))
}

// referrer is the file that lists the manifest d as a referrer of subject.
func (s *manifestStore) referrer(repo, subject, d string) string {
	return filepath.Join(s.dir, filepath.FromSlash(repo), referrerDir, fileName(subject), fileName(d))
}

func (s *manifestStore) serve(w http.ResponseWriter, r *http.Request, repo, target string) {
	if _, err := digest.Parse(target); err != nil && !tagName.MatchString(target) {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("%q is neither a tag nor a digest", target))
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.read(w, repo, target)
	case http.MethodPut:
		s.put(w, r, repo, target)
	case http.MethodDelete:
		s.remove(w, repo, target)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", r.Method+" is not for manifests")
	}
}

func (s *manifestStore) read(w http.ResponseWriter, repo, target string) {
	desc, err := readDescriptor(s.link(repo, target))
	if err != nil {
		s.failed(w, err)
		return
	}
	data, err := os.ReadFile(s.blobs.path(digest.Digest(desc.Digest.String())))
	if err == nil && len(data) == 0 { // see blobStore.has
		err = os.ErrNotExist
	}
	if err != nil {
		s.failed(w, err)
		return
	}
	w.Header().Set("Docker-Content-Digest", desc.Digest.String())
	w.Header().Set("Content-Type", string(desc.MediaType))
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // net/http sends no body for HEAD; a gone connection needs no answer
}

// failed answers for an error of the file system.
func (s *manifestStore) failed(w http.ResponseWriter, err error) {
	if errors.Is(err, os.ErrNotExist) {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such manifest")
		return
	}
	refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
}

func readDescriptor(path string) (v1.Descriptor, error) {
	var desc v1.Descriptor
	raw, err := os.ReadFile(path)
	if err != nil {
		return desc, err
	}
	if err := json.Unmarshal(raw, &desc); err != nil {
		return desc, fmt.Errorf("read %q: %w", path, err)
	}
	return desc, nil
}

// document is what the registry reads of a manifest or an index.
type document struct {
	MediaType    types.MediaType   `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Config       *v1.Descriptor    `json:"config"`
	Layers       []v1.Descriptor   `json:"layers"`
	Manifests    []v1.Descriptor   `json:"manifests"`
	Subject      *v1.Descriptor    `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

// put takes a manifest whose parts are all there.
func (s *manifestStore) put(w http.ResponseWriter, r *http.Request, repo, target string) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID",
			fmt.Sprintf("the manifest cannot be read, or has more than %d bytes", maxManifest))
		return
	}
	d := digest.FromBytes(data)
	if want, err := digest.Parse(target); err == nil && want != d {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("the manifest has digest %s, not %s", d, want))
		return
	}
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "the manifest is not JSON: "+err.Error())
		return
	}
	if missing := s.missing(repo, doc); missing != "" {
		refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "the repository does not have "+missing)
		return
	}
	if err := s.save(repo, target, r.Header.Get("Content-Type"), data, doc); err != nil {
		s.failed(w, fmt.Errorf("store manifest: %w", err))
		return
	}
	if doc.Subject != nil {
		w.Header().Set("Oci-Subject", doc.Subject.Digest.String()) // says that the referrers API lists it
	}
	w.Header().Set("Location", fmt.Sprintf("/v2/%s/manifests/%s", repo, d))
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
}

// missing names the first part of a manifest that was not pushed before it; "" means that all is there.
func (s *manifestStore) missing(repo string, doc document) string {
	blobs := doc.Layers
	if doc.Config != nil {
		blobs = append(slices.Clone(blobs), *doc.Config)
	}
	for _, b := range blobs {
		d := digest.Digest(b.Digest.String())
		if !b.MediaType.IsDistributable() {
			continue
		}
		if d.Validate() != nil || !s.blobs.has(repo, d) {
			return "blob " + b.Digest.String()
		}
	}
	for _, m := range doc.Manifests {
		d := digest.Digest(m.Digest.String())
		if _, err := os.Stat(s.link(repo, d.String())); d.Validate() != nil || err != nil {
			return "manifest " + m.Digest.String()
		}
	}
	return ""
}

// save writes the bytes first and the names after them, so that a name never leads nowhere. It returns when all is on
// the disk: a power cut takes no image that was pushed.
func (s *manifestStore) save(repo, target, mediaType string, data []byte, doc document) error {
	d, err := s.blobs.put(data)
	if err == nil {
		err = s.blobs.settle(repo)
	}
	if err != nil {
		return err
	}
	hash, err := v1.NewHash(d.String())
	if err != nil {
		return err
	}
	desc := v1.Descriptor{MediaType: types.MediaType(mediaType), Digest: hash, Size: int64(len(data))}
	if err := s.write(s.link(repo, d.String()), desc); err != nil {
		return err
	}
	if doc.Subject != nil {
		listed := desc
		listed.Annotations, listed.ArtifactType = doc.Annotations, doc.ArtifactType
		if listed.ArtifactType == "" && doc.Config != nil {
			listed.ArtifactType = string(doc.Config.MediaType)
		}
		if err := s.write(s.referrer(repo, doc.Subject.Digest.String(), d.String()), listed); err != nil {
			return err
		}
	}
	if target == d.String() {
		return nil
	}
	return s.write(s.link(repo, target), desc)
}

func (s *manifestStore) write(path string, desc v1.Descriptor) error {
	raw, err := json.Marshal(desc)
	if err == nil {
		err = writeFile(s.blobs.uploads, path, raw)
	}
	if err != nil {
		return err
	}
	return wholefile.SyncDir(filepath.Dir(path))
}

// remove takes a tag away; by digest it takes the manifest away, with the tags that name it.
func (s *manifestStore) remove(w http.ResponseWriter, repo, target string) {
	desc, err := readDescriptor(s.link(repo, target))
	if err == nil {
		err = os.Remove(s.link(repo, target))
	}
	if err == nil && target == desc.Digest.String() {
		err = s.removeNames(repo, desc.Digest)
	}
	if err != nil {
		s.failed(w, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// removeNames takes away the tags of the manifest d, and its entry in the list of its subject.
func (s *manifestStore) removeNames(repo string, d v1.Hash) error {
	tags, err := s.names(repo)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if desc, err := readDescriptor(s.link(repo, tag)); err == nil && desc.Digest == d {
			if err := os.Remove(s.link(repo, tag)); err != nil {
				return err
			}
		}
	}
	var doc document
	raw, err := os.ReadFile(s.blobs.path(digest.Digest(d.String())))
	if err == nil {
		err = json.Unmarshal(raw, &doc)
	}
	if err != nil || doc.Subject == nil {
		return err
	}
	return os.Remove(s.referrer(repo, doc.Subject.Digest.String(), d.String()))
}

// names lists the tags of a repository, sorted.
func (s *manifestStore) names(repo string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(s.link(repo, "x")))
	if err != nil {
		return nil, err
	}
	tags := []string{}
	for _, e := range entries {
		if !strings.Contains(e.Name(), "@") {
			tags = append(tags, e.Name())
		}
	}
	sort.Strings(tags)
	return tags, nil
}

// tags lists a repository's tags, in pages where the request asks for it.
func (s *manifestStore) tags(w http.ResponseWriter, r *http.Request, repo string) {
	tags, err := s.names(repo)
	if err != nil {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "no such repository")
		return
	}
	answer(w, http.StatusOK, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{repo, page(w, r, tags)})
}

// page cuts a sorted list to what the request's "last" and "n" ask for, and names the next page in a Link header.
func page(w http.ResponseWriter, r *http.Request, all []string) []string {
	q := r.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	n, err := strconv.Atoi(q.Get("n"))
	if err != nil || n < 0 || n >= len(all) {
		return all
	}
	if n > 0 {
		q.Set("last", all[n-1])
		w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, r.URL.Path, q.Encode()))
	}
	return all[:n]
}

// catalog lists the repositories.
func (s *manifestStore) catalog(w http.ResponseWriter, r *http.Request) {
	repos := []string{}
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != linkDir {
			return err
		}
		repo, err := filepath.Rel(s.dir, filepath.Dir(path))
		if err != nil {
			return err
		}
		repos = append(repos, filepath.ToSlash(repo))
		return filepath.SkipDir
	})
	if err != nil {
		s.failed(w, err)
		return
	}
	sort.Strings(repos)
	answer(w, http.StatusOK, "application/json", struct {
		Repositories []string `json:"repositories"`
	}{page(w, r, repos)})
}

// referrers lists what is attached to a manifest, of one artifact type where the request says so.
func (s *manifestStore) referrers(w http.ResponseWriter, r *http.Request, repo, subject string) {
	if _, err := digest.Parse(subject); err != nil {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("%q is no digest", subject))
		return
	}
	list := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	dir := filepath.Dir(s.referrer(repo, subject, "x"))
	listed, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.failed(w, err)
		return
	}
	only := r.URL.Query().Get("artifactType")
	if only != "" {
		w.Header().Set("Oci-Filters-Applied", "artifactType")
	}
	for _, entry := range listed {
		desc, err := readDescriptor(filepath.Join(dir, entry.Name()))
		if err != nil {
			s.failed(w, err)
			return
		}
		if only == "" || desc.ArtifactType == only {
			list.Manifests = append(list.Manifests, desc)
		}
	}
	answer(w, http.StatusOK, string(types.OCIImageIndex), list)
}
