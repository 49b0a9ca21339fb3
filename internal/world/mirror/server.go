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
	log    []*Request
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

// Request is one request that was answered, or begun: a fault may have cut it. Of a HEAD request
// Bytes is 0 or what the body would have been.
type Request struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Status int    `json:"status"`
	Bytes  int64  `json:"bytes"`
	Fault  string `json:"fault,omitempty"`
}

// New serves each part below /<name>/. A part sees paths without that prefix.
func New(parts map[string]http.Handler) *Server { return &Server{parts: parts} }

// Stats is what the log of requests comes to.
func (s *Server) Stats() Stats {
	out := Stats{Classes: map[string]Counts{}}
	for _, r := range s.Log() {
		class := class(r.Path)
		c := out.Classes[class]
		c.Requests++
		c.Bytes += r.Bytes
		out.Classes[class] = c
		out.Requests++
		out.Bytes += r.Bytes
	}
	return out
}

// Log is a copy of the list of requests since the start or the last ResetStats, oldest first.
func (s *Server) Log() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Request, len(s.log))
	for i, r := range s.log {
		out[i] = *r
	}
	return out
}

// ResetStats sets counters and log to nothing.
func (s *Server) ResetStats() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// class is the first element of a path.
func class(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return first
}

// ServeHTTP serves the world, and below /_world/ its switches: GET and DELETE stats, GET log, POST fault.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_world/") {
		s.control(w, r)
		return
	}
	class := class(r.URL.Path)
	part, ok := s.parts[class]
	if !ok {
		part = http.NotFoundHandler()
	}
	part = http.StripPrefix("/"+class, part)
	f := s.faultFor(r)
	req := &Request{Method: r.Method, Path: r.URL.RequestURI(), Status: http.StatusOK}
	if f != nil {
		req.Fault = f.Mode
	}
	s.mu.Lock()
	s.log = append(s.log, req)
	s.mu.Unlock()
	c := &counter{ResponseWriter: w, server: s, request: req}
	if f != nil {
		f.answerBadly(c, r, part)
		return
	}
	part.ServeHTTP(c, r)
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

// counter notes status and bytes of an answer, before they go out: who has read an answer finds it counted.
type counter struct {
	http.ResponseWriter
	server  *Server
	request *Request
}

// WriteHeader notes the status.
func (c *counter) WriteHeader(status int) {
	c.server.mu.Lock()
	c.request.Status = status
	c.server.mu.Unlock()
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Write(p []byte) (int, error) {
	c.add(len(p))
	n, err := c.ResponseWriter.Write(p)
	c.add(n - len(p))
	return n, err
}

func (c *counter) add(n int) {
	c.server.mu.Lock()
	c.request.Bytes += int64(n)
	c.server.mu.Unlock()
}

// Unwrap lets http.ResponseController reach Flush.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
