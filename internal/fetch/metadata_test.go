package fetch

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// bigWheel is a wheel of more than smallWheel, with a directory that is longer than one read.
func bigWheel(t *testing.T) (file []byte, meta string) {
	t.Helper()
	meta = "Metadata-Version: 2.1\nName: big\nVersion: 1\nRequires-Dist: small\n"
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	add := func(name string, data []byte) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("big/data", noise(60, 4<<20))
	add("big-1.dist-info/METADATA", []byte(meta))
	add("big/_vendor/other-1.dist-info/METADATA", []byte("no"))
	add("big/more", noise(61, 1<<20))
	for i := range 3000 {
		add(fmt.Sprintf("big/%060d.py", i), nil)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), meta
}

// offered is a mirror of PyPI with one wheel and no metadata file; partial says that it knows ranges.
func offered(t *testing.T, kind string, file []byte, partial bool) *mirror {
	const path = "/pypi/packages/aa/bb/cc/big-1-py3-none-any.whl"
	sum := digest.FromBytes(file).Encoded()
	return newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == path && partial:
			serve(w, r, file)
		case r.URL.Path == path:
			_, _ = w.Write(file)
		case r.URL.Path == "/pypi/simple/big/" && kind == typeJSON:
			w.Header().Set("Content-Type", kind)
			_, _ = fmt.Fprintf(w, `{"meta":{"api-version":"1.0"},"name":"big","files":[{"filename":"big-1-py3-none-any.whl",`+
				`"url":"../../packages/aa/bb/cc/big-1-py3-none-any.whl","hashes":{"sha256":%q},"size":%d,`+
				`"core-metadata":false}]}`, sum, len(file))
		case r.URL.Path == "/pypi/simple/big/":
			w.Header().Set("Content-Type", kind)
			_, _ = fmt.Fprintf(w, `<a href="../../packages/aa/bb/cc/big-1-py3-none-any.whl#sha256=%s">big</a>`, sum)
		default:
			http.NotFound(w, r)
		}
	})
}

const bigURL = "http://files.pythonhosted.org/packages/aa/bb/cc/big-1-py3-none-any.whl"

func TestGatewayOffersMetadata(t *testing.T) {
	t.Parallel()
	file, meta := bigWheel(t)
	for _, tc := range []struct {
		kind, says string
		partial    bool
	}{{typeJSON, `"core-metadata":true`, true}, {"text/html", `data-core-metadata="true"`, true},
		{typeJSON, `"core-metadata":true`, false}} {
		t.Run(fmt.Sprintf("%s, ranges %v", tc.kind, tc.partial), func(t *testing.T) {
			t.Parallel()
			m := offered(t, tc.kind, file, tc.partial)
			r := pypiRig(t, fast(t), m)
			gw := gatewayOf(t, r)
			accept := http.Header{"Accept": {typeJSON + ", text/html;q=0.1"}}
			if _, page := through(t, gw, "http://pypi.org/simple/big/", accept); strings.Contains(page, tc.says) {
				t.Errorf("it was not asked for: %s", page)
			}
			accept.Set(OfferMetadata, "yes")
			if _, page := through(t, gw, "http://pypi.org/simple/big/", accept); !strings.Contains(page, tc.says) {
				t.Errorf("not offered: %s", page)
			}
			if resp, got := through(t, gw, bigURL+".metadata", nil); got != meta || resp.StatusCode != 200 {
				t.Errorf("%s %q", resp.Status, got)
			}
			if n := count(m, ".metadata"); n != 0 {
				t.Errorf("the mirror was asked %d times for what it has not", n)
			}
			if moved := r.Stats().Bytes; tc.partial && moved > 1<<20 {
				t.Errorf("%d bytes were fetched for %d of metadata", moved, len(meta))
			}
		})
	}
}

func TestGatewayReadsMetadataOfUnlistedWheels(t *testing.T) {
	t.Parallel()
	file, meta := bigWheel(t)
	m := offered(t, typeJSON, file, true)
	r := filesRig(t, m)
	gw := gatewayOf(t, r)
	if _, got := through(t, gw, bigURL+".metadata", nil); got != meta {
		t.Errorf("%q", got)
	}
	r.Add(Item{Digest: digest.FromBytes(file), URL: bigURL})
	r.mustRead(t, digest.FromBytes(file))
	before := r.Stats().Bytes
	if _, got := through(t, gw, bigURL+".metadata", nil); got != meta || r.Stats().Bytes > before+1000 {
		t.Errorf("%q, and %d bytes more", got, r.Stats().Bytes-before)
	}
	resp, _ := through(t, gw, strings.Replace(bigURL, "big-1", "none-1", 1)+".metadata", nil)
	if resp.StatusCode != 404 {
		t.Error(resp.Status)
	}
}

func TestGatewayRefusesWheelsWithoutMetadata(t *testing.T) {
	t.Parallel()
	m := offered(t, typeJSON, noise(62, 2<<20), true)
	gw := gatewayOf(t, filesRig(t, m))
	if resp, got := through(t, gw, bigURL+".metadata", nil); resp.StatusCode != 502 {
		t.Errorf("%s %q", resp.Status, got)
	}
}

// TestGatewaySendsPartsOfLargeFiles: who wants the end of a wheel must not wait for the whole.
func TestGatewaySendsPartsOfLargeFiles(t *testing.T) {
	t.Parallel()
	file, _ := bigWheel(t)
	m := offered(t, typeJSON, file, true)
	r := filesRig(t, m)
	gw := gatewayOf(t, r)
	r.Add(Item{Digest: digest.FromBytes(file), Size: int64(len(file)), URL: bigURL})
	span := fmt.Sprintf("bytes %d-%d/%d", len(file)-100, len(file)-1, len(file))
	for _, want := range []string{"-100", fmt.Sprintf("%d-%d", len(file)-100, len(file)-1)} {
		resp, got := through(t, gw, bigURL, http.Header{"Range": {"bytes=" + want}})
		if resp.StatusCode != 206 || got != string(file[len(file)-100:]) || resp.Header.Get("Content-Range") != span {
			t.Errorf("%s: %s %v", want, resp.Status, resp.Header)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, bigURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(mustParse(t, gw))}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	shut(resp.Body)
	if resp.ContentLength != int64(len(file)) || resp.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	if moved := r.Stats().Bytes; moved > 1000 {
		t.Errorf("%d bytes were fetched", moved)
	}
	if _, got := through(t, gw, bigURL, http.Header{"Range": {"bytes=100-"}}); got != string(file[100:]) {
		t.Error("a resumed download is wrong")
	}
	r.mustRead(t, digest.FromBytes(file))
}

// filesRig is a pypiRig whose gateway knows that PyPI's files need https.
func filesRig(t *testing.T, m *mirror) *rig {
	r := pypiRig(t, fast(t), m)
	r.secure[pypiFiles] = true
	return r
}

func mustParse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
