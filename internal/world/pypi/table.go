package pypi

import (
	"fmt"
	"io/fs"
	"strings"
)

// Scale is the size of the big stand-in wheels.
type Scale string

// Small makes ray 1 MB and the frameworks 3 MB; Full makes ray 70 MB and the frameworks 300 and 600
// MB, near the real ones' sizes; Tenth is a tenth of that. What is in them is incompressible, but at
// Full, where it is machine code: packing real wheels costs what it does because they unpack to 2.5
// times their size.
const (
	Small Scale = "small"
	Tenth Scale = "tenth"
	Full  Scale = "full"
)

func (s Scale) bytes(small, full int64) int64 {
	switch s {
	case Full:
		return full
	case Tenth:
		return full / 10
	}
	return small
}

const mb = 1 << 20

// rayCore and rayExtras are what Ray 2.5x's own setup.py names; read in its history for
// the extras of 2.49 to 2.55 (python/setup.py of ray-project/ray).
var (
	rayCore = []string{"click>=7.0", "filelock", "jsonschema", "msgpack<2.0.0,>=1.0.0", "packaging",
		"protobuf>=3.20.3", "pyyaml", "requests"}
	rayTune  = []string{"pandas", "tensorboardX>=1.9", "requests", "pyarrow>=9.0.0", "fsspec", "pydantic>=2.5"}
	rayServe = []string{"uvicorn[standard]", "starlette", "fastapi", "watchfiles"}
	rayDef   = []string{"aiohttp>=3.7", "aiohttp_cors", "colorful", "py-spy>=0.4.0", "grpcio>=1.42.0", "opencensus",
		"opentelemetry-sdk>=1.30.0", "opentelemetry-exporter-prometheus", "opentelemetry-proto", "pydantic>=2.5",
		"prometheus_client>=0.7.1", "smart_open", "virtualenv>=20.0.24"}
	rayData   = []string{"numpy>=1.20", "pandas>=1.3", "pyarrow>=9.0.0", "fsspec"}
	rayRLlib  = []string{"dm_tree", "gymnasium==1.1.1", "lz4", "ormsgpack==1.7.0", "pyyaml", "scipy"}
	rayClient = []string{"grpcio"}
)

func rayExtras() map[string][]string {
	join := func(lists ...[]string) []string {
		seen := map[string]bool{}
		var out []string
		for _, l := range lists {
			for _, r := range l {
				if !seen[r] {
					seen[r] = true
					out = append(out, r)
				}
			}
		}
		return out
	}
	return map[string][]string{
		"default": rayDef, "tune": rayTune, "train": rayTune, "data": rayData, "client": rayClient,
		"rllib": join(rayTune, rayRLlib), "serve": join(rayServe, rayDef),
		"all": join(rayDef, rayTune, rayRLlib, rayData, rayServe, rayClient),
	}
}

// ray is one version of the stand-in ray: files is its Python package.
func ray(version string, files map[string][]byte, scale Scale) Project {
	p := Project{
		Name: "ray", Version: version, Summary: "Stand-in for tests; not Ray", Python: ">=3.9",
		Requires: rayCore, Extras: rayExtras(), Imports: []string{"ray"},
		Scripts: map[string]string{"ray": "ray.scripts.scripts:main"},
		Tag:     "py3-none-manylinux2014_x86_64", Payload: scale.bytes(1*mb, 70*mb),
		Files: map[string][]byte{"ray/_version.py": []byte("version = \"" + version + "\"\ncommit = \"stand-in\"\n")},
	}
	for name, data := range files {
		p.Files["ray/"+name] = data
	}
	return p
}

// readRay reads the stand-in ray's Python package, without the Go file beside it.
func readRay(src fs.FS) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(src, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, ".go") || strings.Contains(name, "__pycache__") {
			return err
		}
		files[name], err = fs.ReadFile(src, name)
		return err
	})
	return files, err
}

// TorchVariant is the n-th further version of torch, from 1.
func TorchVariant(n int) string { return fmt.Sprintf("2.5.%d", n+1) }

// frameworks are the big wheels.
func frameworks(scale Scale, variants int) []Project {
	torch := Project{Name: "torch", Version: TorchVariant(0), Python: ">=3.8.0", Tag: "cp311-cp311-manylinux1_x86_64",
		Payload:  scale.bytes(3*mb, 300*mb),
		Requires: []string{"filelock", "typing-extensions>=4.8.0", "networkx", "jinja2", "fsspec", "sympy==1.13.1"}}
	out := []Project{
		{Name: "tensorflow", Version: "2.18.0", Python: ">=3.9",
			Tag: "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", Payload: scale.bytes(3*mb, 600*mb),
			Requires: []string{"absl-py>=1.0.0", "astunparse>=1.6.0", "flatbuffers>=24.3.25", "gast>=0.4.0",
				"numpy>=1.26.0", "protobuf>=3.20.3", "requests<3,>=2.21.0", "six>=1.12.0", "termcolor>=1.1.0",
				"typing-extensions>=3.6.6", "wrapt>=1.11.0", "grpcio<2.0,>=1.24.3", "keras>=3.5.0"}},
		torch,
	}
	for i := range variants {
		torch.Version = TorchVariant(i + 1)
		out = append(out, torch)
	}
	return out
}

// odd are the projects that exist to be awkward.
func odd() []Project {
	return []Project{
		{Name: "wrong-platform", Version: "1.0", Tag: "cp311-cp311-win_amd64",
			Summary: "Stand-in for tests: a wheel of another platform only"},
		{Name: "too-new-python", Version: "1.0", Python: ">=3.99",
			Summary: "Stand-in for tests: needs a Python that is not there"},
		{Name: "conflicting-pkg", Version: "1.0", Requires: []string{"requests<2"},
			Summary: "Stand-in for tests: asks for a requests that is not there"},
		{Name: "no-metadata-pkg", Version: "1.0", NoMetadata: true, Requires: []string{"six", "packaging"},
			Summary: "Stand-in for tests: an index without PEP 658 metadata"},
	}
}

// small parses one line of the table: name version [imports=a,b] [python=…] [nometa] [script=a:b.c:d]
// [size=BYTES] [| requirement; requirement…].
func small(line string) Project {
	head, reqs, _ := strings.Cut(line, "|")
	fields := strings.Fields(head)
	p := Project{Name: fields[0], Version: fields[1]}
	for _, f := range fields[2:] {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "imports":
			p.Imports = strings.Split(value, ",")
		case "python":
			p.Python = value
		case "nometa":
			p.NoMetadata = true
		case "tag":
			p.Tag = value
		case "size":
			for _, c := range value {
				p.Payload = p.Payload*10 + int64(c-'0')
			}
		case "script":
			name, target, _ := strings.Cut(value, ":")
			p.Scripts = map[string]string{name: target}
			module, function, _ := strings.Cut(target, ":")
			p.Files = map[string][]byte{
				strings.ReplaceAll(module, ".", "/") + ".py": []byte("\"\"\"Stand-in for tests; not " +
					p.Name + ".\"\"\"\n\n\ndef " + function + "():\n    print(\"stand-in of " +
					p.Name + " " + p.Version + "\")\n"),
			}
		}
	}
	for r := range strings.SplitSeq(reqs, ";") {
		if r = strings.TrimSpace(r); r != "" {
			p.Requires = append(p.Requires, r)
		}
	}
	return p
}
