package real

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/pylock"
)

// listed is a package as inspect --packages --json has it.
type listed struct {
	Kind, Name, Version, License, Path, URL, SHA256 string
	Layers                                          []struct{ Digest, Title string }
}

// TestBillOfMaterials compares what raybuild lists with what dpkg, conda's records and pip say in the running image,
// and has the validators of SPDX and CycloneDX read what is attached to the image.
func TestBillOfMaterials(t *testing.T) {
	p := needPlace(t)
	image := realImage(t)
	x := p.project(t, p.realRecipe())
	out, errs, err := x.raybuild("inspect", "--packages", "--json", image)
	if err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	var all []listed
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatal(err)
	}
	t.Run("the running image", func(t *testing.T) { comparePackages(t, image, all) })
	t.Run("validators", func(t *testing.T) { validateBills(t, x, image) })
	t.Run("facts", func(t *testing.T) {
		licensed := 0
		for _, l := range all {
			if l.License != "" {
				licensed++
			}
			if l.Kind == "python" && l.Path == "" &&
				(l.SHA256 == "" || !strings.HasPrefix(l.URL, "https://files.python")) {
				t.Errorf("a wheel has no place or digest: %+v", l)
			}
			if len(l.Layers) == 0 || l.Layers[0].Title == "" {
				t.Errorf("no layer holds %+v", l)
			}
		}
		t.Logf("%d of %d packages have a licence", licensed, len(all))
		if licensed < len(all)/2 {
			t.Errorf("%d of %d packages have a licence, want at least half", licensed, len(all))
		}
	})
}

// comparePackages compares a list with what package systems say in the image.
func comparePackages(t *testing.T, image string, all []listed) {
	b := needHosts(t)
	ref := here.onHosts(image)
	t.Cleanup(func() { b.Must(t, "exec", "1", "docker", "image", "rm", "-f", ref) })
	b.Must(t, "exec", "1", "docker", "pull", "-q", ref)
	in := func(script string) []string {
		text := b.Must(t, "exec", "1", "docker", "run", "--rm", "--network", "none", ref, "bash", "-c", script)
		lines := strings.Fields(text)
		slices.Sort(lines)
		return slices.Compact(lines)
	}
	const env = "opt/conda/envs/ray/"
	mine := map[string][]string{}
	for _, l := range all {
		switch {
		case l.Kind == "python" && (l.Path == "" || strings.HasPrefix(l.Path, env)):
			mine["pip"] = append(mine["pip"], pylock.Normal(l.Name)+"="+l.Version)
		case l.Kind == "conda" && strings.HasPrefix(l.Path, env):
			mine["conda"] = append(mine["conda"], l.Name+"="+l.Version)
		case l.Kind == "conda":
			mine["conda's own"] = append(mine["conda's own"], l.Name+"="+l.Version)
		case l.Kind == "deb":
			mine["dpkg"] = append(mine["dpkg"], l.Name+"="+l.Version)
		}
	}
	conda := func(dir string) string {
		return `python - <<'END'
import glob, json
for f in glob.glob("/` + dir + `conda-meta/*.json"):
    r = json.load(open(f))
    print(r["name"] + "=" + r["version"])
END`
	}
	for what, script := range map[string]string{
		"dpkg": `dpkg-query -W -f '${db:Status-Status} ${Package}=${Version}\n' | sed -n 's/^installed //p'`,
		"pip": `python -m pip list --format freeze --disable-pip-version-check | sed 's/==/=/' | python -c '
import re, sys
for line in sys.stdin:
    name, _, version = line.strip().partition("=")
    print(re.sub("[-_.]+", "-", name).lower() + "=" + version)'`,
		"conda": conda(env), "conda's own": conda("opt/conda/"),
	} {
		theirs, ours := in(script), mine[what]
		slices.Sort(ours)
		ours = slices.Compact(ours)
		only := func(a, b []string) []string {
			return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
		}
		t.Logf("%s: %d packages", what, len(theirs))
		if len(theirs) == 0 || !slices.Equal(theirs, ours) {
			t.Errorf("%s: only the image has %q, only the list %q", what, only(theirs, ours), only(ours, theirs))
		}
	}
}

// validateBills has other people's programs check both forms, with and without files.
func validateBills(t *testing.T, x *project, image string) {
	bin := venv(t, "sbom-1", "spdx-tools==0.8.5", "cyclonedx-python-lib[json-validation]==11.12.0")
	for _, files := range []bool{false, true} {
		args := []string{"sbom", "-o"}
		spdx, cdx := filepath.Join(x.dir, "bill.spdx.json"), filepath.Join(x.dir, "bill.cdx.json")
		more := []string{image}
		if files {
			more = append(more, "--files")
		}
		for file, form := range map[string]string{spdx: "spdx", cdx: "cyclonedx"} {
			_, errs, err := x.raybuild(append(append(slices.Clone(args), file, "--format", form), more...)...)
			if err != nil || strings.Contains(errs, "differs") {
				t.Fatalf("%v\n%s", err, errs)
			}
			if files {
				t.Log(errs)
			}
		}
		command(t, "", nil, filepath.Join(bin, "pyspdxtools"), "-i", spdx)
		command(t, "", nil, filepath.Join(bin, "python"), "-c", `import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(str(error) if error else 0)`, cdx)
	}
}
