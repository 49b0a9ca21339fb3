package cli

import (
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/hostconf"
)

func TestHostPartsShowNoToken(t *testing.T) {
	value := hostconf.Value{Text: "https://corp/t/TOKEN/c", From: "F"}
	parts := hostParts(hostconf.Config{CondaAlias: value})
	if len(parts) != 1 {
		t.Fatalf("the parts are %+v, want conda alone", parts)
	}
	if p := parts[0]; strings.Contains(p.Text, "TOKEN") || p.raw != value.Text {
		t.Errorf("the token of %s is shown, or not kept for measuring: %+v", p.What, p)
	}
}
