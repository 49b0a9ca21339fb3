// Package sshtest runs SSH servers in the test's own process: as many hosts as a test wants,
// without root, and with faults on demand.
package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// Phase is where a server hangs for ever.
type Phase string

// Phases at which a server can hang.
const (
	Never  Phase = ""
	Banner Phase = "banner"
	Kex    Phase = "key exchange"
	Auth   Phase = "authentication"
)

// Options of a server; the zero value accepts every key and serves nothing.
type Options struct {
	Hang    Phase
	Allow   []ssh.PublicKey // keys that may log in; default: all
	HostKey ssh.Signer      // default: a new ed25519 key
	Listen  string          // address to listen on; default 127.0.0.1:0

	Unix func(path string, c net.Conn)       // serves direct-streamlocal; nil: administratively prohibited
	TCP  func(addr string) (net.Conn, error) // serves direct-tcpip; nil: administratively prohibited
	Exec func(line string, stdin io.Reader, stdout, stderr io.Writer) int

	MaxSessions int           // sessions at once on one connection; default 10, as sshd has it; negative: none
	SlowAuth    time.Duration // how long it takes to say yes to a key
}

// Server is a running server.
type Server struct {
	Addr    string // 127.0.0.1:port
	HostKey ssh.Signer

	o      Options
	ln     net.Listener
	mu     sync.Mutex
	cond   *sync.Cond
	frozen bool
	closed bool
	conns  map[net.Conn]bool
	count  int
}

// T is the part of testing.TB that this package uses. An example, which has no *testing.T, can have one of its own.
type T interface {
	Helper()
	Fatal(args ...any)
	Cleanup(f func())
	TempDir() string
}

// NewKey makes an ed25519 key.
func NewKey(t T) (ssh.Signer, []byte) {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s, pem.EncodeToMemory(block)
}

// Dial is a TCP for Options that reaches whatever this machine does.
func Dial(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }

// Start runs a server until the test ends.
func Start(t T, o Options) *Server {
	t.Helper()
	if o.HostKey == nil {
		o.HostKey, _ = NewKey(t)
	}
	if o.MaxSessions == 0 {
		o.MaxSessions = 10
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: ln.Addr().String(), HostKey: o.HostKey, o: o, ln: ln, conns: map[net.Conn]bool{}}
	s.cond = sync.NewCond(&s.mu)
	go s.accept()
	t.Cleanup(s.Close)
	return s
}

// KnownHosts writes a file with the keys of servers.
func KnownHosts(t T, servers ...*Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	var data []byte
	for _, s := range servers {
		data = append(data, knownhosts.Line([]string{s.Addr}, s.HostKey.PublicKey())+"\n"...)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Freeze makes the server silent: it takes no byte and sends none, and its connections stay open.
func (s *Server) Freeze() { s.setFrozen(true) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.setFrozen(false) }

func (s *Server) setFrozen(f bool) {
	s.mu.Lock()
	s.frozen = f
	s.mu.Unlock()
	s.cond.Broadcast()
}

// Connections is how many TCP connections the server has taken.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Cut ends the connections, as a network does that fails for a moment.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close() // a client sees it
	}
}

// Close ends the server and its connections.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.ln.Close()
	s.cond.Broadcast()
}

func (s *Server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed { // it was accepted while Close closed the others
			s.mu.Unlock()
			c.Close()
			return
		}
		s.count++
		s.conns[c] = true
		s.mu.Unlock()
		go s.serve(&frostable{Conn: c, s: s})
	}
}

// frostable is a connection that stands still while its server is frozen.
type frostable struct {
	net.Conn
	s *Server
}

func (f *frostable) wait() {
	f.s.mu.Lock()
	for f.s.frozen && !f.s.closed {
		f.s.cond.Wait()
	}
	f.s.mu.Unlock()
}

func (f *frostable) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	f.wait()
	return n, err
}

func (f *frostable) Write(p []byte) (int, error) {
	f.wait()
	return f.Conn.Write(p)
}

