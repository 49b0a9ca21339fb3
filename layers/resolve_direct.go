package layers

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/pylock"
	"github.com/raybuild/raybuild/internal/uv"
	"github.com/raybuild/raybuild/wheel"
)

// Facts of artifacts that the recipe requires by URL.
const (
	forDirect       = "direct"       // "yes": no index has the file
	forSubdirectory = "subdirectory" // of the archive, where the project is
)

// direct are the files that the recipe requires by URL and that this platform takes. What a file is, is known when it
// is fetched; after that the lock's digest holds.
func (r *Resolver) direct(ctx context.Context, p python) ([]Artifact, error) {
	values, err := r.target().Markers()
	if err != nil {
		return nil, err
	}
	var out []Artifact
	for _, req := range p.byURL() {
		if m, err := pylock.ParseMarker(req.Marker); req.Marker != "" &&
			(err != nil || !m.Holds(pylock.Environment{Values: values})) {
			continue
		}
		a, err := r.directFile(ctx, req)
		if err != nil {
			return nil, err
		}
		other := slices.IndexFunc(out, func(o Artifact) bool {
			return o.Filename() == a.Filename() || o.Name != "" && o.Name == a.Name
		})
		switch {
		case other < 0:
			out = append(out, a)
		case out[other].URL() != a.URL() || out[other].For[forSubdirectory] != a.For[forSubdirectory]:
			return nil, fmt.Errorf("take %s: %s is asked for as well, and has the same name: name one of them", a.URL(),
				out[other].URL())
		}
	}
	return out, nil
}

// byURL are the requirements by URL.
func (p python) byURL() []Requirement {
	var out []Requirement
	for _, line := range p.requirements() {
		if req, message, _ := parseRequirement(line); message == "" && req.URL != "" {
			out = append(out, req)
		}
	}
	return out
}

// indexed are the requirements as resolvers are asked for them: they get the files of those by URL beside them.
func (p python) indexed() []string {
	var out []string
	for _, line := range p.requirements() {
		req, message, _ := parseRequirement(line)
		switch {
		case message != "" || req.URL == "":
			out = append(out, line)
		case req.Name != "":
			out = append(out, req.registered().String())
		}
	}
	return out
}

// directFile is the artifact of a requirement by URL.
func (r *Resolver) directFile(ctx context.Context, req Requirement) (Artifact, error) {
	if repository, rev, ok := req.git(); ok {
		return r.commitOf(ctx, req, repository, rev)
	}
	u, err := url.Parse(req.URL)
	if err != nil {
		return Artifact{}, fmt.Errorf("read url of %q: %w", req.Name, err)
	}
	r.in.Sources.Allow(u)
	a := Artifact{Kind: KindSdist, Name: req.Name, For: map[string]string{forDirect: "yes"}}
	if req.Subdirectory != "" {
		a.For[forSubdirectory] = req.Subdirectory
	}
	var known bool
	if a.Origin, a.Path, known = originOf(req.URL); !known {
		i := strings.LastIndex(req.URL, "/")
		a.Origin, a.Path = req.URL[:i], req.URL[i+1:]
	}
	if _, version, ok := wheelFile(a.Filename()); ok {
		a.Kind, a.Version = KindWheel, version
	}
	if len(req.Hashes) == 1 {
		a.SHA256 = strings.TrimPrefix(req.Hashes[0], "sha256:")
	} else {
		r.keepDirect(&a)
	}
	if a.SHA256 == "" {
		if a.SHA256, a.Size, err = r.hashOf(ctx, req.URL); err != nil {
			return a, err
		}
	}
	r.know([]Artifact{a})
	file, size, err := r.in.Sources.Open(ctx, a.Digest())
	if err != nil {
		return a, fmt.Errorf("take %s: %w", req.URL, err)
	}
	a.Size = size
	return a, file.Close()
}

// keepDirect takes the digest that the old lock has for the same URL.
func (r *Resolver) keepDirect(a *Artifact) {
	for _, old := range r.old.layer("ray") {
		if old.For[forDirect] != "" && old.URL() == a.URL() && !r.updates("pip", old.Name) {
			a.SHA256 = old.SHA256
		}
	}
}

// standIns are wheels that tell a resolver of files by URL: they have the files' metadata and nothing else.
type standIns struct {
	dir   string
	files map[string]int // own artifacts by the names of the wheels that stand for them
}

// standIns makes them, of those of own that are no local wheels. It completes the names and versions in own.
func (r *Resolver) standIns(ctx context.Context, p python, own []Artifact) (*standIns, error) {
	dir, err := os.MkdirTemp("", "raybuild-direct-")
	if err != nil {
		return nil, fmt.Errorf("make directory for a resolver: %w", err)
	}
	s := &standIns{dir: dir, files: map[string]int{}}
	if err := r.fillStandIns(ctx, p, own, s); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

func (s *standIns) remove() error { return os.RemoveAll(s.dir) }

// wheels are the paths of the own wheels and of those that stand for files by URL.
func (s *standIns) wheels(dir string, own []Artifact) ([]string, error) {
	var out []string
	for _, w := range own {
		if w.Origin != originLocal {
			continue
		}
		file, err := filepath.Abs(filepath.Join(dir, filepath.FromSlash(w.Path)))
		if err != nil {
			return nil, err
		}
		out = append(out, file)
	}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		out = append(out, filepath.Join(s.dir, name))
	}
	return out, nil
}

// named are the own artifacts by the names of the files that a resolver sees.
func (s *standIns) named(own []Artifact) map[string]Artifact {
	out := map[string]Artifact{}
	for _, a := range own {
		if a.Origin == originLocal {
			out[a.Filename()] = a
		}
	}
	for name, i := range s.files {
		out[name] = own[i]
	}
	return out
}

