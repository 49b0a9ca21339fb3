package channel

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // conda's formats name packages by MD5 beside SHA-256
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Made is what Make made.
type Made struct {
	// Dir holds anaconda/ and miniforge/ as they are served.
	Dir string `json:"-"`
	// Installers are the installers, Wheels paths of the real wheels: Debian's, and those of [Options.Wheels].
	Installers []Installer
	Wheels     []string
}

// ServeHTTP serves what mirrors have below /anaconda: pkgs/main, cloud/conda-forge and miniconda.
func (m *Made) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.FileServer(http.Dir(filepath.Join(m.Dir, "anaconda"))).ServeHTTP(w, r)
}

// Miniforge serves the Miniforge-named installers at /<version>/<file>.
func (m *Made) Miniforge() http.Handler {
	return http.FileServer(http.Dir(filepath.Join(m.Dir, "miniforge")))
}

// Options say what a channel is made of.
type Options struct {
	// Variants is how many further versions of Python and installer there are.
	Variants int
	// Find gives the path of a Debian package by its name. Required.
	Find func(string) (string, error)
	// Wheels are files of pure Python wheels that become packages beside Debian's.
	Wheels []string
	// Log is told what is made. Required.
	Log func(string, ...any)
}

// Make makes channels and installers below dir, or finds them there. It needs dpkg and, for the
// stand-in conda, the go command and this module's sources.
func Make(ctx context.Context, dir string, o Options) (*Made, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	key, err := makeKey(root, o)
	if err != nil {
		return nil, err
	}
	if o.Variants > 0 {
		key += fmt.Sprintf("-%d", o.Variants)
	}
	dir = filepath.Join(dir, "channel-"+key)
	if m, err := open(dir); err == nil {
		return m, nil
	}
	o.Log("make conda channel and installers")
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, err
	}
	b := builder{find: o.Find, root: root, dir: tmp, final: dir, variants: o.Variants, wheels: o.Wheels}
	if err := b.build(ctx); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return nil, err
	}
	return open(dir)
}

func open(dir string) (*Made, error) {
	data, err := os.ReadFile(filepath.Join(dir, "made.json"))
	if err != nil {
		return nil, err
	}
	m := &Made{Dir: dir}
	return m, json.Unmarshal(data, m)
}

// makeKey is the digest of all that goes into the channel.
func makeKey(root string, o Options) (string, error) {
	sum := sha256.New()
	add := func(fsys fs.FS) error {
		return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
				return err
			}
			data, err := fs.ReadFile(fsys, name)
			_, _ = fmt.Fprintf(sum, "%s %d\n%s", name, len(data), data)
			return err
		})
	}
	if err := add(sources); err != nil {
		return "", err
	}
	for _, d := range []string{"conda", "where"} {
		if err := add(os.DirFS(filepath.Join(root, "internal", "world", d))); err != nil {
			return "", err
		}
	}
	for _, name := range DebianPackages() {
		file, err := o.Find(name)
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintln(sum, filepath.Base(file))
	}
	for _, wheel := range o.Wheels {
		_, _ = fmt.Fprintln(sum, filepath.Base(wheel))
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// builder makes everything in dir, which will be called final.
type builder struct {
	find             func(string) (string, error)
	root, dir, final string
	variants         int
	wheels           []string
	made             Made
}

func (b *builder) build(ctx context.Context) error {
	conda, where, err := b.programs(ctx)
	if err != nil {
		return err
	}
	packages, err := b.packages(ctx, conda, where)
	if err != nil {
		return err
	}
	for _, ch := range []string{"anaconda/pkgs/main", "anaconda/cloud/conda-forge"} {
		if err := writeChannel(filepath.Join(b.dir, filepath.FromSlash(ch)), packages); err != nil {
			return fmt.Errorf("write channel %q: %w", ch, err)
		}
	}
	for _, s := range b.installers() {
		root := filepath.Join(b.dir, "anaconda", "miniconda")
		if s.distribution == "miniforge" {
			root = filepath.Join(b.dir, "miniforge")
		}
		in, err := writeInstaller(root, s, conda, basePackages(packages, s.conda))
		if err != nil {
			return fmt.Errorf("write installer %q: %w", s.version, err)
		}
		b.made.Installers = append(b.made.Installers, in)
		if s.distribution == "miniforge" {
			// A mirror of one's own has all installers side by side.
			if err := os.Link(filepath.Join(root, filepath.FromSlash(in.Path)),
				filepath.Join(b.dir, "anaconda", "miniconda", in.File)); err != nil {
				return err
			}
		}
	}
	if err := b.listInstallers(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.dir, "made.json"), jsonBytes(b.made), 0o644)
}

