package registry_test

import (
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/registry"
)

func TestLimitsOfDockerHubAreNamed(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"docker.io":        `100 images in 6 hours, and a free account 200: run "docker login"`,
		"registry.example": "try again later",
	} {
		e := &registry.Error{Op: "pin", Ref: "ubuntu:22.04", Host: host, Status: 429}
		if !strings.Contains(e.Error(), want) {
			t.Errorf("%s: %q does not say %q", host, e.Error(), want)
		}
	}
}
