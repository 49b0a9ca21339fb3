package engine_test

import (
	"testing"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/raybuild/raybuild/internal/engine/enginetest"
)

func TestEngineAnswersAfterItsStart(t *testing.T) {
	start := time.Now()
	addr := enginetest.Start(t)
	t.Logf("first answer after %v", time.Since(start))
	c, err := client.New(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	info, err := c.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.BuildkitVersion.Version == "" {
		t.Error("no version of BuildKit given")
	}
	t.Log(info.BuildkitVersion)
}
