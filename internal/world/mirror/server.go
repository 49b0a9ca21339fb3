// Package mirror is one HTTP server of the offline package world: it routes to the parts of the world,
// counts what it serves, and can be told to be slow, broken or lying.
package mirror

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Server serves one mirror. Its zero value serves nothing.
type Server struct {
	parts map[string]http.Handler

	mu     sync.Mutex
	stats  Stats
	log    []Request
	faults []*fault
}

// Counts are requests and bytes of bodies.
type Counts struct {
	Requests int64 `json:"requests"`
	Bytes    int64 `json:"bytes"`
}

// Stats is what a mirror has served, in all and for each class: the first element of the path (debian,
// debian-security, pypi, anaconda, …).
type Stats struct {
	Counts
	Classes map[string]Counts `json:"classes"`
}

// Request is one request that was answered (or begun: a fault may have cut it).
type Request struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Status int    `json:"status"`
	Bytes  int64  `json:"bytes"`
	Fault  string `json:"fault,omitempty"`
}

// New serves each part below /<name>/. A part sees paths without that prefix.
func New(parts map[string]http.Handler) *Server { return &Server{parts: parts} }

// Stats is a copy of the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Stats{Counts: s.stats.Counts, Classes: map[string]Counts{}}
	for k, v := range s.stats.Classes {
		out.Classes[k] = v
	}
	return out
}

// Log is a copy of the list of requests since the start or the last ResetStats, oldest first.
func (s *Server) Log() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.log...)
}

// ResetStats sets counters and log to nothing.
func (s *Server) ResetStats() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats, s.log = Stats{}, nil
}

// ServeHTTP serves the world, and below /_world/ its switches: GET and DELETE stats, GET log, POST fault.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_world/") {
		s.control(w, r)
		return
	}
	class, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	part, ok := s.parts[class]
	if !ok {
		part = http.NotFoundHandler()
	}
	part = http.StripPrefix("/"+class, part)
	c := &counter{ResponseWriter: w, status: http.StatusOK}
	req := Request{Method: r.Method, Path: r.URL.RequestURI()}
	defer func() {
		req.Status, req.Bytes = c.status, c.bytes
		s.count(class, req)
	}()
	if f := s.faultFor(r); f != nil {
		req.Fault = f.Mode
		f.answerBadly(c, r, part)
		return
	}
	part.ServeHTTP(c, r)
}

func (s *Server) count(class string, r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, r)
	s.stats.Requests++
	s.stats.Bytes += r.Bytes
	if s.stats.Classes == nil {
		s.stats.Classes = map[string]Counts{}
	}
	c := s.stats.Classes[class]
	c.Requests++
	c.Bytes += r.Bytes
	s.stats.Classes[class] = c
}

func (s *Server) control(w http.ResponseWriter, r *http.Request) {
	reply := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the client going away is not this server's error
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /_world/stats":
		reply(s.Stats())
	case "DELETE /_world/stats":
		s.ResetStats()
		reply(s.Stats())
	case "GET /_world/log":
		reply(s.Log())
	case "POST /_world/fault":
		var f Fault
		d := json.NewDecoder(io.LimitReader(r.Body, 1<<16))
		d.DisallowUnknownFields()
		err := d.Decode(&f)
		if err == nil {
			err = s.Fault(f)
		}
		if err != nil {
			http.Error(w, errors.Join(errors.New("fault not set"), err).Error(), http.StatusBadRequest)
			return
		}
		reply(f)
	default:
		http.NotFound(w, r)
	}
}

// counter counts the bytes of an answer.
type counter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (c *counter) WriteHeader(status int) { c.status = status; c.ResponseWriter.WriteHeader(status) }

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach Flush.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
