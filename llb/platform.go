package llb

import (
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platform is the operating system and CPU that an image is for.
type Platform = ocispecs.Platform

// ParsePlatform reads "os/arch" or "os/arch/variant", such as "linux/amd64" or "linux/arm/v7", into its normal form
// ("linux/x86_64" is "linux/amd64", "linux/arm64/v8" is "linux/arm64"). Both os and arch are required: a default from
// this machine would make the graph depend on the machine.
func ParsePlatform(s string) (Platform, error) {
	if !strings.Contains(s, "/") {
		return Platform{}, fmt.Errorf("parse platform %q: want os/arch, such as linux/amd64", s)
	}
	p, err := platforms.Parse(s)
	if err != nil {
		return Platform{}, fmt.Errorf("parse platform %q: want os/arch, such as linux/amd64: %w", s, err)
	}
	if p.OS == "" || p.Architecture == "" || strings.ContainsRune(s, '*') {
		return Platform{}, fmt.Errorf("parse platform %q: want os/arch, such as linux/amd64", s)
	}
	return platforms.Normalize(p), nil
}

// FormatPlatform is the inverse of [ParsePlatform]: "linux/amd64".
func FormatPlatform(p Platform) string {
	return platforms.FormatAll(platforms.Normalize(p))
}