// packages makes all packages' archives in memory.
func (b *builder) packages(ctx context.Context, conda, where []byte) ([]made, error) {
	python, err := pythonFiles(ctx, b.find)
	if err != nil {
		return nil, err
	}
	if python, err = withByteCode(ctx, python); err != nil {
		return nil, err
	}
	list := append(pythonPackages(python, b.variants), oddities(where)...)
	wheels, err := b.wheelPackages(ctx)
	if err != nil {
		return nil, err
	}
	list = append(list, wheels...)
	certs, err := certificates(ctx, b.find)
	if err != nil {
		return nil, err
	}
	list = append(list, certs)
	for _, s := range b.installers() {
		list = append(list, condaPackage(s.conda, conda))
	}
	var out []made
	for _, p := range list {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var w bytes.Buffer
		if err := p.write(&w); err != nil {
			return nil, fmt.Errorf("write package %q: %w", p.dist(), err)
		}
		m := md5.Sum(w.Bytes()) //nolint:gosec // as above
		s := sha256.Sum256(w.Bytes())
		out = append(out, made{pkg: p, data: w.Bytes(), md5: hex.EncodeToString(m[:]),
			sha256: hex.EncodeToString(s[:])})
	}
	return out, nil
}

// wheelPackages makes packages of Debian's wheels, and of those that were given.
func (b *builder) wheelPackages(ctx context.Context) ([]*pkg, error) {
	var list []*pkg
	wheels := filepath.Join(b.dir, "wheels")
	if err := os.MkdirAll(wheels, 0o755); err != nil {
		return nil, err
	}
	for _, deb := range wheelDebs {
		var points []string
		switch {
		case strings.Contains(deb, "-pip-"):
			points = []string{"pip = pip._internal.cli.main:main", "pip3 = pip._internal.cli.main:main"}
		case strings.Contains(deb, "-wheel-"):
			points = []string{"wheel = wheel.cli:main"}
		}
		p, wheel, err := wheelPackage(ctx, b.find, deb, wheels, points...)
		if err != nil {
			return nil, err
		}
		b.made.Wheels = append(b.made.Wheels, filepath.Join(b.final, "wheels", filepath.Base(wheel)))
		list = append(list, p)
	}
	for _, file := range b.wheels {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		p, err := packageOf(filepath.Base(file), data, "PyPI's wheel")
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(wheels, filepath.Base(file)), data, 0o644); err != nil {
			return nil, err
		}
		b.made.Wheels = append(b.made.Wheels, filepath.Join(b.final, "wheels", filepath.Base(file)))
		list = append(list, p)
	}
	return list, nil
}

// basePackages are those of an installer's base environment.
func basePackages(all []made, conda string) []made {
	var out []made
	for _, m := range all {
		switch m.name {
		case "conda":
			if m.version == conda {
				out = append(out, m)
			}
		case "python":
			if m.version == "3.11.2" {
				out = append(out, m)
			}
		case "pip", "setuptools", "wheel", "ca-certificates":
			if strings.Contains(m.summary, "Debian") {
				out = append(out, m)
			}
		}
	}
	return out
}

// writeChannel writes repodata and archives of one channel.
func writeChannel(dir string, packages []made) error {
	for _, subdir := range []string{"linux-64", "noarch"} {
		to := filepath.Join(dir, subdir)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		bz2, conda := map[string]any{}, map[string]any{}
		for _, m := range packages {
			if m.subdir() != subdir {
				continue
			}
			record := m.index()
			record["md5"], record["sha256"], record["size"] = m.md5, m.sha256, len(m.data)
			// Repodata has no null platform keys; info/index.json has.
			for _, k := range []string{"arch", "platform"} {
				delete(record, k)
			}
			if m.bz2 {
				bz2[m.file()] = record
			} else {
				conda[m.file()] = record
			}
			if err := os.WriteFile(filepath.Join(to, m.file()), m.data, 0o644); err != nil {
				return err
			}
		}
		repodata := jsonBytes(map[string]any{"info": map[string]any{"subdir": subdir}, "packages": bz2,
			"packages.conda": conda, "removed": []string{}, "repodata_version": 1})
		if err := os.WriteFile(filepath.Join(to, "repodata.json"), repodata, 0o644); err != nil {
			return err
		}
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, "repodata.json.zst"), enc.EncodeAll(repodata, nil),
			0o644); err != nil {
			return err
		}
	}
	return nil
}

// listInstallers writes the page that names the installers and their digests, as the table of
// repo.anaconda.com/miniconda does.
func (b *builder) listInstallers() error {
	var page strings.Builder
	page.WriteString("<!DOCTYPE html>\n<html><head><title>Index of stand-in installers</title></head><body>\n" +
		"<table>\n<tr><th>Filename</th><th>Size</th><th>SHA256</th></tr>\n")
	list := slices.DeleteFunc(slices.Clone(b.made.Installers),
		func(i Installer) bool { return i.Distribution != "miniconda" })
	for _, i := range list {
		name := html.EscapeString(i.File)
		fmt.Fprintf(&page, "<tr><td><a href=\"%s\">%s</a></td><td>%d</td><td>%s</td></tr>\n", name, name,
			i.Size, i.SHA256)
	}
	page.WriteString("</table>\n</body></html>\n")
	return os.WriteFile(filepath.Join(b.dir, "anaconda", "miniconda", "index.html"), []byte(page.String()), 0o644)
}
