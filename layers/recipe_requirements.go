package layers

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// requirementsReader reads requirements files and what they include.
type requirementsReader struct {
	root   *os.Root
	reader *recipeReader

	found, constraints []Requirement
	ray                []rayLine
	hashless           []strictyaml.Problem // requirements without a hash
	hashes             *strictyaml.Problem  // the line that wants hashes of all; nil: none does
	files              int
}

// requirementsFrom is how a requirements file came to be read.
type requirementsFrom struct {
	from   []strictyaml.Problem // the lines that led to it
	bounds bool                 // it is a constraints file
}

const maxIncludes = 50

// file reads one file.
func (q *requirementsReader) file(name, key string, of requirementsFrom) {
	at := strictyaml.Problem{Key: key}
	if len(of.from) > 0 {
		at = of.from[len(of.from)-1]
	}
	for _, f := range of.from {
		if f.File == name {
			q.refuse(at, fmt.Sprintf("%q includes itself", name), "remove this line")
			return
		}
	}
	if q.files++; q.files > maxIncludes {
		if q.files == maxIncludes+1 {
			q.refuse(at, fmt.Sprintf("more than %d requirements files", maxIncludes), "join some")
		}
		return
	}
	data, err := readLocal(q.root, name, localLimit)
	if err != nil {
		message, fix := unreadable(name, err)
		q.refuse(at, message, fix)
		return
	}
	if p := strictyaml.Precheck(data, strictyaml.Limits{Bytes: localLimit, Tokens: localLimit}); p != nil {
		p.File = name
		q.reader.Tell(*p)
		return
	}
	for _, l := range requirementLines(string(data)) {
		q.line(strictyaml.Problem{File: name, Line: l.number}, l.text, of)
	}
}

// refuse tells what is wrong at a place.
func (q *requirementsReader) refuse(at strictyaml.Problem, message, fix string) {
	at.Message, at.Fix = message, fix
	q.reader.Tell(at)
}

