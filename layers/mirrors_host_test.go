package layers

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRecipeTakesHostForFetchAlone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"mirrors: {fetch: host}":                            {"host"},
		"mirrors: {fetch: [host, official]}":                {"host", "official"},
		"mirrors: {fetch: [tuna, host]}":                    {"tuna", "host"},
		"mirrors: {fetch: [{pip: https://h/simple}, host]}": {"h", "host"},
	} {
		r, err := LoadRecipe([]byte(text), "raybuild.yaml", nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, m := range r.Mirrors.Fetch {
			got = append(got, m.Name)
		}
		if !reflect.DeepEqual(got, want) || !r.Mirrors.UsesHost() {
			t.Errorf("%s: the mirrors are %q, want %q", text, got, want)
		}
	}
	auto, err := LoadRecipe([]byte("mirrors: {fetch: auto}"), "raybuild.yaml", nil)
	if err != nil || auto.Mirrors.Fetch[0].Name != HostMirror || len(auto.Mirrors.Fetch) != len(Presets())+1 {
		t.Errorf("auto is %v (%v), want host and then every preset", auto, err)
	}
	for text, want := range map[string]string{
		"mirrors: {image: host}": "host is the configuration of the machine that builds, so the image would " +
			"be another one on each machine",
		"mirrors: {fetch: [host, host]}": `"host" is listed twice`,
		"mirrors: {fetch: hots}":         `"host"`,
	} {
		if _, err := LoadRecipe([]byte(text), "raybuild.yaml", nil); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want one that says %s", text, err, want)
		}
	}
}

// Where artifacts come from is in no digest, the host's least of all.
func TestHostIsInNoDigest(t *testing.T) {
	t.Parallel()
	plain, err := LoadRecipe(nil, "raybuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	host, err := LoadRecipe([]byte("mirrors: {fetch: [host, official]}"), "raybuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if plain.Digest() != host.Digest() {
		t.Error("the recipe's digest depends on mirrors.fetch")
	}
}

func TestHostCandidates(t *testing.T) {
	t.Parallel()
	none := Mirrors{Fetch: []Mirror{{Name: HostMirror}, mustPreset("official")}}
	if got := none.On(Mirror{Name: "x"}); len(got) != 1 || got[0].Name != "official" {
		t.Errorf("with a host that has nothing the mirrors are %v, want official alone", got)
	}
	full := Mirror{Debian: "http://corp/debian",
		CondaURLs: map[string]string{"conda-forge": "https://corp/cf", "pkgs/main": "https://corp/main"}}
	alone := Mirrors{Fetch: []Mirror{{Name: HostMirror}}}
	tests := []struct {
		name, url string
		mirrors   []Mirror
		want      []string
	}{
		{"an index that ends otherwise than /simple tells its files itself",
			"https://files.pythonhosted.org/packages/a/b/x-1-py3-none-any.whl",
			alone.On(full.WithPip("https://corp/root/+index")),
			[]string{"host index https://corp/root/+index/x/",
				"official https://files.pythonhosted.org/packages/a/b/x-1-py3-none-any.whl",
				"official index https://pypi.org/simple/x/"}},
		{"its page", "https://pypi.org/simple/x/", alone.On(full.WithPip("https://corp/root/+index")),
			[]string{"host https://corp/root/+index/x/"}},
		{"a known index has its known files", "https://files.pythonhosted.org/packages/a/b/x-1-py3-none-any.whl",
			none.On(full.WithPip("http://pypi.org/simple")),
			[]string{"host https://files.pythonhosted.org/packages/a/b/x-1-py3-none-any.whl",
				"host index http://pypi.org/simple/x/", "official index https://pypi.org/simple/x/"}},
		{"a channel of its own", "https://conda.anaconda.org/conda-forge/noarch/x.conda", alone.On(full),
			[]string{"host https://corp/cf/noarch/x.conda",
				"official https://conda.anaconda.org/conda-forge/noarch/x.conda"}},
		{"Anaconda's", "https://repo.anaconda.com/pkgs/main/noarch/repodata.json", alone.On(full),
			[]string{"host https://corp/main/noarch/repodata.json"}},
		{"a channel that it has not", "https://conda.anaconda.org/pytorch/noarch/repodata.json", alone.On(full),
			[]string{"official https://conda.anaconda.org/pytorch/noarch/repodata.json"}},
		{"what it has not is official", "http://archive.ubuntu.com/ubuntu/dists/noble/InRelease", alone.On(full),
			[]string{"official http://archive.ubuntu.com/ubuntu/dists/noble/InRelease"}},
		{"apt's archive", "http://deb.debian.org/debian/dists/bookworm/InRelease", none.On(full),
			[]string{"host http://corp/debian/dists/bookworm/InRelease",
				"official http://deb.debian.org/debian/dists/bookworm/InRelease"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := placesOf(t, tt.mirrors, tt.url, time.Time{}); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}
