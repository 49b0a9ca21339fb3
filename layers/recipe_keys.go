package layers

import (
	"fmt"

	"github.com/raybuild/raybuild/internal/signers"
	"github.com/raybuild/raybuild/internal/strictyaml"
)

// recipeKeys describes a raybuild.yaml and reads one into r. It is the grammar of the reader, the JSON Schema and
// docs/recipe.md.
func recipeKeys(r *Recipe) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "base", Doc: "The image that everything stands on: Ubuntu 16.04 to 26.10, or any other image " +
			"that has apt.",
			Default: "`ubuntu:22.04`", Example: "debian:12", Value: strictyaml.String(&r.Base, grammarBase())},
		{Name: "mirrors", Doc: "Where packages come from while the image is built, and what the image is " +
			"configured with.",
			Example: "{fetch: [tuna, official], image: tuna}", Value: strictyaml.Map(mirrorKeys(&r.Mirrors)...)},
		{Name: "apt", Doc: "Debian packages to install. A list is short for `packages`.", Default: "none",
			Example: "[vim, wget, git]", Value: aptValue(&r.Apt)},
		{Name: "miniconda", Doc: "The conda installer.", Example: "{distribution: miniforge}",
			Value: strictyaml.Map(minicondaKeys(&r.Miniconda)...)},
		{Name: "env", Doc: "The conda environment that Ray is installed into. It is active for every process " +
			"of the image.",
			Example: `{name: ray, python: "3.12"}`, Value: strictyaml.Map(envKeys(&r.Env)...)},
		{Name: "ray", Doc: "Ray itself.", Example: `{version: "2.60.0", extras: [default, rllib]}`,
			Value: strictyaml.Map(rayKeys(r)...)},
		{Name: "pip", Doc: "Python packages beside Ray. A list is short for `packages`.", Default: "none",
			Example: `[requests, "tensorflow>=2.16"]`, Value: pipValue(&r.Pip)},
		{Name: "files", Doc: "Local files and directories to copy into the image, in this order.", Default: "none",
			Example: "[{from: app, to: /home/ray/app}]",
			Value: strictyaml.ListOf(&r.Files, "a list of {from, to}", func(f *FileCopy) strictyaml.Value {
				return strictyaml.Map(fileKeys(f)...)
			})},
		{Name: "steps", Doc: "Commands of your own. A step runs again only when what it needs has changed.",
			Default: "none",
			Example: "[{name: hello, run: echo hello}]",
			Value: strictyaml.ListOf(&r.Steps, "a list of steps", func(s *Step) strictyaml.Value {
				return strictyaml.Map(stepKeys(s)...).Then(func() { s.Secrets = sorted(s.Secrets) })
			})},
		{Name: "limits", Doc: "What each command may use that a build or a resolver runs in the builder: steps, " +
			"installs, builds of source distributions, the test. Time holds on every builder. Memory and pids hold " +
			"on raybuild's own engine as root, and memory on BuildKit 0.34 or later; a builder that does not keep " +
			"them gives a warning. It changes neither image nor lock.",
			Example: "{memory: 16g, time: 2h}",
			Value: strictyaml.Map(limitKeys(&r.Limits,
				"none; for `pids` the builder's: 4096, or 64 for each CPU")...)},
		{Name: "layers", Doc: "How Python packages are laid out as layers, and how layers are compressed.",
			Example: "{budget: 30, compression: zstd}", Value: strictyaml.Map(layerKeys(&r.Layers)...)},
		{Name: "image", Doc: "What containers of the image start with, and its labels.", Example: "{cmd: [/bin/bash]}",
			Value: strictyaml.Map(imageKeys(&r.Image)...)},
		{Name: "platforms", Doc: "The platforms to build for.", Default: "`[linux/amd64]`",
			Example: "[linux/amd64, linux/arm64]",
			Value: filled(strictyaml.Strings(&r.Platforms, grammarPlatform()),
				"write [linux/amd64] or remove the key")},
		{Name: "smoke",
			Doc: "The test of a built image before it gets its name: `true` imports Ray and the packages that " +
				"the recipe names, `false` leaves the test out, and a command runs in the image instead of the " +
				"imports, without a network.",
			Default: "`true`", Example: "python -m ours.selftest", Value: smokeValue(&r.Smoke)},
		{Name: "trust", Doc: "Whose signatures of images are believed. Only an image that one of them has signed " +
			"counts as built or gives its layers, unless `--trust` says otherwise. It changes neither image nor lock.",
			Example: "{signed_by: [{key: keys/cosign.pub}]}",
			Value:   strictyaml.Map(signers.Keys(&r.Trust, grammarPath())...)},
	}
}

