package layers

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// EnvFile is the content of an environment.yml.
type EnvFile struct {
	// Name as the file gives it; "" for none.
	Name string
	// Channels in order, without nodefaults.
	Channels []string
	// Python is the version that the file asks for, "" for none.
	Python string
	// Conda are MatchSpecs, sorted, without python and pip. Pip are the requirements below "pip:", in order.
	Conda, Pip []string
}

// LoadFiles reads environment.yml, the requirements files, the files that these include, and the lock of
// another tool. It fills in EnvFile, Required and PythonLock, also Env.Channels and Env.Python if only
// environment.yml has them, and Ray's version if only the lock has it. All problems come at once, as a
// *RecipeError with file and line.
func (r *Recipe) LoadFiles() error {
	if r.Env.File == "" && len(r.Pip.Requirements) == 0 && r.Pip.Pylock.File == "" {
		return nil
	}
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return fmt.Errorf("open the recipe's directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	var t recipeReader
	if r.Env.File != "" {
		t.loadEnvFile(root, r)
	}
	req := requirementsReader{root: root, reader: &t}
	for _, name := range r.Pip.Requirements {
		req.file(name, "pip.requirements", nil)
	}
	r.Required = req.found
	if r.Pip.Pylock.File != "" {
		t.loadPylock(root, r)
	}
	return recipeError(t.Err())
}

// readLocal reads a regular file below root of at most limit bytes. Links may
// not lead out of root, and a pipe or device does not hang or fill anything.
func readLocal(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("read %s: more than %d bytes", name, limit)
	}
	return data, err
}

// unreadable turns the error of readLocal into a problem.
func unreadable(name string, err error) (message, fix string) {
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("there is no file %q beside the recipe", name),
			"paths are relative to the recipe's directory"
	case errors.As(err, &pe) && strings.Contains(pe.Err.Error(), "escapes"):
		return fmt.Sprintf("%q leads out of the recipe's directory", name), "keep the file beside or below the recipe"
	case errors.As(err, &pe):
		return fmt.Sprintf("cannot read %q: %v", name, pe.Err), "check the file and its permissions"
	}
	return fmt.Sprintf("cannot read %q: %v", name, err), "name a plain file"
}

const localLimit = 1 << 20

func (t *recipeReader) loadEnvFile(root *os.Root, r *Recipe) {
	data, err := readLocal(root, r.Env.File, localLimit)
	if err != nil {
		m, f := unreadable(r.Env.File, err)
		t.Tell(strictyaml.Problem{Key: "env.file", Message: m, Fix: f})
		return
	}
	before := t.Count()
	tree, problems := strictyaml.Parse(data, r.Env.File, recipeLimits())
	t.Tell(problems...)
	if tree == nil && len(problems) > 0 {
		return
	}
	if tree == nil {
		t.Tell(strictyaml.Problem{File: r.Env.File, Message: "is empty", Fix: "remove env.file, or list dependencies"})
		return
	}
	e := &EnvFile{}
	t.Read(tree, "", envFileValue(e))
	if t.Count() > before {
		return
	}
	r.EnvFile = e
	t.mergeEnvFile(tree, r, e)
}

// envFileValue reads the keys that conda env export writes.
func envFileValue(e *EnvFile) strictyaml.Value {
	channel := strictyaml.Grammar{Check: envFileChannel}
	return strictyaml.Map(
		strictyaml.Key{Name: "name", Value: strictyaml.String(&e.Name, grammarEnv())},
		strictyaml.Key{Name: "channels", Value: strictyaml.Strings(&e.Channels, channel)},
		strictyaml.Key{Name: "dependencies", Value: strictyaml.Items("a list of packages", dependencyValue(e))},
		// The prefix is that of another machine, and means nothing here.
		strictyaml.Key{Name: "prefix"},
		strictyaml.Key{Name: "variables", Value: strictyaml.Func(nil,
			func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
				t.AddAt(n, key, "is not taken from environment.yml", "move it to the recipe's image.env")
			})},
	).Then(func() {
		e.Conda = sorted(e.Conda)
		e.Channels = slices.DeleteFunc(e.Channels, func(c string) bool { return c == "nodefaults" })
	})
}

