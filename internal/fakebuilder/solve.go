package fakebuilder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client/buildid"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	solvererr "github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	fstypes "github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// output is one of the filesystems that an operation makes.
type output struct {
	op    digest.Digest
	index int64
}

// files is a filesystem: its layers, oldest first.
type files []layer

// read gives a file's content.
func (f files) read(path string) (string, bool) {
	path = strings.TrimPrefix(path, "/")
	for _, l := range slices.Backward(f) {
		if text, ok := l.files[path]; ok {
			return text, true
		}
	}
	return "", false
}

// all are its files by path.
func (f files) all() map[string]string {
	out := map[string]string{}
	for _, l := range f {
		maps.Copy(out, l.files)
	}
	return out
}

// build is one call of BuildKit's client.
type build struct {
	b        *Builder
	returned chan *gateway.ReturnRequest

	mu      sync.Mutex
	session chan string      // of the caller; whoever takes it puts it back
	results map[string]files // by the id that the client was given
	events  chan *controlapi.StatusResponse
	over    bool // nothing is sent on events any more
}

func newBuild(b *Builder) *build {
	return &build{b: b, returned: make(chan *gateway.ReturnRequest, 1), results: map[string]files{},
		session: make(chan string, 1), events: make(chan *controlapi.StatusResponse, 10000)}
}

func (r *build) tell(ss *controlapi.StatusResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.events <- ss
	}
}

func (r *build) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	close(r.events)
}

// solving is the evaluation of one graph.
type solving struct {
	*build
	ops   map[digest.Digest]*pb.Op
	meta  map[string]*pb.OpMetadata
	done  map[output]files
	event map[digest.Digest]bool // its operation has been told of
}

// solve evaluates a graph's last operation.
func (r *build) solve(ctx context.Context, def *pb.Definition) (files, error) {
	s := &solving{build: r, ops: map[digest.Digest]*pb.Op{}, meta: def.Metadata, done: map[output]files{},
		event: map[digest.Digest]bool{}}
	var last pb.Op
	for _, dt := range def.Def {
		last.Reset()
		if err := proto.Unmarshal(dt, &last); err != nil {
			return nil, err
		}
		s.ops[digest.FromBytes(dt)] = proto.CloneOf(&last)
	}
	return s.input(ctx, last.Inputs[0])
}

func (s *solving) input(ctx context.Context, in *pb.Input) (files, error) {
	return s.output(ctx, output{digest.Digest(in.Digest), in.Index})
}

