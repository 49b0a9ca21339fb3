package raybuild

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/bytecode"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// pythonInBuilder runs the Python that makes byte code in the builder, because this machine cannot run
// it: a Mac, or an image for another CPU. The bytes are the same.
func (p *Project) pythonInBuilder(ctx context.Context, l layers.WheelLayer, archive string,
	d digest.Digest) (start func(context.Context) (bytecode.Pipe, error), end func(), err error) {
	b, err := p.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	ready, ended := make(chan llb.Starter, 1), make(chan struct{})
	var failed error // valid when ended is closed
	stage := l.Interpreter(llb.Blob{Digest: d, Name: "python.tar"})
	session := llb.Session{Artifacts: oneFile{d, archive}, DockerConfig: p.env.getenv("DOCKER_CONFIG")}
	go func() {
		defer close(ended)
		failed = b.TalkIn(ctx, stage, l.Platform, session, llb.SolveOptions{Progress: llb.ProgressQuiet},
			func(ctx context.Context, s llb.Starter) error {
				ready <- s
				<-ctx.Done()
				return nil
			})
	}()
	select {
	case s := <-ready:
		program := layers.InterpreterHome + "/bin/python" + l.Python
		start = func(ctx context.Context) (bytecode.Pipe, error) {
			ctx, kill := context.WithCancel(ctx)
			talk, err := s(ctx, append([]string{program}, bytecode.Arguments()...),
				bytecode.Environment(layers.InterpreterHome))
			return bytecode.Pipe{In: talk.In, Out: talk.Out, Wait: talk.Wait, Kill: kill}, err
		}
		end = func() {
			stop()
			<-ended // what was compiled is whole, whatever the end was
		}
		return start, end, nil
	case <-ended:
		stop()
		return nil, nil, fmt.Errorf("run Python in the builder: %w", failed)
	}
}

// oneFile is a file of this machine as an artifact.
type oneFile struct {
	digest digest.Digest
	path   string
}

// Open implements llb.ArtifactSource.
func (f oneFile) Open(_ context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	if d != f.digest {
		return nil, 0, fmt.Errorf("open artifact %s: %w", d, os.ErrNotExist)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, 0, err
	}
	return file, -1, nil
}
