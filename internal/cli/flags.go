package cli

import (
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/llb"
)

// recipeOptions say which recipe and lock a command uses.
type recipeOptions struct {
	file, lock string
	sets       []string
	platforms  []string
	fetch      []string // bundles, and who fetches
	trust      string   // which images of registries are believed
	fileGiven  bool     // --file was given: a missing file is an error
	lockGiven  bool
}

func (o *recipeOptions) flags(f *pflag.FlagSet) {
	f.StringVarP(&o.file, "file", "f", "raybuild.yaml", "the recipe; if it is not there, the default recipe is built")
	f.StringVar(&o.lock, "lock", "", "the lock (default: beside the recipe, with its name and the ending .lock)")
	f.StringArrayVar(&o.sets, "set", nil, "override a key of the recipe for this call, as `KEY=VALUE`: dotted key, "+
		"value as YAML; the lock file is not written unless --lock is given (repeatable)")
	f.StringSliceVar(&o.platforms, "platform", nil, "platforms to build for, as os/arch, with commas (default: "+
		"the recipe's)")
}

// set notes which flags were given.
func (o *recipeOptions) set(cmd *cobra.Command) {
	o.fileGiven, o.lockGiven = cmd.Flags().Changed("file"), cmd.Flags().Changed("lock")
}

// builderOptions say where steps run and how progress is shown.
type builderOptions struct {
	builder  string
	progress string
	insecure []string
}

func (o *builderOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.builder, "builder", "", "BuildKit to build with: an address (unix://, tcp://, ssh://, "+
		"docker-container://, podman-container://, kube-pod://), docker for the Docker Engine's own, buildx for "+
		"buildx's current builder, or the name of one of buildx's (default: $BUILDKIT_HOST, else $BUILDX_BUILDER, "+
		"else the embedded engine, else Docker's)")
	f.StringVar(&o.progress, "progress", "auto", "how progress is shown: auto, tty, plain, quiet or rawjson")
	insecureFlag(f, &o.insecure)
}

func insecureFlag(f *pflag.FlagSet, v *[]string) {
	f.StringSliceVar(v, "insecure-registry", nil, "allow plain HTTP, or an unknown certificate, for the registry "+
		"`HOST` or HOST:PORT; loopback is always allowed (repeatable)")
}

func (o *builderOptions) check() error {
	modes := []string{"auto", "tty", "plain", "quiet", "rawjson"}
	if !slices.Contains(modes, o.progress) {
		return usagef("--progress %q: must be one of %s", o.progress, strings.Join(modes, ", "))
	}
	return nil
}

// buildOptions are the flags of a build.
type buildOptions struct {
	recipeOptions
	builderOptions
	names        []string
	push         bool
	pushRetry    time.Duration
	frozen       bool
	frozenGiven  bool
	noCache      bool
	graphTag     bool
	trustedRun   bool
	outside      bool // this CI run may build somebody else's code
	reuse        bool
	cache        bool
	cacheFrom    []string
	cacheTo      []string
	cacheBudget  time.Duration
	outputs      []string
	compression  string
	metadataFile string
	reportFile   string
	secrets      []string
	labels       []string
	annotations  []string
	smoke        bool
	sbom         bool
	earlierImage bool
	sign         string
	signConfig   string
	parsed       parsedOptions

	pushRetryGiven bool
	smokeGiven     bool
}

// parsedOptions has the parsed values of the build's flags.
type parsedOptions struct {
	cacheFrom, cacheTo  []llb.CacheEntry
	besides             []string // references of caches that a bare --cache chose
	outputs             []raybuild.Output
	secrets             map[string]func() ([]byte, error)
	labels, annotations map[string]string
}

