package layers

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Marshal writes the lock in its canonical form: YAML with a stable order and one
// field a line, so that a diff shows what changed and nothing else. The lock is
// not changed. It fails on text that ParseLock would refuse, such as control
// characters.
func (l *Lock) Marshal() ([]byte, error) {
	w := lockWriter{}
	w.text("# Written by raybuild: what raybuild.yaml was resolved to. Commit it. `raybuild lock --update` " +
		"refreshes it.")
	w.line(0, "version", fmt.Sprint(l.Version))
	w.field(0, "recipe", l.Recipe.String())
	w.text("platforms:")
	for _, name := range slices.Sorted(maps.Keys(l.Platforms)) {
		w.platform(name, l.Platforms[name])
	}
	return []byte(w.b.String()), w.err
}

type lockWriter struct {
	b   strings.Builder
	err error
}

func (w *lockWriter) text(s string) { w.b.WriteString(s + "\n") }

func (w *lockWriter) line(indent int, key, value string) {
	w.b.WriteString(strings.Repeat("  ", indent) + key + ": " + value + "\n")
}

// field writes a text that is there.
func (w *lockWriter) field(indent int, key, value string) {
	if value != "" {
		w.line(indent, key, w.scalar(value))
	}
}

func (w *lockWriter) list(indent int, key string, values []string) {
	if len(values) == 0 {
		return
	}
	pad := strings.Repeat("  ", indent)
	w.text(pad + key + ":")
	for _, v := range values {
		w.text(pad + "  - " + w.scalar(v))
	}
}

func (w *lockWriter) platform(name string, p *LockPlatform) {
	if p == nil {
		p = &LockPlatform{}
	}
	w.text("  " + w.scalar(name) + ":")
	w.line(2, "resolved", p.Resolved.UTC().Truncate(time.Second).Format(time.RFC3339))
	w.image("base", p.Base)
	w.image("tool", p.Tool)
	if len(p.Layers) > 0 {
		w.text("    layers:")
	}
	for _, l := range p.Layers {
		w.text("      - name: " + w.scalar(l.Name))
		w.field(4, "inputs", l.Inputs.String())
		if len(l.Artifacts) > 0 {
			w.text("        artifacts:")
		}
		for _, a := range sortedArtifacts(l.Artifacts) {
			w.artifact(a)
		}
	}
	w.list(2, "notes", p.Notes)
}

// texts returns digests as they are written.
func texts(all []digest.Digest) []string {
	var out []string
	for _, d := range all {
		out = append(out, d.String())
	}
	return out
}

func (w *lockWriter) image(key string, i LockImage) {
	w.text("    " + key + ":")
	w.field(3, "reference", i.Reference)
	w.field(3, "digest", i.Digest.String())
	w.field(3, "id", i.ID)
	w.field(3, "release", i.Release)
	w.field(3, "codename", i.Codename)
	w.field(3, "glibc", i.Glibc)
	w.line(3, "layers", fmt.Sprint(i.Layers))
	w.list(3, "layer_digests", texts(i.LayerDigests))
	w.list(3, "diff_ids", texts(i.DiffIDs))
	w.list(3, "env", i.Env)
	w.list(3, "apt_files", i.AptFiles)
	w.list(3, "dpkg_paths", i.DpkgPaths)
}

func (w *lockWriter) artifact(a Artifact) {
	w.text("          - kind: " + w.scalar(a.Kind))
	w.field(6, "name", a.Name)
	w.field(6, "version", a.Version)
	w.field(6, "origin", a.Origin)
	w.field(6, "path", a.Path)
	w.field(6, "sha256", a.SHA256)
	w.line(6, "size", fmt.Sprint(a.Size))
	w.field(6, "md5", a.MD5)
	w.field(6, "layer", a.Layer)
	if len(a.For) > 0 {
		w.text("            for:")
	}
	for _, k := range slices.Sorted(maps.Keys(a.For)) {
		w.line(7, w.scalar(k), w.scalar(a.For[k]))
	}
}

// sortedArtifacts is the list by kind, name, version and path.
func sortedArtifacts(list []Artifact) []Artifact {
	return slices.SortedStableFunc(slices.Values(list), func(a, b Artifact) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version),
			cmp.Compare(a.Path, b.Path))
	})
}

var (
	plainText = lazy(`^[A-Za-z0-9/._][A-Za-z0-9/._+~%=!@:,-]*$`)
	// otherThanText is what some reader of YAML takes for a number, a date, a time or a word.
	otherThanText = lazy(
		`(?i)^([-+.]?[0-9][0-9_,.:]*(e[-+]?[0-9_.]*)?|0[xob][0-9a-f_]*|[0-9]{4}-[0-9-]+.*` +
			`|y|n|yes|no|on|off|true|false|null|\.inf|\.nan|\.|=)$`)
)

// scalar writes a text plain where every reader of YAML takes it for text,
// and in quotes else.
func (w *lockWriter) scalar(s string) string {
	if message, _ := strictyaml.Lines(s); message != "" && w.err == nil {
		w.err = fmt.Errorf("write lock: %s in %q", message, s)
	}
	if plainText().MatchString(s) && !otherThanText().MatchString(s) && !strings.HasSuffix(s, ":") {
		return s
	}
	// A string of JSON is one of YAML.
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil && w.err == nil {
		w.err = fmt.Errorf("write lock: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
