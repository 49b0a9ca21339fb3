package faultyregistry

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// What real registries do that the embedded one does not. Each is a middleware before it; a profile of a real registry
// is several of them.

// refuse answers with an error as the OCI distribution specification words it.
func refuse(w http.ResponseWriter, status int, code, message, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	problem := map[string]string{"code": code, "message": message}
	if detail != "" {
		problem["detail"] = detail
	}
	// the client sees what it did not get
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{problem}})
}

// read reads a request's body, and leaves it to the next handler.
func read(r *http.Request) []byte {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		data = nil
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	return data
}

// manifest is what allow-lists look at.
type manifest struct {
	ArtifactType string `json:"artifactType"`
	Config       struct {
		MediaType string `json:"mediaType"`
	} `json:"config"`
	Layers []struct {
		MediaType string `json:"mediaType"`
	} `json:"layers"`
}

// ImageTypes are the media types of configs and layers that every registry knows: images of OCI and of Docker.
func ImageTypes() (configs, layers []string) {
	return []string{"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"},
		[]string{"application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip",
			"application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.gzip"}
}

// Allowing refuses manifests whose artifact type and config type are not among configs, or whose layers' types are not
// among layers, with 400 MANIFEST_INVALID as GitLab's registry does.
func Allowing(configs, layers []string) Middleware {
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !Manifest(r) {
			return false
		}
		var m manifest
		if err := json.Unmarshal(read(r), &m); err != nil {
			return false
		}
		unknown := ""
		for _, kind := range []string{m.ArtifactType, m.Config.MediaType} {
			if kind != "" && !slices.Contains(configs, kind) {
				unknown = kind
			}
		}
		for _, l := range m.Layers {
			if !slices.Contains(layers, l.MediaType) {
				unknown = l.MediaType
			}
		}
		if unknown == "" {
			return false
		}
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid", "unknown media type: "+unknown)
		return true
	})
}

// RefusingSubjects refuses manifests that name a subject.
func RefusingSubjects(status int) Middleware {
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !Manifest(r) || !bytes.Contains(read(r), []byte(`"subject"`)) {
			return false
		}
		refuse(w, status, "MANIFEST_INVALID", "manifest invalid", "")
		return true
	})
}

// WithoutReferrers has no referrers API. It answers with a status, 200 with a page as proxies do that know no such
// address, and does not say that a manifest is listed.
func WithoutReferrers(status int) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/referrers/") {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, "<html>nothing here</html>") // the client sees what it did not get
				return
			}
			next.ServeHTTP(withoutHeader{w, "Oci-Subject"}, r)
		})
	}
}

// withoutHeader takes a header out of an answer.
type withoutHeader struct {
	http.ResponseWriter
	header string
}

// WriteHeader implements http.ResponseWriter.
func (w withoutHeader) WriteHeader(status int) {
	w.Header().Del(w.header)
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w withoutHeader) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Immutable lets no tag move to another manifest. Its answer is that of ECR (400 TAG_INVALID) or of Harbor (412).
func Immutable(status int) Middleware {
	var (
		mu   sync.Mutex
		tags = map[string]string{} // by path: the manifest
	)
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !Manifest(r) || strings.Contains(r.URL.Path, "/manifests/sha256:") {
			return false
		}
		data := string(read(r))
		mu.Lock()
		defer mu.Unlock()
		if had, ok := tags[r.URL.Path]; !ok || had == data {
			tags[r.URL.Path] = data
			return false
		}
		code := "TAG_INVALID"
		if status == http.StatusPreconditionFailed {
			code = "PRECONDITION"
		}
		refuse(w, status, code, "The tag already exists and cannot be overwritten because the tag is immutable.", "")
		return true
	})
}

// WithoutMounts opens an upload for a blob that is to be mounted.
func WithoutMounts() Middleware {
	return handle(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if Post(r) {
			r.URL.RawQuery = ""
		}
		return false
	})
}

// WithoutDelete refuses every DELETE.
func WithoutDelete() Middleware {
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodDelete {
			return false
		}
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "The operation is unsupported.", "")
		return true
	})
}

// Busy answers every nth request of a kind with 429, and says when to come back if after is not empty.
func Busy(kind Kind, nth int64, after string) Middleware {
	asked := &atomic.Int64{}
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !kind(r) || asked.Add(1)%nth != 0 {
			return false
		}
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests", "")
		return true
	})
}

// Redirecting sends who reads a blob to an object store, which has the blobs of the registry behind it, and which takes
// no credentials but those in the address.
func Redirecting(store string) Middleware {
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !Read(r) {
			return false
		}
		http.Redirect(w, r, store+r.URL.Path+"?X-Amz-Signature=signed", http.StatusTemporaryRedirect)
		return true
	})
}

// ObjectStore is what [Redirecting] sends to.
func ObjectStore() Middleware {
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		switch {
		case r.Header.Get("Authorization") != "":
			// as S3 does: "Only one auth mechanism allowed"
			http.Error(w, "InvalidArgument", http.StatusBadRequest)
		case r.Method != http.MethodGet || r.URL.Query().Get("X-Amz-Signature") != "signed":
			http.Error(w, "AccessDenied", http.StatusForbidden) // a signature holds for one method
		default:
			return false
		}
		return true
	})
}

// Made has only the repositories that were made before, as ECR does.
func Made(repositories ...string) Middleware {
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
		if !ok || path == "" {
			return false
		}
		for _, repository := range repositories {
			if strings.HasPrefix(path, repository+"/") {
				return false
			}
		}
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "The repository does not exist in the registry", "")
		return true
	})
}

// DigestsOnly shows no image by a tag.
func DigestsOnly(status int) Middleware {
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !ReadManifest(r) || strings.Contains(r.URL.Path, "/manifests/sha256:") {
			return false
		}
		refuse(w, status, "MANIFEST_UNKNOWN", "pull by digest", "")
		return true
	})
}

// Parameter adds a parameter to the media type of what the referrers API answers.
func Parameter() Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/referrers/") {
				w = withParameter{w}
			}
			next.ServeHTTP(w, r)
		})
	}
}

type withParameter struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w withParameter) WriteHeader(status int) {
	w.Header().Set("Content-Type", w.Header().Get("Content-Type")+"; charset=utf-8")
	w.ResponseWriter.WriteHeader(status)
}

// ShortTokens hands out tokens for n requests each, as tokens of 60 seconds are for a push that takes hours.
func ShortTokens(n int64) Middleware {
	asked := &atomic.Int64{}
	return Expiring(func(r *http.Request) bool {
		return r.Header.Get("Authorization") != "" && asked.Add(1)%n == 0
	})
}

// All puts several middlewares before a registry; the first one is asked first.
func All(all ...Middleware) Middleware {
	return func(next http.Handler) http.Handler {
		for _, m := range slices.Backward(all) {
			next = m(next)
		}
		return next
	}
}