func (o *buildOptions) flags(f *pflag.FlagSet) {
	o.recipeOptions.flags(f)
	o.builderOptions.flags(f)
	f.StringArrayVarP(&o.names, "tag", "t", nil, "name the image `IMAGE`, as an argument does, also if the name is "+
		"that of a command (repeatable)")
	f.BoolVar(&o.push, "push", false, "push the image to each IMAGE's registry")
	pushRetryFlag(f, &o.pushRetry)
	f.BoolVar(&o.frozen, "frozen", false, "fail if the lock does not fit the recipe, instead of resolving what "+
		"changed (default: true if CI=true and there is a lock)")
	f.BoolVar(&o.noCache, "no-cache", false, "build everything again: reuse no layer of the registry and no step "+
		"of the builder")
	f.BoolVar(&o.graphTag, "graph-tag", true, "also tag the pushed image graph-… (by its graph's digest) and "+
		"graph-last, and look for the first tag before a build, in this repository and in those of --cache-from: if "+
		"it is there, that image is tagged or copied, and nothing is built")
	f.BoolVar(&o.reuse, "reuse", true, "take layers whose inputs did not change from the image that was pushed before "+
		"(from this recipe, under one of the names, or as graph-last), and build only the others")
	f.BoolVar(&o.cache, "cache", false, "keep the build cache: in a tag beside the image (the branch's, then the main "+
		"branch's), in GitHub Actions in its cache; pull requests from forks only read it (--trusted-run)")
	f.BoolVar(&o.trustedRun, "trusted-run", false, "write caches and tags of graphs also in a CI run that may build "+
		"somebody else's code: of a fork's pull request, or an event such as issue_comment or workflow_run")
	f.StringArrayVar(&o.cacheFrom, "cache-from", nil,
		"import a build cache: a reference, or type=TYPE,KEY=VALUE,… with a type of registry, local, gha, "+
			"s3 or azblob (repeatable)")
	f.StringArrayVar(&o.cacheTo, "cache-to", nil,
		"export the build cache: a reference, or type=TYPE,KEY=VALUE,… with a type of registry, inline, "+
			"local, gha, s3 or azblob; unless given, mode=max and ignore-error=true (repeatable)")
	f.DurationVar(&o.cacheBudget, "cache-budget", 5*time.Minute,
		"how long a build waits for each cache that it imports (a tenth of this for the cache's index), and for all "+
			"exports; then it goes on without, and warns; 0: no limit")
	f.StringArrayVarP(&o.outputs, "output", "o", nil, "write the image to a file or directory: "+
		"type=oci|docker|local,dest=PATH; dest=- is standard output (repeatable)")
	f.StringVar(&o.compression, "compression", "", "compression of layers: gzip, zstd (faster to make and to unpack; "+
		"hosts need Docker 23 or containerd 1.5), or estargz (gzip that containerd's stargz snapshotter pulls in "+
		"parts; slow to make) (default: the recipe's layers.compression, else gzip)")
	f.StringVar(&o.metadataFile, "metadata-file", "", "write digest, steps, layers and bytes as JSON to `FILE`")
	f.StringVar(&o.reportFile, "report", "", "write an HTML page to `FILE`: layers, timeline, packages, and what "+
		"changed; also if the build fails")
	f.StringArrayVar(&o.secrets, "secret", nil, "a secret for steps: id=NAME,src=FILE or id=NAME,env=VARIABLE; it is "+
		"never in image, lock, logs or cache (repeatable)")
	f.StringArrayVar(&o.labels, "label", nil, "add a label to the image's config: `KEY=VALUE` (repeatable)")
	f.StringArrayVar(&o.annotations, "annotation", nil, "add an annotation to the manifest: `KEY=VALUE` (repeatable)")
	buildFetchFlag(f, &o.recipeOptions)
	f.BoolVar(smokeFlag(o))
	f.BoolVar(sbomFlag(o))
	signFlags(f, o)
	trustFlag(f, &o.recipeOptions)
}

// sbomFlag adds --sbom.
func sbomFlag(o *buildOptions) (v *bool, name string, value bool, usage string) {
	return &o.sbom, "sbom", true, "attach bills of materials to the pushed image, in SPDX and in CycloneDX (raybuild " +
		"sbom), and SLSA provenance; layers that were not read before are read for them"
}

