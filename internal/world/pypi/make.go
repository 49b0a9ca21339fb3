package pypi

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/sync/errgroup"
)

// Options says what an index holds.
type Options struct {
	// Scale is the size of the big wheels. Default: Small.
	Scale Scale
	// Variants is how many further versions of torch there are. Default: none.
	Variants int
	// Code reads the machine code that fills the big wheels at Full. It is not called at other scales.
	Code func(context.Context) ([]byte, error)
	// RayVersions are the versions of the stand-in ray, Ray its Python package.
	RayVersions []string
	Ray         fs.FS
	// Wheels are paths of real wheels to carry as they are.
	Wheels []string
	// Log gets one line when something is made. Default: nowhere.
	Log func(format string, args ...any)
}

// File is a file of the index.
type File struct {
	// Project is the normalised name, Name the file's name.
	Project, Name string
	// SHA256 is the file's digest in hex; Path is its path under packages/.
	SHA256, Path string
	// RequiresPython is as in METADATA. MetadataSHA256 is empty where there is no .metadata file.
	RequiresPython, MetadataSHA256 string
	// Size in bytes.
	Size int64
}

// Index is a made index: files below Dir, at the paths that their URLs have.
type Index struct {
	Dir   string
	Files []File
}

// Make makes the public index and the own one (with the project world-extra alone) below dir, or finds
// them there.
func Make(ctx context.Context, dir string, o Options) (public, extra *Index, err error) {
	if o.Scale == "" {
		o.Scale = Small
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	rayFiles, err := readRay(o.Ray)
	if err != nil {
		return nil, nil, fmt.Errorf("read the stand-in ray: %w", err)
	}
	var code *machineCode
	if o.Scale == Full {
		if code, err = readCode(ctx, o.Code); err != nil {
			return nil, nil, err
		}
	}
	key, err := o.key(rayFiles, code)
	if err != nil {
		return nil, nil, err
	}
	dir = filepath.Join(dir, "pypi-"+string(o.Scale)+"-"+key)
	if public, extra, err = load(dir); err == nil {
		return public, extra, nil
	}
	o.Log("make wheels (%s)", o.Scale)
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return nil, nil, err
	}
	var projects []Project
	for _, v := range o.RayVersions {
		projects = append(projects, ray(v, rayFiles, o.Scale))
	}
	projects = append(projects, frameworks(o.Scale, o.Variants)...)
	for i := range projects {
		projects[i].code = code
	}
	projects = append(projects, odd()...)
	projects = append(projects, smallProjects()...)
	if err := makeIndex(ctx, filepath.Join(tmp, "public"), projects, o.Wheels, true); err != nil {
		return nil, nil, err
	}
	own := []Project{{Name: "world-extra", Version: "1.0", Summary: "Stand-in for tests: a project of an own index",
		Requires: []string{"six"}}}
	if err := makeIndex(ctx, filepath.Join(tmp, "extra"), own, nil, false); err != nil {
		return nil, nil, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return nil, nil, err
	}
	return load(dir)
}

