package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/raybuild/raybuild/bench/bed"
	"github.com/raybuild/raybuild/layers"
)

// realReport is build/bench-real.json.
type realReport struct {
	Images map[string]*report `json:"images"`
}

// readReal reads what earlier runs have written, so that images and rows can be measured one after the other.
func readReal(file string) (*realReport, error) {
	all := &realReport{Images: map[string]*report{}}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(data, all)
	}
	if err != nil {
		return nil, fmt.Errorf("read earlier results %q: %w", file, err)
	}
	for name, r := range all.Images {
		r.Machine.Image = name
		r.Verdicts = r.verdicts()
	}
	return all, nil
}

// take is the report that an image's figures go into: the earlier one's rows stay where they are of the same program
// and machine.
func (all *realReport) take(name string, r *report) *report {
	// The page that the first run wrote makes the second one's tree dirty.
	program := func(m machine) string { return strings.TrimSuffix(m.Versions["raybuild"], "-dirty") }
	same := func(m machine) bool { return program(m) == program(r.Machine) && m.CPU == r.Machine.CPU }
	if have := all.Images[name]; have != nil && same(have.Machine) {
		r.Rows = have.Rows
	}
	all.Images[name] = r
	return r
}

// runReal measures the images of real wheels, prints their tables and writes the files.
func runReal(ctx context.Context, o options) error {
	all, err := readReal(o.out)
	if err != nil {
		return err
	}
	write := func() error { return bed.WriteResults(o.out, all, o.docs, all.page()) }
	for _, i := range images() {
		if !selected(o.images, i.name) {
			continue
		}
		mine := o
		mine.image = &i
		if mine.runs == 0 {
			mine.runs = i.runs
		}
		if mine.budget == 0 {
			mine.budget = i.budget
		}
		if why := i.noRoom(o.dir); why != "" {
			fmt.Fprintln(os.Stderr, why)
			if all.Images[i.name] == nil {
				all.Images[i.name] = newReport(ctx, mine)
				all.Images[i.name].Rows = []*result{}
			}
			all.Images[i.name].Notes = []string{why}
			if err := write(); err != nil {
				return err
			}
			continue
		}
		r := all.take(i.name, newReport(ctx, mine))
		if err := r.fill(ctx, mine, write); err != nil {
			return fmt.Errorf("image %s: %w", i.name, err)
		}
		if _, err := fmt.Fprintf(os.Stdout, "\nImage %s: %s\n%s", i.name, i.asks(), r.table()); err != nil {
			return err
		}
	}
	return nil
}

// noRoom says why the image cannot be measured on the disk of dir; nothing where it can.
func (i *image) noRoom(dir string) string {
	for {
		var s unix.Statfs_t
		err := unix.Statfs(dir, &s)
		if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			continue
		}
		free := s.Bavail * uint64(s.Bsize)
		if err != nil || free >= i.room {
			return "" // a disk that tells nothing may do
		}
		return fmt.Sprintf("image %s was left out: it takes %d GB of disk, and %q has %d", i.name, i.room/1e9,
			dir, free/1e9)
	}
}

// chooseReal chooses the Dockerfiles that a real image is measured beside, and says what the image is.
func (b *bench) chooseReal(ctx context.Context, r *report) error {
	for _, a := range bed.Artifacts(b.first.lock, layers.KindWheel) {
		r.Machine.Wheels++
		r.Machine.WheelBytes += a.Size
	}
	for _, a := range bed.Artifacts(b.first.lock, layers.KindConda) {
		if a.Name == "pip" {
			r.Machine.Versions["pip"] = "pip " + a.Version
		}
	}
	if selected(b.peers, "dockerfile") {
		image, err := pushUV(ctx, b.start.mirror.Real, b.registry.host)
		if err != nil {
			return err
		}
		r.Machine.Versions["uv"] = "uv " + uvVersion
		b.states = append(b.states, &state{name: "dockerfile", peer: &buildkit{b: b, installer: uvInstaller(image)}})
	}
	if selected(b.peers, "pip") {
		b.states = append(b.states, &state{name: "pip", peer: &buildkit{b: b, installer: pipInstaller()}})
	}
	return nil
}

// warmIndex lets the world's cache get all that builders may ask the index about the image's wheels, so that no peer
// waits for the internet: pages in both forms, metadata, and the wheels.
func (b *bench) warmIndex(ctx context.Context, v *variation) error {
	for _, a := range bed.Artifacts(v.lock, layers.KindWheel) {
		if b.warm[a.Path] {
			continue
		}
		b.warm[a.Path] = true
		page, file := b.World.A.Real+"/"+a.Name+"/", strings.TrimSuffix(b.World.A.Real, "/simple")+"/"+a.Path
		for _, ask := range [][2]string{{page, simpleJSON}, {page, simpleHTML}, {file, ""}} {
			if err := get(ctx, ask[0], ask[1], io.Discard); err != nil {
				return err
			}
		}
		if err := get(ctx, file+".metadata", "", io.Discard); err != nil {
			if _, none := errors.AsType[missing](err); !none { // not every wheel has it
				return err
			}
		}
	}
	return nil
}

// measureRow measures a row with those whose turn it is.
func (b *bench) measureRow(ctx context.Context, r row, into *result) error {
	measure := b.edit
	switch r.name {
	case "first":
		measure = b.unlocked
	case "cold":
		measure = b.cold
	case "same-warm":
		measure = b.sameWarm
	case "same-empty-runner":
		measure = b.sameEmpty
	case "lock":
		measure = b.lock
	}
	blobs, err := b.bigBlobs()
	if err != nil {
		return err
	}
	if err := measure(ctx, r, into); err != nil {
		return err
	}
	if b.image == nil || !b.image.scarce || r.kind != kindFirst && r.kind != kindEdit {
		return nil
	}
	return b.dropBlobs(blobs)
}

// endRow removes the builders that a row left behind, where an image is so large that they cannot stay until the end.
func (b *bench) endRow(ctx context.Context) error {
	if b.image == nil {
		return nil
	}
	return b.Empty(ctx)
}

// endGroup removes the builders of peers that have been measured, and the images that the registry has got since, for
// those that come after them.
func (b *bench) endGroup(ctx context.Context, since map[string]bool) error {
	if b.image == nil || !b.image.scarce {
		return nil
	}
	for _, s := range b.now {
		if err := s.close(ctx); err != nil {
			return err
		}
	}
	if err := b.dropBlobs(since); err != nil {
		return err
	}
	return b.Empty(ctx)
}

// makeRoom removes the builder that a peer has just given up, where the disk is scarce.
func (b *bench) makeRoom(ctx context.Context) error {
	if b.image == nil || !b.image.scarce {
		return nil
	}
	return b.Empty(ctx)
}

// bigBlobs are the files of the registry's layers.
func (b *bench) bigBlobs() (map[string]bool, error) {
	files, err := filepath.Glob(filepath.Join(b.World.Dir, "registry", "blobs", "sha256", "*"))
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, file := range files {
		if info, err := os.Stat(file); err == nil && info.Size() > 1e6 {
			out[file] = true
		}
	}
	return out, nil
}

// dropBlobs removes layers that the registry has got since: no later row has them.
func (b *bench) dropBlobs(since map[string]bool) error {
	now, err := b.bigBlobs()
	if err != nil {
		return err
	}
	for file := range now {
		if !since[file] {
			err = errors.Join(err, os.Remove(file))
		}
	}
	return err
}
