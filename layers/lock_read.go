package layers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// ParseLock reads a lock, YAML or JSON of the same keys. filename names it in
// errors. All problems come at once, as a *RecipeError.
func ParseLock(data []byte, filename string) (*Lock, error) {
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' && bytes.ContainsRune(data, '\t') && json.Valid(data) {
		// JSON may be indented with tabs, YAML may not.
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
	}
	root, bad := parseYAML(data, filename, lockLimits())
	if bad != nil {
		return nil, bad
	}
	if root == nil || root.kind != yamlMap {
		return nil, &RecipeError{Problems: []Problem{{File: filename, Message: "is not a lock", Fix: "remove it, and run raybuild lock"}}}
	}
	if v := root.get("version"); v != nil && v.text != strconv.Itoa(LockVersion) {
		return nil, &RecipeError{Problems: []Problem{{File: filename, Line: v.line, Column: v.col, Key: "version",
			Message: fmt.Sprintf("%s is not a version of the lock that this raybuild knows", quoteShort(v.text)),
			Fix:     fmt.Sprintf("use the raybuild that wrote it, or remove the file and run raybuild lock (this one writes version %d)", LockVersion)}}}
	}
	l := &Lock{Platforms: map[string]*LockPlatform{}}
	t := &lockReader{}
	t.lock(root, l)
	if err := t.err(); err != nil {
		return nil, err
	}
	return l, nil
}

type lockReader struct{ recipeReader }

func (t *lockReader) lock(n *yamlNode, l *Lock) {
	t.mapping(n, "",
		treeField{"version", t.number(func(v int64) { l.Version = int(v) })},
		treeField{"recipe", t.digest(&l.Recipe)},
		treeField{"platforms", func(n *yamlNode, key string) {
			if n.kind != yamlMap && n.kind != yamlNull {
				t.wrongKind(n, key, "a mapping")
				return
			}
			for _, p := range n.pairs {
				if name, ok := t.string(p.key, key, platformName); ok {
					l.Platforms[name] = &LockPlatform{}
					t.platform(p.value, joinKey(key, name), l.Platforms[name])
				}
			}
		}},
	)
	t.required(n, "", "version", "recipe", "platforms")
}

func (t *lockReader) platform(n *yamlNode, key string, p *LockPlatform) {
	t.mapping(n, key,
		treeField{"resolved", func(n *yamlNode, key string) {
			at, err := time.Parse(time.RFC3339, n.text)
			if n.kind != yamlText || err != nil {
				t.addAt(n, key, quoteShort(n.text)+" is not a time", "write it as in 2026-01-02T15:04:05Z")
				return
			}
			p.Resolved = at.UTC().Truncate(time.Second)
		}},
		treeField{"base", func(n *yamlNode, key string) { t.image(n, key, &p.Base) }},
		treeField{"tool", func(n *yamlNode, key string) { t.image(n, key, &p.Tool) }},
		treeField{"layers", func(n *yamlNode, key string) {
			seen := map[string]bool{}
			t.list(n, key, "a list of layers", func(n *yamlNode, key string) {
				layer := t.layer(n, key)
				if seen[layer.Name] && layer.Name != "" {
					t.addAt(n, key, fmt.Sprintf("the layer %q is there twice", layer.Name), "keep one of the two")
				}
				seen[layer.Name] = true
				p.Layers = append(p.Layers, layer)
			})
		}},
		treeField{"notes", t.texts(&p.Notes, linesText)},
	)
	t.required(n, key, "resolved", "base", "tool")
}

func (t *lockReader) image(n *yamlNode, key string, i *LockImage) {
	t.mapping(n, key,
		treeField{"reference", t.text(&i.Reference, baseReference)},
		treeField{"digest", t.digest(&i.Digest)},
		treeField{"id", t.text(&i.ID, freeText)},
		treeField{"release", t.text(&i.Release, freeText)},
		treeField{"codename", t.text(&i.Codename, freeText)},
		treeField{"glibc", t.text(&i.Glibc, freeText)},
		treeField{"layers", t.number(func(v int64) { i.Layers = int(v) })},
		treeField{"env", t.texts(&i.Env, lockVariable)},
		treeField{"apt_files", t.texts(&i.AptFiles, imagePath)},
		treeField{"dpkg_paths", t.texts(&i.DpkgPaths, dpkgFilterText)},
	)
	t.required(n, key, "reference", "digest")
}

