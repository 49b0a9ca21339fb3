package fetch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestGatewayRefuses(t *testing.T) {
	t.Parallel()
	o := fast(t)
	o.Candidates = func(*url.URL) []Candidate { return nil }
	r := newRig(t, o)
	tests := []struct {
		name, request string
		status        int
		text          string
	}{
		{"tunnels", "CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\n\r\n", 405, "makes no tunnels"},
		{"writes", "POST http://o.example/ HTTP/1.1\r\nHost: o.example\r\n" +
			"Content-Length: 0\r\n\r\n", 405, "only reads"},
		{"what is not for a proxy", "GET /x HTTP/1.1\r\nHost: o.example\r\n\r\n", 400, "absolute URI"},
		{"other schemes", "GET ftp://o.example/x HTTP/1.1\r\nHost: o.example\r\n\r\n", 400, "http:// URLs only"},
		{"what no mirror serves", "GET http://169.254.169.254/x HTTP/1.1\r\nHost: a\r\n\r\n", 403, "no mirror serves"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c, s := net.Pipe()
			done := make(chan struct{})
			go func() { r.ServeConn(s); close(done) }()
			_, _ = fmt.Fprint(c, tc.request)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1000)
			n, _ := resp.Body.Read(b)
			if resp.StatusCode != tc.status || !strings.Contains(string(b[:n]), tc.text) {
				t.Errorf("%s: %s", resp.Status, b[:n])
			}
			shut(c)
			<-done // ServeConn returns when its connection is closed
		})
	}
}

// deaf is a connection without deadlines, as some tunnels are.
type deaf struct{ net.Conn }

func (deaf) SetDeadline(time.Time) error     { return errors.ErrUnsupported }
func (deaf) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }

func TestServeConnKeepsAlive(t *testing.T) {
	t.Parallel()
	for _, deadlines := range []bool{true, false} {
		t.Run(fmt.Sprintf("deadlines %v", deadlines), func(t *testing.T) {
			var n atomic.Int32
			m := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, n.Add(1)) })
			r := newRig(t, fast(t), m)
			c, s := net.Pipe()
			if !deadlines {
				s = deaf{s}
			}
			done := make(chan struct{})
			go func() { r.ServeConn(s); close(done) }()
			in := bufio.NewReader(c)
			for i := 1; i <= 5; i++ {
				_, _ = fmt.Fprint(c, "GET http://o.example/n HTTP/1.1\r\nHost: o.example\r\n\r\n")
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(resp.Body); err != nil || string(b) != strconv.Itoa(i) {
					t.Errorf("answer %d: %q, %v", i, b, err)
				}
			}
			shut(c)
			<-done
		})
	}
}

func TestServeConnEndsRequestsOfAClosedConnection(t *testing.T) {
	t.Parallel()
	started, gone := make(chan struct{}), make(chan struct{})
	m := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		close(gone)
	})
	o := fast(t)
	o.HeaderTimeout = time.Minute
	r := newRig(t, o, m)
	c, s := net.Pipe()
	go r.ServeConn(s)
	_, _ = fmt.Fprint(c, "GET http://o.example/n HTTP/1.1\r\nHost: o.example\r\n\r\n")
	<-started
	shut(c)
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("the request to the mirror goes on")
	}
}