// smokeFlag adds --smoke.
func smokeFlag(o *buildOptions) (v *bool, name string, value bool, usage string) {
	return &o.smoke, "smoke", true, "test the image before it gets its name: import its packages, or run the command " +
		"of the recipe's key smoke; if given, it overrides the recipe's smoke: false, and tests again what has " +
		"passed before"
}

// earlierFlag adds --earlier-image.
func earlierFlag(o *buildOptions) (v *bool, name string, value bool, usage string) {
	return &o.earlierImage, "earlier-image", false, "believe the recipe and the lock that are attached to an image " +
		"of an earlier raybuild; its manifest does not name them, so whoever may write to the repository can attach " +
		"others"
}

func pushRetryFlag(f *pflag.FlagSet, v *time.Duration) {
	f.DurationVar(v, "push-retry", 5*time.Minute, "how long a failing push is tried again without progress; 0: not at "+
		"all; without this flag, a registry that never answers is tried for 15 s")
}

// set notes which flags were given.
func (o *buildOptions) set(cmd *cobra.Command) {
	o.recipeOptions.set(cmd)
	o.frozenGiven, o.pushRetryGiven = cmd.Flags().Changed("frozen"), cmd.Flags().Changed("push-retry")
	o.smokeGiven = cmd.Flags().Changed("smoke")
}

// complete adds shell completion for the flags' values.
func (o *buildOptions) complete(cmd *cobra.Command) {
	for name, values := range map[string][]string{
		"progress":    progressModes(),
		"compression": {"gzip", "zstd", "estargz"},
		"fetch":       {fetchSession, fetchBuilder, bundleScheme},
		"output":      {"type=oci,dest=", "type=docker,dest=", "type=local,dest="},
		"platform":    {"linux/amd64", "linux/arm64"},
	} {
		completeValues(cmd, name, values, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace)
	}
	completeTrust(cmd)
}

func progressModes() []string { return []string{"auto", "tty", "plain", "quiet", "rawjson"} }

// completeValues adds shell completion for the values of one flag.
func completeValues(cmd *cobra.Command, flag string, values []string, how cobra.ShellCompDirective) {
	// The only possible error is an unknown flag.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, how))
}

// check parses the flags' texts and refuses values that make no sense.
func (o *buildOptions) check(a *app) error {
	if err := o.builderOptions.check(); err != nil {
		return err
	}
	if err := o.checkFetch(a, true); err != nil {
		return err
	}
	if err := o.checkReport(a); err != nil {
		return err
	}
	return o.parse(a)
}

func (o *buildOptions) parse(a *app) (err error) {
	p := &o.parsed
	if p.cacheFrom, err = caches("--cache-from", o.cacheFrom); err != nil {
		return err
	}
	if p.cacheTo, err = caches("--cache-to", o.cacheTo); err != nil {
		return err
	}
	if err = o.chooseCache(a); err != nil {
		return err
	}
	if p.outputs, err = a.outputs(o.outputs); err != nil {
		return err
	}
	if p.secrets, err = secrets(a, o.secrets); err != nil {
		return err
	}
	if p.labels, err = pairs("--label", o.labels); err != nil {
		return err
	}
	p.annotations, err = pairs("--annotation", o.annotations)
	return err
}

// pairs parses KEY=VALUE texts.
func pairs(flag string, texts []string) (map[string]string, error) {
	all := make(map[string]string, len(texts))
	for _, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		if !ok || strings.TrimSpace(key) != key || key == "" {
			return nil, usagef("%s %q: write it as KEY=VALUE", flag, text)
		}
		all[key] = value
	}
	return all, nil
}

