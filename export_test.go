package raybuild

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
)

// FakeSite is a project in a directory with a recipe, a lock that fits it and files, for examples:
// with a builder that runs nothing, by its address, and a registry, by its host and port. end ends
// them.
func FakeSite() (dir, builder, registry string, end func()) {
	t := &exampleTB{}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	s := newSite(t)
	return s.Dir, s.Builder.Addr(), s.Host, t.end
}

// exampleTB is what an example has in place of a test.
type exampleTB struct {
	testing.TB
	ctx      context.Context //nolint:containedctx // it is what Context gives, as a test's is
	cancel   context.CancelFunc
	cleanups []func()
}

func (t *exampleTB) Helper()                        {}
func (t *exampleTB) Context() context.Context       { return t.ctx }
func (t *exampleTB) Cleanup(f func())               { t.cleanups = append(t.cleanups, f) }
func (t *exampleTB) Error(args ...any)              { t.Fatal(args...) }
func (t *exampleTB) Errorf(format string, a ...any) { t.Fatalf(format, a...) }
func (t *exampleTB) Fatalf(format string, a ...any) { t.Fatal(fmt.Sprintf(format, a...)) }
func (t *exampleTB) Fatal(args ...any)              { panic(fmt.Sprint(args...)) }

func (t *exampleTB) TempDir() string {
	dir, err := os.MkdirTemp("", "raybuild-example-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	})
	return dir
}

func (t *exampleTB) end() {
	t.cancel()
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}
