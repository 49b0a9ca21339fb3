package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcmeta "google.golang.org/grpc/metadata"

	"github.com/raybuild/raybuild/internal/engine"
)

// message is a message of gRPC as it is.
type message []byte

// asIs hands messages on without reading them.
type asIs struct{}

func (asIs) Name() string { return "proto" }

func (asIs) Marshal(v any) ([]byte, error) {
	m, ok := v.(*message)
	if !ok {
		return nil, fmt.Errorf("marshal %T", v)
	}
	return *m, nil
}

func (asIs) Unmarshal(data []byte, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("unmarshal %T", v)
	}
	*m = append(message{}, data...)
	return nil
}

// counted is the address of a proxy before the home's engine, which counts solves.
func (h *home) counted() (addr string, solves *atomic.Int64) {
	h.t.Helper()
	addr, err := engine.Ensure(h.t.Context(), engine.Options{Home: h.dir, Exe: program, Env: []string{}})
	if err != nil {
		h.t.Fatal(err)
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(asIs{}), grpc.MaxCallRecvMsgSize(1<<28),
			grpc.MaxCallSendMsgSize(1<<28)))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	dir, err := os.MkdirTemp("", "rbp") // a socket's path has to be short
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		h.t.Fatal(err)
	}
	solves = &atomic.Int64{}
	server := grpc.NewServer(grpc.ForceServerCodec(asIs{}), grpc.MaxRecvMsgSize(1<<28), grpc.MaxSendMsgSize(1<<28),
		grpc.UnknownServiceHandler(func(_ any, down grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(down)
			if method == "/moby.buildkit.v1.Control/Solve" {
				solves.Add(1)
			}
			return forward(conn, method, down)
		}))
	go func() {
		if err := server.Serve(ln); err != nil {
			h.t.Errorf("the proxy before the engine ended: %v", err)
		}
	}()
	h.t.Cleanup(server.Stop)
	return "unix://" + ln.Addr().String(), solves
}

// forward hands a call on, and its answer back.
func forward(conn *grpc.ClientConn, method string, down grpc.ServerStream) error {
	md, _ := grpcmeta.FromIncomingContext(down.Context())
	md = md.Copy()
	for key := range md {
		if strings.HasPrefix(key, ":") || strings.HasPrefix(key, "grpc-") || key == "user-agent" ||
			key == "content-type" {
			delete(md, key)
		}
	}
	ctx, cancel := context.WithCancel(grpcmeta.NewOutgoingContext(down.Context(), md))
	defer cancel()
	up, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	go func() {
		for {
			var m message
			if err := down.RecvMsg(&m); err != nil {
				if errors.Is(err, io.EOF) {
					_ = up.CloseSend() // the answer says what is wrong
				}
				return
			}
			if up.SendMsg(&m) != nil {
				return
			}
		}
	}()
	if header, err := up.Header(); err == nil {
		if err := down.SendHeader(header); err != nil {
			return err
		}
	}
	for {
		var m message
		if err := up.RecvMsg(&m); err != nil {
			down.SetTrailer(up.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := down.SendMsg(&m); err != nil {
			return err
		}
	}
}

// A build that pushes solves once, for the test of an image like it has passed here; one whose
// image the registry has, under its own name or another, not at all.
func TestSolvesOfABuild(t *testing.T) {
	h := warmHome(t)
	h.write("raybuild.yaml", shortRecipe("image: {labels: {solves: counted}}"))
	builder, solves := h.counted()
	first, other := ref(t, "1"), ref(t, "2")
	for _, c := range []struct {
		what, ref string
		want      int64
	}{{"a build with --push", first, 1}, {"the same again", first, 0}, {"another tag of it", other, 0}} {
		solves.Store(0)
		if h.push(c.ref, "--builder", builder); solves.Load() != c.want {
			t.Errorf("%s: the engine solved %d times, want %d", c.what, solves.Load(), c.want)
		}
	}
}
