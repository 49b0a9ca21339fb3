package layers

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var resolvedAt = time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)

// placesOf are the candidates of a URL as "mirror URL" or "mirror index URL".
func placesOf(t *testing.T, mirrors []Mirror, canonical string, at time.Time) []string {
	t.Helper()
	u, err := url.Parse(canonical)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range Candidates(mirrors, u, at) {
		if (c.URL == "") == (c.Index == "") {
			t.Errorf("candidate %+v has both or none", c)
		}
		if c.URL != "" {
			out = append(out, c.Mirror+" "+c.URL)
		} else {
			out = append(out, c.Mirror+" index "+c.Index)
		}
	}
	return out
}

func TestEveryPresetForEveryOrigin(t *testing.T) {
	t.Parallel()
	paths := map[string]string{
		"ubuntu": "pool/main/v/vim/vim_1.deb", "ubuntu-security": "dists/noble-security/InRelease",
		"ubuntu-ports": "dists/noble/InRelease", "ubuntu-old": "dists/lunar/Release",
		"debian": "pool/a.deb", "debian-security": "pool/a.deb", "pkgs/main": "linux-64/repodata.json",
		"conda-forge": "linux-64/repodata.json.zst",
		"bioconda":    "noarch/x-1-0.conda", "pytorch": "noarch/x-1-0.conda", "miniconda": "Miniconda3-x.sh",
		"pypi": "packages/a/b/c/x-1.whl", "pypi-index": "ray/",
	}
	const none = ""
	want := map[string]map[string]string{
		"official": {"ubuntu": "http://archive.ubuntu.com/ubuntu",
			"ubuntu-security": "http://security.ubuntu.com/ubuntu",
			"ubuntu-ports":    "http://ports.ubuntu.com/ubuntu-ports",
			"ubuntu-old":      "http://old-releases.ubuntu.com/ubuntu", "debian": "http://deb.debian.org/debian",
			"debian-security": "http://deb.debian.org/debian-security",
			"pkgs/main":       "https://repo.anaconda.com/pkgs/main",
			"conda-forge":     "https://conda.anaconda.org/conda-forge",
			"bioconda":        "https://conda.anaconda.org/bioconda",
			"pytorch":         "https://conda.anaconda.org/pytorch", "miniconda": "https://repo.anaconda.com/miniconda",
			"pypi": "https://files.pythonhosted.org", "pypi-index": "https://pypi.org/simple"},
		"tuna": presetWant("https://mirrors.tuna.tsinghua.edu.cn", "https://mirrors.tuna.tsinghua.edu.cn/anaconda",
			"https://pypi.tuna.tsinghua.edu.cn", true, true),
		"ustc": {"ubuntu": "https://mirrors.ustc.edu.cn/ubuntu",
			"ubuntu-security": "https://mirrors.ustc.edu.cn/ubuntu",
			"ubuntu-ports":    "https://mirrors.ustc.edu.cn/ubuntu-ports",
			"ubuntu-old":      "https://mirrors.ustc.edu.cn/ubuntu-old-releases/ubuntu",
			"debian":          "https://mirrors.ustc.edu.cn/debian",
			"debian-security": "https://mirrors.ustc.edu.cn/debian-security",
			"pkgs/main":       none, "conda-forge": "https://mirrors.ustc.edu.cn/anaconda/cloud/conda-forge",
			"bioconda": "https://mirrors.ustc.edu.cn/anaconda/cloud/bioconda",
			"pytorch":  none, "miniconda": "https://mirrors.ustc.edu.cn/anaconda/miniconda",
			"pypi": "https://mirrors.ustc.edu.cn/pypi", "pypi-index": "https://mirrors.ustc.edu.cn/pypi/simple"},
		"bfsu": presetWant("https://mirrors.bfsu.edu.cn", "https://mirrors.bfsu.edu.cn/anaconda",
			"https://mirrors.bfsu.edu.cn/pypi/web", false, true),
		"aliyun": presetWant("https://mirrors.aliyun.com", "https://mirrors.aliyun.com/anaconda",
			"https://mirrors.aliyun.com/pypi", false, true),
		"tencent": presetWant("https://mirrors.tencent.com", "https://mirrors.cloud.tencent.com/anaconda",
			"https://mirrors.cloud.tencent.com/pypi", false, false),
		"cernet": {"ubuntu": "https://mirrors.cernet.edu.cn/ubuntu",
			"ubuntu-security": "https://mirrors.cernet.edu.cn/ubuntu",
			"ubuntu-ports":    "https://mirrors.cernet.edu.cn/ubuntu-ports",
			"pkgs/main":       "https://mirrors.cernet.edu.cn/anaconda/pkgs/main",
			"conda-forge":     "https://mirrors.cernet.edu.cn/anaconda/cloud/conda-forge",
			"bioconda":        "https://mirrors.cernet.edu.cn/anaconda/cloud/bioconda",
			"pytorch":         "https://mirrors.cernet.edu.cn/anaconda/cloud/pytorch",
			"miniconda":       "https://mirrors.cernet.edu.cn/anaconda/miniconda",
			"pypi":            "https://mirrors.cernet.edu.cn/pypi/web",
			"pypi-index":      "https://mirrors.cernet.edu.cn/pypi/web/simple"},
		"huawei": presetWant("https://mirrors.huaweicloud.com", "https://mirrors.huaweicloud.com/anaconda",
			"https://mirrors.huaweicloud.com/repository/pypi", false, true),
	}
	if len(want) != len(Presets()) {
		t.Fatalf("%d presets, want %d", len(Presets()), len(want))
	}
	for _, m := range Presets() {
		if m.Source == "" {
			t.Errorf("preset %s has no source", m.Name)
		}
		for origin, path := range paths {
			canonical := originURL(origin) + "/" + path
			got := placesOf(t, []Mirror{m}, canonical, time.Time{})
			root := want[m.Name][origin]
			if root == none {
				root = want["official"][origin]
				if got[0] != "official "+root+"/"+path {
					t.Errorf("%s of %s: first candidate %q, want the official one", origin, m.Name, got[0])
				}
				continue
			}
			if got[0] != m.Name+" "+root+"/"+path {
				t.Errorf("%s of %s: first candidate %q, want %s/%s", origin, m.Name, got[0], root, path)
			}
			if m.Name == "official" {
				continue
			}
			hasOfficial := slices.Contains(got, "official "+want["official"][origin]+"/"+path)
			if hasOfficial != isFile(origin, path) {
				t.Errorf("%s of %s: official among %q: %v", origin, m.Name, got, hasOfficial)
			}
		}
	}
}

