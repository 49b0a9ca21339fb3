package registry

import (
	"context"
	"errors"
	"testing"
)

// A push that is not let through names nothing, and brings its manifest by digest alone where that is asked for.
func TestPushNamesNothingBeforeItIsReady(t *testing.T) {
	t.Parallel()
	host, _ := start(t, nil)
	b := layered(t, 3000, 5000)
	names := []string{host + "/team/ray:1", host + "/other/ray:1"}
	o := quick(names...)
	refused := errors.New("it does not work")
	var byDigest bool
	o.Ready = func(ctx context.Context, store func(context.Context) error) error {
		for _, name := range names {
			if _, named, err := client(Options{}).Head(ctx, name); named || err != nil {
				t.Errorf("%s is named before the push is ready: %v", name, err)
			}
		}
		if err := store(ctx); err != nil {
			return err
		}
		found, ok, err := client(Options{}).Head(ctx, host+"/team/ray@"+b.root.Digest.String())
		byDigest = err == nil && ok && found.Digest == b.root.Digest
		return refused
	}
	if _, err := client(Options{}).Push(t.Context(), b.root, b.source, o); !errors.Is(err, refused) {
		t.Errorf("the push ended with %v, want what it was refused with", err)
	}
	if !byDigest {
		t.Error("the image could not be had by its digest")
	}
	for _, name := range names {
		absent(t, name)
	}
	o.Ready = func(context.Context, func(context.Context) error) error { return nil }
	if _, err := client(Options{}).Push(t.Context(), b.root, b.source, o); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		arrived(t, name, b)
	}
}
