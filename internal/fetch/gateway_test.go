package fetch

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// gatewayOf serves a rig's gateway, and returns its URL.
func gatewayOf(t *testing.T, r *rig) string {
	s := httptest.NewServer(r.gateway())
	t.Cleanup(s.Close)
	return s.URL
}

// pypi is a mirror of PyPI in the layout of tuna's: pages under /pypi/simple/, files under /pypi/packages/.
func pypi(t *testing.T, page func(base string) (kind, body string), files map[string][]byte) *mirror {
	var m *mirror
	m = newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/pypi/simple/") {
			kind, body := page(m.URL)
			w.Header().Set("Content-Type", kind)
			_, _ = fmt.Fprint(w, body)
			return
		}
		b, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		serve(w, r, b)
	})
	return m
}

// pypiRig asks mirrors as the mirror table does for PyPI.
func pypiRig(t *testing.T, o Options, mirrors ...*mirror) *rig {
	o.HTTPSHosts = []string{"pypi.org"}
	o.Candidates = func(u *url.URL) []Candidate {
		var out []Candidate
		for i, m := range mirrors {
			name := fmt.Sprintf("m%d", i+1)
			switch u.Host {
			case "pypi.org", "files.pythonhosted.org":
				if u.Scheme != "https" {
					t.Errorf("canonical %s is not https", u)
				}
				out = append(out, Candidate{Mirror: name, URL: m.URL + "/pypi" + u.EscapedPath()})
			}
		}
		return out
	}
	return newRig(t, o, mirrors...)
}

const path64 = "/pypi/packages/ab/cd/0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab/"

func TestGatewayRewritesHTMLPages(t *testing.T) {
	t.Parallel()
	wheel, meta := noise(40, 50<<10), []byte("Metadata-Version: 2.1\nName: ray\n")
	wd, md := digest.FromBytes(wheel), digest.FromBytes(meta)
	m := pypi(t, func(base string) (string, string) {
		return "text/html; charset=utf-8",
			`<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.1"><base href="` +
				base + `/pypi/simple/ray/"></head>
<body><h1>Links &amp; more</h1>
<a href="../../packages/ab/cd/0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab/ray-2.52.0-cp312-cp312-manylinux2014_x86_64.whl#sha256=` + wd.Encoded() + `" data-requires-python="&gt;=3.9,&lt;4" data-dist-info-metadata="sha256=` + md.Encoded() + `" data-core-metadata="sha256=` + md.Encoded() + `">ray-2.52.0-cp312-cp312-manylinux2014_x86_64.whl</a><br>
<a href="/elsewhere/ray-1.0%2Bcpu.tar.gz" data-yanked="broken">ray-1.0+cpu.tar.gz</a>
<a href="http://169.254.169.254/latest/">evil</a><a href="mailto:x@example.org">mail</a>
</body></html>`
	}, map[string][]byte{
		path64 + "ray-2.52.0-cp312-cp312-manylinux2014_x86_64.whl":          wheel,
		path64 + "ray-2.52.0-cp312-cp312-manylinux2014_x86_64.whl.metadata": meta,
		"/elsewhere/ray-1.0+cpu.tar.gz":                                     []byte("sdist"),
	})
	r := pypiRig(t, fast(t), m)
	gw := gatewayOf(t, r)
	resp, body := through(t, gw, "http://pypi.org/simple/ray/", http.Header{"Accept": {"text/html"}})
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%s: %s", resp.Status, body)
	}
	file := "http://files.pythonhosted.org" + strings.TrimPrefix(path64, "/pypi") +
		"ray-2.52.0-cp312-cp312-manylinux2014_x86_64.whl"
	for _, s := range []string{`href="` + file + "#sha256=" + wd.Encoded() + `"`,
		`data-requires-python="&gt;=3.9,&lt;4"`,
		`data-dist-info-metadata="sha256=` + md.Encoded(), `data-core-metadata="sha256=` + md.Encoded(),
		`data-yanked="broken"`, "Links &amp; more", "pypi:repository-version", "mailto:x@example.org"} {
		if !strings.Contains(body, s) {
			t.Errorf("the page lacks %q:\n%s", s, body)
		}
	}
	for _, s := range []string{"169.254", "evil", "<base", "/pypi/packages"} {
		if strings.Contains(body, s) {
			t.Errorf("the page has %q:\n%s", s, body)
		}
	}
	for range 2 {
		if _, got := through(t, gw, file, nil); got != string(wheel) {
			t.Error("the wheel is another one")
		}
		if _, got := through(t, gw, file+".metadata", nil); got != string(meta) {
			t.Error("the metadata is another one")
		}
	}
	sdist := "http://files.pythonhosted.org/packages/ray-1.0%2Bcpu.tar.gz"
	if !strings.Contains(body, `href="`+sdist+`"`) {
		t.Errorf("no link to %s:\n%s", sdist, body)
	}
	if _, got := through(t, gw, sdist, nil); got != "sdist" {
		t.Errorf("what is elsewhere on the mirror is %q", got)
	}
	if resp, got := through(t, gw, "http://files.pythonhosted.org/nowhere.whl", nil); resp.StatusCode != 404 {
		t.Errorf("%s: %s", resp.Status, got)
	}
	r.mustRead(t, wd) // what the resolver saw is an artifact now
	wheels := 0
	for _, q := range m.requests() {
		if strings.HasSuffix(q.URL.Path, ".whl") && !strings.Contains(q.URL.Path, "nowhere") {
			wheels++
		}
	}
	if wheels != 1 {
		t.Errorf("the wheel was downloaded %d times", wheels)
	}
}

