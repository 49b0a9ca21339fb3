package cachetest

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Azure is a stand-in of Azure's blob service with what BuildKit's cache asks of it: containers,
// and block blobs that are put whole or in blocks, looked at and read
// (https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api). It takes any
// credentials.
type Azure struct {
	mu         sync.Mutex
	containers map[string]bool
	blobs      map[string][]byte // by path
	blocks     map[string][]byte // by path and id, not committed
}

// blockList names a blob's blocks in their order.
type blockList struct {
	Latest []string `xml:"Latest"`
}

// ServeHTTP implements http.Handler. Paths are /CONTAINER and /CONTAINER/BLOB.
func (a *Azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.blobs == nil {
		a.containers, a.blobs, a.blocks = map[string]bool{}, map[string][]byte{}, map[string][]byte{}
	}
	w.Header().Set("Last-Modified", time.Unix(0, 0).UTC().Format(http.TimeFormat))
	w.Header().Set("ETag", `"0x1"`)
	query := r.URL.Query()
	switch {
	case query.Get("restype") == "container":
		a.container(w, r)
	case r.Method == http.MethodPut:
		a.put(w, r, query, body)
	default:
		data, there := a.blobs[r.URL.Path]
		if !there {
			refuse(w, http.StatusNotFound, "BlobNotFound")
			return
		}
		w.Header().Set("x-ms-blob-type", "BlockBlob")
		if at := r.Header.Get("x-ms-range"); at != "" {
			r.Header.Set("Range", at)
		}
		http.ServeContent(w, r, "", time.Unix(0, 0), bytes.NewReader(data))
	}
}

func (a *Azure) container(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPut:
		a.containers[r.URL.Path] = true
		w.WriteHeader(http.StatusCreated)
	case !a.containers[r.URL.Path]:
		refuse(w, http.StatusNotFound, "ContainerNotFound")
	}
}

func (a *Azure) put(w http.ResponseWriter, r *http.Request, query url.Values, body []byte) {
	path := r.URL.Path
	if _, there := a.blobs[path]; there && r.Header.Get("If-None-Match") == "*" {
		refuse(w, http.StatusConflict, "BlobAlreadyExists")
		return
	}
	switch query.Get("comp") {
	case "block":
		a.blocks[path+" "+query.Get("blockid")] = body
	case "blocklist":
		var list blockList
		if err := xml.Unmarshal(body, &list); err != nil {
			refuse(w, http.StatusBadRequest, "InvalidXmlDocument")
			return
		}
		var whole []byte
		for _, id := range list.Latest {
			whole = append(whole, a.blocks[path+" "+strings.TrimSpace(id)]...)
		}
		a.blobs[path] = whole
	default:
		a.blobs[path] = body
	}
	w.WriteHeader(http.StatusCreated)
}

// refuse answers with one of the service's codes.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.WriteHeader(status)
}
