package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/raybuild/raybuild/internal/faultyregistry"
)

// row is a fault, and what should become of a push that meets it.
type row struct {
	id, fault string
	// fails: the push has to end with an error soon, and without a tag. Otherwise it has to arrive.
	fails bool
	// spoil is the fault.
	spoil func(s *site) faultyregistry.Middleware
	// source spoils what is pushed: the file of the larger layer.
	source func(file string) error
	// twice: the first push has to fail, and the second one, which finds the registry mended, is what is told.
	twice bool
}

// soon is how long a push may take that can only fail.
const soon = 10 * time.Second

// scale is how long registries take.
type scale struct {
	slow  time.Duration // to check a blob
	after time.Duration // until they may be asked again
}

// rows are R1 to R10 of the project's fault matrix, with a row for each form of a fault.
func rows(sc scale) []row {
	var all []row
	add := func(r ...row) { all = append(all, r...) }
	for _, kind := range kinds() {
		for _, n := range []int64{1, 3, 10} {
			add(row{id: "R1", fault: fmt.Sprintf("503 to the first %d: %s", n, kind.name),
				spoil: func(*site) faultyregistry.Middleware {
					return faultyregistry.Failing(kind.is, n, http.StatusServiceUnavailable)
				}})
		}
	}
	for _, percent := range []int64{10, 50, 99} {
		add(row{id: "R2", fault: fmt.Sprintf("connection reset at %d %% of a layer", percent),
			spoil: func(s *site) faultyregistry.Middleware {
				return faultyregistry.Breaking(s.image.large.Size * percent / 100)
			}})
	}
	for _, kind := range kinds() {
		add(row{id: "R3", fault: "never answered: the first " + kind.name,
			spoil: func(s *site) faultyregistry.Middleware {
				return faultyregistry.Stalling(s.ctx, kind.is, 1, time.Hour)
			}})
	}
	add(
		row{id: "R3", fault: fmt.Sprintf("%v to check a blob", sc.slow),
			spoil: func(s *site) faultyregistry.Middleware {
				return faultyregistry.Stalling(s.ctx, faultyregistry.Commit, 1, sc.slow)
			}},
		row{id: "R4", fault: fmt.Sprintf("429, Retry-After %v", sc.after),
			spoil: func(s *site) faultyregistry.Middleware {
				s.limit = &faultyregistry.Limit{Kind: faultyregistry.Body, After: sc.after}
				return s.limit.Middleware()
			}},
		row{id: "R5", fault: "token expires in the middle", spoil: expiring},
	)
	for _, status := range []int{http.StatusForbidden, http.StatusRequestEntityTooLarge,
		http.StatusInsufficientStorage} {
		add(row{id: "R6", fault: fmt.Sprintf("%d to each blob", status), fails: true,
			spoil: func(*site) faultyregistry.Middleware {
				return faultyregistry.Failing(faultyregistry.Body, 1<<60, status)
			}})
	}
	add(
		row{id: "R7", fault: "killed before the manifest; run again", twice: true,
			spoil: func(s *site) faultyregistry.Middleware {
				return faultyregistry.Cutting(faultyregistry.Manifest, s.first.Load)
			}},
		row{id: "R8", fault: "says that it has each blob, has none",
			spoil: func(*site) faultyregistry.Middleware { return faultyregistry.Lying() }},
		row{id: "R9", fault: "a layer has other bytes than its digest", fails: true, source: otherByte},
		row{id: "R10", fault: "a layer has fewer bytes than its size", fails: true, source: half},
	)
	return all
}

// kind is a kind of request, in the words of the page.
type kind struct {
	name string
	is   faultyregistry.Kind
}

// kinds are those of faultyregistry, in the order of a push.
func kinds() []kind {
	return []kind{
		{"POST (begins a blob)", faultyregistry.Post},
		{"PATCH (a blob's bytes)", faultyregistry.Body},
		{"PUT of a blob (ends it)", faultyregistry.Commit},
		{"PUT of the manifest", faultyregistry.Manifest},
	}
}

// expiring ends the token when the large layer's bytes have come.
func expiring(s *site) faultyregistry.Middleware {
	ended := &atomic.Bool{}
	return faultyregistry.Expiring(func(r *http.Request) bool {
		return (faultyregistry.Commit(r) || faultyregistry.Manifest(r)) && s.meter.Blobs() >= s.image.large.Size &&
			ended.CompareAndSwap(false, true)
	})
}

// otherByte changes one byte in the middle of a file.
func otherByte(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(file, data, 0o644)
}

// half cuts a file in the middle.
func half(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	return os.Truncate(file, info.Size()/2)
}

// spoiled is a copy of the image in dir with its large layer spoiled.
func (m *image) spoiled(dir string, spoil func(file string) error) (*image, error) {
	if err := os.CopyFS(dir, os.DirFS(m.dir)); err != nil {
		return nil, err
	}
	out := *m
	out.dir = dir
	file := filepath.Join(dir, "blobs", "sha256", m.large.Digest.Encoded())
	if err := os.Chmod(file, 0o644); err != nil {
		return nil, err
	}
	return &out, spoil(file)
}
