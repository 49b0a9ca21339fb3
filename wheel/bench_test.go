package wheel

import (
	"io"
	"os"
	"testing"

	"github.com/raybuild/raybuild/internal/bytecode"
)

// BenchmarkLayer converts the wheel that RAYBUILD_BENCH_WHEEL names, else a made one of 1.6 MB: without byte code, with
// byte code of the interpreter that RAYBUILD_BENCH_PYTHON names, and with the same byte code from before.
func BenchmarkLayer(b *testing.B) {
	name := os.Getenv("RAYBUILD_BENCH_WHEEL")
	if name == "" {
		name = b.TempDir() + "/wheel"
		if err := os.WriteFile(name, oddWheel(b), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	r, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		b.Fatal(err)
	}
	size := info.Size()
	convert := func(b *testing.B, python string, code []byte) (last []byte) {
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			t, o := target(), Options{}
			if python != "" {
				c, err := bytecode.Start(b.Context(), bytecode.Python{Path: python}, bytecode.Options{})
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				t.Python, o.Compiler = c.Version(), c
			}
			w, err := Open(r, size)
			if err != nil {
				b.Fatal(err)
			}
			w.ByteCode = code
			l, err := Write(b.Context(), io.Discard, t, o, w)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(l.Size)/float64(size), "size/wheel")
			b.ReportMetric(float64(l.Size), "bytes")
			last = w.ByteCode
		}
		return last
	}
	b.Run("plain", func(b *testing.B) { convert(b, "", nil) })
	python := os.Getenv("RAYBUILD_BENCH_PYTHON")
	if python == "" {
		return
	}
	var code []byte
	b.Run("compile", func(b *testing.B) { code = convert(b, python, nil) })
	b.Run("compiled before", func(b *testing.B) { convert(b, python, code) })
}