// key is the digest of all that goes into the indexes.
func (o Options) key(rayFiles map[string][]byte, code *machineCode) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(sources, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		data, err := sources.ReadFile(name)
		_, _ = fmt.Fprintf(sum, "%s %d\n%s", name, len(data), data)
		return err
	})
	if err != nil {
		return "", err
	}
	for _, name := range sortedKeys(rayFiles) {
		_, _ = fmt.Fprintf(sum, "%s %d\n%s", name, len(rayFiles[name]), rayFiles[name])
	}
	_, _ = fmt.Fprintf(sum, "%q %d", o.RayVersions, o.Variants)
	if code != nil {
		_, _ = sum.Write(code.bytes)
	}
	for _, w := range o.Wheels {
		data, err := os.ReadFile(w)
		if err != nil {
			return "", fmt.Errorf("read wheel: %w", err)
		}
		_, _ = fmt.Fprintf(sum, "%s %x\n", filepath.Base(w), sha256.Sum256(data))
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

func load(dir string) (public, extra *Index, err error) {
	read := func(name string) (*Index, error) {
		i := &Index{Dir: filepath.Join(dir, name)}
		data, err := os.ReadFile(filepath.Join(i.Dir, "index.json"))
		if err != nil {
			return nil, err
		}
		return i, json.Unmarshal(data, &i.Files)
	}
	if public, err = read("public"); err != nil {
		return nil, nil, err
	}
	extra, err = read("extra")
	return public, extra, err
}

func makeIndex(ctx context.Context, dir string, projects []Project, wheels []string, withSdists bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := make([]File, len(projects))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range projects {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			files[i], err = p.placeWheel(dir)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, w := range wheels {
		f, err := placeReal(dir, w)
		if err != nil {
			return fmt.Errorf("take wheel %q: %w", filepath.Base(w), err)
		}
		files = append(files, f)
	}
	for _, s := range sdists() {
		if !withSdists {
			break
		}
		f, err := place(dir, s.name+"-"+sdistVersion+".tar.gz", s.write)
		if err != nil {
			return fmt.Errorf("make sdist: %w", err)
		}
		f.Project, f.RequiresPython = s.name, ">=3.6"
		files = append(files, f)
	}
	data, err := json.MarshalIndent(files, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.json"), data, 0o644)
}

// placeWheel writes a project's wheel and metadata.
func (p Project) placeWheel(dir string) (File, error) {
	f, err := place(dir, p.FileName(), p.WriteWheel)
	if err != nil {
		return f, fmt.Errorf("make wheel %q: %w", p.FileName(), err)
	}
	f.Project, f.RequiresPython = Normal(p.Name), p.Python
	if p.NoMetadata {
		return f, nil
	}
	return f, f.writeMetadata(dir, p.Metadata())
}

// placeReal carries a wheel that was not made here.
func placeReal(dir, wheel string) (File, error) {
	data, err := os.ReadFile(wheel)
	if err != nil {
		return File{}, err
	}
	f, err := place(dir, filepath.Base(wheel), func(w io.Writer) error { _, err := w.Write(data); return err })
	if err != nil {
		return f, err
	}
	name, _, _ := strings.Cut(f.Name, "-")
	f.Project = Normal(name)
	zr, err := zip.OpenReader(wheel)
	if err != nil {
		return f, err
	}
	defer func() { _ = zr.Close() }()
	for _, zf := range zr.File {
		if !strings.HasSuffix(zf.Name, ".dist-info/METADATA") || strings.Count(zf.Name, "/") != 1 {
			continue
		}
		r, err := zf.Open()
		if err != nil {
			return f, err
		}
		meta, err := io.ReadAll(r)
		if err != nil {
			return f, err
		}
		for line := range strings.Lines(string(meta)) {
			if v, ok := strings.CutPrefix(line, "Requires-Python:"); ok {
				f.RequiresPython = strings.TrimSpace(v)
			}
		}
		return f, f.writeMetadata(dir, meta)
	}
	return f, fmt.Errorf("no METADATA in it")
}

// place writes a file to where its URL will say: packages/aa/bb/<rest of its BLAKE2b digest>/<name>, as
// on PyPI.
func place(dir, name string, write func(io.Writer) error) (File, error) {
	tmp, err := os.CreateTemp(dir, "tmp-*")
	if err != nil {
		return File{}, err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	defer func() { _ = tmp.Close() }()
	sum := sha256.New()
	blake, err := blake2b.New256(nil)
	if err != nil {
		return File{}, err
	}
	if err := write(io.MultiWriter(tmp, sum, blake)); err != nil {
		return File{}, err
	}
	size, err := tmp.Seek(0, io.SeekCurrent)
	if err != nil {
		return File{}, err
	}
	b := hex.EncodeToString(blake.Sum(nil))
	f := File{Name: name, SHA256: hex.EncodeToString(sum.Sum(nil)), Size: size, Path: b[:2] +
		"/" + b[2:4] + "/" + b[4:] + "/" + name}
	to := filepath.Join(dir, "packages", filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return File{}, err
	}
	if err := os.Chmod(tmp.Name(), 0o644); err != nil {
		return File{}, err
	}
	return f, os.Rename(tmp.Name(), to)
}

func (f *File) writeMetadata(dir string, meta []byte) error {
	f.MetadataSHA256 = fmt.Sprintf("%x", sha256.Sum256(meta))
	return os.WriteFile(filepath.Join(dir, "packages", filepath.FromSlash(f.Path)+".metadata"), meta, 0o644)
}
