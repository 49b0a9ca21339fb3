package llb

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/moby/buildkit/session/sshforward"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// sockets serves the connections of steps by BuildKit's SSH forwarding, which carries any stream.
type sockets struct {
	serve map[string]func(net.Conn)
}

// Register makes s the SSH forwarding server.
func (s *sockets) Register(server *grpc.Server) { sshforward.RegisterSSHServer(server, s) }

// CheckAgent tells whether a socket is served.
func (s *sockets) CheckAgent(_ context.Context,
	req *sshforward.CheckAgentRequest) (*sshforward.CheckAgentResponse, error) {
	id := req.ID
	if id == "" {
		id = sshforward.DefaultID
	}
	if s.serve[id] == nil {
		return nil, status.Errorf(codes.NotFound, "socket %q is not served in this build", id)
	}
	return &sshforward.CheckAgentResponse{}, nil
}

// ForwardAgent carries one connection. It ends when the server side has closed its end: BuildKit's own sshforward.Copy
// waits for the client as well, and a client that reads to the end of an answer would wait for ever.
func (s *sockets) ForwardAgent(stream sshforward.SSH_ForwardAgentServer) error {
	ctx := stream.Context()
	id := sshforward.DefaultID
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get(sshforward.KeySSHID); len(v) > 0 && v[0] != "" {
		id = v[0]
	}
	serve := s.serve[id]
	if serve == nil {
		return status.Errorf(codes.NotFound, "socket %q is not served in this build", id)
	}
	near, far := newDuplex()
	defer near.Close()
	stop := context.AfterFunc(ctx, func() { near.Close() })
	defer stop()
	go func() {
		defer far.Close()
		serve(far)
	}()
	go receive(stream, near)
	buf := make([]byte, 32<<10)
	for {
		n, err := near.Read(buf)
		if n > 0 {
			if err := stream.SendMsg(&sshforward.BytesMessage{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// receive writes what the step sends, until it closes its side.
func receive(stream sshforward.SSH_ForwardAgentServer, to *duplex) {
	defer func() { _ = to.CloseWrite() }() // a pipe's end closes without errors
	for {
		var m sshforward.BytesMessage
		if err := stream.RecvMsg(&m); err != nil {
			return
		}
		if _, err := to.Write(m.Data); err != nil {
			return
		}
	}
}

// duplex is one end of a connection in memory that, unlike net.Pipe's, can be closed one way.
type duplex struct{ in, out net.Conn }

func newDuplex() (*duplex, *duplex) {
	aIn, bOut := net.Pipe()
	bIn, aOut := net.Pipe()
	return &duplex{in: aIn, out: aOut}, &duplex{in: bIn, out: bOut}
}

func (d *duplex) Read(p []byte) (int, error)  { return d.in.Read(p) }
func (d *duplex) Write(p []byte) (int, error) { return d.out.Write(p) }
func (d *duplex) CloseWrite() error           { return d.out.Close() }
func (d *duplex) Close() error                { return errors.Join(d.in.Close(), d.out.Close()) }
func (d *duplex) LocalAddr() net.Addr         { return d.in.LocalAddr() }
func (d *duplex) RemoteAddr() net.Addr        { return d.in.RemoteAddr() }
func (d *duplex) SetDeadline(t time.Time) error {
	return errors.Join(d.in.SetDeadline(t), d.out.SetDeadline(t))
}
func (d *duplex) SetReadDeadline(t time.Time) error  { return d.in.SetReadDeadline(t) }
func (d *duplex) SetWriteDeadline(t time.Time) error { return d.out.SetWriteDeadline(t) }
