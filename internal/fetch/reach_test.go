package fetch

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestWhereAPageMayLead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		from, to string
		want     bool
	}{
		{"https://a.example/", "https://b.example/", true},
		{"https://a.example/", "http://127.0.0.1/", false},
		{"https://a.example/", "http://127.1.2.3:8080/", false},
		{"https://a.example/", "http://LOCALHOST./", false},
		{"https://a.example/", "http://[::1]/", false},
		{"https://a.example/", "http://[::ffff:127.0.0.1]/", false},
		{"https://a.example/", "http://0.0.0.0/", false},
		{"https://a.example/", "http://[fe80::1%25eth0]/", false},
		{"https://a.example/", "http://10.0.0.1/", false},
		{"https://a.example/", "http://[fd12::1]/", false},
		{"https://a.example/", "http://100.64.3.4/", false},
		{"https://a.example/", "http://100.100.100.200/", false},
		{"https://a.example/", "http://8.8.8.8/", true},
		{"http://127.0.0.1:1/", "http://localhost:2/", true},
		{"http://127.0.0.1:1/", "http://169.254.169.254/", false},
		{"http://10.0.0.1/", "http://10.0.0.2/", true}, // a site's index and its file server
		{"http://10.0.0.1/", "http://127.0.0.1/", false},
		{"http://100.64.0.1/", "http://100.100.100.200/", false},
		{"http://169.254.1.1/", "http://169.254.169.254/", false},
	}
	for _, tc := range tests {
		from, to := mustURL(t, tc.from), mustURL(t, tc.to)
		if got := newReach(func(*url.URL) bool { return false }).lead(from, to); got != tc.want {
			t.Errorf("%s to %s: %v", tc.from, tc.to, got)
		}
	}
}

// names is a resolver of names that answers as told.
func names(t *testing.T, answers map[string]string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(conn) })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return // closed
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Additionals = true, nil
			ip := net.ParseIP(answers[strings.TrimSuffix(q.Name.String(), ".")]).To4()
			if q.Type == dnsmessage.TypeA && ip != nil {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: [4]byte(ip)},
				}}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(out, from) // the client asks again
			}
		}
	}()
	var d net.Dialer
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// What a name stands for counts, not how it looks.
func TestNamesOfInternalAddressesAreRefused(t *testing.T) {
	t.Parallel()
	m := newMirror(t, []byte("secret"), nil)
	at := mustURL(t, m.URL)
	dialer := net.Dialer{Resolver: names(t, map[string]string{
		"source.test": "127.0.0.1", "files.test": "127.0.0.1", "evil.test": "127.0.0.1",
		"cloud.test": "169.254.169.254",
	})}
	source := mustURL(t, "http://source.test:"+at.Port()+"/simple/")
	r := newReach(func(u *url.URL) bool { return Below(source, u) })
	client := &http.Client{Transport: &http.Transport{DialContext: r.dial(dialer), DisableKeepAlives: true}}
	ask := func(text string) error {
		u := mustURL(t, text)
		if err := r.begin(u); err != nil {
			return err
		}
		resp, err := client.Get(u.String())
		if err == nil {
			shut(resp.Body)
		}
		return err
	}
	refused := func(err error) bool {
		var internal *internalError
		return errors.As(err, &internal)
	}
	if err := ask("http://evil.test:" + at.Port() + "/"); !refused(err) {
		t.Errorf("a name of this machine: %v", err)
	}
	if err := ask("http://cloud.test/latest/"); !refused(err) {
		t.Errorf("a name of the cloud's metadata: %v", err)
	}
	if n := len(m.requests()); n != 0 {
		t.Fatalf("%d requests came", n)
	}
	if err := ask(source.String() + "a/"); err != nil {
		t.Errorf("a source on this machine: %v", err)
	}
	files := mustURL(t, "http://files.test:"+at.Port()+"/a-1.whl")
	if !r.lead(source, files) {
		t.Error("a source on this machine may not lead to a server beside it")
	}
	if err := ask(files.String()); err != nil {
		t.Errorf("a server that the source leads to: %v", err)
	}
	if cloud := mustURL(t, "http://cloud.test/latest/"); !r.lead(source, cloud) || !refused(ask(cloud.String())) {
		t.Error("a source leads to the cloud's metadata by a name")
	}
}

func TestLoginsGoToTheirSourceOnly(t *testing.T) {
	t.Parallel()
	source := mustURL(t, "https://nexus.example/repository/pypi/simple")
	r := newReach(func(u *url.URL) bool { return Below(source, u) })
	r.give(mustURL(t, "https://nexus.example/repository/pypi/packages/a-1.whl"))
	for text, want := range map[string]bool{
		"https://nexus.example/repository/pypi/simple/a/":                true,
		"https://nexus.example:443/repository/pypi/simple":               true,
		"https://nexus.example/repository/pypi/packages/a-1.whl#sha256=": true,
		"https://nexus.example/repository/pypi/packages/b-1.whl":         false,
		"https://nexus.example/repository/pypi/simple/../secret":         false,
		"https://nexus.example/repository/pypi/simple/%2e%2e/secret":     false,
		"https://nexus.example/repository/pypi/simple/..%2fsecret":       false,
		"https://nexus.example/repository/pypi/simples":                  false,
		"http://nexus.example/repository/pypi/simple/a/":                 false,
		"https://nexus.example:8443/repository/pypi/simple/a/":           false,
		"https://other.example/repository/pypi/simple/a/":                false,
	} {
		if got := r.mayLogin(mustURL(t, text)); got != want {
			t.Errorf("%s gets the login: %v, want %v", text, got, want)
		}
	}
}

// A page that answers for one project must not answer for others.
func TestPagesListTheirOwnProject(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		page, file string
		strays     bool
	}{
		{"/simple/ours/", "ours-1.0-py3-none-any.whl", false},
		{"/simple/our-s/", "Our_S-1.0-py3-none-any.whl", false},
		{"/simple/our-s/", "our.s-1.0.tar.gz", false},
		{"/simple/our-s", "our-s-v1.0.zip", false},
		{"/simple/ours/", "cachetools-99-py3-none-any.whl", true},
		{"/simple/ours/", "ours_more-1-py3-none-any.whl", true},
		{"/simple/ours/", "ours-more-1.tar.gz", true},
		{"/simple/ours/", "more-ours-1.tar.gz", true},
		{"/simple/ours/", "ours-.tar.gz", true},
		{"/simple/", "ours/", false},
		{"/whl/torch_stable.html", "torch-2-cp311-cp311-linux_x86_64.whl", false},
	} {
		if got := strays(tt.file, &url.URL{Path: tt.page}); got != tt.strays {
			t.Errorf("%s on %s strays: %v, want %v", tt.file, tt.page, got, tt.strays)
		}
	}
}
