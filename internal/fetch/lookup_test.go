package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestOpenLooksTheFileUp(t *testing.T) {
	t.Parallel()
	data := noise(50, 1000)
	d := digest.FromBytes(data)
	name := "ray-2.52.0-cp312-cp312-manylinux2014_x86_64.whl"
	other := digest.FromString("other").Encoded()
	tests := []struct {
		name, kind, page string
		want             string // in the error; "" when the file is found
	}{
		{"on an HTML page", "text/html", `<a href="/deep/` + name + `#sha256=` + d.Encoded() + `">f</a>`, ""},
		{"on a page without hashes", "text/html", `<a href="../../deep/` + name + `">f</a>`, ""},
		{"on a JSON page", typeJSON, `{"files":[{"filename":"` +
			name + `","url":"/deep/` + name + `","hashes":{"sha256":"` + d.Encoded() + `"}}]}`, ""},
		{"and it has another digest there", "text/html", `<a href="/deep/` + name + `#sha256=` + other + `">f</a>`,
			"its index page lists sha256:" + other},
		{"and it is not there", "text/html", `<a href="/deep/x.whl">f</a>`, "not on the index page"},
		{"and there is no page", "text/plain", `hello`, "no index page"},
		{"and the page is broken", typeJSON, `{"files":[`, "parse index page"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			m := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/deep/") {
					if user, _, _ := r.BasicAuth(); user != "u" {
						w.WriteHeader(401)
						return
					}
					serve(w, r, data)
					return
				}
				w.Header().Set("Content-Type", tc.kind)
				_, _ = fmt.Fprint(w, tc.page)
			})
			o := fast(t)
			o.Candidates = func(u *url.URL) []Candidate {
				return []Candidate{{Mirror: "m1", Index: strings.Replace(m.URL, "//", "//u:p@", 1) + "/simple/ray/"}}
			}
			r := newRig(t, o)
			r.Add(Item{Digest: d, URL: "https://files.pythonhosted.org/packages/a/b/c/" + name})
			_, err := r.read(t, d)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestLookUpReadsAPageOnce(t *testing.T) {
	t.Parallel()
	blobs := map[string][]byte{}
	pages := 0
	m := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if b, ok := blobs[r.URL.Path]; ok {
			serve(w, r, b)
			return
		}
		pages++
		w.Header().Set("Content-Type", "text/html")
		for p := range blobs {
			_, _ = fmt.Fprintf(w, "<a href=%q>f</a>", p)
		}
	})
	o := fast(t)
	o.Candidates = func(u *url.URL) []Candidate { return []Candidate{{Index: m.URL + "/simple/x/"}} }
	r := newRig(t, o)
	var ds []digest.Digest
	for i := range 5 {
		b := noise(uint64(60+i), 100)
		p := fmt.Sprintf("/f/x-%d.whl", i)
		blobs[p] = b
		r.Add(Item{Digest: digest.FromBytes(b), URL: "https://files.pythonhosted.org" + p})
		ds = append(ds, digest.FromBytes(b))
	}
	for _, d := range ds {
		r.mustRead(t, d)
	}
	if pages != 1 {
		t.Errorf("the page was read %d times", pages)
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	data := noise(51, 4<<20)
	fine := newMirror(t, data, nil)
	small := newMirror(t, data[:10], nil)
	gone := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) })
	hang := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	slow := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(data[:5000])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	got := Measure(t.Context(), []Probe{{"fine", fine.URL}, {"small", small.URL}, {"gone", gone.URL},
		{"hang", hang.URL}, {"slow", slow.URL}, {"none", "x"}},
		MeasureOptions{Bytes: 1 << 20, Timeout: 2 * time.Second, Netrc: "-"})
	if len(got) != 6 {
		t.Fatalf("%d results", len(got))
	}
	if s := got[0]; s.Err != nil || s.Name != "fine" || s.Bytes != 1<<20 || s.BytesPerSecond <= 0 || s.Latency <= 0 {
		t.Errorf("fine: %+v", s)
	}
	if s := got[1]; s.Err != nil || s.Bytes != 10 {
		t.Errorf("small: %+v", s)
	}
	if s := got[2]; s.Err == nil || !strings.Contains(s.Err.Error(), "404") {
		t.Errorf("gone: %+v", s)
	}
	if s := got[3]; s.Err == nil || !strings.Contains(s.Err.Error(), "no answer within") {
		t.Errorf("hang: %+v", s)
	}
	if s := got[4]; s.Err != nil || s.Bytes != 5000 || s.BytesPerSecond > 20000 {
		t.Errorf("slow: %+v", s)
	}
	if s := got[5]; s.Err == nil || errors.Is(s.Err, errStall) {
		t.Errorf("none: %+v", s)
	}
}
