package layers

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// stepTextInput is the name of the input that is a script of this package: it moves with raybuild's version.
const stepTextInput = "step text"

func textDigest(parts ...string) string {
	return digest.FromString(strings.Join(parts, "\x00")).String()
}

// jsonText is a value as JSON; for texts, lists and maps of texts only, which can always be written.
func jsonText(v any) string {
	data, _ := json.Marshal(v) //nolint:errchkjson // cannot fail for these types
	return string(data)
}

func jsonDigest(v any) string { return textDigest(jsonText(v)) }

func cutVariable(v string) (name, value string) {
	name, value, _ = strings.Cut(v, "=")
	return name, value
}

// addArtifacts names artifacts by kind and name, with the version where a name is there twice.
func (s *inputSet) addArtifacts(artifacts []Artifact) {
	count := map[artifactKey]int{}
	for _, a := range artifacts {
		count[artifactKey{a.Kind, a.Name}]++
	}
	for _, a := range artifacts {
		name := a.Kind + " " + a.Name
		if count[artifactKey{a.Kind, a.Name}] > 1 {
			name += " " + a.Version
		}
		place := a.Filename()
		if a.Kind == KindConda { // conda writes down where a package came from
			place = a.URL() + "#" + a.MD5
		}
		version := strings.ReplaceAll(a.Version, " ", "_")
		if version == "" {
			version = "-"
		}
		s.values[name] = version + " " + a.Digest().String() + " " + place
		s.bytes += a.Size
	}
}

func (u user) inputs(Stack, string, []Artifact) (inputSet, error) {
	return inputSet{values: map[string]string{
		"image.user": u.name, stepTextInput: textDigest(preludeText, userText),
	}}, nil
}

func (a apt) inputs(_ Stack, _ string, locked []Artifact) (inputSet, error) {
	s := inputSet{values: map[string]string{
		"apt": strings.Join(a.Packages, ", "), stepTextInput: textDigest(preludeText, a.script()),
	}}
	if len(a.Debconf) > 0 {
		s.values["apt.debconf"] = textDigest(a.Debconf...)
	}
	s.addArtifacts(ofKind(locked, KindDeb))
	return s, nil
}

func (m miniconda) inputs(on Stack, _ string, locked []Artifact) (inputSet, error) {
	s := inputSet{values: map[string]string{
		"tool": pinned(on.Tool), stepTextInput: textDigest(preludeText, historyText, minicondaText),
	}}
	s.addArtifacts(ofKind(locked, KindInstaller))
	return s, nil
}

func (e env) inputs(on Stack, made string, locked []Artifact) (inputSet, error) {
	if made == "activate" {
		unnamed := env{Env: Env{Name: "NAME"}}
		return inputSet{values: map[string]string{"env.name": e.Env.Name,
			stepTextInput: textDigest(unnamed.profile(activates(locked)))}}, nil
	}
	s := inputSet{on: []string{"miniconda"}, values: map[string]string{
		"tool": pinned(on.Tool), "env.name": e.Env.Name,
	}}
	text, replaced := e.createText(locked, on.replaced)
	s.values[stepTextInput] = textDigest(preludeText, historyText, text)
	if len(replaced) > 0 {
		s.values[replacedInput] = strings.Join(replaced, ", ")
	}
	s.addArtifacts(ofKind(locked, KindConda))
	return s, nil
}

func (p python) inputs(on Stack, made string, locked []Artifact) (inputSet, error) {
	s := inputSet{on: []string{"env"}, values: map[string]string{"tool": pinned(on.Tool), "env.name": p.env.Env.Name}}
	groups := wheelGroups(runtimePackages(locked), p.rules)
	i := slices.IndexFunc(groups, func(g wheelGroup) bool {
		return g.name == made || strings.HasPrefix(made, partName(g.name, 0))
	})
	if i < 0 {
		return s, errors.New("no packages of it in the lock")
	}
	wheels := groups[i].wheels
	if compiler := compiler(on, locked); wheels[0].Kind == KindWheel && converts(compiler.Version) {
		return p.wheelInputs(compiler, made, groups[i]), nil
	}
	if wheels[0].Kind != KindSdist {
		s.values[stepTextInput] = textDigest(preludeText, wheelInstallText, wheelInstallProgram)
		s.addArtifacts(wheels)
		return s, nil
	}
	s.values[stepTextInput] = textDigest(preludeText, wheelInstallText, wheelInstallProgram, wheelBuildText,
		p.compiler().script())
	if wheels[0].For["native"] != "" && len(p.apt.Debconf) > 0 {
		s.values["apt.debconf"] = textDigest(p.apt.Debconf...)
	}
	parts := slices.Clone(wheels)
	for _, a := range locked {
		native := a.Kind == KindDeb && wheels[0].For["native"] != ""
		if native || slices.Contains(strings.Fields(a.For["build"]), wheels[0].Name) {
			parts = append(parts, a)
		}
	}
	s.addArtifacts(parts)
	s.bytes = wheels[0].Size
	return s, nil
}