func presetWant(host, conda, pip string, old, miniconda bool) map[string]string {
	w := map[string]string{"ubuntu": host + "/ubuntu", "ubuntu-security": host + "/ubuntu",
		"ubuntu-ports": host + "/ubuntu-ports", "debian": host + "/debian",
		"debian-security": host + "/debian-security",
		"pkgs/main":       conda + "/pkgs/main", "conda-forge": conda + "/cloud/conda-forge",
		"bioconda": conda + "/cloud/bioconda", "pytorch": conda + "/cloud/pytorch", "pypi": pip,
		"pypi-index": pip + "/simple"}
	if old {
		w["ubuntu-old"] = host + "/ubuntu-old-releases/ubuntu"
	}
	if miniconda {
		w["miniconda"] = conda + "/miniconda"
	}
	return w
}

func TestCandidatesInFull(t *testing.T) {
	t.Parallel()
	tuna, ustc, official := mustPreset("tuna"), mustPreset("ustc"), mustPreset("official")
	own := ownMirror("http://m.example/debian", "http://m.example/conda", "http://m.example/pypi/simple",
		"http://m.example/i")
	for _, tt := range []struct {
		name, url string
		mirrors   []Mirror
		at        time.Time
		want      []string
	}{
		{"an apt package", "http://archive.ubuntu.com/ubuntu/pool/v.deb", []Mirror{tuna}, resolvedAt, []string{
			"tuna https://mirrors.tuna.tsinghua.edu.cn/ubuntu/pool/v.deb",
			"official http://archive.ubuntu.com/ubuntu/pool/v.deb",
			"official http://old-releases.ubuntu.com/ubuntu/pool/v.deb",
			"snapshot https://snapshot.ubuntu.com/ubuntu/20261123T010203Z/pool/v.deb"}},
		{"an apt package before the snapshot service", "http://archive.ubuntu.com/ubuntu/pool/v.deb", nil,
			time.Date(2023, 2, 28, 23, 59, 59, 0, time.UTC), []string{
				"official http://archive.ubuntu.com/ubuntu/pool/v.deb",
				"official http://old-releases.ubuntu.com/ubuntu/pool/v.deb"}},
		{"a package of ports is in the same tree of the snapshot service",
			"http://ports.ubuntu.com/ubuntu-ports/pool/v.deb", []Mirror{official}, resolvedAt, []string{
				"official http://ports.ubuntu.com/ubuntu-ports/pool/v.deb",
				"official http://old-releases.ubuntu.com/ubuntu/pool/v.deb",
				"snapshot https://snapshot.ubuntu.com/ubuntu/20261123T010203Z/pool/v.deb"}},
		{"a package of Debian's security", "http://security.debian.org/debian-security/pool/v.deb", []Mirror{own},
			resolvedAt, []string{
				"m.example http://m.example/debian-security/pool/v.deb",
				"official http://deb.debian.org/debian-security/pool/v.deb",
				"official http://archive.debian.org/debian-security/pool/v.deb",
				"snapshot https://snapshot.debian.org/archive/debian-security/20261123T010203Z/pool/v.deb"}},
		{"package lists come from the listed mirrors", "http://archive.ubuntu.com/ubuntu/dists/noble/InRelease",
			[]Mirror{tuna, official}, resolvedAt, []string{
				"tuna https://mirrors.tuna.tsinghua.edu.cn/ubuntu/dists/noble/InRelease",
				"official http://archive.ubuntu.com/ubuntu/dists/noble/InRelease"}},
		{"package lists of a release that has moved", "http://archive.ubuntu.com/ubuntu/dists/lunar-updates/InRelease",
			[]Mirror{official}, resolvedAt, []string{
				"official http://archive.ubuntu.com/ubuntu/dists/lunar-updates/InRelease",
				"official http://old-releases.ubuntu.com/ubuntu/dists/lunar-updates/InRelease"}},
		{"an index of one's own is not overruled", "http://pypi.org/simple/ray/", []Mirror{own}, resolvedAt,
			[]string{"m.example http://m.example/pypi/simple/ray/"}},
		{"a source that no listed mirror has", "https://repo.anaconda.com/pkgs/main/noarch/repodata.json",
			[]Mirror{ustc}, resolvedAt, []string{"official https://repo.anaconda.com/pkgs/main/noarch/repodata.json"}},
		{"a wheel", "https://files.pythonhosted.org/packages/a/b/My_Pkg-1.0-py3-none-any.whl", []Mirror{own, tuna},
			resolvedAt, []string{
				"m.example http://m.example/pypi/packages/a/b/My_Pkg-1.0-py3-none-any.whl",
				"m.example index http://m.example/pypi/simple/my-pkg/",
				"tuna https://pypi.tuna.tsinghua.edu.cn/packages/a/b/My_Pkg-1.0-py3-none-any.whl",
				"tuna index https://pypi.tuna.tsinghua.edu.cn/simple/my-pkg/",
				"official https://files.pythonhosted.org/packages/a/b/My_Pkg-1.0-py3-none-any.whl",
				"official index https://pypi.org/simple/my-pkg/"}},
		{"a wheel by PyPI's own path", "https://files.pythonhosted.org/packages/66/20/" + strings.Repeat("0a", 30) +
			"/x-1.whl", []Mirror{official}, resolvedAt, []string{
			"official https://files.pythonhosted.org/packages/66/20/" + strings.Repeat("0a", 30) + "/x-1.whl"}},
		{"Miniforge lies flat on an own mirror",
			"https://github.com/conda-forge/miniforge/releases/download/26.3.2-3/Miniforge3-26.3.2-3-Linux-x86_64.sh",
			[]Mirror{own, tuna}, resolvedAt, []string{
				"m.example http://m.example/i/Miniforge3-26.3.2-3-Linux-x86_64.sh",
				"tuna https://mirrors.tuna.tsinghua.edu.cn/github-release/conda-forge/miniforge/Release%2026.3.2-3/" +
					"Miniforge3-26.3.2-3-Linux-x86_64.sh",
				"tuna https://mirrors.tuna.tsinghua.edu.cn/github-release/conda-forge/miniforge/LatestRelease/" +
					"Miniforge3-26.3.2-3-Linux-x86_64.sh",
				"official https://github.com/conda-forge/miniforge/releases/download/" +
					"26.3.2-3/Miniforge3-26.3.2-3-Linux-x86_64.sh"}},
		{"Miniforge where only the newest release is",
			"https://github.com/conda-forge/miniforge/releases/download/26.7.2-0/Miniforge3-26.7.2-0-Linux-aarch64.sh",
			[]Mirror{ustc, official}, resolvedAt, []string{
				"ustc https://mirrors.ustc.edu.cn/github-release/conda-forge/miniforge/LatestRelease/" +
					"Miniforge3-26.7.2-0-Linux-aarch64.sh",
				"official https://github.com/conda-forge/miniforge/releases/download/" +
					"26.7.2-0/Miniforge3-26.7.2-0-Linux-aarch64.sh"}},
		{"package lists of an interim release, which may have moved by now",
			"http://archive.ubuntu.com/ubuntu/dists/stonking/InRelease", []Mirror{official}, resolvedAt, []string{
				"official http://archive.ubuntu.com/ubuntu/dists/stonking/InRelease",
				"official http://old-releases.ubuntu.com/ubuntu/dists/stonking/InRelease"}},
		{"the order is the user's", "https://conda.anaconda.org/conda-forge/noarch/x-1-0.conda",
			[]Mirror{official, ustc}, resolvedAt, []string{
				"official https://conda.anaconda.org/conda-forge/noarch/x-1-0.conda",
				"ustc https://mirrors.ustc.edu.cn/anaconda/cloud/conda-forge/noarch/x-1-0.conda"}},
		{"a host that no table has", "https://download.pytorch.org/whl/cpu/torch/", []Mirror{tuna}, resolvedAt,
			[]string{"download.pytorch.org https://download.pytorch.org/whl/cpu/torch/"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := placesOf(t, tt.mirrors, tt.url, tt.at); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][2]string{
		"http://archive.ubuntu.com/ubuntu/pool/a%2b.deb":          {"ubuntu", "pool/a%2b.deb"},
		"https://archive.ubuntu.com/ubuntu/x":                     {"ubuntu", "x"},
		"http://ports.ubuntu.com/ubuntu-ports/x":                  {"ubuntu-ports", "x"},
		"http://security.debian.org/debian-security/x":            {"debian-security", "x"},
		"https://conda.anaconda.org/conda-forge/linux-64/a.conda": {"conda-forge", "linux-64/a.conda"},
		"https://conda.anaconda.org/nvidia/label/cuda-12.4.1/noarch/a.tar.bz2": {"nvidia/label/cuda-12.4.1",
			"noarch/a.tar.bz2"},
		"https://repo.anaconda.com/pkgs/main/noarch/a.conda": {"pkgs/main", "noarch/a.conda"},
		"https://repo.anaconda.com/miniconda/M.sh":           {"miniconda", "M.sh"},
		"https://files.pythonhosted.org/packages/a/b":        {"pypi", "packages/a/b"},
		"https://pypi.org/simple/ray/":                       {"pypi-index", "ray/"},
	} {
		origin, path, ok := originOf(raw)
		if !ok || origin != want[0] || path != want[1] {
			t.Errorf("%s is %q %q %v, want %q", raw, origin, path, ok, want)
		}
		again, p2, _ := originOf(Artifact{Origin: origin, Path: path}.URL())
		if again != origin || p2 != path {
			t.Errorf("%s: its canonical URL is %s", raw, Artifact{Origin: origin, Path: path}.URL())
		}
	}
	if origin, path, ok := originOf("https://h.example/a/b.whl"); ok || origin != "https://h.example" ||
		path != "a/b.whl" {
		t.Errorf("a foreign URL is %q %q %v", origin, path, ok)
	}
	if u := (Artifact{Origin: "https://h.example/x/", Path: "a.whl"}).URL(); u != "https://h.example/x/a.whl" {
		t.Errorf("an own origin's URL is %q", u)
	}
}