// dpkgFilterText is one of dpkg's filters of paths.
func dpkgFilterText(s string) (string, string) {
	if kind, glob, _ := strings.Cut(s, "="); kind != "path-exclude" && kind != "path-include" || !strings.HasPrefix(glob, "/") {
		return quoteShort(s) + " is not a filter of dpkg's", "write path-exclude=/GLOB or path-include=/GLOB"
	}
	return linesText(s)
}

// lockVariable is a variable of a base image, which may be named as it likes.
func lockVariable(s string) (string, string) {
	if name, _, ok := strings.Cut(s, "="); !ok || name == "" {
		return quoteShort(s) + " is not a variable", "write NAME=VALUE"
	}
	return linesText(s)
}

func (t *lockReader) layer(n *yamlNode, key string) LockLayer {
	var l LockLayer
	t.mapping(n, key,
		treeField{"name", t.text(&l.Name, nameStep)},
		treeField{"inputs", t.digest(&l.Inputs)},
		treeField{"artifacts", func(n *yamlNode, key string) {
			t.list(n, key, "a list of artifacts", func(n *yamlNode, key string) {
				l.Artifacts = append(l.Artifacts, t.artifact(n, key))
			})
		}},
	)
	t.required(n, key, "name")
	return l
}

func (t *lockReader) artifact(n *yamlNode, key string) Artifact {
	var a Artifact
	t.mapping(n, key,
		treeField{"kind", t.text(&a.Kind, oneOf(KindDeb, KindInstaller, KindConda, KindWheel, KindSdist, KindFile))},
		treeField{"name", t.text(&a.Name, artifactWord)},
		treeField{"version", t.text(&a.Version, artifactWord)},
		treeField{"origin", t.text(&a.Origin, originText)},
		treeField{"path", t.text(&a.Path, freeText)},
		treeField{"sha256", t.text(&a.SHA256, nameSHA256)},
		treeField{"size", t.number(func(v int64) { a.Size = v })},
		treeField{"md5", t.text(&a.MD5, lockMD5)},
		treeField{"for", t.pairs(&a.For, nameStep, linesText)},
	)
	t.required(n, key, "kind", "name", "origin", "path", "sha256")
	grammar := artifactPath
	if a.Origin == originLocal {
		grammar = localPath
	}
	if p := n.get("path"); p != nil && a.Path != "" {
		if m, f := grammar(a.Path); m != "" {
			t.addAt(p, key+".path", m, f)
		}
	}
	return a
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

// originText is the name of a canonical source or channel, or a URL.
func originText(s string) (string, string) {
	if strings.Contains(s, "://") {
		return plainURL(s)
	}
	return nameChannel(s)
}

func lockMD5(s string) (string, string) {
	if !lockMD5RE().MatchString(s) {
		return quoteShort(s) + " is not an MD5 digest", "write 32 lower-case hex digits"
	}
	return "", ""
}

// digest reads a digest of the form sha256:HEX.
func (t *lockReader) digest(dst *digest.Digest) func(*yamlNode, string) {
	return func(n *yamlNode, key string) {
		s, ok := t.string(n, key, func(s string) (string, string) {
			hex, ok := strings.CutPrefix(s, "sha256:")
			if m, _ := nameSHA256(hex); !ok || m != "" {
				return quoteShort(s) + " is not a digest", "write sha256: and 64 lower-case hex digits"
			}
			return "", ""
		})
		if ok {
			*dst = digest.Digest(s)
		}
	}
}

// number reads a whole number that is not negative.
func (t *lockReader) number(set func(int64)) func(*yamlNode, string) {
	return func(n *yamlNode, key string) {
		v, err := strconv.ParseInt(n.text, 10, 53)
		if n.kind != yamlNumber || err != nil || v < 0 {
			t.addAt(n, key, quoteShort(n.text)+" is not a whole number", "write digits only")
			return
		}
		set(v)
	}
}