// fields parses "type=x,dest=y" as buildx does: separated by commas, with CSV's quotes.
func fields(flag, text string, keys ...string) (map[string]string, error) {
	record, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return nil, usagef("%s: %w: write it as KEY=VALUE,KEY=VALUE", flag, err)
	}
	shown := withoutSecrets(record)
	all := make(map[string]string, len(record))
	for _, field := range record {
		key, value, ok := strings.Cut(field, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if !ok || key == "" {
			return nil, usagef("%s %q: one of its fields is not KEY=VALUE", flag, shown)
		}
		if len(keys) > 0 && !slices.Contains(keys, key) {
			return nil, usagef("%s %q: unknown key %q%s; it has %s", flag, shown, key, meant(key, keys),
				strings.Join(keys, ", "))
		}
		if _, twice := all[key]; twice {
			return nil, usagef("%s %q: %q is there twice", flag, shown, key)
		}
		all[key] = value
	}
	return all, nil
}

// withoutSecrets is a flag's text for a message. Only values of keys that never hold a secret are in it.
func withoutSecrets(record []string) string {
	plain := []string{"type", "dest", "id", "src", "source", "env", "ref", "mode", "scope", "region", "bucket", "name"}
	var out []string
	for _, field := range record {
		key, _, ok := strings.Cut(field, "=")
		switch {
		case !ok:
			field = "…"
		case !slices.Contains(plain, strings.ToLower(strings.TrimSpace(key))):
			field = key + "=…"
		}
		out = append(out, field)
	}
	return strings.Join(out, ",")
}

// caches parses cache entries. A plain reference is a cache in a registry.
func caches(flag string, texts []string) ([]llb.CacheEntry, error) {
	all := make([]llb.CacheEntry, 0, len(texts))
	for _, text := range texts {
		attrs := map[string]string{"type": "registry", "ref": text}
		if strings.Contains(text, "=") {
			var err error
			if attrs, err = fields(flag, text); err != nil {
				return nil, err
			}
		}
		kind := attrs["type"]
		delete(attrs, "type")
		all = append(all, llb.CacheEntry{Type: kind, Attrs: attrs})
	}
	return all, nil
}

// outputs parses --output.
func (a *app) outputs(texts []string) ([]raybuild.Output, error) {
	var all []raybuild.Output
	for _, text := range texts {
		f, err := fields("--output", text, "type", "dest")
		if err != nil {
			return nil, err
		}
		o := raybuild.Output{Type: f["type"], Path: f["dest"]}
		switch {
		case o.Path == "":
			return nil, usagef("--output %q: dest=PATH says where it is written", text)
		case o.Path == "-" && (o.Type == "local" || toStdout(all)):
			return nil, usagef("--output %q: only one tar can go to standard output", text)
		}
		if o.Path == "-" {
			o.To = a.stdout
		}
		all = append(all, o)
	}
	return all, nil
}

// toStdout tells whether an image goes to standard output. If so, nothing else may be written there.
func toStdout(all []raybuild.Output) bool {
	return slices.ContainsFunc(all, func(o raybuild.Output) bool { return o.To != nil })
}

// secrets parses --secret. Its file or variable must exist, so that a build does not fail late. The
// values are read when a step asks for them.
func secrets(a *app, texts []string) (map[string]func() ([]byte, error), error) {
	all := map[string]func() ([]byte, error){}
	for _, text := range texts {
		f, err := fields("--secret", text, "id", "src", "source", "env", "type")
		if err != nil {
			return nil, err
		}
		id, file, variable := f["id"], f["src"]+f["source"], f["env"]
		if id == "" || (file == "") == (variable == "") {
			return nil, usagef("--secret: write it as id=NAME,src=FILE or id=NAME,env=VARIABLE")
		}
		if _, twice := all[id]; twice {
			return nil, usagef("--secret: id %q is there twice", id)
		}
		if variable != "" {
			if a.getenv(variable) == "" {
				return nil, usagef("--secret %q: the variable %s is not set", text, variable)
			}
			all[id] = func() ([]byte, error) { return []byte(a.getenv(variable)), nil }
			continue
		}
		file = a.path(file)
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			return nil, usagef("--secret %q: cannot read the file %s", text, file)
		}
		all[id] = func() ([]byte, error) {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read secret: %w", err)
			}
			return data, nil
		}
	}
	return all, nil
}
