package sources

import (
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/hostconf"
)

func TestHostPlacesShowNoToken(t *testing.T) {
	t.Parallel()
	value := hostconf.Value{Text: "https://corp/t/TOKEN/c", From: "F"}
	places := HostPlaces(hostconf.Config{CondaAlias: value})
	if len(places) != 1 {
		t.Fatalf("the places are %+v, want conda alone", places)
	}
	if p := places[0]; strings.Contains(p.URL, "TOKEN") || !strings.HasPrefix(p.probe, value.Text) {
		t.Errorf("the token of %s is shown, or not kept for measuring: %+v", p.Part, p)
	}
}
