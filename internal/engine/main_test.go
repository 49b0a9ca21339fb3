package engine_test

import (
	"testing"

	"github.com/raybuild/raybuild/internal/engine/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }
