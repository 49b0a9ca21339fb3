package main

import (
	"context"
	"crypto/md5" //nolint:gosec // conda names its cache files so
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// record is a package as repodata, and conda-meta, describe it. raw keeps what is not read here.
type record struct {
	Name        string   `json:"name"`
	Version     string   `json:"version"`
	Build       string   `json:"build"`
	BuildNumber int      `json:"build_number"`
	Depends     []string `json:"depends"`
	Constrains  []string `json:"constrains"`
	MD5         string   `json:"md5"`
	SHA256      string   `json:"sha256"`
	Size        int64    `json:"size"`
	Noarch      any      `json:"noarch"`
	License     string   `json:"license"`
	Timestamp   int64    `json:"timestamp"`
	Subdir      string   `json:"subdir"`

	fn       string
	ch       channel
	priority int
}

func (r *record) dist() string { return r.Name + "-" + r.Version + "-" + r.Build }
func (r *record) base() string { return r.ch.url + "/" + r.Subdir }
func (r *record) url() string  { return r.base() + "/" + r.fn }

type repodata struct {
	Packages map[string]*record `json:"packages"`
	Conda    map[string]*record `json:"packages.conda"`
}

// client goes through the proxies of the environment as Python's requests does: also to loopback, unlike Go's own rule.
func client() *http.Client {
	t := &http.Transport{
		ResponseHeaderTimeout: 60 * time.Second,
		Proxy: func(r *http.Request) (*url.URL, error) {
			for host := range strings.SplitSeq(getenv("no_proxy", "NO_PROXY"), ",") {
				host = strings.TrimPrefix(strings.TrimSpace(host), ".")
				if host != "" && (host == "*" || r.URL.Hostname() == host || r.URL.Host == host ||
					strings.HasSuffix(r.URL.Hostname(), "."+host)) {
					return nil, nil
				}
			}
			p := getenv(r.URL.Scheme+"_proxy", strings.ToUpper(r.URL.Scheme)+"_PROXY")
			if p == "" {
				p = getenv("all_proxy", "ALL_PROXY")
			}
			if p == "" {
				return nil, nil
			}
			if !strings.Contains(p, "://") {
				p = "http://" + p
			}
			return url.Parse(p)
		},
	}
	return &http.Client{Transport: t, Timeout: 30 * time.Minute}
}

func getenv(names ...string) string {
	for _, n := range names {
		if v := os.Getenv(n); v != "" {
			return v
		}
	}
	return ""
}

// get fetches a URL; status is 0 where nothing answered.
func get(ctx context.Context, url string) (body io.ReadCloser, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, httpError(url, "CONNECTION FAILED", "000", err)
	}
	req.Header.Set("User-Agent", "conda/"+newest+" (stand-in of raybuild's offline package world)")
	resp, err := client().Do(req)
	if err != nil {
		return nil, 0, httpError(url, "CONNECTION FAILED", "000", err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, resp.StatusCode, httpError(url, strings.ToUpper(http.StatusText(resp.StatusCode)),
			resp.StatusCode, nil)
	}
	return resp.Body, resp.StatusCode, nil
}

// records reads all packages of all channels.
func (a *app) records(ctx context.Context, channels []channel) ([]*record, error) {
	var out []*record
	for i, ch := range channels {
		missing := 0
		for _, sub := range subdirs {
			data, status, err := a.repodata(ctx, ch.url+"/"+sub)
			if status == http.StatusNotFound || status == http.StatusForbidden {
				// A channel need not have every subdir, but it has noarch.
				if missing++; missing == len(subdirs) || sub == "noarch" {
					return nil, invalidChannel(ch.url, status)
				}
				continue
			}
			if err != nil {
				return nil, err
			}
			var r repodata
			if err := json.Unmarshal(data, &r); err != nil {
				return nil, newError("CorruptRepodataError", "repodata of %s/%s: %v", ch.url, sub, err)
			}
			for _, m := range []map[string]*record{r.Packages, r.Conda} {
				for fn, rec := range m {
					rec.fn, rec.ch, rec.priority, rec.Subdir = fn, ch, i, sub
					if strings.HasSuffix(fn, ".conda") && a.conf.onlyBz2 {
						continue
					}
					if rec.Name == "python" && a.conf.addPip {
						// conda itself adds pip; observed on 4.12.0 to 26.7.1.
						rec.Depends = append(rec.Depends, "pip")
					}
					out = append(out, rec)
				}
			}
		}
	}
	return out, nil
}

// repodata reads one subdir's repodata, in the order of requests that was observed: current_repodata.json.zst,
// current_repodata.json, repodata.json.zst, repodata.json; before 23.9 without the .zst.
func (a *app) repodata(ctx context.Context, base string) (data []byte, status int, err error) {
	cacheDir := filepath.Join(a.conf.pkgsDirs[0], "cache")
	sum := md5.Sum([]byte(base + "/")) //nolint:gosec // as above
	cache := filepath.Join(cacheDir, hex.EncodeToString(sum[:])[:8]+".json")
	if a.conf.offline {
		if data, err := os.ReadFile(cache); err == nil {
			return data, http.StatusOK, nil
		}
		return []byte("{}"), http.StatusOK, nil
	}
	for _, name := range []string{"current_repodata.json.zst", "current_repodata.json", "repodata.json.zst",
		"repodata.json"} {
		if strings.HasSuffix(name, ".zst") && compareVersions(a.conf.version, "23.9") < 0 {
			continue
		}
		var body io.ReadCloser
		body, status, err = get(ctx, base+"/"+name)
		if status == http.StatusNotFound || status == http.StatusForbidden {
			continue
		}
		if err != nil {
			return nil, status, err
		}
		data, err = readRepodata(body, strings.HasSuffix(name, ".zst"))
		if err != nil {
			return nil, 0, httpError(base+"/"+name, "CONNECTION FAILED", "000", err)
		}
		if err := os.MkdirAll(cacheDir, 0o755); err == nil {
			info, _ := json.Marshal(map[string]any{"url": base + "/" + name, "size": len(data)})
			// A cache that can't be written costs the next call a request and nothing else.
			_ = errors.Join(os.WriteFile(cache, data, 0o644),
				os.WriteFile(strings.TrimSuffix(cache, ".json")+".info.json", info, 0o644))
			a.touchURLs(a.conf.pkgsDirs[0])
		}
		return data, status, nil
	}
	return nil, status, err
}

func (a *app) touchURLs(dir string) {
	for _, name := range []string{"urls", "urls.txt"} {
		if f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
			_ = f.Close() // opened to exist
		}
	}
}

func readRepodata(body io.ReadCloser, compressed bool) ([]byte, error) {
	defer func() { _ = body.Close() }()
	if !compressed {
		return io.ReadAll(body)
	}
	z, err := zstd.NewReader(body)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	data, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("unpack repodata: %w", err)
	}
	return data, nil
}
