package llb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/client"
	bkllb "github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	solvererr "github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/moby/buildkit/util/grpcerrors"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
)

// call is one public call of a builder: its session, what it shows, and what it learns.
type call struct {
	b    *Builder
	o    SolveOptions
	sess *session
	view *view
	col  *collector
	saw  func(*client.SolveStatus) // gets the events of counted solves; may be nil
	line atomic.Bool               // the builder cannot merge

	// is called between the steps of an image and its exports; may be nil
	solved func(context.Context) error
	checks *checking                                     // of the image that is built
	shown  func(*client.SolveStatus) *client.SolveStatus // selects the events that the user sees; nil: all of them

	internal bool // its solves are no builds in the builder's history
}

func (b *Builder) newCall(ctx context.Context, s Session, o SolveOptions) (*call, error) {
	v, err := newView(ctx, o)
	if err != nil {
		return nil, err
	}
	return &call{b: b, o: o, sess: &session{Session: s}, view: v, col: newCollector()}, nil
}

// solve runs fn in the builder and its exports after it. All of it is shown; steps are counted when count is set.
func (c *call) solve(ctx context.Context, exports []client.ExportEntry, fn gateway.BuildFunc,
	count bool) (*client.SolveResponse, error) {
	att, err := c.sess.attachables()
	if err != nil {
		return nil, err
	}
	policy, err := sourcePolicy(c.o.FetchURLs)
	if err != nil {
		return nil, err
	}
	opt := client.SolveOpt{
		SourcePolicy: policy,
		Exports:      exports,
		Session:      att,
		Internal:     c.internal,
		// The client writes cache imports into it.
		FrontendAttrs: map[string]string{},
		CacheImports:  cacheEntries(c.budgeted(c.o.CacheFrom)),
		CacheExports:  packedAlike(cacheEntries(localLast(c.o.CacheTo))),
	}
	if c.o.HostNetwork {
		opt.AllowedEntitlements = []string{entitlements.EntitlementNetworkHost.String()}
	}
	if c.sess.Layers != nil || c.sess.Images != nil {
		opt.OCIStores = map[string]content.Store{givenStore: layerStore{s: c.sess}}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	exporting := c.limitExport(cancel)
	stepping, done := c.limitTime(cancel)
	defer done()
	var res *client.SolveResponse
	ch := make(chan *client.SolveStatus)
	var g errgroup.Group
	g.Go(func() (err error) {
		res, err = c.b.c.Build(ctx, opt, "", fn, ch)
		return err
	})
	g.Go(func() error {
		for ss := range ch {
			exporting(ss)
			if count {
				c.col.add(ss)
			}
			stepping(ss)
			if count && c.saw != nil {
				c.saw(ss)
			}
			if c.shown != nil {
				ss = c.shown(ss)
			}
			c.view.show(ss)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, c.explain(ctx, err)
	}
	return res, nil
}

// packedAlike has what caches hold beside the image's layers packed as those are, where the
// exporter lets one choose and nobody has.
func packedAlike(out []client.CacheOptionsEntry) []client.CacheOptionsEntry {
	for _, e := range out {
		choice := e.Attrs["compression"] == "" && e.Attrs[compressionLevel] == ""
		if choice && slices.Contains([]string{"registry", "local", "s3"}, e.Type) {
			e.Attrs[compressionLevel] = strconv.Itoa(GzipLevel)
		}
	}
	return out
}

func cacheEntries(in []CacheEntry) []client.CacheOptionsEntry {
	var out []client.CacheOptionsEntry
	for _, e := range in {
		attrs := maps.Clone(e.Attrs) // the client writes into it
		if attrs == nil {
			attrs = map[string]string{}
		}
		out = append(out, client.CacheOptionsEntry{Type: e.Type, Attrs: attrs})
	}
	return out
}

// evaluate solves a definition inside a build.
func (c *call) evaluate(ctx context.Context, gw gateway.Client, def *bkllb.Definition) (gateway.Reference, error) {
	known, err := converted(def, c.o.FetchURLs)
	if err != nil {
		return nil, err
	}
	if err := c.col.define(def, known, c.sess.name); err != nil {
		return nil, err
	}
	req := gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true}
	if v := gw.BuildOpts().Opts["cache-imports"]; v != "" {
		if err := json.Unmarshal([]byte(v), &req.CacheImports); err != nil {
			return nil, fmt.Errorf("decode cache imports: %w", err)
		}
	}
	res, err := gw.Solve(ctx, req)
	if err != nil {
		return nil, err
	}
	return res.SingleRef()
}

// DiskFull tells whether an error of a build says that the builder's disk is full, or a step that it had no room.
func DiskFull(err error) bool {
	full := syscall.ENOSPC.Error()
	var step *StepError
	if errors.As(err, &step) && slices.ContainsFunc(step.Log,
		func(l string) bool { return strings.Contains(strings.ToLower(l), full) }) {
		return true
	}
	return err != nil && strings.Contains(err.Error(), full)
}

// answers tells whether the builder is still there.
func (b *Builder) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := b.c.ListWorkers(ctx)
	return err == nil
}

// explain makes a solve's error say what the user can use: that it was cancelled, which artifact could not be brought
// and why, or which step failed and its last words.
func (c *call) explain(ctx context.Context, err error) error {
	if over, ok := errors.AsType[*overTimeError](context.Cause(ctx)); ok {
		return c.col.tooLong(over)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("build on %q: %w", c.b.addr, context.Cause(ctx))
	}
	if grpcerrors.Code(err) == codes.Unavailable && !c.b.answers(ctx) {
		return &LostError{Addr: c.b.addr, Err: err}
	}
	if fe := c.sess.fetchError(); fe != nil {
		return &causedError{fe, err}
	}
	if se := c.col.failure(err); se != nil {
		return se
	}
	return &buildError{title: c.col.title(err), err: err}
}

// buildError is a failure outside of any step, such as that of a pull or a push.
type buildError struct {
	title string // of the operation, if one failed
	err   error
}

func (e *buildError) Error() string {
	if e.title == "" {
		return "build image: " + plainText(e.err)
	}
	return e.title + ": " + plainText(e.err)
}

func (e *buildError) Unwrap() error { return e.err }

// plainText is a builder's error without the words that each of them begins with.
func plainText(err error) string {
	return strings.TrimPrefix(err.Error(), "failed to solve: ")
}

// causedError has the text of its cause. It matches both errors.
type causedError struct{ cause, effect error }

func (e *causedError) Error() string   { return e.cause.Error() }
func (e *causedError) Unwrap() []error { return []error{e.cause, e.effect} }

// failure finds the step that err is about, or nil when it is about none.
func (c *collector) failure(err error) *StepError {
	c.mu.Lock()
	defer c.mu.Unlock()
	var failed *step
	var ve *solvererr.VertexError
	if errors.As(err, &ve) {
		failed = c.by[digest.Digest(ve.Digest)]
	}
	if failed == nil {
		for _, s := range c.steps {
			if s.vertex != nil && s.vertex.Error != "" && !strings.HasSuffix(s.vertex.Error, context.Canceled.Error()) {
				failed = s
				break
			}
		}
	}
	if failed == nil {
		return nil
	}
	se := &StepError{ExitCode: -1, output: failed.log(), Err: err}
	se.Log = slices.Clone(se.output[max(0, len(se.output)-logLines):])
	se.Layer, se.Step = splitTitle(failed.title)
	var ee *gatewaypb.ExitError
	if errors.As(err, &ee) && ee.ExitCode != gatewaypb.UnknownExitStatus {
		se.ExitCode = int(ee.ExitCode)
	}
	se.meets(failed.limits)
	if m := missingSecret.FindStringSubmatch(err.Error()); m != nil {
		se.Hint = fmt.Sprintf("pass it with --secret id=%s,src=FILE", m[1])
	}
	if failed.foreign(err, se.Log) {
		se.Hint = fmt.Sprintf("the builder does not run programs of %s: build on a machine of that kind, or give the "+
			"builder's kernel QEMU for it (apt-get install qemu-user-static; or docker run --privileged --rm "+
			"tonistiigi/binfmt --install %s)", failed.platform, archOf(failed.platform))
	}
	const offline = "this step has no network; declare what it needs as an artifact or package, or allow it the " +
		"network (network: true)"
	switch {
	case se.Hint != "" || !failed.offline || se.ExitCode <= 0:
	case wantedNetwork(se.Log):
		se.Hint = offline
	case len(se.Log) == 0: // getent, and whatever was told to be quiet
		se.Hint = "it said nothing; if it wanted the network: " + offline
	}
	return se
}

// foreign tells whether a step failed because its programs are another CPU's (ENOEXEC, as runc and shells put it).
func (s *step) foreign(err error, log []string) bool {
	return s.platform != "" && (strings.Contains(strings.ToLower(err.Error()), "exec format error") ||
		slices.ContainsFunc(log, func(l string) bool {
			return strings.Contains(strings.ToLower(l), "exec format error")
		}))
}

func archOf(platform string) string { return strings.Split(platform, "/")[1] }

// missingSecret is BuildKit's text for a secret that a step needs and that the session does not have.
var missingSecret = regexp.MustCompile(`secret (\S+): not found$`)

// title is that of the operation that err is about, or "".
func (c *collector) title(err error) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ve *solvererr.VertexError
	if !errors.As(err, &ve) {
		return ""
	}
	return c.titles[digest.Digest(ve.Digest)]
}

// wantedNetwork tells whether output reads like that of a program that could not reach the network: the messages of
// glibc, musl, curl, wget, git, Python, Go and apt.
func wantedNetwork(log []string) bool {
	for _, line := range log {
		line = strings.ToLower(line)
		for _, sign := range []string{
			"could not resolve", "temporary failure resolving", "temporary failure in name resolution",
			"name or service not known", "bad address", "name resolution", "no such host", "unable to resolve",
			"network is unreachable", "network unreachable", "no route to host", "cannot assign requested address",
			"failed to establish a new connection", "connection refused", "unable to connect", "getaddrinfo",
			"try again", "connecterror", "failed to connect",
		} {
			if strings.Contains(line, sign) {
				return true
			}
		}
	}
	return false
}