func TestGatewayRewritesJSONPages(t *testing.T) {
	t.Parallel()
	wheel := noise(41, 1000)
	wd := digest.FromBytes(wheel)
	page := func(string) (string, string) {
		return typeJSON, `{"meta":{"api-version":"1.1","_last-serial":7},"name":"ray","versions":["2.52.0"],"files":[
{"filename":"ray-2.52.0-py3-none-any.whl","url":"../../packages/aa/bb/cc/ray-2.52.0-py3-none-any.whl","hashes":{"sha256":"` + wd.Encoded() + `"},"requires-python":">=3.9","size":1000,"yanked":"bad","core-metadata":true,"upload-time":"2025-11-01T00:00:00Z"},
{"filename":"x","url":17,"hashes":{}}]}`
	}
	m := pypi(t, page, map[string][]byte{"/pypi/packages/aa/bb/cc/ray-2.52.0-py3-none-any.whl": wheel})
	r := pypiRig(t, fast(t), m)
	gw := gatewayOf(t, r)
	file := "http://files.pythonhosted.org/packages/aa/bb/cc/ray-2.52.0-py3-none-any.whl"

	_, body := through(t, gw, "http://pypi.org/simple/ray/", http.Header{"Accept": {typeJSON + ", text/html;q=0.1"}})
	var got struct {
		Meta  map[string]any
		Files []map[string]any
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Files) != 1 || got.Files[0]["url"] != file || got.Files[0]["upload-time"] != "2025-11-01T00:00:00Z" ||
		got.Files[0]["core-metadata"] != true || got.Meta["_last-serial"] != 7.0 {
		t.Errorf("got %+v", got)
	}
	_, body = through(t, gw, "http://pypi.org/simple/ray/", http.Header{"Accept": {"text/html"}})
	want := `<a href="` + file + "#sha256=" +
		wd.Encoded() + `" data-requires-python="&gt;=3.9" data-yanked="bad" data-core-metadata="true"`
	if !strings.Contains(body, want) {
		t.Errorf("for a client that reads HTML alone: %s", body)
	}
	if _, b := through(t, gw, file, nil); b != string(wheel) {
		t.Error("the wheel is another one")
	}
}

