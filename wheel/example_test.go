package wheel_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"

	"github.com/raybuild/raybuild/wheel"
)

// small is a wheel of one module and one command.
func small() []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range [][2]string{
		{"hello.py", "def main():\n    print(\"hello\")\n"},
		{"hello-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n"},
		{"hello-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"hello-1.0.dist-info/entry_points.txt", "[console_scripts]\nhello = hello:main\n"},
		{"hello-1.0.dist-info/RECORD", "hello.py,,\n"},
	} {
		in, err := w.Create(f[0])
		if err == nil {
			_, err = io.WriteString(in, f[1])
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	return out.Bytes()
}

func Example() {
	data := small() // a file will do as well
	w, err := wheel.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		log.Fatal(err)
	}
	var layer bytes.Buffer // or a registry
	made, err := w.Layer(context.Background(), wheel.Target{Prefix: "/opt/conda/envs/ray", Python: "3.12"}, &layer)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(w.Name, w.Version, made.Size == int64(layer.Len()))
	for _, f := range made.Files {
		fmt.Println(f.Path, f.Executable)
	}
	// Output:
	// hello 1.0 true
	// /opt/conda/envs/ray/lib/python3.12/site-packages/hello.py false
	// /opt/conda/envs/ray/lib/python3.12/site-packages/hello-1.0.dist-info/METADATA false
	// /opt/conda/envs/ray/lib/python3.12/site-packages/hello-1.0.dist-info/WHEEL false
	// /opt/conda/envs/ray/lib/python3.12/site-packages/hello-1.0.dist-info/entry_points.txt false
	// /opt/conda/envs/ray/bin/hello true
	// /opt/conda/envs/ray/lib/python3.12/site-packages/hello-1.0.dist-info/INSTALLER false
	// /opt/conda/envs/ray/lib/python3.12/site-packages/hello-1.0.dist-info/REQUESTED false
	// /opt/conda/envs/ray/lib/python3.12/site-packages/hello-1.0.dist-info/RECORD false
}

// upper is a "compiler" for the example. A real one runs a Python.
type upper struct{}

func (upper) Compile(_ context.Context, _ string, source []byte) ([]byte, error) {
	return bytes.ToUpper(source), nil
}

// A wheel as two layers, with byte code that is made once.
func ExampleWrite() {
	data := small()
	w, err := wheel.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		log.Fatal(err)
	}
	t := wheel.Target{Prefix: "/opt/conda/envs/ray", Python: "3.12"}
	w.ByteCode, err = w.Compile(context.Background(), t, upper{}) // to be kept beside the wheel
	if err != nil {
		log.Fatal(err)
	}
	for part := 1; part <= 2; part++ {
		var out bytes.Buffer
		l, err := wheel.Write(context.Background(), &out, t, wheel.Options{Part: part, Parts: 2, EStargz: true}, w)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(l.Size == int64(out.Len()), l.TOC != "", len(l.Files))
	}
	// Output:
	// true true 2
	// true true 7
}
