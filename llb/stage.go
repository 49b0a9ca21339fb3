package llb

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	bkllb "github.com/moby/buildkit/client/llb"
	digest "github.com/opencontainers/go-digest"
)

// Stage is an immutable filesystem: the result of a chain of operations. Its zero value is the empty filesystem. A
// stage keeps the first error of its chain and reports it when it is marshalled or built. So a chain needs no error
// checks between its operations.
type Stage struct {
	n   *node
	err error
}

// Scratch is the empty filesystem.
func Scratch() Stage { return Stage{} }

// Err is the first error of the operations that led to s, or nil.
func (s Stage) Err() error { return s.err }

// From is the filesystem of an image. ref must be pinned, as in "docker.io/library/ubuntu:22.04@sha256:…": a tag can
// move, and then the same graph would no longer mean the same image.
func From(ref string) Stage {
	name, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return Stage{err: fmt.Errorf("parse image reference %q: %w", ref, err)}
	}
	digested, ok := name.(reference.Digested)
	if !ok {
		return Stage{err: fmt.Errorf("image %q is not pinned: add its digest, as in %s@sha256:…", ref,
			reference.TagNameOnly(name))}
	}
	if err := digested.Digest().Validate(); err != nil {
		return Stage{err: fmt.Errorf("parse image reference %q: %w", ref, err)}
	}
	// BuildKit's cache key is the whole reference, so a tag beside the digest would be a part of it.
	pinned, err := reference.WithDigest(reference.TrimNamed(name), digested.Digest())
	if err != nil {
		return Stage{err: fmt.Errorf("parse image reference %q: %w", ref, err)}
	}
	title := "image " + reference.FamiliarString(name)
	return Stage{n: &node{title: title, layers: unknown, apply: func(l *layout, _ bkllb.State) bkllb.State {
		return l.image(title, pinned)
	}}}
}

// Blob names one file by its content.
type Blob struct {
	Digest digest.Digest // sha256 of the bytes
	Name   string        // file name in the stage; a plain name without slashes
}

// Artifact is a stage with one file, b.Name at its root, mode 0644. If BuildKit does not have its
// bytes, it asks [Session.Artifacts] for them and checks their digest. The graph does not say where
// they come from.
func Artifact(b Blob) Stage {
	if err := b.validate(); err != nil {
		return Stage{err: err}
	}
	title := "fetch " + b.Name
	return Stage{n: &node{title: title, layers: 1, contentAddressed: true,
		apply: func(*layout, bkllb.State) bkllb.State {
			return bkllb.HTTP(artifactURL(b.Digest), bkllb.Checksum(b.Digest), bkllb.Filename(b.Name),
				bkllb.Chmod(0o644),
				named(title))
		}}}
}

func (b Blob) validate() error {
	if b.Name == "" || b.Name == "." || b.Name == ".." || strings.ContainsAny(b.Name, "/\x00") {
		return fmt.Errorf("artifact name %q: want a plain file name", b.Name)
	}
	if err := b.Digest.Validate(); err != nil {
		return fmt.Errorf("artifact %q: digest %q: %w", b.Name, b.Digest, err)
	}
	if b.Digest.Algorithm() != digest.SHA256 {
		return fmt.Errorf("artifact %q: digest %q: want sha256", b.Name, b.Digest)
	}
	return nil
}

// Merge lays filesystems over each other, later ones on top, without copying: the layers of the result are the
// layers of its inputs. Merge of nothing is [Scratch], and Merge of one stage is that stage.
func Merge(title string, in ...Stage) Stage {
	var nodes []*node
	for _, s := range in {
		if s.err != nil {
			return Stage{err: s.err}
		}
		if s.n != nil {
			nodes = append(nodes, s.n)
		}
	}
	switch {
	case len(nodes) == 0:
		return Scratch()
	case len(nodes) == 1:
		return Stage{n: nodes[0]}
	case title == "":
		return Stage{err: errors.New("merge: title is required")}
	}
	return Stage{n: &node{title: title, merge: nodes, contentAddressed: areContentAddressed(nodes...)}}
}

// Diff is a stage with the changes of upper over lower. If upper is one step on lower, it is that step's layer.
func Diff(title string, lower, upper Stage) Stage {
	switch {
	case lower.err != nil:
		return Stage{err: lower.err}
	case upper.err != nil || lower.n == nil:
		return upper
	case upper.n == nil:
		return Stage{err: fmt.Errorf("diff %q: the upper stage is empty", title)}
	case title == "":
		return Stage{err: errors.New("diff: title is required")}
	}
	return Stage{n: &node{title: title, isDiff: true, lower: lower.n, upper: upper.n}}
}

// FromState makes a stage of a BuildKit state. Use it for operations that this package does not have. The caller must
// keep the graph deterministic: name the operations, pin the sources, and use no local sources.
func FromState(st bkllb.State) Stage {
	if st.Output() == nil {
		return Scratch()
	}
	return Stage{n: &node{title: "custom", layers: unknown,
		apply: func(*layout, bkllb.State) bkllb.State { return st }}}
}

// State is the stage as BuildKit sees it, laid out with merges. The state of a stage with an error is empty; see
// [Stage.Err].
func (s Stage) State() bkllb.State {
	if s.err != nil {
		return bkllb.Scratch()
	}
	return newLayout(false, false).state(s.n)
}

// fail is s with err as its error, unless an earlier one sticks.
func (s Stage) fail(title string, err error) Stage {
	if s.err != nil {
		return s
	}
	return Stage{err: wrapStep(title, err)}
}

// firstErr is the error that sticks among stages.
func firstErr(in ...Stage) error {
	for _, s := range in {
		if s.err != nil {
			return s.err
		}
	}
	return nil
}

// cleanAbs checks that p is an absolute path in its shortest form.
func cleanAbs(what, p string) error {
	switch {
	case !path.IsAbs(p):
		return fmt.Errorf("%s %q: want an absolute path", what, p)
	case strings.ContainsRune(p, 0):
		return fmt.Errorf("%s %q: want no NUL bytes", what, p)
	case path.Clean(p) != p && path.Clean(p)+"/" != p, slices.Contains(strings.Split(p, "/"), ".."):
		return fmt.Errorf("%s %q: want %q", what, p, path.Clean(p))
	}
	return nil
}