func aptValue(a *Apt) strictyaml.Value {
	packages := strictyaml.Strings(&a.Packages, nameApt)
	return strictyaml.ListOr(packages, strictyaml.Map(
		strictyaml.Key{Name: "packages", Doc: "Names, or name=version.", Default: "none", Example: "[vim, git]",
			Value: packages},
		strictyaml.Key{Name: "repositories", Doc: "Further apt repositories. Each has to be signed.", Default: "none",
			Example: "[{url: https://apt.example/ubuntu, suite: noble, components: [main], key: keys/example.asc}]",
			Value: strictyaml.ListOf(&a.Repositories, "a list of repositories",
				func(r *AptRepository) strictyaml.Value {
					return strictyaml.Map(repositoryKeys(r)...)
				})},
		strictyaml.Key{Name: "debconf", Doc: "Answers to what packages ask when they are installed: PACKAGE QUESTION " +
			"TYPE VALUE, as `debconf-set-selections` takes them. The answers are in the image, so no password can be " +
			"one.", Default: "each question's own default",
			Example: `["krb5-config krb5-config/default_realm string EXAMPLE.COM"]`,
			Value:   strictyaml.Strings(&a.Debconf, grammarDebconf())},
	))
}

func repositoryKeys(r *AptRepository) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "url", Doc: "The root of the repository: the directory that holds `dists`.", Required: true,
			Example: "https://apt.example/ubuntu", Value: strictyaml.String(&r.URL, grammarURL())},
		{Name: "suite", Doc: "Its suite, or `./` for a flat repository.", Required: true, Example: "noble",
			Value: strictyaml.String(&r.Suite, nameSuite)},
		{Name: "components", Doc: "Its components. A flat repository has none, any other needs one.", Example: "[main]",
			Value: strictyaml.Strings(&r.Components, nameComponent)},
		{Name: "key", Doc: "The OpenPGP key that signs the repository, binary or armored.", Required: true,
			Example: "keys/example.asc",
			Missing: "add the path of the OpenPGP key that signs the repository: unsigned ones are refused",
			Value:   strictyaml.String(&r.Key, grammarPath())},
	}
}

func minicondaKeys(m *Miniconda) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "distribution", Doc: "Whose installer it is.", Default: "`miniconda`", Example: "miniforge",
			Value: strictyaml.String(&m.Distribution, strictyaml.OneOf("a distribution", "miniconda", "miniforge"))},
		{Name: "version", Doc: "The version, as in the installer's file name.",
			Default: "the newest that this raybuild knows",
			Example: "py312_26.7.1-1", Value: strictyaml.String(&m.Version, grammarInstaller())},
		{Name: "sha256",
			Doc:     "The installer's SHA-256 digest, for a version that raybuild does not know. It needs `version`.",
			Default: "from raybuild's table", Value: strictyaml.String(&m.SHA256, nameSHA256)},
		{Name: "accept_anaconda_terms",
			Doc:     "Accepts Anaconda's terms of service. Its own channels, such as `defaults`, are used only then.",
			Default: "`false`", Example: "true", Value: strictyaml.Flag(&m.AcceptAnacondaTerms)},
	}
}

func envKeys(e *Env) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "name", Doc: "The name of the environment.", Default: "`ray`", Example: "ray",
			Value: strictyaml.String(&e.Name, grammarEnv())},
		{Name: "python", Doc: "The version of Python.", Default: "that of `file`, else `3.12`", Example: `"3.12"`,
			Value: strictyaml.String(&e.Python, namePython)},
		{Name: "cuda", Doc: "The version of CUDA that conda's solver assumes, as if a GPU of such a driver were " +
			"there (`__cuda`): that of the driver on your hosts, which `nvidia-smi` shows. Without it conda takes " +
			"builds for CPUs, and refuses packages that need a GPU.",
			Default: "none", Example: `"12.6"`, Value: strictyaml.String(&e.CUDA, nameCUDA)},
		{Name: "conda", Doc: "Further conda packages, as conda writes them: name, version and build. The " +
			"variables that packages want in an activated environment, such as `JAVA_HOME` and `CC`, are set in " +
			"login shells and steps.", Default: "none",
			Example: `[numpy=1.26, "pytorch=*=*cuda*"]`,
			Value:   strictyaml.Strings(&e.Conda, grammarMatchSpec())},
		{Name: "channels", Doc: "The conda channels that packages come from, best first.",
			Default: "those of `file`, else `[conda-forge]`",
			Example: "[conda-forge]", Value: strictyaml.Strings(&e.Channels, grammarChannel())},
		{Name: "file", Doc: "An environment.yml, as `conda env export` writes it.", Default: "none",
			Example: "environment.yml",
			Value:   strictyaml.String(&e.File, grammarPath())},
	}
}