func TestGatewayPagesFailOver(t *testing.T) {
	t.Parallel()
	empty := pypi(t, func(string) (string, string) { return "application/x-captive-portal", "log in here" }, nil)
	wheel := noise(42, 1000)
	good := pypi(t, func(string) (string, string) {
		return "text/html", `<a href="/pypi/packages/a/x-1.whl#sha256=` + digest.FromBytes(wheel).Encoded() +
			`" data-dist-info-metadata="true">x</a>`
	}, map[string][]byte{"/pypi/packages/a/x-1.whl": wheel})
	side := pypi(t, nil, map[string][]byte{"/pypi/packages/a/x-1.whl.metadata": []byte("meta")})
	r := pypiRig(t, fast(t), empty, good, side)
	gw := gatewayOf(t, r)
	resp, body := through(t, gw, "http://pypi.org/simple/x/", http.Header{"Accept": {"text/html"}})
	if resp.StatusCode != 200 || !strings.Contains(body, "files.pythonhosted.org/packages/a/x-1.whl#sha256=") {
		t.Fatalf("%s: %s", resp.Status, body)
	}
	if _, b := through(t, gw, "http://files.pythonhosted.org/packages/a/x-1.whl", nil); b != string(wheel) {
		t.Error("the wheel is another one")
	}
	if _, b := through(t, gw, "http://files.pythonhosted.org/packages/a/x-1.whl.metadata", nil); b != "meta" {
		t.Errorf("metadata that the page's mirror lacks: %q", b)
	}
}

func TestGatewayReadsCompressedPages(t *testing.T) {
	t.Parallel()
	m := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = fmt.Fprint(z, `<a href="/packages/x.whl">x</a>`)
		shut(z)
	})
	r := pypiRig(t, fast(t), m)
	resp, body := through(t, gatewayOf(t, r), "http://pypi.org/simple/x/", http.Header{"Accept": {"text/html"}})
	if body != `<a href="http://files.pythonhosted.org/packages/x.whl">x</a>` ||
		resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("%v %q", resp.Header, body)
	}
}

