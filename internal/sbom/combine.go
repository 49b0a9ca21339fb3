package sbom

import (
	"slices"
	"strings"
)

// Combine gives for each layer of an image the packages that it brings and that are still there at the end. found has
// one entry for each layer, lowest first; nil: nothing is known of the layer.
func Combine(found []*Found) [][]Part {
	out := make([][]Part, len(found))
	distro, licences := about(found)
	for n, parts := range debs(found) {
		out[n] = parts
	}
	for n, parts := range withFiles(found) {
		out[n] = append(out[n], parts...)
	}
	for _, parts := range out {
		for i := range parts {
			if parts[i].Kind != Deb {
				continue
			}
			parts[i].Distro = distro
			if parts[i].License == "" {
				parts[i].License = licences(parts[i].Name)
			}
		}
		slices.SortFunc(parts, Part.compare)
	}
	return out
}

// about gives the distribution, and the licences of Debian packages.
func about(found []*Found) (distro string, licence func(name string) string) {
	copyrights, links := map[string]string{}, map[string]string{}
	for _, f := range found {
		if f == nil {
			continue
		}
		distro = first(f.Distro, distro)
		for name, l := range f.Copyrights {
			copyrights[name] = l
		}
		for name, to := range f.Documents {
			links[name] = to
		}
	}
	return distro, func(name string) string {
		for range 3 {
			if l := copyrights[name]; l != "" {
				return l
			}
			name = links[name]
		}
		return ""
	}
}

// debs gives the packages of the last status, each in the first layer whose status has it.
func debs(found []*Found) map[int][]Part {
	out, since := map[int][]Part{}, map[string]int{}
	var last []Part
	for n, f := range found {
		if f == nil || !f.HasStatus {
			continue
		}
		now := map[string]int{}
		for _, p := range f.Status {
			k := p.key()
			now[k] = n
			if before, ok := since[k]; ok {
				now[k] = before
			}
		}
		since, last = now, f.Status
	}
	for _, p := range last {
		n := since[p.key()]
		out[n] = append(out[n], p)
	}
	return out
}

// withFiles gives the packages that have a file of their own, each in the layer that brought the file.
func withFiles(found []*Found) map[int][]Part {
	type placed struct {
		layer int
		part  Part
	}
	at := map[string]placed{}
	for n, f := range found {
		if f == nil {
			continue
		}
		remove(f.Gone, func(gone func(string) bool) {
			for file := range at {
				if gone(file) {
					delete(at, file)
				}
			}
		})
		for _, p := range f.Parts {
			if was, ok := at[p.Path]; ok && was.part.key() == p.key() {
				continue // the file was written again
			}
			at[p.Path] = placed{n, p}
		}
	}
	out := map[int][]Part{}
	for _, p := range at {
		out[p.layer] = append(out[p.layer], p.part)
	}
	return out
}

// remove calls with a function that tells whether a path is removed, if any is.
func remove(gone []string, with func(func(string) bool)) {
	if len(gone) == 0 {
		return
	}
	all := map[string]bool{}
	for _, g := range gone {
		all[g] = true
	}
	with(func(file string) bool {
		if all[file] {
			return true
		}
		for i, c := range file {
			if c == '/' && (all[file[:i]] || all[file[:i+1]]) {
				return true
			}
		}
		return false
	})
}

// sorted gives texts in their order, each once.
func sorted(all []string) []string {
	slices.SortFunc(all, strings.Compare)
	return slices.Compact(all)
}
