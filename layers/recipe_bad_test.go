package layers

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// refusedRecipe is a recipe that is refused, and the lines that tell why.
type refusedRecipe struct {
	name, text string
	want       []string
}

func refusedRecipes() []refusedRecipe {
	return []refusedRecipe{
		{"an unknown key", "bse: ubuntu", []string{`raybuild.yaml:1:1: bse: unknown key; did you mean "base"?`}},
		{"an unknown key below", "env:\n  pyhton: 3.12",
			[]string{`raybuild.yaml:2:3: env.pyhton: unknown key; did you mean "python"?`}},
		{"an unknown key like no other", "ray: {flavour: x}",
			[]string{`raybuild.yaml:1:7: ray.flavour: unknown key; known are extras, version`}},
		{"all problems at once", "base: [x]\nenv: {name: base, python: 2.7}\nray: {version: latest}\n" +
			"platforms: [windows/amd64]\n", []string{
			`raybuild.yaml:1:7: base: is a list, not text; write text`,
			`raybuild.yaml:2:13: env.name: "base" is conda's own environment; use another name, such as "ray"`,
			`raybuild.yaml:2:27: env.python: "2.7" is not a Python version; write "3.12" or "3.12.4", in quotes`,
			`raybuild.yaml:3:16: ray.version: "latest" is not a version of Ray; write all of it, such as "2.60.0"`,
			`raybuild.yaml:4:13: platforms[0]: "windows/amd64" is not a platform that an image can be built for; write linux/amd64 or linux/arm64`,
		}},
		{"a key twice", "base: a\nbase: b",
			[]string{`raybuild.yaml:2:1: key "base" is there twice, first in line 1; keep one of the two`}},
		{"a bool for text", "image: {env: {A: true}}",
			[]string{`raybuild.yaml:1:18: image.env.A: is true or false, not text; quote it: "true"`}},
		{"text for a bool", "miniconda: {accept_anaconda_terms: yes}",
			[]string{
				`raybuild.yaml:1:36: miniconda.accept_anaconda_terms: is text, not true or false; write true or false`,
			}},
		{"limits that nothing can keep", "limits: {memory: 16m, pids: 3, time: 0s}\nsteps: [{name: a, run: b, " +
			"limits: {memory: 1024, time: 10}}]", []string{
			`raybuild.yaml:1:18: limits.memory: "16m" is not a possible amount of memory; write 32m or more, a number ` +
				`with m, g or t, such as 8g`,
			`raybuild.yaml:1:29: limits.pids: "3" is not a whole number from 16 to 4194304; write one in digits, ` +
				`without quotes`,
			`raybuild.yaml:1:38: limits.time: "0s" is not a possible time; write a time from 1s to 168h, such as 30m or ` +
				`1h30m`,
			`raybuild.yaml:2:44: steps[0].limits.memory: "1024" is not a possible amount of memory; write 32m or more, ` +
				`a number with m, g or t, such as 8g`,
			`raybuild.yaml:2:56: steps[0].limits.time: "10" is not a possible time; write a time from 1s to 168h, such ` +
				`as 30m or 1h30m`,
		}},
		{"a lock that is none", "pip: {pylock: requirements.txt}", []string{
			`raybuild.yaml:1:15: pip.pylock: "requirements.txt" is not named as a lock; name a pylock.toml, ` +
				`pylock.NAME.toml, uv.lock or poetry.lock; a requirements file goes under pip.requirements`}},
		{"a lock elsewhere", "pip: {pylock: {file: /x/uv.lock}}", []string{
			`raybuild.yaml:1:22: pip.pylock.file: "/x/uv.lock" is outside of the recipe's directory; write a path relative ` +
				`to the recipe, of a file that lies beside or below it`}},
		{"a lock without a name", "pip: {pylock: {groups: [dev]}}", []string{
			`raybuild.yaml:1:15: pip.pylock: has no file; add it`}},
		{"an identity that names nobody", "trust: {signed_by: [{}]}", []string{
			`raybuild.yaml:1:21: trust.signed_by[0]: names nobody; give it a key, or an issuer with a subject or a ` +
				`subject_regexp`}},
		{"a subject of any issuer", "trust: {signed_by: [{subject: a}]}", []string{
			`raybuild.yaml:1:21: trust.signed_by[0]: is a subject of no issuer: any issuer could give it to anybody; ` +
				`add issuer`}},
		{"everybody of an issuer", "trust: {signed_by: [{issuer: https://a}]}", []string{
			`raybuild.yaml:1:21: trust.signed_by[0]: is everybody whom the issuer knows; add subject or subject_regexp`}},
		{"a key and a subject", "trust: {signed_by: [{key: a.pub, issuer: https://a, subject: a}]}", []string{
			`raybuild.yaml:1:21: trust.signed_by[0]: is a key and a subject; give it a key, or an issuer with a ` +
				`subject or a subject_regexp`}},
		{"two subjects", "trust: {signed_by: [{issuer: https://a, subject: a, subject_regexp: a}]}", []string{
			`raybuild.yaml:1:21: trust.signed_by[0]: has a subject and a subject_regexp; keep one of the two`}},
		{"a private key", "trust: {signed_by: [{key: \"-----BEGIN PRIVATE KEY-----\"}]}", []string{
			`raybuild.yaml:1:27: trust.signed_by[0].key: is a private key; write the public key that belongs to it, and ` +
				`keep the private one secret`}},
		{"an expression that is none", "trust: {signed_by: [{issuer: https://a, subject_regexp: \"(\"}]}", []string{
			"raybuild.yaml:1:57: trust.signed_by[0].subject_regexp: \"(\" is not a regular expression (error parsing " +
				"regexp: missing closing ): `(`); write one of RE2's"}},
		{"an issuer that is no URL", "trust: {signed_by: [{issuer: github, subject: a}]}", []string{
			`raybuild.yaml:1:30: trust.signed_by[0].issuer: "github" is not the URL of an OIDC issuer; write it as the ` +
				`issuer does, such as https://token.actions.githubusercontent.com`}},
		{"a list for a mapping", "env: [a]",
			[]string{`raybuild.yaml:1:6: env: is a list, not a mapping; write a mapping`}},
		{"a value that is not there", "base:",
			[]string{`raybuild.yaml:1:6: base: has no value; give it one or remove the key`}},
		{"not a number", "image: {env: {A: .nan}}",
			[]string{`raybuild.yaml:1:18: image.env.A: is a number, not text; quote it: ".nan"`}},
		{"an unknown preset", "mirrors: {fetch: [tsuna]}",
			[]string{`raybuild.yaml:1:19: mirrors.fetch[0]: "tsuna" is not known; did you mean "tuna"?`}},
		{"auto in a list", "mirrors: {fetch: [auto, tuna]}",
			[]string{
				`raybuild.yaml:1:19: mirrors.fetch[0]: auto stands alone; write fetch: auto, or list the mirrors`,
			}},
		{"a mirror twice", "mirrors: {fetch: [tuna, tuna]}",
			[]string{`raybuild.yaml:1:25: mirrors.fetch[1]: "tuna" is listed twice; keep one of the two`}},
		{"credentials in a URL", "mirrors: {image: {pip: \"https://user:secret@h/simple\"}}", []string{
			`raybuild.yaml:1:24: mirrors.image.pip: a URL with credentials; leave them out, and put them into ~/.netrc, the file that NETRC names, or the URL of PIP_EXTRA_INDEX_URL: a recipe is not a place for secrets`}},
		{"an index that is none", "mirrors: {image: {pip: \"https://h/pypi\"}}",
			[]string{
				`raybuild.yaml:1:24: mirrors.image.pip: "https://h/pypi" does not end in /simple; write the URL of the simple index (PEP 503), as pip's index-url`,
			}},
		{"ray among the packages", "pip: [\"ray[tune]==2.0.0\"]",
			[]string{
				`raybuild.yaml:1:7: pip[0]: "ray[tune]==2.0.0" belongs under ray; remove it and set ray.version and ray.extras`,
			}},
		{"an index without packages", "pip: {extra_indexes: [{url: \"https://h/simple\"}]}",
			[]string{`raybuild.yaml:1:23: pip.extra_indexes[0]: has no packages; add it`}},
		{"an unsigned repository", "apt: {repositories: [{url: \"http://h/d\", suite: ./}]}",
			[]string{
				`raybuild.yaml:1:22: apt.repositories[0]: has no key; add the path of the OpenPGP key that signs the repository: unsigned ones are refused`,
			}},
		{"tokens of conda servers", "env: {channels: [https://conda.anaconda.org/t/tk-1-abc/chan]}\nmirrors: " +
			"{fetch: [{conda: \"https://quetz.example/t/abc/get\"}]}\nminiconda: {version: py312_25.7.0-2}", []string{
			`raybuild.yaml:1:18: env.channels[0]: a URL with a token; ` + noToken,
			`raybuild.yaml:2:27: mirrors.fetch[0].conda: a URL with a token; ` + noToken}},
		{"a token without a URL", "env: {channels: [t/tk-1-abc/chan]}", []string{
			`raybuild.yaml:1:18: env.channels[0]: a channel with a token; ` + noToken}},
		{"a network that is none", "steps: [{name: a, run: b, network: hots}]", []string{
			`raybuild.yaml:1:36: steps[0].network: is text, not true, false or host; write true, false or host`}},
		{"Anaconda's terms", "env: {channels: [defaults]}", []string{
			`raybuild.yaml:1:18: env.channels[0]: "defaults" is bound to Anaconda's terms of service, which are not accepted; read https://www.anaconda.com/legal and set miniconda.accept_anaconda_terms: true, or use conda-forge`}},
		{"Miniconda's version for Miniforge", "miniconda: {distribution: miniforge, version: py312_26.7.1-1}", []string{
			`raybuild.yaml:1:47: miniconda.version: "py312_26.7.1-1" is a version of Miniconda, and the distribution is miniforge; write a version such as "26.7.2-0", or distribution: miniconda`}},
		{"a step with a layer's name", "steps: [{name: ray, run: x}]",
			[]string{
				`raybuild.yaml:1:16: steps[0].name: "ray" is the name of a layer of raybuild's own; use another name`,
			}},
		{"a step that needs what comes later", "steps:\n- {name: a, run: x, needs: [b]}\n" +
			"- {name: b, run: x}",
			[]string{`raybuild.yaml:2:29: steps[0].needs[0]: the step "b" comes later; move it before "a"`}},
		{"a step that needs what is not there", "steps: [{name: a, run: x, needs: [rya]}]",
			[]string{`raybuild.yaml:1:35: steps[0].needs[0]: no layer or step is named "rya"; did you mean "ray"?`}},
		{"steps that need each other", "steps:\n- {name: a, run: x, needs: [a]}",
			[]string{`raybuild.yaml:2:29: steps[0].needs[0]: a step cannot need itself; remove it`}},
		{"a path out of the directory", "files: [{from: ../../etc, to: /x}]",
			[]string{
				`raybuild.yaml:1:16: files[0].from: "../../etc" leads out of the recipe's directory; keep the file beside or below the recipe`,
			}},
		{"a relative destination", "files: [{from: a, to: x}]",
			[]string{`raybuild.yaml:1:23: files[0].to: "x" is not an absolute path; begin it with "/"`}},
		{"two files to one place", "files: [{from: a, to: /x}, {from: b, to: /x}]",
			[]string{`raybuild.yaml:1:42: files[1].to: "/x" is already written by files[0]; give each its own place`}},
		{"PATH without the environment", "image: {env: {PATH: /usr/bin}}",
			[]string{
				`raybuild.yaml:1:21: image.env.PATH: leaves out the environment, so that ray would not be found; put /opt/conda/envs/ray/bin into it`,
			}},
		{"two versions of a package", "apt: [vim=2, vim=1]",
			[]string{`raybuild.yaml:1:6: apt: vim is listed with two versions; keep one of the two`}},
		{
			"a removal", "apt: [vim-]", []string{
				`raybuild.yaml:1:7: apt[0]: "vim-" is not an apt package; write name or name=version, as in "vim" or "vim=2:9.1.0016-1ubuntu7"`,
			},
		},
		{"python under conda", "env: {conda: [python=3.12]}",
			[]string{
				`raybuild.yaml:1:14: env.conda: "python=3.12" belongs under env.python; remove it and set env.python`,
			}},
		{"one digest for two platforms", "miniconda: {version: py312_1.2.3-1, sha256: " + strings.Repeat("a", 64) +
			"}\nplatforms: [linux/amd64, linux/arm64]", []string{
			`raybuild.yaml:1:45: miniconda.sha256: one digest cannot fit the installers of 2 platforms; remove it and take a version of raybuild's own table, or build one platform at a time`}},
		{"a test that is a list", "smoke: [ray]",
			[]string{
				`raybuild.yaml:1:8: smoke: is a list, not true, false, or a command; write true, false, or a command`,
			}},
		{
			"a test that is a number", "smoke: 1",
			[]string{
				`raybuild.yaml:1:8: smoke: is a number, not true, false, or a command; write true, false, or a command`,
			},
		},
		{
			"a test without a value", "smoke:", []string{
				`raybuild.yaml:1:7: smoke: is nothing, not true, false, or a command; write true, false, or a command`,
			},
		},
		{"a test that runs nothing", "smoke: \" \"",
			[]string{`raybuild.yaml:1:8: smoke: an empty script; write the commands to run`}},
		{"an escaped NUL in a test", `smoke: "x\0y"`,
			[]string{`raybuild.yaml:1:8: smoke: control character U+0000; remove it`}},
		{"a test that is a word for a bool", "smoke: \"off\"",
			[]string{
				`raybuild.yaml:1:8: smoke: "off" is text, and would be run as a command; write true or false, without quotes`,
			}},
		{"an anchor", "base: &a ubuntu",
			[]string{`raybuild.yaml:1:7: anchors and aliases are not supported; write the value out`}},
		{"an alias", "env: &x {name: a}\nray: {<<: *x}", []string{
			`raybuild.yaml:1:6: anchors and aliases are not supported; write the value out`,
			`raybuild.yaml:2:7: merge keys (<<) are not supported; write the values out`}},
		{
			"a tag", "base: !!binary dWJ1bnR1", []string{
				`raybuild.yaml:1:7: the tag "!!binary" is not supported; remove it; quote text that looks like something else`,
			},
		},
		{"a second document", "base: a\n---\nbase: b\n",
			[]string{`raybuild.yaml:2:1: a second document; keep one document in the file: remove what follows ---`}},
		{"a tab", "env:\n\tname: x\n", []string{`raybuild.yaml:2:1: a tab in the indentation; indent with spaces`}},
		{"a list as key", "[a]: b", []string{`raybuild.yaml:1:1: a key that is not text; keys are plain words`}},
		{"not UTF-8", "base: \xff", []string{`raybuild.yaml:1:7: not UTF-8; save the file as UTF-8`}},
		{"a NUL", "base: a\x00", []string{`raybuild.yaml:1:8: control character U+0000; remove it`}},
		{"a hidden turn of direction", "base: a\u202eb",
			[]string{
				`raybuild.yaml:1:8: bidirectional control character U+202E; remove it: it makes text look different from what it is`,
			}},
		{"an escaped turn of direction", `image: {labels: {a: "x\u202ey"}}`,
			[]string{`raybuild.yaml:1:21: image.labels.a: bidirectional control character U+202E; remove it`}},
		{"an escaped NUL", `steps: [{name: a, run: "x\0y"}]`,
			[]string{`raybuild.yaml:1:24: steps[0].run: control character U+0000; remove it`}},
		{"a scalar for a recipe", "hello", []string{`raybuild.yaml:1:1: is text, not a mapping; write a mapping`}},
	}
}