// dependencyValue reads a conda package, or a list of pip's.
func dependencyValue(e *EnvFile) strictyaml.Value {
	pip := strictyaml.Map(strictyaml.Key{Name: "pip", Value: strictyaml.Strings(&e.Pip, grammarRequirement())})
	conda := strictyaml.Each(grammarMatchSpec(), e.add)
	return strictyaml.Func(nil, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		if n.Kind == strictyaml.Mapping {
			t.Read(n, key, pip)
			return
		}
		t.Read(n, key, conda)
	})
}

func envFileChannel(s string) (string, string) {
	if s == "nodefaults" {
		return "", ""
	}
	return channelName(s)
}

// add puts a package where it belongs.
func (e *EnvFile) add(spec string) {
	name, _, _ := parseMatchSpec(spec)
	switch name {
	case "pip":
	case "python":
		e.Python = strings.Trim(strings.TrimPrefix(
			strings.TrimSpace(spec[strings.Index(strings.ToLower(spec), "python")+len("python"):]), "="), "= ")
		e.Python = strings.TrimSuffix(e.Python, ".*")
	default:
		e.Conda = append(e.Conda, spec)
	}
}

// mergeEnvFile fits the file to the recipe.
func (t *recipeReader) mergeEnvFile(tree *strictyaml.Node, r *Recipe, e *EnvFile) {
	at := tree.Get("dependencies")
	if len(r.Env.Channels) == 0 {
		r.Env.Channels = e.Channels
	}
	if len(r.Env.Channels) == 0 {
		r.Env.Channels = []string{"conda-forge"}
	}
	if message, _ := namePython.Check(e.Python); r.Env.Python == "" && message == "" {
		r.Env.Python = e.Python
	}
	setDefault(&r.Env.Python, defaultPython)
	if e.Python != "" && !strings.HasPrefix(e.Python+".", r.Env.Python+".") &&
		!strings.HasPrefix(r.Env.Python+".", e.Python+".") {
		t.AddAt(at, "dependencies", fmt.Sprintf("asks for python %s, and the recipe's env.python is %s",
			quoteShort(e.Python), r.Env.Python),
			"give both the same version, such as \"3.12\"")
	}
	if !r.Miniconda.AcceptAnacondaTerms {
		for _, c := range r.Env.Channels {
			if anacondaChannel(c) {
				t.AddAt(tree.Get("channels"), "channels",
					fmt.Sprintf("%q is bound to Anaconda's terms of service, which are not accepted", c),
					"read https://www.anaconda.com/legal and set miniconda.accept_anaconda_terms: true in the recipe, "+
						"or use conda-forge")
			}
		}
	}
	for _, p := range e.Pip {
		if req, _, _ := parseRequirement(p); req.Name == "ray" {
			t.AddAt(at, "dependencies", "ray is set by the recipe", "remove it here and set ray.version")
		}
	}
}

// requirementsReader reads requirements files and what they include.
type requirementsReader struct {
	root   *os.Root
	reader *recipeReader
	found  []Requirement
	files  int
}

const maxIncludes = 50

// file reads one file. from are the files that led here.
func (q *requirementsReader) file(name, key string, from []strictyaml.Problem) {
	at := strictyaml.Problem{Key: key}
	if len(from) > 0 {
		at = from[len(from)-1]
	}
	refuse := func(message, fix string) {
		at.Message, at.Fix = message, fix
		q.reader.Tell(at)
	}
	for _, f := range from {
		if f.File == name {
			refuse(fmt.Sprintf("%q includes itself", name), "remove this line")
			return
		}
	}
	if q.files++; q.files > maxIncludes {
		if q.files == maxIncludes+1 {
			refuse(fmt.Sprintf("more than %d requirements files", maxIncludes), "join some")
		}
		return
	}
	data, err := readLocal(q.root, name, localLimit)
	if err != nil {
		refuse(unreadable(name, err))
		return
	}
	if p := strictyaml.Precheck(data, strictyaml.Limits{Bytes: localLimit, Tokens: localLimit}); p != nil {
		p.File = name
		q.reader.Tell(*p)
		return
	}
	for _, l := range requirementLines(string(data)) {
		q.line(name, l, from)
	}
}

type requirementLine struct {
	number int
	text   string
}