func (s *Server) serve(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c.(*frostable).Conn)
		s.mu.Unlock()
	}()
	switch s.o.Hang {
	case Banner:
		io.Copy(io.Discard, c) //nolint:errcheck // hangs until the client leaves
		return
	case Kex:
		fmt.Fprint(c, "SSH-2.0-tarpit\r\n")
		io.Copy(io.Discard, c) //nolint:errcheck // hangs until the client leaves
		return
	}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if s.o.Hang == Auth {
			s.untilClosed(c)
			return nil, io.EOF
		}
		if s.o.SlowAuth > 0 {
			time.Sleep(s.o.SlowAuth)
		}
		for _, k := range s.o.Allow {
			if string(k.Marshal()) == string(key.Marshal()) {
				return nil, nil
			}
		}
		if len(s.o.Allow) > 0 {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	cfg.AddHostKey(s.o.HostKey)
	conn, chans, reqs, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	defer conn.Close()
	go answer(reqs)
	slots := make(chan struct{}, max(0, s.o.MaxSessions))
	for ch := range chans {
		go s.channel(ch, slots)
	}
}

// untilClosed blocks until the client hangs up. During authentication nothing else reads the connection.
func (s *Server) untilClosed(c net.Conn) { io.Copy(io.Discard, c) } //nolint:errcheck // hangs until the client leaves

func answer(reqs <-chan *ssh.Request) {
	for r := range reqs {
		if r.WantReply {
			r.Reply(false, nil) //nolint:errcheck // as sshd answers a keepalive
		}
	}
}

func (s *Server) channel(nc ssh.NewChannel, slots chan struct{}) {
	switch nc.ChannelType() {
	case "direct-streamlocal@openssh.com":
		path, ok := field(nc.ExtraData())
		if s.o.Unix == nil || !ok {
			nc.Reject(ssh.Prohibited, "open failed") //nolint:errcheck // the client sees it or is gone
			return
		}
		if ch, reqs, err := nc.Accept(); err == nil {
			go ssh.DiscardRequests(reqs)
			s.o.Unix(path, piped(ch))
		}
	case "direct-tcpip":
		s.tunnel(nc)
	case "session":
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			s.session(nc)
		default:
			nc.Reject(ssh.ResourceShortage, "open failed") //nolint:errcheck // the client sees it or is gone
		}
	default:
		nc.Reject(ssh.UnknownChannelType, nc.ChannelType()) //nolint:errcheck // the client sees it or is gone
	}
}

func (s *Server) tunnel(nc ssh.NewChannel) {
	var m struct {
		Host     string
		Port     uint32
		From     string
		FromPort uint32
	}
	if s.o.TCP == nil || ssh.Unmarshal(nc.ExtraData(), &m) != nil {
		nc.Reject(ssh.Prohibited, "open failed") //nolint:errcheck // the client sees it or is gone
		return
	}
	to, err := s.o.TCP(net.JoinHostPort(m.Host, fmt.Sprint(m.Port)))
	if err != nil {
		nc.Reject(ssh.ConnectionFailed, err.Error()) //nolint:errcheck // the client sees it or is gone
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		to.Close() // nothing was sent
		return
	}
	go ssh.DiscardRequests(reqs)
	go func() {
		io.Copy(to, ch) //nolint:errcheck // a tunnel ends when either side does
		if c, ok := to.(interface{ CloseWrite() error }); ok {
			c.CloseWrite() //nolint:errcheck // a tunnel ends when either side does
		}
	}()
	io.Copy(ch, to) //nolint:errcheck // a tunnel ends when either side does
	ch.Close()      // a tunnel ends when either side does
	to.Close()      // a tunnel ends when either side does
}

func (s *Server) session(nc ssh.NewChannel) {
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	for r := range reqs {
		line, ok := field(r.Payload)
		if r.Type != "exec" || !ok || s.o.Exec == nil {
			r.Reply(false, nil) //nolint:errcheck // the client sees it or is gone
			continue
		}
		r.Reply(true, nil) //nolint:errcheck // the client sees it or is gone
		go ssh.DiscardRequests(reqs)
		code := s.o.Exec(line, ch, ch, ch.Stderr())
		//nolint:errcheck // the client sees it or is gone
		ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(code)))
		return
	}
}

// field reads the first string of an SSH message.
func field(b []byte) (string, bool) {
	if len(b) < 4 {
		return "", false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return "", false
	}
	return string(b[4 : 4+n]), true
}