// Each recipe is refused with exactly these lines.
func TestRefusedRecipes(t *testing.T) {
	t.Parallel()
	for _, tt := range refusedRecipes() {
		t.Run(tt.name, func(t *testing.T) {
			if got := problemsOf(t, tt.text); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestSyntaxErrorsHaveALine(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a: b: c", "a: [1, 2", "a: 'x", "- a\nb: c", "{", "a: \"\\q\""} {
		for _, line := range problemsOf(t, text) {
			if !strings.HasPrefix(line, "raybuild.yaml:") || !strings.Contains(line, "not valid YAML: ") {
				t.Errorf("%q is refused with %q", text, line)
			}
		}
	}
}

// Hostile files are refused in half a second and 100 MB.
func TestHostileRecipes(t *testing.T) {
	const mega = 1 << 20
	lines := func(line string) string { return strings.Repeat(line, mega/len(line)) }
	keys := &strings.Builder{}
	for i := 0; keys.Len() < mega-20; i++ {
		fmt.Fprintf(keys, "k%d: 1\n", i)
	}
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1,
			c-1, c-1, c-1)
	}
	hostile := map[string]string{
		"a bomb of aliases":       bomb,
		"a cycle":                 "a: &a [*a]",
		"nesting in flow form":    strings.Repeat("[", 100_000),
		"closed nesting":          strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000),
		"nesting of mappings":     strings.Repeat("{a: ", 30_000),
		"nesting of lists":        strings.Repeat("- ", 100_000),
		"nesting by indentation":  nestByIndentation(1000),
		"a hundred megabytes":     strings.Repeat("#", 100<<20),
		"many lines":              lines("- a\n"),
		"many items":              "[" + lines("a,") + "]",
		"many keys":               keys.String(),
		"many keys of steps":      "image: {env: {" + lines("A: a,") + "}}",
		"a long scalar":           "base: " + lines("x"),
		"a long folded scalar":    "base: >\n" + lines("  xxx\n"),
		"many comments":           lines("#\n") + "x",
		"only spaces":             "base: \"" + lines(" ") + "\"",
		"many anchors":            lines("- &a b\n"),
		"many quotes":             "base: " + lines("'' "),
		"escapes":                 "base: \"" + lines(`\u0041`) + "\"",
		"a number without end":    "ray: {version: 1e400}\nenv: {python: " + lines("9") + "}",
		"many directives":         lines("%A b\n"),
		"many documents":          lines("---\n"),
		"a key of a megabyte":     lines("k") + ": 1",
		"many complex keys":       lines("? a\n"),
		"wide unicode":            "base: " + lines("\U0001F600"),
		"nothing but a BOM twice": "\ufeff\ufeff" + "base: x",
	}
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			err := ended(t, func() error {
				_, err := LoadRecipe([]byte(text), "raybuild.yaml", nil)
				return err
			})
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("was accepted")
			}
			if len(err.Error()) > 64<<10 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			// The sum of all allocations is more than what was in use at once. It also measures the work, and does so
			// on a slow machine too: no parser does more than read the text without allocating.
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 100 {
				t.Errorf("used %d MB, more than 100", used)
			}
		})
	}
}

func nestByIndentation(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestGoodOddFiles(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a BOM":              "\ufeffbase: debian:12",
		"Windows line ends":  "base: debian:12\r\nenv:\r\n  name: x\r\n",
		"JSON":               `{"base": "debian:12", "env": {"name": "x"}}`,
		"a document's start": "---\nbase: debian:12\n...\n",
		"only a comment":     "base: debian:12 # chosen\n",
	} {
		if r := loadText(t, text); r.Base != "debian:12" {
			t.Errorf("%s: base is %q", name, r.Base)
		}
	}
}