// end tells what is known only when all files are read.
func (q *requirementsReader) end() {
	if q.hashes == nil {
		return
	}
	for _, at := range q.hashless {
		q.refuse(at, fmt.Sprintf("has no --hash, and %s:%d asks for hashes of all", q.hashes.File, q.hashes.Line),
			"add --hash=sha256:HEX, as pip-compile --generate-hashes does, or remove --require-hashes")
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

// line reads one line of a requirements file, or of environment.yml's list for pip.
func (q *requirementsReader) line(at strictyaml.Problem, text string, of requirementsFrom) {
	if strings.HasPrefix(text, "-") {
		q.option(at, text, of)
		return
	}
	var words, hashes []string
	for _, w := range strings.Fields(text) {
		option, value, _ := strings.Cut(w, "=")
		switch {
		case option == "--hash":
			hashes = append(hashes, value)
		case strings.HasPrefix(w, "--") && len(words) > 0:
			q.refuse(at, fmt.Sprintf("the option %s of a requirement changes how it is built", quoteShort(option)),
				"remove it; if the build needs it, build a wheel with it and name that under pip.wheels in the recipe")
			return
		default:
			words = append(words, w)
		}
	}
	req, message, fix := parseRequirement(strings.Join(words, " "))
	if message != "" {
		q.refuse(at, message, fix)
		return
	}
	for _, h := range hashes {
		algorithm, hex, _ := strings.Cut(h, ":")
		if m, _ := nameSHA256.Check(hex); algorithm != "sha256" || m != "" {
			q.refuse(at, fmt.Sprintf("%s is not a hash that raybuild checks", quoteShort(h)), "write --hash=sha256:HEX")
			return
		}
	}
	if message, fix := req.withHashes(hashes); message != "" {
		q.refuse(at, message, fix)
		return
	}
	if len(req.Hashes) == 0 && !of.bounds {
		q.hashless = append(q.hashless, at)
	}
	switch {
	case of.bounds && req.URL != "":
		q.refuse(at, "a constraint by URL", "make it a requirement: it says where the package comes from")
	case req.Name == "ray" && req.URL != "":
		q.refuse(at, "asks for Ray by URL, and Ray comes from the index",
			"remove this line and set ray.version in the recipe")
	case req.Name == "ray":
		q.ray = append(q.ray, rayLine{req, at})
	case of.bounds && len(req.Extras) > 0:
		q.refuse(at, "a constraint with extras", "remove the part in []: a constraint only bounds the version")
	case of.bounds:
		q.constraints = append(q.constraints, req)
	default:
		q.found = append(q.found, req)
	}
}

// option reads a line that begins with an option.
func (q *requirementsReader) option(at strictyaml.Problem, text string, of requirementsFrom) {
	for _, include := range []struct {
		short, long string
		bounds      bool
	}{{"-r", "--requirement", of.bounds}, {"-c", "--constraint", true}} {
		name, ok := requirementOption(text, include.short, include.long)
		if !ok {
			continue
		}
		file := path.Join(path.Dir(at.File), name)
		m, f := localPath(file)
		if name == "" || strings.HasPrefix(name, "/") {
			m, f = "it must be a relative path", "name a file beside or below the recipe"
		}
		if m != "" {
			q.refuse(at, fmt.Sprintf("cannot include %s (%s)", quoteShort(name), m), f)
			return
		}
		q.file(file, "", requirementsFrom{append(slices.Clip(of.from), at), include.bounds})
		return
	}
	for _, prefix := range []string{"-e ", "--editable ", "--editable="} { // as pip freeze writes what it built
		if value, ok := strings.CutPrefix(text, prefix); ok && strings.HasPrefix(strings.TrimSpace(value), gitScheme) {
			q.line(at, strings.TrimSpace(value), of)
			return
		}
	}
	option, value, _ := strings.Cut(strings.Replace(text, "=", " ", 1), " ")
	switch option {
	case "--require-hashes":
		q.hashes = &at
		return
	case "-i", "--index-url", "--pypi-url", "--extra-index-url":
		if isPyPI(strings.TrimSpace(value)) { // pip-compile writes it down
			return
		}
	}
	message, fix := requirementOptionRefused(option, strings.TrimSpace(value))
	q.refuse(at, message, fix)
}

// isPyPI tells whether an index is the one that raybuild's mirrors stand for.
func isPyPI(index string) bool {
	rest, ok := strings.CutPrefix(strings.TrimRight(index, "/"), "https://")
	return ok && (rest == "pypi.org/simple" || rest == "pypi.python.org/simple")
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

// requirementOptionRefused names the options that a requirements file may hold for pip and not for a recipe, and the
// recipe's own way to say the same.
func requirementOptionRefused(option, value string) (message, fix string) {
	message = fmt.Sprintf("the option %s is not taken from a requirements file", quoteShort(option))
	switch option {
	case "-i", "--index-url", "--pypi-url":
		return fmt.Sprintf("%s chooses where packages come from", option), "set mirrors.fetch in the recipe"
	case "--extra-index-url":
		return fmt.Sprintf("%s lets any index answer for any package", option),
			"say in the recipe which packages are from there: pip: {extra_indexes: [{url: " +
				shorten([]string{value}, 80) + ", packages: [NAME]}]}"
	case "-f", "--find-links":
		return message, `name the wheels in the recipe: pip: {wheels: ["DIR/*.whl"]}`
	case "-e", "--editable":
		return "an editable requirement", "build a wheel, as by pip wheel --no-deps -w dist " +
			shorten([]string{value}, 40) + `, and name it in the recipe: pip: {wheels: ["dist/*.whl"]}`
	case "--pre":
		return message, "write the pre-release into the requirement that wants it, as in torch>=2.15rc1"
	case "--no-binary", "--only-binary", "--prefer-binary":
		return message, "remove it: raybuild takes the wheel of a version if there is one, and builds its source " +
			"distribution if not; a wheel of your own goes under pip.wheels in the recipe"
	case "--no-index":
		return message, "remove it, and set mirrors.fetch in the recipe"
	case "--trusted-host":
		return message, "remove it; if a server has a certificate of your own authority, name that by SSL_CERT_FILE"
	case "--use-feature", "--progress-bar", "--no-cache-dir", "--disable-pip-version-check":
		return message, "remove it: it changes nothing here"
	}
	return fmt.Sprintf("unknown option %s", quoteShort(option)), "remove it"
}
