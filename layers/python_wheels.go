package layers

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
	"github.com/raybuild/raybuild/wheel"
)

// WheelLayer is a layer of the image that is made of wheels, without a builder: the wheels' files, and
// the byte code of their sources.
type WheelLayer struct {
	// Key is the digest of all that the layer is made of: see llb.GivenLayer.
	Key digest.Digest
	// Name of the layer, and Title, its history text.
	Name, Title string
	// Wheels in the order in which they are installed.
	Wheels []Artifact
	// Prefix is the environment's directory.
	Prefix string
	// Python is the environment's, as major.minor.
	Python string
	// Compiler is the conda package of the Python that makes the byte code. Patch releases of Python may
	// make other byte code of one source, so the lock keeps the one that it has.
	Compiler Artifact
	// Parts is how many layers the wheels become, and Part, from 1, which of them this one is. Both are 0 if it is the
	// only one.
	Part, Parts int
	// EStargz says that the layer has eStargz's table of contents.
	EStargz bool
	// Platform of the image.
	Platform llb.Platform

	tool llb.Stage // that steps run on
}

// Interpreter is a stage with the Python of an archive in the directory InterpreterHome. It is for a
// machine that cannot run this Python itself.
func (w WheelLayer) Interpreter(archive llb.Blob) llb.Stage {
	const title = "[byte code] unpack Python"
	return llb.Merge("[byte code] Python", w.tool,
		llb.Scratch().Unpack(title, llb.Artifact(archive), archive.Name, InterpreterHome))
}

// InterpreterHome is where WheelLayer.Interpreter has its Python.
const InterpreterHome = "/raybuild-python"

// Size is that of the wheels, in bytes, or of a part of them.
func (w WheelLayer) Size() int64 { return wheelGroup{wheels: w.Wheels}.size() / int64(max(w.Parts, 1)) }

// forByteCode is the fact of a lock's Python that makes byte code.
const forByteCode = "bytecode"

// compiler is the Python that makes the byte code: the lock's, or that of the environment.
func compiler(on Stack, locked []Artifact) Artifact {
	for _, a := range ofKind(locked, KindConda) {
		if a.For[forByteCode] != "" {
			return a
		}
	}
	return on.python
}

// keepCompiler adds the Python that makes byte code to the packages of a lock. It stays as long as it
// is of the environment's release, so that a patch of Python makes no byte code again.
func (r *Resolver) keepCompiler(packages []Artifact) []Artifact {
	now := r.stack.python
	if old := compiler(Stack{}, r.old.layer("ray")); minorOf(old.Version) == minorOf(now.Version) && !r.updates("pip") {
		now = old
	}
	if now.Name == "" {
		return packages
	}
	now.For = withFact(now.For, forByteCode, "yes")
	return append(packages, now)
}

// pythonOf is the Python of an environment; empty if there is none.
func pythonOf(locked []Artifact) Artifact {
	for _, a := range locked {
		if a.Kind == KindConda && a.Name == "python" {
			return a
		}
	}
	return Artifact{}
}

// converts tells whether wheels become layers without a builder. The byte code of a Python before 3.7
// holds the time of its source, which only an installed file has.
func converts(python string) bool {
	minor, ok := strings.CutPrefix(minorOf(python), "3.")
	n, err := strconv.Atoi(minor)
	return ok && err == nil && n >= 7
}

// addWheels adds the layers that are made of a group of wheels: one, but for a wheel that is larger than a layer may
// be.
func (p python) addWheels(on Stack, layer string, g wheelGroup, compiler Artifact) Stack {
	w := WheelLayer{Name: g.name, Title: g.vertex("install " + g.what()), Prefix: p.env.prefix(),
		Python: minorOf(compiler.Version), Compiler: compiler, Platform: on.Platform, tool: on.ToolStage,
		EStargz: on.compression == "estargz"}
	w.Wheels = slices.SortedFunc(slices.Values(g.wheels), func(a, b Artifact) int { // as pip: see wheelGroups
		return cmp.Or(cmp.Compare(b.Name, a.Name), cmp.Compare(b.Version, a.Version))
	})
	parts := g.parts(p.rules)
	for i := range parts {
		one := w
		if parts > 1 {
			one.Part, one.Parts = i+1, parts
			one.Name = partName(g.name, one.Part)
			title := fmt.Sprintf("install %s, part %d of %d", g.what(), one.Part, parts)
			one.Title = wheelGroup{name: one.Name}.vertex(title)
		}
		one.Key = one.key()
		on.wheels = append(slices.Clip(on.wheels), one)
		on = on.Add(layer, one.Name, one.Title, llb.GivenLayer(one.Title, one.Key))
	}
	return on
}

// key is the digest of all that the layer is made of.
func (w WheelLayer) key() digest.Digest {
	digests := make([]string, len(w.Wheels))
	for i, a := range w.Wheels {
		digests[i] = a.SHA256
	}
	of := []any{"wheels", wheel.Version, w.Prefix, w.Python, w.Compiler.SHA256, digests}
	if w.Parts > 1 {
		of = append(of, w.Part, w.Parts)
	}
	if w.EStargz {
		of = append(of, "estargz")
	}
	return digestOf(of)
}

// byteCodeInput is the input of a layer of wheels that is the Python of its byte code.
const byteCodeInput = "byte code"

// partInput is the input of a layer that is a part of a wheel.
const partInput = "part"

// wheelInputs are the inputs of a layer that is made of a group of wheels, or of one of its parts.
func (p python) wheelInputs(compiler Artifact, made string, g wheelGroup) inputSet {
	s := inputSet{values: map[string]string{
		"env.name":    p.env.Env.Name,
		byteCodeInput: fmt.Sprintf("python %s %s", compiler.Version, compiler.Digest()),
		stepTextInput: textDigest("wheels", strconv.Itoa(wheel.Version)),
	}}
	if parts := g.parts(p.rules); parts > 1 {
		s.values[partInput] = fmt.Sprintf("%s of %d", strings.TrimPrefix(made, partName(g.name, 0)), parts)
	}
	s.addArtifacts(g.wheels)
	return s
}
