package registry

import (
	"net/http"
	"strings"
	"testing"
)

// An index and its images come to another repository by mounts, and to another registry by their bytes.
func TestCopyMountsWhereItCan(t *testing.T) {
	t.Parallel()
	host, asked := start(t, nil)
	elsewhere, _ := start(t, nil)
	want := push(t, host+"/team/ray:1", index(t))
	asked.reset()
	done, err := client(Options{}).Copy(t.Context(), host+"/team/ray@"+want,
		quick(host+"/release/ray:1", host+"/release/ray:2"))
	if err != nil {
		t.Fatal(err)
	}
	if done.Bytes != 0 || asked.count("PUT /v2/release/ray/blobs") != 0 {
		t.Errorf("%d bytes were sent in %d requests to a registry that mounts", done.Bytes,
			asked.count("PUT /v2/release/ray/blobs"))
	}
	if done, err = client(Options{}).Copy(t.Context(), host+"/team/ray:1", quick(elsewhere+"/ray:1")); err != nil ||
		done.Bytes == 0 {
		t.Errorf("%d bytes were sent to another registry, error %v", done.Bytes, err)
	}
	for _, ref := range []string{host + "/release/ray:1", host + "/release/ray:2", elsewhere + "/ray:1"} {
		found, ok, err := client(Options{}).Head(t.Context(), ref)
		if err != nil || !ok || found.Digest.String() != want {
			t.Errorf("%s is %s (there: %v, error %v), want %s", ref, found.Digest, ok, err, want)
		}
		if err := client(Options{}).Validate(t.Context(), ref); err != nil {
			t.Errorf("the copy is not whole: %v", err)
		}
	}
}

// A source that has lost a blob gives no tag.
func TestCopyOfWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	host, _ := start(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			lost := strings.HasPrefix(r.URL.Path, "/v2/team/ray/blobs/sha256:") && r.Method == http.MethodGet
			if lost || r.URL.Query().Has("mount") && strings.Contains(r.URL.Path, "/release/") {
				refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "no such blob")
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	push(t, host+"/team/ray:1", image(t, amd64(), nil))
	if _, err := client(Options{}).Copy(t.Context(), host+"/team/ray:1", quick(host+"/release/ray:1")); err == nil {
		t.Error("a copy without its layers is said to have worked")
	}
	absent(t, host+"/release/ray:1")
}
