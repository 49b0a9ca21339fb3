package mirror

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// A Fault makes the answers to some requests slow, broken or wrong.
type Fault struct {
	// Match is a regular expression on the request's path (with its query). "" matches all.
	Match string `json:"match"`
	// Mode is one of
	//   slow      the body comes at BytesPerSecond
	//   broken    the connection is closed before any answer
	//   lying     the body has the right length and wrong bytes
	//   truncate  half of the body comes, then the connection is closed
	//   stall     half of the body comes, then nothing until the client goes
	//   404, 429, 500, 503 …  this status (429 and 503 with Retry-After: 1)
	//   off       ends all faults, the one of Match alone if it is not ""
	Mode string `json:"mode"`
	// BytesPerSecond is for slow. Default: 65536.
	BytesPerSecond int `json:"bytes_per_second,omitempty"`
	// Times is how often the fault happens before it ends by itself; what a client asks again by itself
	// counts. Default (0): always.
	Times int `json:"times,omitempty"`
	// After is how many matching requests are answered rightly first.
	After int `json:"after,omitempty"`
}

type fault struct {
	Fault
	re     *regexp.Regexp
	status int
	seen   int
}

func newFault(f Fault) (*fault, error) {
	re, err := regexp.Compile(f.Match)
	if err != nil {
		return nil, fmt.Errorf("read fault's match %q: %w", f.Match, err)
	}
	out := &fault{Fault: f, re: re}
	switch f.Mode {
	case "slow", "broken", "lying", "truncate", "stall":
	default:
		out.status, err = strconv.Atoi(f.Mode)
		if err != nil || out.status < 400 || out.status > 599 {
			return nil, fmt.Errorf("read fault's mode %q: want slow, broken, lying, truncate, stall, off or a status "+
				"of 400 to 599", f.Mode)
		}
	}
	if out.BytesPerSecond <= 0 {
		out.BytesPerSecond = 65536
	}
	return out, nil
}

// Fault adds a fault; the first that matches a request decides. Mode off takes faults away.
func (s *Server) Fault(f Fault) error {
	if f.Mode == "off" {
		s.mu.Lock()
		defer s.mu.Unlock()
		var keep []*fault
		for _, old := range s.faults {
			if f.Match != "" && old.Match != f.Match {
				keep = append(keep, old)
			}
		}
		s.faults = keep
		return nil
	}
	n, err := newFault(f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, n)
	return nil
}

// faultFor is the fault for a request, counted; nil for none.
func (s *Server) faultFor(r *http.Request) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if !f.re.MatchString(r.URL.RequestURI()) {
			continue
		}
		f.seen++
		if f.seen <= f.After || f.Times > 0 && f.seen > f.After+f.Times {
			continue
		}
		return f
	}
	return nil
}

// answerBadly answers a request with a fault. The right answer is made whole in memory first where the
// fault needs its length; faults are for tests, whose files fit.
func (f *fault) answerBadly(w http.ResponseWriter, r *http.Request, right http.Handler) {
	switch {
	case f.status != 0:
		if f.status == http.StatusTooManyRequests || f.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		http.Error(w, "fault of the offline package world: "+f.Mode, f.status)
		return
	case f.Mode == "broken":
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to break a connection
	case f.Mode == "slow":
		right.ServeHTTP(&slowWriter{ResponseWriter: w, r: r, perSecond: f.BytesPerSecond}, r)
		return
	}
	rec := &recorder{header: http.Header{}, status: http.StatusOK}
	right.ServeHTTP(rec, r)
	body := rec.body.Bytes()
	for k, v := range rec.header {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if f.Mode == "lying" {
		for i := range body {
			body[i] ^= 0x55
		}
		w.WriteHeader(rec.status)
		_, _ = w.Write(body) // the client going away is not this server's error
		return
	}
	w.WriteHeader(rec.status)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	if f.Mode == "stall" {
		<-r.Context().Done()
	}
	panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to break a connection
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header is the answer's header.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader keeps the status.
func (r *recorder) WriteHeader(status int) { r.status = status }

// Write keeps the bytes.
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// slowWriter lets bytes through at a rate.
type slowWriter struct {
	http.ResponseWriter
	r         *http.Request
	perSecond int
}

func (s *slowWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(max(s.perSecond/20, 1), len(p)-done)
		if _, err := s.ResponseWriter.Write(p[done : done+n]); err != nil {
			return done, err
		}
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		done += n
		select {
		case <-s.r.Context().Done():
			return done, s.r.Context().Err()
		case <-time.After(time.Duration(n) * time.Second / time.Duration(s.perSecond)):
		}
	}
	return done, nil
}