func TestCanonicalLink(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, canonical, asked, link, want string }{
		{"PyPI's own", "https://pypi.org/simple/ray/", "https://pypi.org/simple/ray/",
			"https://files.pythonhosted.org/packages/a/b/c/r.whl",
			"http://files.pythonhosted.org/packages/a/b/c/r.whl"},
		{"a mirror with a web prefix", "https://pypi.org/simple/ray/", "https://m.example/pypi/web/simple/ray/",
			"../../packages/a/b/c/r.whl", "http://files.pythonhosted.org/packages/a/b/c/r.whl"},
		{"a mirror that links to PyPI", "https://pypi.org/simple/ray/", "https://m.example/simple/ray/",
			"https://files.pythonhosted.org/packages/a/b/c/r.whl",
			"http://files.pythonhosted.org/packages/a/b/c/r.whl"},
		{"a server that has PyPI's paths below another packages", "https://pypi.org/simple/ray/",
			"https://art.example/api/pypi/all/simple/ray/",
			"../../packages/packages/66/20/" + strings.Repeat("0a", 30) + "/r.whl",
			"http://files.pythonhosted.org/packages/66/20/" + strings.Repeat("0a", 30) + "/r.whl"},
		{"a server with paths of its own", "https://pypi.org/simple/ray/",
			"https://nexus.example/repository/pypi/simple/ray/",
			"../../packages/ray/1.0/r.whl", "http://files.pythonhosted.org/packages/ray/1.0/r.whl"},
		{"a server with files elsewhere", "https://pypi.org/simple/ray/",
			"https://devpi.example/root/pypi/+simple/ray/",
			"../../+f/0a1/b2c/r-1%2Bcpu.whl?x=y", "http://files.pythonhosted.org/packages/r-1%2Bcpu.whl"},
		{"an index under a path, mirrored", "https://download.pytorch.org/whl/cpu/torch/",
			"https://m.example/pytorch/whl/cpu/torch/",
			"/pytorch/whl/cpu/torch-2.9.0%2Bcpu-cp312-cp312-linux_x86_64.whl",
			"http://download.pytorch.org/whl/cpu/torch-2.9.0%2Bcpu-cp312-cp312-linux_x86_64.whl"},
		{"an own index", "https://pip.corp.example/simple/a/", "https://pip.corp.example/simple/a/",
			"../../packages/a-1.whl", "http://pip.corp.example/packages/a-1.whl"},
		{"an own index on a port", "http://pip.corp.example:8080/simple/a/", "http://pip.corp.example:8080/simple/a/",
			"a-1.whl", "http://pip.corp.example:8080/simple/a/a-1.whl"},
		{"files on a third host", "https://pip.corp.example/simple/a/", "https://pip.corp.example/simple/a/",
			"https://cdn.example/x/a-1.whl?v=2", "http://cdn.example/x/a-1.whl?v=2"},
		{"roots without anything in common", "https://o.example/one/", "https://m.example/two/",
			"a-1.whl", "http://o.example/one/a-1.whl"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			canonical, _ := url.Parse(tc.canonical)
			asked, _ := url.Parse(tc.asked)
			to, err := asked.Parse(tc.link)
			if err != nil {
				t.Fatal(err)
			}
			if got := canonicalLink(to, asked, asked, canonical).String(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestGatewayServesRanges(t *testing.T) {
	t.Parallel()
	data := noise(43, 10000)
	r := newRig(t, fast(t), newMirror(t, data, nil))
	d := r.want(data)
	r.Add(Item{Digest: d, URL: "https://files.example.org/a.whl"})
	gw := gatewayOf(t, r)
	resp, body := through(t, gw, "http://files.example.org/a.whl", http.Header{"Range": {"bytes=9000-"}})
	if resp.StatusCode != 206 || body != string(data[9000:]) ||
		resp.Header.Get("Content-Range") != "bytes 9000-9999/10000" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	resp, _ = through(t, gw, "http://files.example.org/a.whl", http.Header{"If-None-Match": {`"` + d.String() + `"`}})
	if resp.StatusCode != 304 {
		t.Errorf("%s", resp.Status)
	}
}

func TestGatewayServesLocalItems(t *testing.T) {
	t.Parallel()
	r := newRig(t, fast(t))
	data := noise(47, 100<<10)
	good, bad := digest.FromBytes(data), digest.FromString("y")
	r.Add(Item{Digest: good, Bytes: data, URL: "http://o.example/good"},
		Item{Digest: bad, Bytes: data, URL: "http://o.example/bad"})
	gw := gatewayOf(t, r)
	if _, b := through(t, gw, "http://o.example/good", nil); b != string(data) {
		t.Errorf("got %d bytes", len(b))
	}
	if _, b := through(t, gw, "http://o.example/bad", nil); !strings.Contains(b, io.ErrUnexpectedEOF.Error()) {
		t.Errorf("%d wrong bytes look whole", len(b))
	}
}

// TestGatewayHandsOutWhileDownloading: a client must see a large file's bytes before the last one came from the mirror.
func TestGatewayHandsOutWhileDownloading(t *testing.T) {
	t.Parallel()
	data := noise(44, 2<<20)
	for _, lie := range []bool{false, true} {
		t.Run(fmt.Sprintf("lie %v", lie), func(t *testing.T) {
			wait := make(chan struct{})
			m := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", strconv.Itoa(len(data)))
				_, _ = w.Write(data[:1<<20])
				_ = http.NewResponseController(w).Flush()
				<-wait
				rest := append([]byte(nil), data[1<<20:]...)
				if lie {
					rest[len(rest)-1] ^= 1
				}
				_, _ = w.Write(rest)
			})
			o := fast(t)
			o.StallTimeout = time.Minute
			r := newRig(t, o, m)
			r.want(data)
			r.Add(Item{Digest: digest.FromBytes(data), URL: "http://o.example/a.whl"})
			c, s := net.Pipe()
			go r.ServeConn(s)
			defer shut(c)
			_, _ = fmt.Fprint(c, "GET http://o.example/a.whl HTTP/1.1\r\nHost: o.example\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 900<<10)
			if _, err := io.ReadFull(resp.Body, got); err != nil || !bytes.Equal(got, data[:len(got)]) {
				t.Fatalf("first bytes: %v", err)
			}
			close(wait)
			rest, err := io.ReadAll(resp.Body)
			if whole := err == nil && bytes.Equal(append(got, rest...), data); whole == lie {
				t.Errorf("whole: %v, %v", whole, err)
			}
			if lie && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("a wrong file looks whole: %v", err)
			}
		})
	}
}
