package sbom

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// realBill has as many packages as an image of Ray: 300 of Debian, 90 of Python, 30 of conda.
func realBill() *Bill {
	b := &Bill{Digest: digest.FromString("image"), Created: time.Unix(0, 0)}
	p := Platform{Name: "linux/amd64", Digest: digest.FromString("image")}
	for n := range 30 {
		l := Layer{Digest: digest.FromString(fmt.Sprint(n)), Title: fmt.Sprint("layer ", n)}
		for i := range 14 {
			part := Part{Kind: Deb, Name: fmt.Sprintf("package-%d-%d", n, i), Version: "1.2.3-4", Arch: "amd64",
				Distro: "debian-12", License: fmt.Sprintf("GPL-2+ AND LGPL-%d and public-domain", i%3+1), Path: ""}
			switch {
			case n >= 28:
				part.Kind, part.Channel, part.Subdir, part.Build = Conda, "conda-forge", "linux-64", "h1234_0"
			case n >= 21:
				part.Kind, part.License = Python, "Apache 2.0"
				part.URL = "https://files.pythonhosted.org/packages/a.whl"
				part.SHA256 = digest.FromString(part.Name).Encoded()
			}
			l.Parts = append(l.Parts, part)
		}
		p.Layers = append(p.Layers, l)
	}
	b.Platforms = []Platform{p}
	return b
}

// BenchmarkBill writes the bill of an image of Ray in both forms.
func BenchmarkBill(b *testing.B) {
	bill := realBill()
	b.Run("SPDX", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := bill.SPDX(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("CycloneDX", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := bill.CycloneDX(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
