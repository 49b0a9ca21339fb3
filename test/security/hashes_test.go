package security

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/fakesite"
)

// TestH1HashesOfRequirementsAreCompared: the index gives another file of the version than the one whose hash the
// requirements file has.
func TestH1HashesOfRequirementsAreCompared(t *testing.T) {
	t.Parallel()
	wheel := digest.FromBytes(fakesite.Wheel("einops", "0.8.0")).Encoded()
	for hash, want := range map[string]string{wheel: "", strings.Repeat("0", 64): "einops"} {
		v := newVictim(t)
		var installed []string
		for _, p := range [][3]string{{"ray", "2.60.0", "cp311-cp311-manylinux2014_x86_64"},
			{"requests", "2.32.0", "py3-none-any"}, {"einops", "0.8.0", "py3-none-any"}} {
			installed = append(installed, fmt.Sprintf(`{"download_info": {"url": `+
				`"https://files.pythonhosted.org/packages/%s/%s-%s-%s.whl", "archive_info": {"hashes": {"sha256": %q}}}, `+
				`"metadata": {"name": %q, "version": %q}}`, p[0][:2], p[0], p[1], p[2],
				digest.FromBytes(fakesite.Wheel(p[0], p[1])).Encoded(), p[0], p[1]))
		}
		v.Leaves["[ray] resolve"] = map[string]string{"report.json": `{"install": [` +
			strings.Join(installed, ", ") + `]}`}
		v.Write("r.txt", "einops==0.8.0 --hash=sha256:"+hash+"\n")
		v.Edit("raybuild.yaml", "pip: [requests]",
			"pip: {packages: [requests], requirements: [r.txt], resolver: pip}")
		p, err := raybuild.Open(t.Context(), v.options())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		_, err = p.Lock(t.Context(), raybuild.LockOptions{})
		if want == "" && err != nil {
			t.Errorf("the right hash: %v", err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "none of those")) {
			t.Errorf("another hash: %v", err)
		}
	}
}
