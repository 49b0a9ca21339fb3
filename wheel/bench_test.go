package wheel

import (
	"io"
	"os"
	"testing"
)

// BenchmarkLayer converts the wheel that RAYBUILD_BENCH_WHEEL names, else a made one of 1.6 MB.
func BenchmarkLayer(b *testing.B) {
	data := oddWheel(b)
	if name := os.Getenv("RAYBUILD_BENCH_WHEEL"); name != "" {
		var err error
		if data, err = os.ReadFile(name); err != nil {
			b.Fatal(err)
		}
	}
	file := b.TempDir() + "/wheel"
	if err := os.WriteFile(file, data, 0o600); err != nil {
		b.Fatal(err)
	}
	r, err := os.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		w, err := Open(r, int64(len(data)))
		if err != nil {
			b.Fatal(err)
		}
		l, err := w.Layer(b.Context(), target(), io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(l.Size)/float64(len(data)), "size/wheel")
	}
}
