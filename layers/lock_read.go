package layers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// ParseLock reads a lock in YAML, or in JSON with the same keys. filename names it in errors. All
// problems come at once, as a *RecipeError.
func ParseLock(data []byte, filename string) (*Lock, error) {
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' && bytes.ContainsRune(data, '\t') &&
		json.Valid(data) {
		// JSON may be indented with tabs, YAML may not.
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
	}
	root, problems := strictyaml.Parse(data, filename, lockLimits())
	t := &lockReader{}
	t.Tell(problems...)
	if root == nil && len(problems) > 0 {
		return nil, recipeError(t.Err())
	}
	if root == nil || root.Kind != strictyaml.Mapping {
		return nil, &RecipeError{
			Problems: []Problem{{File: filename, Message: "is not a lock", Fix: "remove it, and run raybuild lock"}},
		}
	}
	if v := root.Get("version"); v != nil && v.Text != strconv.Itoa(LockVersion) {
		return nil, &RecipeError{Problems: []Problem{{File: filename, Line: v.Line, Column: v.Column, Key: "version",
			Message: fmt.Sprintf("%s is not a version of the lock that this raybuild knows", quoteShort(v.Text)),
			Fix: fmt.Sprintf("use the raybuild that wrote it, or remove the file and run raybuild lock (this one "+
				"writes version %d)", LockVersion)}}}
	}
	l := &Lock{Platforms: map[string]*LockPlatform{}}
	t.Read(root, "", lockValue(l))
	if err := recipeError(t.Err()); err != nil {
		return nil, err
	}
	return l, nil
}

// lockLimits are for what a machine writes: some ten thousand artifacts.
func lockLimits() strictyaml.Limits {
	return strictyaml.Limits{Bytes: 16 << 20, Depth: 32, Tokens: 1_500_000}
}

// lockReader reads a lock.
type lockReader struct{ strictyaml.Reader }

func lockValue(l *Lock) strictyaml.Value {
	return strictyaml.Map(
		strictyaml.Key{Name: "version", Required: true, Value: strictyaml.Int(&l.Version, 0, strictyaml.MaxInt)},
		strictyaml.Key{Name: "recipe", Required: true, Value: digestValue(&l.Recipe)},
		strictyaml.Key{Name: "platforms", Required: true,
			Value: strictyaml.Entries(grammarPlatform(), func(name string) strictyaml.Value {
				p := &LockPlatform{}
				l.Platforms[name] = p
				return strictyaml.Map(lockPlatformKeys(p)...)
			})},
	)
}

func lockPlatformKeys(p *LockPlatform) []strictyaml.Key {
	seen := map[string]bool{}
	oneLayer := func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		var layer LockLayer
		t.Read(n, key, strictyaml.Map(lockLayerKeys(&layer)...))
		if seen[layer.Name] && layer.Name != "" {
			t.AddAt(n, key, fmt.Sprintf("the layer %q is there twice", layer.Name), "keep one of the two")
		}
		seen[layer.Name] = true
		p.Layers = append(p.Layers, layer)
	}
	return []strictyaml.Key{
		{Name: "resolved", Required: true, Value: timeValue(&p.Resolved)},
		{Name: "base", Required: true, Value: strictyaml.Map(lockImageKeys(&p.Base)...)},
		{Name: "tool", Required: true, Value: strictyaml.Map(lockImageKeys(&p.Tool)...)},
		{Name: "layers", Value: strictyaml.Items("a list of layers", strictyaml.Func(nil, oneLayer))},
		{Name: "notes", Value: strictyaml.Strings(&p.Notes, grammarLines())},
	}
}

func lockImageKeys(i *LockImage) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "reference", Required: true, Value: strictyaml.String(&i.Reference, grammarBase())},
		{Name: "digest", Required: true, Value: digestValue(&i.Digest)},
		{Name: "id", Value: strictyaml.String(&i.ID, grammarOneLine())},
		{Name: "release", Value: strictyaml.String(&i.Release, grammarOneLine())},
		{Name: "codename", Value: strictyaml.String(&i.Codename, grammarOneLine())},
		{Name: "glibc", Value: strictyaml.String(&i.Glibc, grammarOneLine())},
		{Name: "layers", Value: strictyaml.Int(&i.Layers, 0, strictyaml.MaxInt)},
		{Name: "layer_digests", Value: strictyaml.ListOf(&i.LayerDigests, "a list of digests", digestValue)},
		{Name: "diff_ids", Value: strictyaml.ListOf(&i.DiffIDs, "a list of digests", digestValue)},
		{Name: "env", Value: strictyaml.Strings(&i.Env, strictyaml.Grammar{Check: lockVariable})},
		{Name: "apt_files", Value: strictyaml.Strings(&i.AptFiles, grammarImagePath())},
		{Name: "dpkg_paths", Value: strictyaml.Strings(&i.DpkgPaths, strictyaml.Grammar{Check: dpkgFilterText})},
	}
}

func lockLayerKeys(l *LockLayer) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "name", Required: true, Value: strictyaml.String(&l.Name, nameStep)},
		{Name: "inputs", Value: digestValue(&l.Inputs)},
		{Name: "artifacts", Value: strictyaml.ListOf(&l.Artifacts, "a list of artifacts", artifactValue)},
	}
}