// output evaluates what an operation makes. Nothing that it stands on is looked at where the builder has it.
func (s *solving) output(ctx context.Context, o output) (files, error) {
	if f, ok := s.done[o]; ok {
		return f, nil
	}
	op := s.ops[o.op]
	s.b.mu.Lock()
	had, cached := s.b.built[o]
	s.b.mu.Unlock()
	if cached && !s.meta[o.op.String()].GetIgnoreCache() {
		s.done[o] = had
		s.vertex(o.op, op, time.Now(), true, nil)
		return had, nil
	}
	in := make([]files, len(op.Inputs))
	for i, from := range op.Inputs {
		var err error
		if in[i], err = s.input(ctx, from); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	made, err := s.make(ctx, o, op, in)
	s.vertex(o.op, op, began, false, err)
	if err != nil {
		return nil, solvererr.WrapVertex(err, o.op)
	}
	s.done[o] = made
	s.b.mu.Lock()
	s.b.built[o] = made
	s.b.mu.Unlock()
	return made, nil
}

// vertex tells the client of an operation, once.
func (s *solving) vertex(d digest.Digest, op *pb.Op, began time.Time, cached bool, failed error) {
	if s.event[d] {
		return
	}
	s.event[d] = true
	v := &controlapi.Vertex{Digest: d.String(), Name: s.title(d), Cached: cached, Started: timestamppb.New(began)}
	for _, in := range op.Inputs {
		v.Inputs = append(v.Inputs, in.Digest)
	}
	events := []*controlapi.Vertex{v}
	if len(op.Inputs) == 0 { // BuildKit tells of such a one when it asks for its key, too
		asked := proto.CloneOf(v)
		asked.Started = timestamppb.New(began.Add(-time.Millisecond))
		events = []*controlapi.Vertex{asked, v}
	}
	for _, one := range events {
		s.tell(&controlapi.StatusResponse{Vertexes: []*controlapi.Vertex{one}})
	}
	ended := proto.CloneOf(v)
	ended.Completed = timestamppb.Now()
	if failed != nil {
		ended.Error = failed.Error()
		s.tell(&controlapi.StatusResponse{
			Logs: []*controlapi.VertexLog{{Vertex: d.String(), Stream: 2, Msg: []byte(failed.Error() + "\n"),
				Timestamp: timestamppb.Now()}},
		})
	}
	s.tell(&controlapi.StatusResponse{Vertexes: []*controlapi.Vertex{ended}})
}

func (s *solving) title(d digest.Digest) string {
	return s.meta[d.String()].GetDescription()["llb.customname"]
}

// make makes what an operation makes of its inputs.
func (s *solving) make(ctx context.Context, o output, op *pb.Op, in []files) (files, error) {
	of := func(index int64) files { // an input; none: the empty filesystem
		if index < 0 {
			return nil
		}
		return in[index]
	}
	switch kind := op.Op.(type) {
	case *pb.Op_Source:
		return s.source(ctx, o, op)
	case *pb.Op_Merge:
		var all files
		for _, one := range kind.Merge.Inputs {
			all = append(all, of(one.Input)...)
		}
		return all, nil
	case *pb.Op_Diff:
		lower, upper := of(kind.Diff.Lower.Input), of(kind.Diff.Upper.Input)
		if len(upper) >= len(lower) && slices.EqualFunc(lower, upper[:len(lower)],
			func(a, b layer) bool { return a.DiffID == b.DiffID }) {
			return upper[len(lower):], nil
		}
		return s.with(ctx, nil, o, upper.all())
	case *pb.Op_File:
		return s.file(ctx, o, kind.File, of)
	case *pb.Op_Exec:
		return s.exec(ctx, o, kind.Exec, of)
	}
	return nil, fmt.Errorf("the fake builder does not know operation %T", op.Op)
}

// with is a filesystem with one more layer, which names the operation that makes it.
func (s *solving) with(ctx context.Context, base files, o output, more map[string]string) (files, error) {
	text := map[string]string{fmt.Sprintf("made/%s-%d", o.op.Encoded()[:12], o.index): s.title(o.op)}
	maps.Copy(text, more)
	l, err := pack(text)
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(base), l), s.b.keep(ctx, l)
}

// file makes what file operations make. Of copies nothing is known but that they are there.
func (s *solving) file(ctx context.Context, o output, op *pb.FileOp, of func(int64) files) (files, error) {
	var base files
	made := map[string]string{}
	for _, a := range op.Actions {
		if a.Input >= 0 && a.Input < int64(s.inputs(o.op)) {
			base = of(a.Input)
		}
		if file := a.GetMkfile(); file != nil {
			made[strings.TrimPrefix(file.Path, "/")] = string(file.Data)
		}
	}
	return s.with(ctx, base, o, made)
}

func (s *solving) inputs(d digest.Digest) int { return len(s.ops[d].Inputs) }

// exec runs nothing.
func (s *solving) exec(ctx context.Context, o output, op *pb.ExecOp, of func(int64) files) (files, error) {
	title := s.title(o.op)
	s.b.mu.Lock()
	s.b.ran = append(s.b.ran, title)
	s.b.mu.Unlock()
	var left map[string]string
	if s.b.o.Run != nil {
		var err error
		if left, err = s.b.o.Run(title); err != nil {
			return nil, &gateway.ExitError{ExitCode: 1, Err: err}
		}
	}
	for _, m := range op.Mounts {
		if m.Output == o.index {
			return s.with(ctx, of(m.Input), o, left)
		}
	}
	return nil, fmt.Errorf("step %q has no output %d", title, o.index)
}

// bridge is BuildKit's gateway API.
type bridge struct {
	gateway.UnimplementedLLBBridgeServer
	b *Builder
}

func (g *bridge) build(ctx context.Context) *build {
	return g.b.build(buildid.FromIncomingContext(ctx))
}