func rayKeys(r *Recipe) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "version", Doc: "The version of Ray.",
			Default: "that of `pip.pylock`, else the newest that this raybuild knows", Example: "2.60.0",
			Value: strictyaml.String(&r.Ray.Version, nameRayVersion)},
		{Name: "extras", Doc: "The extras of Ray. An empty list is Ray alone.",
			Default: "none if `pip.pylock` has Ray, else `[default, rllib, tune]`, as far as the version has them",
			Example: "[default, serve]",
			Value: strictyaml.Strings(&r.Ray.Extras, nameExtra).Then(func() {
				if r.Ray.Extras == nil {
					r.Ray.Extras = []string{} // none at all, which is not the default
				}
			})},
	}
}

func pipValue(p *Pip) strictyaml.Value {
	packages := strictyaml.Strings(&p.Packages, grammarRequirement())
	return strictyaml.ListOr(packages, strictyaml.Map(
		strictyaml.Key{Name: "packages", Doc: "Requirements, as pip writes them: names of the index, or " +
			"`NAME @ URL` of a wheel, of an archive of sources or of a git repository " +
			"(`git+https://HOST/REPOSITORY@REV`). A URL has no login in it (`~/.netrc` has), and one of http has " +
			"`#sha256=HEX` or a whole commit.", Default: "none",
			Example: `[requests, "numpy<2"]`,
			Value:   packages},
		strictyaml.Key{Name: "requirements", Doc: "Requirements files. What they name by `-r` and " +
			"`-c` is read, too. A line for Ray gives Ray's version, if `ray.version` does not.",
			Default: "none",
			Example: "[requirements.txt]", Value: strictyaml.Strings(&p.Requirements, grammarPath())},
		strictyaml.Key{Name: "pylock",
			Doc: "A lock that another tool wrote: a `pylock.toml` (PEP 751), a `uv.lock` or a `poetry.lock`. Its " +
				"packages are installed as they are, and only what it lacks is resolved.",
			Default: "none", Example: "uv.lock", Value: pylockValue(&p.Pylock)},
		strictyaml.Key{Name: "wheels", Doc: "Wheels of your own.", Default: "none", Example: `["dist/*.whl"]`,
			Value: strictyaml.Strings(&p.Wheels, grammarWheels())},
		strictyaml.Key{Name: "no_build_isolation",
			Doc: "Packages whose sources are built with what is installed, because the build imports packages that " +
				"it does not ask for, as that of flash-attn imports torch. Such a package is built again whenever " +
				"another Python package changes.", Default: "none", Example: "[flash-attn]",
			Value: strictyaml.Strings(&p.NoBuildIsolation, grammarProject()).Then(func() {
				p.NoBuildIsolation = sorted(p.NoBuildIsolation)
			})},
		strictyaml.Key{Name: "resolver",
			Doc: "Who finds the versions: `uv` on this machine, or `pip` in the build sandbox. pip also answers " +
				"where a package has only sources that must run to tell what they need.",
			Default: "`uv`", Example: "pip", Value: strictyaml.String(&p.Resolver,
				strictyaml.OneOf("a resolver", resolverUV, resolverPip))},
		strictyaml.Key{Name: "added",
			Doc: "Lists of requirements that come on top of the whole image, each as a layer of its own. " +
				"`raybuild add` writes them.", Default: "none", Example: "[[einops]]", Value: addedValue(&p.Added)},
		strictyaml.Key{Name: "extra_indexes",
			Doc:     "Further package indexes, each for the packages that it lists and no others.",
			Default: "none", Example: "[{url: https://pypi.example/simple, packages: [ours]}]",
			Value: strictyaml.ListOf(&p.ExtraIndexes, "a list of indexes", func(x *ExtraIndex) strictyaml.Value {
				return strictyaml.Map(indexKeys(x)...).Then(func() { x.Packages = sorted(x.Packages) })
			})},
	))
}

// addedValue reads what comes on top: each list of it has something in it.
func addedValue(dst *[][]string) strictyaml.Value {
	return strictyaml.ListOf(dst, "a list of lists of requirements", func(one *[]string) strictyaml.Value {
		return filled(strictyaml.Strings(one, grammarIndexed()), "remove it")
	})
}

func indexKeys(x *ExtraIndex) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "url", Doc: "The root of the index (PEP 503), without credentials.", Required: true,
			Example: "https://pypi.example/simple",
			Value:   strictyaml.String(&x.URL, grammarURL())},
		{Name: "packages", Doc: "The names of the packages that come from this index.", Required: true,
			Example: "[torch]",
			Value: filled(strictyaml.Strings(&x.Packages, grammarProject()),
				"list the packages to take from this index: no others come from it, so no one else's package can "+
					"take its place")},
	}
}

