package layers

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// EnvFile is the content of an environment.yml.
type EnvFile struct {
	// Name as the file gives it; "" for none.
	Name string
	// Channels in order, without nodefaults.
	Channels []string
	// Python is the version, or the range of versions, that the file asks for; "" for none.
	Python string
	// Conda are MatchSpecs, sorted, without python, pip and Ray. Pip are the requirements below "pip:", in order,
	// without Ray.
	Conda, Pip []string
}

func (t *recipeReader) loadEnvFile(root *os.Root, r *Recipe, q *requirementsReader) {
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
	t.Read(tree, "", envFileValue(e, q))
	if t.Count() > before {
		return
	}
	r.EnvFile = e
	t.mergeEnvFile(tree, r, e)
}

// envFileValue reads the keys that conda env export writes.
func envFileValue(e *EnvFile, q *requirementsReader) strictyaml.Value {
	channel := strictyaml.Grammar{Check: envFileChannel}
	return strictyaml.Map(
		strictyaml.Key{Name: "name", Value: strictyaml.String(&e.Name, grammarEnv())},
		strictyaml.Key{Name: "channels", Value: strictyaml.Strings(&e.Channels, channel)},
		strictyaml.Key{Name: "dependencies", Value: strictyaml.Items("a list of packages", dependencyValue(e, q))},
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
func dependencyValue(e *EnvFile, q *requirementsReader) strictyaml.Value {
	pip := strictyaml.Map(strictyaml.Key{Name: "pip", Value: strictyaml.Items("a list of requirements",
		strictyaml.Func(nil, func(t *strictyaml.Reader, n *strictyaml.Node, key string) { e.pip(t, n, key, q) }))})
	conda := strictyaml.Func(nil, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		before := t.Count()
		var spec string
		if t.Read(n, key, strictyaml.String(&spec, grammarMatchSpec())); t.Count() > before {
			return
		}
		if ray, ok := rayOfConda(spec); ok {
			q.ray = append(q.ray, rayLine{ray, placeOf(n, key)})
			return
		}
		e.add(spec)
	})
	return strictyaml.Func(nil, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		if n.Kind == strictyaml.Mapping {
			t.Read(n, key, pip)
			return
		}
		t.Read(n, key, conda)
	})
}

func placeOf(n *strictyaml.Node, key string) strictyaml.Problem {
	return strictyaml.Problem{File: n.File, Line: n.Line, Column: n.Column, Key: key}
}

// pip reads an item of pip's list: a requirement, or a line as in a requirements file.
func (e *EnvFile) pip(t *strictyaml.Reader, n *strictyaml.Node, key string, q *requirementsReader) {
	var text string
	before := t.Count()
	if t.Read(n, key, strictyaml.String(&text, grammarOneLine())); t.Count() > before {
		return
	}
	if strings.HasPrefix(text, "-") {
		q.option(placeOf(n, key), text, requirementsFrom{})
		return
	}
	req, message, fix := parseRequirement(text)
	if message == "" {
		message, fix = req.unsafe()
	}
	switch {
	case message != "":
		t.AddAt(n, key, message, fix)
	case req.Name == "ray" && req.URL != "":
		t.AddAt(n, key, "asks for Ray by URL, and Ray comes from the index",
			"remove this line and set ray.version in the recipe")
	case req.Name == "ray":
		q.ray = append(q.ray, rayLine{req, placeOf(n, key)})
	default:
		e.Pip = append(e.Pip, req.String())
	}
}

func envFileChannel(s string) (string, string) {
	if s == "nodefaults" {
		return "", ""
	}
	return channelName(s)
}

// add puts a package where it belongs.
func (e *EnvFile) add(spec string) {
	m, _, _ := parseMatchSpec(spec)
	switch m.name {
	case "pip":
	case "python":
		e.Python = strings.ToLower(m.version)
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
	t.mergePython(at, r, e)
	if !r.Miniconda.AcceptAnacondaTerms {
		for _, c := range r.Env.Channels {
			if anacondaChannel(c) {
				t.AddAt(tree.Get("channels"), "channels",
					fmt.Sprintf("%q is bound to Anaconda's terms of service, which are not accepted", c), termsFix)
			}
		}
		for _, spec := range e.Conda {
			if c := onlyFrom(spec); anacondaChannel(c) {
				t.AddAt(at, "dependencies", termsOfSpec(spec), termsFix)
			}
		}
	}
}

// mergePython gives the recipe a Python that the file allows, and compares them.
func (t *recipeReader) mergePython(at *strictyaml.Node, r *Recipe, e *EnvFile) {
	spec, ok := readPythonSpec(e.Python)
	if !ok {
		t.AddAt(at, "dependencies", fmt.Sprintf("asks for python %s, which is not a version", quoteShort(e.Python)),
			`write "python=3.12" or "python>=3.10,<3.13"`)
		return
	}
	if exact := spec.exact(); exact != "" {
		e.Python = exact
	}
	if message, _ := namePython.Check(e.Python); r.Env.Python == "" && message == "" {
		r.Env.Python = e.Python
	}
	if r.Env.Python == "" {
		r.Env.Python = spec.pickPython()
	}
	setDefault(&r.Env.Python, defaultPython)
	if !spec.allows(r.Env.Python) {
		t.AddAt(at, "dependencies", fmt.Sprintf("asks for python %s, and the recipe's env.python is %s",
			quoteShort(e.Python), r.Env.Python),
			"give both the same version, such as \"3.12\"")
		return
	}
	if spec.patches() && spec.exact() == "" {
		e.Conda = sorted(append(e.Conda, "python "+strings.ReplaceAll(e.Python, " ", "")))
	}
}