// Ping implements gateway.LLBBridgeServer.
func (g *bridge) Ping(context.Context, *gateway.PingRequest) (*gateway.PongResponse, error) {
	caps := pb.Caps.All()
	for _, one := range caps {
		if g.b.o.Linear && (one.ID == string(pb.CapMergeOp) || one.ID == string(pb.CapDiffOp)) {
			one.Enabled = false
		}
	}
	return &gateway.PongResponse{FrontendAPICaps: gateway.Caps.All(), LLBCaps: caps}, nil
}

// Solve implements gateway.LLBBridgeServer.
func (g *bridge) Solve(ctx context.Context, req *gateway.SolveRequest) (*gateway.SolveResponse, error) {
	r := g.build(ctx)
	made, err := r.solve(ctx, req.Definition)
	if err != nil {
		return nil, grpcerrors.ToGRPC(ctx, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id := fmt.Sprint("result ", len(r.results))
	r.results[id] = made
	ref := &gateway.Ref{Id: id, Def: req.Definition}
	return &gateway.SolveResponse{Result: &gateway.Result{Result: &gateway.Result_Ref{Ref: ref}}}, nil
}

// ReadFile implements gateway.LLBBridgeServer.
func (g *bridge) ReadFile(ctx context.Context, req *gateway.ReadFileRequest) (*gateway.ReadFileResponse, error) {
	text, ok := g.build(ctx).result(req.Ref).read(req.FilePath)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "%s: no such file or directory", req.FilePath)
	}
	if r := req.Range; r != nil {
		text = text[min(len(text), int(r.Offset)):]
		text = text[:min(len(text), int(r.Length))]
	}
	return &gateway.ReadFileResponse{Data: []byte(text)}, nil
}

// ReadDir implements gateway.LLBBridgeServer.
func (g *bridge) ReadDir(ctx context.Context, req *gateway.ReadDirRequest) (*gateway.ReadDirResponse, error) {
	dir := strings.TrimPrefix(strings.Trim(req.DirPath, "/")+"/", "/")
	seen := map[string]*fstypes.Stat{}
	for path := range g.build(ctx).result(req.Ref).all() {
		if rest, ok := strings.CutPrefix(path, dir); ok {
			name, _, deeper := strings.Cut(rest, "/")
			seen[name] = &fstypes.Stat{Path: name, Mode: 0o644}
			if deeper {
				seen[name].Mode = uint32(os.ModeDir | 0o755)
			}
		}
	}
	if len(seen) == 0 {
		return nil, status.Errorf(codes.NotFound, "%s: no such file or directory", req.DirPath)
	}
	out := &gateway.ReadDirResponse{}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		out.Entries = append(out.Entries, seen[name])
	}
	return out, nil
}

// Return implements gateway.LLBBridgeServer.
func (g *bridge) Return(ctx context.Context, req *gateway.ReturnRequest) (*gateway.ReturnResponse, error) {
	g.build(ctx).returned <- req
	return &gateway.ReturnResponse{}, nil
}

func (r *build) result(id string) files {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.results[id]
}

// Status implements controlapi.ControlServer.
func (c *control) Status(req *controlapi.StatusRequest, stream controlapi.Control_StatusServer) error {
	for ss := range c.b.build(req.Ref).events {
		if err := stream.Send(ss); err != nil {
			return err
		}
	}
	return nil
}

// Solve implements controlapi.ControlServer. It exports what the client's own solves come to.
func (c *control) Solve(ctx context.Context, req *controlapi.SolveRequest) (*controlapi.SolveResponse, error) {
	r := c.b.build(req.Ref)
	r.session <- req.Session
	defer r.end()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case back := <-r.returned:
		if back.Error != nil {
			return nil, status.FromProto(back.Error).Err()
		}
		answer, err := r.export(ctx, req, back.Result)
		if err != nil {
			return nil, grpcerrors.ToGRPC(ctx, err)
		}
		return &controlapi.SolveResponse{ExporterResponse: answer}, nil
	}
}

// errNot says that the fake builder does not do something.
func errNot(what string) error { return errors.New("the fake builder does not " + what) }