func fileKeys(f *FileCopy) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "from", Doc: "A file or directory beside or below the recipe.", Required: true, Example: "app",
			Value: strictyaml.String(&f.From, grammarPath())},
		{Name: "to", Doc: "Where it goes in the image.", Required: true, Example: "/home/ray/app",
			Value: strictyaml.String(&f.To, grammarImagePath())},
		{Name: "ignore", Doc: "Patterns of what is left out, as in a `.dockerignore`, relative to `from`. What the " +
			"files `.dockerignore` beside the recipe and in `from` name is left out too, and always `.git`, `.venv` " +
			"and `__pycache__`. `!PATTERN` takes something in again.", Default: "none", Example: `["data", "*.ckpt"]`,
			Value: strictyaml.Strings(&f.Ignore, grammarOneLine())},
	}
}

func stepKeys(s *Step) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "name", Doc: "The name of the step and of its layer.", Required: true, Example: "nltk-data",
			Value: strictyaml.String(&s.Name, grammarStep())},
		{Name: "run", Doc: "The commands, run with `/bin/sh -eu`.", Required: true,
			Example: "python -m compileall /home/ray/app",
			Value:   strictyaml.String(&s.Run, grammarScript())},
		{Name: "needs",
			Doc: "The layers and earlier steps that it runs on: `user`, `apt`, `miniconda`, `env`, `ray`, `mirrors`, " +
				"`files`, or a step's name.",
			Default: "all that come before it", Example: "[ray]",
			Value: strictyaml.Strings(&s.Needs, grammarOneLine())},
		{Name: "network", Doc: "Lets the step reach the network, by one of its own. `host` gives it that of the " +
			"builder's machine, with all that listens there on loopback.", Default: "`false`", Example: "true",
			Value: networkValue(s)},
		{Name: "secrets",
			Doc: "Ids of secrets that `--secret id=ID,src=FILE` gives. They are mounted at `/run/secrets/ID`, " +
				"and are in no layer.",
			Default: "none", Example: "[token]", Value: strictyaml.Strings(&s.Secrets, nameSecret)},
		{Name: "limits", Doc: "What the step may use. A step that wants more is ended, with an error. It changes " +
			"neither image nor lock.", Default: "the recipe's `limits`", Example: "{memory: 8g, time: 30m}",
			Value: strictyaml.Map(limitKeys(&s.Limits, "that of the recipe's `limits`")...)},
	}
}

func layerKeys(r *LayerRules) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "budget",
			Doc: "How many layers the image has at most. Steps, local files beyond the first and source " +
				"distributions come on top. The lock names the layers that small wheels share.",
			Default: fmt.Sprintf("`%d`", defaultBudget), Example: "30", Value: budgetValue(&r.Budget)},
		{Name: "max_size", Doc: "A wheel that is larger becomes several layers, which are cut between " +
			"files. Wheels share a layer up to this size, if the budget has no room for layers of 32 MB. " +
			"Units are of 1024².",
			Default: fmt.Sprintf("`%dMB`", defaultMaxSize>>20), Example: "1GB", Value: maxSizeValue(&r.MaxSize)},
		{Name: "compression", Doc: "The compression of all layers, the base's too.", Default: "`gzip`", Example: "zstd",
			Value: strictyaml.String(&r.Compression, strictyaml.OneOf("a compression", "gzip", "zstd", "estargz"))},
	}
}

func imageKeys(c *ImageConfig) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "user", Doc: "The user that is made and that containers run as. `root` makes none. Group 0 may write " +
			"the user's home, too: platforms that choose the user, as OpenShift does, give it this group.",
			Default: "`ray`", Example: "ray", Value: strictyaml.String(&c.User, grammarUser())},
		{Name: "workdir", Doc: "The working directory.", Default: "the user's home", Example: "/home/ray",
			Value: strictyaml.String(&c.Workdir, grammarImagePath())},
		{Name: "env", Doc: "Environment variables, beside those of the base and of conda.", Default: "none",
			Example: "{NLTK_DATA: /opt/nltk}",
			Value:   strictyaml.Pairs(&c.Env, nameVariable, grammarOneLine())},
		{Name: "labels", Doc: "Labels of the image's configuration.", Default: "none", Example: "{team: ml}",
			Value: strictyaml.Pairs(&c.Labels, nameLabel, grammarLines())},
		{Name: "annotations", Doc: "Annotations of the manifest.", Default: "none",
			Example: "{org.opencontainers.image.title: Ray}",
			Value:   strictyaml.Pairs(&c.Annotations, nameLabel, grammarLines())},
		{Name: "entrypoint", Doc: "The entrypoint, as a list of arguments.", Default: "none",
			Example: "[/usr/bin/tini, --]",
			Value:   strictyaml.Strings(&c.Entrypoint, grammarLines())},
		{Name: "cmd", Doc: "The command, as a list of arguments.", Default: "the base's", Example: "[/bin/bash]",
			Value: strictyaml.Strings(&c.Cmd, grammarLines())},
	}
}
