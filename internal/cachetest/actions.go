package cachetest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Actions is a stand-in of GitHub Actions' cache service, version 2: the three calls of its
// CacheService, in Twirp's JSON, as github.com/actions/toolkit (packages/cache) makes them, and the
// block blobs of Azure Storage that its signed addresses lead to, as far as Azure's SDK uses them
// here. What a service would do beside that (quota, eviction, branches) it does not.
type Actions struct {
	mu      sync.Mutex
	entries []*entry // in the order in which they were made
}

// entry is a cache entry; it can be read when it is whole.
type entry struct {
	key, version string
	blocks       map[string][]byte
	data         []byte
	whole        bool
}

// Token is a runner's token, with which the branch's entries are read, and written where write is
// set. Nobody checks its signature.
func Token(branch string, write bool) string {
	permission := 1
	if write {
		permission = 3
	}
	claims := fmt.Sprintf(`{"ac":%q,"nbf":%d,"exp":%d}`,
		fmt.Sprintf(`[{"Scope":%q,"Permission":%d}]`, "refs/heads/"+branch, permission),
		time.Now().Add(-time.Hour).Unix(), time.Now().Add(6*time.Hour).Unix())
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + part([]byte(claims)) + "." + part([]byte("nobody"))
}

// mayWrite reads what a token allows.
func mayWrite(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Access string `json:"ac"`
	}
	var scopes []struct{ Permission int }
	return err == nil && json.Unmarshal(data, &claims) == nil &&
		json.Unmarshal([]byte(claims.Access), &scopes) == nil &&
		len(scopes) > 0 && scopes[0].Permission&2 != 0
}

const service = "/twirp/github.actions.results.api.v1.CacheService/"

// ServeHTTP implements http.Handler.
func (a *Actions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, ok := strings.CutPrefix(r.URL.Path, "/blob/"); ok {
		a.blob(w, r, id)
		return
	}
	call, ok := strings.CutPrefix(r.URL.Path, service)
	if !ok || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || call != "GetCacheEntryDownloadURL" && !mayWrite(token) {
		http.Error(w, `{"code":"permission_denied","msg":"the token does not allow that"}`, http.StatusForbidden)
		return
	}
	var q struct {
		Key         string   `json:"key"`
		Version     string   `json:"version"`
		RestoreKeys []string `json:"restore_keys"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, `{"code":"malformed","msg":"no JSON"}`, http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch call {
	case "CreateCacheEntry":
		if a.find(q.Version, false, q.Key) >= 0 {
			http.Error(w,
				`{"code":"already_exists","msg":"cache entry with the same key, version, and scope already exists"}`,
				http.StatusConflict)
			return
		}
		a.entries = append(a.entries, &entry{key: q.Key, version: q.Version, blocks: map[string][]byte{}})
		reply(w, map[string]any{"ok": true, "signed_upload_url": address(r, len(a.entries)-1)})
	case "FinalizeCacheEntryUpload":
		i := a.find(q.Version, false, q.Key)
		if i >= 0 {
			a.entries[i].whole = true
		}
		reply(w, map[string]any{"ok": i >= 0, "entry_id": strconv.Itoa(i)})
	case "GetCacheEntryDownloadURL":
		i := a.find(q.Version, true, append([]string{q.Key}, q.RestoreKeys...)...)
		if i < 0 {
			reply(w, map[string]any{"ok": false})
			return
		}
		reply(w, map[string]any{"ok": true, "signed_download_url": address(r, i), "matched_key": a.entries[i].key})
	default:
		http.NotFound(w, r)
	}
}

// find gives the newest entry of a key; to restore, of one that begins so and is whole.
func (a *Actions) find(version string, restore bool, keys ...string) int {
	for _, key := range keys {
		for i := len(a.entries) - 1; i >= 0; i-- {
			e := a.entries[i]
			if e.version == version && (e.key == key || restore && e.whole && strings.HasPrefix(e.key, key)) {
				return i
			}
		}
	}
	return -1
}

func address(r *http.Request, id int) string {
	return fmt.Sprintf("http://%s/blob/%d?sig=signed", r.Host, id)
}

func reply(w http.ResponseWriter, answer map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // a client that is gone needs no answer
}

// blob does what Azure's "Put Block", "Put Block List", "Put Blob" and "Get Blob" do.
func (a *Actions) blob(w http.ResponseWriter, r *http.Request, id string) {
	a.mu.Lock()
	i, err := strconv.Atoi(id)
	if err != nil || i < 0 || i >= len(a.entries) || r.URL.Query().Get("sig") != "signed" {
		a.mu.Unlock()
		http.Error(w, "no such blob, or no signature", http.StatusForbidden)
		return
	}
	e := a.entries[i]
	a.mu.Unlock()
	w.Header().Set("X-Ms-Request-Id", id)
	w.Header().Set("X-Ms-Version", r.Header.Get("X-Ms-Version"))
	w.Header().Set("Etag", `"`+id+`"`)
	w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		if given := r.Header.Get("X-Ms-Range"); given != "" {
			r.Header.Set("Range", given)
		}
		a.mu.Lock()
		data := e.data
		a.mu.Unlock()
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		return
	}
	data, err := io.ReadAll(r.Body)
	if err == nil {
		a.mu.Lock()
		err = e.put(r, data)
		a.mu.Unlock()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (e *entry) put(r *http.Request, data []byte) error {
	switch comp := r.URL.Query().Get("comp"); comp {
	case "block":
		e.blocks[r.URL.Query().Get("blockid")] = data
	case "":
		e.data = data
	case "blocklist":
		var list struct {
			Latest []string `xml:"Latest"`
		}
		if err := xml.Unmarshal(data, &list); err != nil {
			return err
		}
		e.data = nil
		for _, id := range list.Latest {
			e.data = append(e.data, e.blocks[id]...)
		}
	default:
		return fmt.Errorf("comp=%s is not done here", comp)
	}
	return nil
}
