package llb_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/fakebuilder"
	"github.com/raybuild/raybuild/llb"
)

// fake connects to a builder that runs nothing.
func fake(t *testing.T, o fakebuilder.Options) (*llb.Builder, *fakebuilder.Builder) {
	t.Helper()
	server := fakebuilder.Start(t, o)
	b, err := llb.Connect(t.Context(), server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, server
}

// stepsImage is an image of layers of one step each.
func stepsImage(names ...string) llb.Image {
	image := llb.Image{Platform: amd64}
	root := llb.Scratch().Files("root", llb.File{Path: "/root", Data: []byte("root")})
	for _, name := range names {
		made := root.Make(sh(name, "make", "echo "+name), llb.Output{Path: "/out", On: llb.Scratch()})
		image.Layers = append(image.Layers, llb.Layer{Name: name, Title: "[" + name + "] make", Stage: made})
	}
	return image
}

// A step that fails ends the build's context, so that nobody goes on with what is left of it. The
// end gives the error and the steps.
func TestFailedBuildEndsItsContext(t *testing.T) {
	t.Parallel()
	b, _ := fake(t, fakebuilder.Options{Run: func(title string) (map[string]string, error) {
		if title == "[two] make" {
			return nil, errors.New("no two")
		}
		return nil, nil
	}})
	build, ctx, err := b.Start(t.Context(), []llb.Image{stepsImage("one", "two")}, llb.Session{},
		llb.BuildOptions{Names: []string{"localhost:1/x:1"}, Push: true, PackEarly: true})
	if err != nil {
		t.Fatal(err)
	}
	for range build.Ready() { // it ends
	}
	<-ctx.Done()
	_, failed := build.Wait()
	var step *llb.StepError
	if !errors.As(failed, &step) || step.Layer != "two" || step.ExitCode != 1 {
		t.Errorf("the build failed with %v, %+v", failed, step)
	}
	res, err := build.End(ctx, failed)
	if !errors.As(err, &step) || !slices.ContainsFunc(res.Steps,
		func(s llb.Step) bool { return s.Layer == "two" && s.Failed }) {
		t.Errorf("the end gives %v and the steps %+v", err, res.Steps)
	}
}

// A check that an image does not pass is what the build fails with, whatever its end brought to the caller's own work.
func TestFailedCheckIsTheBuildsError(t *testing.T) {
	t.Parallel()
	b, _ := fake(t, fakebuilder.Options{Run: func(title string) (map[string]string, error) {
		if title == "[smoke] try" {
			return nil, errors.New("it does not work")
		}
		return nil, nil
	}})
	image := stepsImage("one")
	check := llb.Check{Platform: amd64, Stage: image.Layers[0].Stage.Run(sh("smoke", "try", "false"))}
	build, ctx, err := b.Start(t.Context(), []llb.Image{image}, llb.Session{},
		llb.BuildOptions{Names: []string{"localhost:1/x:1"}, Push: true, Checks: []llb.Check{check}})
	if err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	_, err = build.End(ctx, errors.New("the push was stopped"))
	var failed *llb.CheckError
	if !errors.As(err, &failed) || failed.Step.Step != "try" {
		t.Errorf("the end gives %v", err)
	}
}

// Whoever forgets to wait for the checks has them waited for.
func TestEndWaitsForChecksThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	b, server := fake(t, fakebuilder.Options{})
	image := stepsImage("one")
	check := llb.Check{Platform: amd64, Stage: image.Layers[0].Stage.Run(sh("smoke", "try", "true"))}
	build, ctx, err := b.Start(t.Context(), []llb.Image{image}, llb.Session{},
		llb.BuildOptions{Names: []string{"localhost:1/x:1"}, Push: true, Checks: []llb.Check{check}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := build.End(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if ran := server.Ran(); !slices.Contains(ran, "[smoke] try") {
		t.Errorf("the check did not run: %q", ran)
	}
}

// A layer is given as a blob that can be read while the step of another one runs, and the image has that blob.
func TestReadyGivesLayersWhileOthersAreBuilt(t *testing.T) {
	t.Parallel()
	first := make(chan struct{})
	b, _ := fake(t, fakebuilder.Options{Run: func(title string) (map[string]string, error) {
		if title == "[two] make" {
			select {
			case <-first:
			case <-time.After(30 * time.Second):
				return nil, errors.New("no layer is given while this step runs")
			}
		}
		return nil, nil
	}})
	build, ctx, err := b.Start(t.Context(), []llb.Image{stepsImage("one", "two")}, llb.Session{},
		llb.BuildOptions{Names: []string{"localhost:1/x:1"}, Push: true, PackEarly: true, CPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	given := ""
	for one := range build.Ready() {
		all, err := one.Layers()
		if err != nil || len(all) != 1 {
			t.Fatalf("layers %+v, %v", all, err)
		}
		r, err := one.Open(ctx, all[0].Digest, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if one.Result.Images[0].Layers[0].Name == "one" {
			given = all[0].Digest.String()
			close(first)
		}
	}
	res, err := build.End(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l := res.Images[0].Layers[0]; given != l.Digest.String() {
		t.Errorf("layer one was given as %q, the image has %s", given, l.Digest)
	}
}