// clean puts the URLs into an explanation of uv's.
func (s *standIns) clean(own []Artifact, err error) error {
	if none, ok := errors.AsType[*uv.NoSolutionError](err); ok {
		for name, i := range s.files {
			none.Text = strings.ReplaceAll(none.Text, "file://"+filepath.ToSlash(s.dir)+"/"+name, own[i].URL())
		}
	}
	return err
}

func (r *Resolver) fillStandIns(ctx context.Context, p python, own []Artifact, s *standIns) error {
	told, err := r.sourceMetadata(ctx, p, own)
	if err != nil {
		return err
	}
	byURL := p.byURL()
	for i := range own {
		a := &own[i]
		if a.Origin == originLocal {
			continue
		}
		text, ok := r.told[a.SHA256]
		if !ok {
			text, ok = told[a.Filename()]
		}
		if !ok {
			if text, err = r.wheelMetadata(ctx, *a); err != nil {
				return err
			}
		}
		name, data, err := standIn(a, text, byURL)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
			return fmt.Errorf("write what stands for %s: %w", a.Name, err)
		}
		s.files[name] = i
	}
	return nil
}

// takeName takes name and version from the metadata of an artifact.
func (a *Artifact) takeName(metadata string) error {
	name, version := metadataField(metadata, "Name"), metadataField(metadata, "Version")
	for _, word := range []string{name, version} {
		if m, _ := artifactWord(word); m != "" || strings.Contains(version, "-") {
			return fmt.Errorf("take %s: its metadata has the name %q and the version %q", a.URL(), name, version)
		}
	}
	if name = NormalName(name); a.Name != "" && a.Name != name {
		return fmt.Errorf("take %s: it is a file of %q, and the recipe asks for %q: write %[4]s @ URL", a.URL(), name,
			a.Name, name)
	}
	a.Name, a.Version = name, version
	return nil
}

// metadataField is the first value of a field of core metadata.
func metadataField(metadata, field string) string {
	for line := range strings.Lines(metadata) {
		if strings.TrimSpace(line) == "" {
			return "" // the description begins
		}
		if key, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(key, field) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// withoutURLs is metadata whose requirements by URL are plain names. The recipe has to say the URLs itself: what it
// does not name, nobody has checked.
func withoutURLs(name, metadata string, byURL []Requirement) (string, error) {
	head, _, _ := strings.Cut(strings.ReplaceAll(metadata, "\r\n", "\n"), "\n\n")
	var out []string
	for _, line := range strings.Split(head, "\n") {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !strings.EqualFold(key, "Requires-Dist") || !pep508At().MatchString(value) {
			out = append(out, line)
			continue
		}
		asked, _, _ := strings.Cut(value, "@")
		before, m, _ := parseRequirement(asked)
		if m != "" || !slices.ContainsFunc(byURL, func(q Requirement) bool { return q.Name == before.Name }) {
			return "", fmt.Errorf("take %s: it asks for %s, which is at a URL: write that requirement under pip, too",
				name, quoteShort(value))
		}
		plain := before.String()
		if end := directEnd().FindStringIndex(value); end != nil {
			plain += " ;" + value[end[1]:]
		}
		out = append(out, "Requires-Dist: "+plain)
	}
	return strings.Join(out, "\n") + "\n", nil
}

// wheelMetadata is the METADATA of a wheel.
func (r *Resolver) wheelMetadata(ctx context.Context, a Artifact) (string, error) {
	file, size, err := r.in.Sources.Open(ctx, a.Digest())
	if err != nil {
		return "", fmt.Errorf("take %s: %w", a.URL(), err)
	}
	defer file.Close()
	at, ok := file.(io.ReaderAt)
	if !ok {
		data, err := io.ReadAll(file)
		if err != nil {
			return "", fmt.Errorf("take %s: %w", a.URL(), err)
		}
		at = bytes.NewReader(data)
	}
	var text []byte
	w, err := wheel.Open(at, size)
	if err == nil {
		text, err = w.Metadata()
	}
	if err != nil {
		return "", fmt.Errorf("take %s: it is no wheel: %w", a.URL(), err)
	}
	return string(text), nil
}

// standIn is a wheel that stands for an artifact whose metadata is known, and its file name. It completes name and
// version of the artifact.
func standIn(a *Artifact, metadata string, byURL []Requirement) (name string, data []byte, err error) {
	if err := a.takeName(metadata); err != nil {
		return "", nil, err
	}
	if metadata, err = withoutURLs(a.Name, metadata, byURL); err != nil {
		return "", nil, err
	}
	data, err = standInWheel(*a, metadata)
	return standInName(*a), data, err
}

// standInName is the file name of a wheel that stands for an artifact.
func standInName(a Artifact) string {
	if a.Kind == KindWheel {
		return a.Filename()
	}
	return strings.ReplaceAll(a.Name, "-", "_") + "-" + a.Version + "-py3-none-any.whl"
}

// standInWheel is a wheel with metadata alone.
func standInWheel(a Artifact, metadata string) ([]byte, error) {
	var data bytes.Buffer
	z := zip.NewWriter(&data)
	dir := strings.ReplaceAll(a.Name, "-", "_") + "-" + a.Version + ".dist-info/"
	for _, m := range [][2]string{{"METADATA", metadata}, {"RECORD", ""},
		{"WHEEL", "Wheel-Version: 1.0\nGenerator: raybuild\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}} {
		w, err := z.Create(dir + m[0])
		if err == nil {
			_, err = io.WriteString(w, m[1])
		}
		if err != nil {
			return nil, fmt.Errorf("write what stands for %s: %w", a.Name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("write what stands for %s: %w", a.Name, err)
	}
	return data.Bytes(), nil
}