func artifactValue(a *Artifact) strictyaml.Value {
	keys := strictyaml.Map(
		strictyaml.Key{Name: "kind", Required: true, Value: strictyaml.String(&a.Kind,
			strictyaml.OneOf("a kind", KindDeb, KindInstaller, KindConda, KindWheel, KindSdist, KindFile))},
		strictyaml.Key{Name: "name", Required: true,
			Value: strictyaml.String(&a.Name, strictyaml.Grammar{Check: artifactWord})},
		strictyaml.Key{Name: "version", Value: strictyaml.String(&a.Version, strictyaml.Grammar{Check: artifactWord})},
		strictyaml.Key{Name: "origin", Required: true,
			Value: strictyaml.String(&a.Origin, strictyaml.Grammar{Check: originText})},
		strictyaml.Key{Name: "path", Required: true, Value: strictyaml.String(&a.Path, grammarOneLine())},
		strictyaml.Key{Name: "sha256", Required: true, Value: strictyaml.String(&a.SHA256, nameSHA256)},
		strictyaml.Key{Name: "size", Value: strictyaml.Int(&a.Size, 0, strictyaml.MaxInt)},
		strictyaml.Key{Name: "md5", Value: strictyaml.String(&a.MD5, strictyaml.Grammar{Check: lockMD5})},
		strictyaml.Key{Name: "layer", Value: strictyaml.String(&a.Layer, strictyaml.Grammar{Check: sharedLayer})},
		strictyaml.Key{Name: "for", Value: strictyaml.Pairs(&a.For, nameStep, grammarLines())},
	)
	return strictyaml.Func(keys.Shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		t.Read(n, key, keys)
		grammar := artifactPath
		if a.Origin == originLocal {
			grammar = localPath
		}
		if p := n.Get("path"); p != nil && a.Path != "" {
			if m, f := grammar(a.Path); m != "" {
				t.AddAt(p, key+".path", m, f)
			}
		}
	})
}

// timeValue reads a time, to the second.
func timeValue(dst *time.Time) strictyaml.Value {
	return strictyaml.Func(nil, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		at, err := time.Parse(time.RFC3339, n.Text)
		if n.Kind != strictyaml.Text || err != nil {
			t.AddAt(n, key, quoteShort(n.Text)+" is not a time", "write it as in 2026-01-02T15:04:05Z")
			return
		}
		*dst = at.UTC().Truncate(time.Second)
	})
}

// digestValue reads a digest of the form sha256:HEX.
func digestValue(dst *digest.Digest) strictyaml.Value {
	return strictyaml.Each(strictyaml.Grammar{Check: digestText}, func(s string) { *dst = digest.Digest(s) })
}

func digestText(s string) (string, string) {
	hex, ok := strings.CutPrefix(s, "sha256:")
	if m, _ := nameSHA256.Check(hex); !ok || m != "" {
		return quoteShort(s) + " is not a digest", "write sha256: and 64 lower-case hex digits"
	}
	return "", ""
}

// dpkgFilterText is one of dpkg's filters of paths.
func dpkgFilterText(s string) (string, string) {
	if kind, glob, _ := strings.Cut(s, "="); kind != "path-exclude" && kind != "path-include" ||
		!strings.HasPrefix(glob, "/") {
		return quoteShort(s) + " is not a filter of dpkg's", "write path-exclude=/GLOB or path-include=/GLOB"
	}
	return strictyaml.Lines(s)
}

// lockVariable is a variable of a base image, which may be named as it likes.
func lockVariable(s string) (string, string) {
	if name, _, ok := strings.Cut(s, "="); !ok || name == "" {
		return quoteShort(s) + " is not a variable", "write NAME=VALUE"
	}
	return strictyaml.Lines(s)
}

var (
	artifactWordRE = lazy(`^[A-Za-z0-9_.][A-Za-z0-9_.+~:!*=-]*$`)
	artifactPathRE = lazy(`^[A-Za-z0-9._~+%@:=,!()-]+(/[A-Za-z0-9._~+%@:=,!()-]+)*$`)
	lockMD5RE      = lazy(`^[0-9a-f]{32}$`)
)

// artifactWord is a package's name or version, whichever the package system: it
// reaches command lines and must not look like an option.
func artifactWord(s string) (string, string) {
	if !artifactWordRE().MatchString(s) || len(s) > 256 {
		return quoteShort(s) + " is not a name or version of a package", "run raybuild lock to write the lock anew"
	}
	return "", ""
}

func artifactPath(s string) (string, string) {
	ok := artifactPathRE().MatchString(s) && len(s) <= 1024
	for _, e := range strings.Split(s, "/") {
		ok = ok && e != "." && e != ".."
	}
	if !ok {
		return quoteShort(s) + " is not a path below an origin", "run raybuild lock to write the lock anew"
	}
	return "", ""
}

// originText is the name of a canonical source or channel, or a URL, which may be that of a git repository.
func originText(s string) (string, string) {
	if strings.Contains(s, "://") {
		return plainURL(strings.TrimPrefix(s, gitScheme))
	}
	return nameChannel.Check(s)
}

// sharedLayer is the name of a layer that small wheels share.
func sharedLayer(s string) (string, string) {
	if n, ok := layerNumber(s); !ok || n > mostBudget || s != layerName(n) {
		return quoteShort(s) + " is not a layer that wheels share",
			fmt.Sprintf("write pip-1 to pip-%d, or run raybuild lock to write the lock anew", mostBudget)
	}
	return "", ""
}

func lockMD5(s string) (string, string) {
	if !lockMD5RE().MatchString(s) {
		return quoteShort(s) + " is not an MD5 digest", "write 32 lower-case hex digits"
	}
	return "", ""
}