// requirementLines joins lines that end in a backslash, and removes comments,
// by the rules of pip's requirements file format.
func requirementLines(data string) []requirementLine {
	var out []requirementLine
	joined, start := "", 0
	lines := strings.Split(strings.ReplaceAll(data, "\r\n", "\n"), "\n")
	for i, l := range lines {
		if start == 0 {
			start = i + 1
		}
		if strings.HasSuffix(l, `\`) && i+1 < len(lines) && !strings.HasPrefix(strings.TrimSpace(l), "#") {
			joined += strings.TrimSuffix(l, `\`) + " "
			continue
		}
		text := joined + l
		if c := strings.Index(" "+text, " #"); c >= 0 {
			text = text[:c]
		}
		if text = strings.TrimSpace(strings.ReplaceAll(text, "\t", " ")); text != "" {
			out = append(out, requirementLine{start, text})
		}
		joined, start = "", 0
	}
	return out
}

func (q *requirementsReader) line(name string, l requirementLine, from []strictyaml.Problem) {
	refuse := func(message, fix string) {
		q.reader.Tell(strictyaml.Problem{File: name, Line: l.number, Message: message, Fix: fix})
	}
	if include, ok := requirementOption(l.text, "-r", "--requirement"); ok {
		if m, f := localPath(path.Join(path.Dir(name), include)); m != "" ||
			include == "" || strings.HasPrefix(include, "/") {
			refuse(fmt.Sprintf("cannot include %s (%s)", quoteShort(include), m), f)
			return
		}
		q.file(path.Join(path.Dir(name), include), "",
			append(slices.Clip(from), strictyaml.Problem{File: name, Line: l.number}))
		return
	}
	if m, f := requirementLineRefused(l.text); m != "" {
		refuse(m, f)
		return
	}
	fields := strings.Fields(l.text)
	var hashes []string
	words := fields[:0]
	for _, w := range fields {
		if h, ok := strings.CutPrefix(w, "--hash="); ok {
			hashes = append(hashes, h)
		} else {
			words = append(words, w)
		}
	}
	req, message, fix := parseRequirement(strings.Join(words, " "))
	if message != "" {
		refuse(message, fix)
		return
	}
	if req.Name == "ray" {
		refuse("ray is set by the recipe", "remove it here and set ray.version and ray.extras")
		return
	}
	for _, h := range hashes {
		algorithm, hex, _ := strings.Cut(h, ":")
		if m, _ := nameSHA256.Check(hex); algorithm != "sha256" || m != "" {
			refuse(fmt.Sprintf("%s is not a hash that raybuild checks", quoteShort(h)), "write --hash=sha256:HEX")
			return
		}
	}
	req.Hashes = sorted(hashes)
	q.found = append(q.found, req)
}

// requirementOption is the value of an option in any of pip's spellings.
func requirementOption(text, short, long string) (string, bool) {
	for _, prefix := range []string{long + "=", long + " ", short + " ", short + "="} {
		if v, ok := strings.CutPrefix(text, prefix); ok {
			return strings.TrimSpace(v), true
		}
	}
	if v, ok := strings.CutPrefix(text, short); ok && !strings.HasPrefix(text, "--") {
		return strings.TrimSpace(v), true
	}
	return "", false
}

// requirementLineRefused names the options that a requirements file may hold
// for pip and not for a recipe, and the recipe's own way to say the same.
func requirementLineRefused(text string) (message, fix string) {
	if !strings.HasPrefix(text, "-") {
		return "", ""
	}
	option, _, _ := strings.Cut(strings.SplitN(text, "=", 2)[0], " ")
	switch option {
	case "-c", "--constraint":
		return "constraints files are not supported", "the lock pins every version; write what must hold into the " +
			"requirement itself"
	case "-i", "--index-url", "--pypi-url":
		return fmt.Sprintf("%s chooses where packages come from", option), "set mirrors.fetch in the recipe"
	case "--extra-index-url":
		return fmt.Sprintf("%s lets any index answer for any package", option),
			"list the index with its packages under pip.extra_indexes in the recipe"
	case "-f", "--find-links":
		return fmt.Sprintf("%s is not supported", option), "name wheels under pip.wheels in the recipe"
	case "-e", "--editable":
		return "an editable requirement", "build a wheel and name it under pip.wheels in the recipe"
	case "--pre", "--no-binary", "--only-binary", "--prefer-binary", "--no-index", "--trusted-host", "--require-hashes",
		"--use-feature":
		return fmt.Sprintf("the option %s is not supported in a requirements file", option),
			"remove it: hashes are always checked, and the lock holds exact files"
	}
	return fmt.Sprintf("unknown option %s", quoteShort(option)), "remove it"
}