func (c configure) inputs(on Stack, made string, _ []Artifact) (inputSet, error) {
	s := inputSet{values: map[string]string{}}
	if made == originalsLayer {
		s.values[stepTextInput] = textDigest(preludeText, originalsText)
	} else {
		s.values["mirrors.image"] = c.mirror.Name
	}
	for _, f := range ImageMirrorFiles(*c.mirror, on.Base, on.Platform.Architecture, c.channels...) {
		switch {
		case made != originalsLayer:
			s.values["file "+f.Path] = textDigest(f.Content)
			s.bytes += int64(len(f.Content))
		case f.Backup:
			s.values["file "+f.Path] = "kept"
		}
	}
	return s, nil
}

// maxNamedFiles is how many files of a copy are named one by one in a record.
const maxNamedFiles = 2000

func (f files) inputs(_ Stack, made string, _ []Artifact) (inputSet, error) {
	i := 0
	if made != "files" {
		if _, err := fmt.Sscanf(made, "files-%d", &i); err != nil {
			return inputSet{}, fmt.Errorf("read its number: %w", err)
		}
		i--
	}
	a, c := f.archives[i], f.copies[i]
	s := inputSet{bytes: a.Size, values: map[string]string{"files.to": c.To}}
	r, err := a.Open()
	if err != nil {
		return s, fmt.Errorf("read files of %q: %w", c.From, err)
	}
	defer r.Close()
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s, fmt.Errorf("read files of %q: %w", c.From, err)
		}
		content, err := digest.FromReader(archive)
		if err != nil {
			return s, fmt.Errorf("read files of %q: %w", c.From, err)
		}
		s.addFile(c, h, content)
	}
	if len(s.values) > maxNamedFiles {
		s.values = map[string]string{"files.to": c.To, "files of " + c.From: a.Digest.String()}
	}
	return s, nil
}

// addFile names a file as the recipe's directory has it, and the directories above the copy with their owners.
func (s *inputSet) addFile(c FileCopy, h *tar.Header, content digest.Digest) {
	owner := fmt.Sprintf("%o %d:%d", h.Mode, h.Uid, h.Gid)
	in := "/" + strings.TrimSuffix(h.Name, "/")
	rest, below := strings.CutPrefix(in, c.To)
	switch {
	case !below:
		s.values["owner of "+in] = owner
	case h.Typeflag == tar.TypeReg:
		s.values["file "+c.From+rest] = owner + " " + content.String()
	case h.Typeflag == tar.TypeSymlink:
		s.values["link "+c.From+rest] = h.Linkname
	default:
		s.values["directory "+c.From+rest] = owner
	}
}

func (s step) inputs(on Stack, _ string, _ []Artifact) (inputSet, error) {
	key := "steps." + s.Step.Name + "."
	set := inputSet{values: map[string]string{
		stepTextInput: textDigest(preludeText, s.text(on)),
		key + "run":   textDigest(s.Run), key + "network": s.reach(),
		key + "secrets": strings.Join(s.Secrets, ", "), key + "needs": strings.Join(s.Step.Needs, ", "),
	}}
	for k, v := range s.env {
		set.values["env "+k] = v
	}
	needs, onBase := s.builtOn(on)
	if onBase {
		set.on = append(set.on, onFront)
	} else {
		set.values["tool"] = pinned(on.Tool)
	}
	for i, l := range on.layers {
		if slices.Contains(needs, on.owner[i]) {
			set.on = append(set.on, l.Name)
		}
	}
	return set, nil
}

var _ = []described{user{}, apt{}, miniconda{}, env{}, python{}, configure{}, files{}, step{}, added{}}
