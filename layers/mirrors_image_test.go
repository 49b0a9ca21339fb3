package layers

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func ubuntuBase(release, codename string, aptFiles ...string) LockImage {
	return LockImage{ID: "ubuntu", Release: release, Codename: codename, AptFiles: aptFiles}
}

func fileOf(t *testing.T, files []MirrorFile, path string) MirrorFile {
	t.Helper()
	for _, f := range files {
		if f.Path == path {
			return f
		}
	}
	t.Fatalf("no file %s among %+v", path, files)
	return MirrorFile{}
}

func TestImageAptSources(t *testing.T) {
	t.Parallel()
	const keyring = "Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n"
	own := ownMirror("https://m.example/ubuntu", "", "", "")
	tests := []struct {
		name   string
		mirror Mirror
		base   LockImage
		arch   string
		path   string
		backup bool
		want   string
	}{
		{"xenial in one-line form", mustPreset("aliyun"), ubuntuBase("16.04", "xenial", "/etc/apt/sources.list"),
			"amd64", "/etc/apt/sources.list", true,
			"deb http://mirrors.aliyun.com/ubuntu xenial main restricted universe multiverse\n" +
				"deb http://mirrors.aliyun.com/ubuntu xenial-updates main restricted universe multiverse\n" +
				"deb http://mirrors.aliyun.com/ubuntu xenial-backports main restricted universe multiverse\n" +
				"deb http://security.ubuntu.com/ubuntu xenial-security main restricted universe multiverse\n"},
		{"noble in deb822 form", mustPreset("tuna"), ubuntuBase("24.04", "noble", "/etc/apt/sources.list",
			"/etc/apt/sources.list.d/ubuntu.sources"), "amd64", "/etc/apt/sources.list.d/ubuntu.sources", true,
			"Types: deb\nURIs: http://mirrors.tuna.tsinghua.edu.cn/ubuntu\n" +
				"Suites: noble noble-updates noble-backports\nComponents: main restricted universe multiverse\n" +
				keyring +
				"\nTypes: deb\nURIs: http://security.ubuntu.com/ubuntu\nSuites: noble-security\n" +
				"Components: main restricted universe multiverse\n" + keyring},
		{"arm64 from ports", mustPreset("tuna"), ubuntuBase("22.04", ""), "arm64", "/etc/apt/sources.list", false,
			"deb http://mirrors.tuna.tsinghua.edu.cn/ubuntu-ports jammy main restricted universe multiverse\n" +
				"deb http://mirrors.tuna.tsinghua.edu.cn/ubuntu-ports jammy-updates main restricted universe " +
				"multiverse\n" +
				"deb http://mirrors.tuna.tsinghua.edu.cn/ubuntu-ports jammy-backports main restricted universe " +
				"multiverse\n" +
				"deb http://ports.ubuntu.com/ubuntu-ports jammy-security main restricted universe multiverse\n"},
		{"a release that has moved", mustPreset("ustc"), ubuntuBase("23.04", "lunar"), "amd64",
			"/etc/apt/sources.list", false,
			"deb http://mirrors.ustc.edu.cn/ubuntu-old-releases/ubuntu lunar main restricted universe multiverse\n" +
				"deb http://mirrors.ustc.edu.cn/ubuntu-old-releases/ubuntu lunar-updates main restricted universe " +
				"multiverse\n" +
				"deb http://mirrors.ustc.edu.cn/ubuntu-old-releases/ubuntu lunar-backports main restricted universe " +
				"multiverse\n" +
				"deb http://mirrors.ustc.edu.cn/ubuntu-old-releases/ubuntu lunar-security main restricted universe " +
				"multiverse\n"},
		{"an own mirror has the security suites too", own, ubuntuBase("26.04", "resolute"), "amd64",
			"/etc/apt/sources.list.d/ubuntu.sources", false,
			"Types: deb\nURIs: https://m.example/ubuntu\nSuites: resolute resolute-updates resolute-backports\n" +
				"Components: main restricted universe multiverse\n" + keyring +
				"\nTypes: deb\nURIs: https://m.example/ubuntu\nSuites: resolute-security\n" +
				"Components: main restricted universe multiverse\n" + keyring},
		{"Debian 12 in deb822 form", mustPreset("bfsu"), LockImage{ID: "debian", Release: "12", Codename: "bookworm",
			AptFiles: []string{"/etc/apt/sources.list.d/debian.sources"}}, "arm64",
			"/etc/apt/sources.list.d/debian.sources", true,
			"Types: deb\nURIs: http://mirrors.bfsu.edu.cn/debian\nSuites: bookworm bookworm-updates\n" +
				"Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n" +
				"\nTypes: deb\nURIs: http://deb.debian.org/debian-security\nSuites: bookworm-security\n" +
				"Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"},
		{"Debian 10 in one-line form", ownMirror("http://m/debian", "", "", ""),
			LockImage{ID: "debian", Release: "10", Codename: "buster"}, "amd64", "/etc/apt/sources.list", false,
			"deb http://m/debian buster main\ndeb http://m/debian buster-updates main\n" +
				"deb http://m/debian-security buster/updates main\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fileOf(t, ImageMirrorFiles(tt.mirror, tt.base, tt.arch), tt.path)
			if f.Content != tt.want || f.Backup != tt.backup {
				t.Errorf("backup %v, want %v; content\n%s\nwant\n%s", f.Backup, tt.backup, f.Content, tt.want)
			}
		})
	}
	for _, f := range ImageMirrorFiles(mustPreset("tuna"), LockImage{ID: "alpine"}, "amd64") {
		if strings.HasPrefix(f.Path, "/etc/apt") {
			t.Errorf("a base that is neither Debian nor Ubuntu gets %s", f.Path)
		}
	}
}

func TestImagePipAndUv(t *testing.T) {
	t.Parallel()
	files := ImageMirrorFiles(mustPreset("tuna"), LockImage{}, "amd64")
	if got, want := fileOf(t, files, "/etc/pip.conf").Content,
		"[global]\nindex-url = https://pypi.tuna.tsinghua.edu.cn/simple\n"; got != want {
		t.Errorf("pip.conf is %q, want %q", got, want)
	}
	if got, want := fileOf(t, files, "/etc/uv/uv.toml").Content, "[[index]]\n"+
		"url = \"https://pypi.tuna.tsinghua.edu.cn/simple\"\ndefault = true\n"; got != want {
		t.Errorf("uv.toml is %q, want %q", got, want)
	}
	plain := ImageMirrorFiles(ownMirror("", "", "http://127.0.0.1:8080/simple", ""), LockImage{}, "amd64")
	if len(plain) != 2 {
		t.Errorf("a mirror of pip alone gives %+v", plain)
	}
	if got := fileOf(t, plain, "/etc/pip.conf").Content; !strings.HasSuffix(got, "trusted-host = 127.0.0.1:8080\n") {
		t.Errorf("pip.conf for plain http is %q", got)
	}
	if got := fileOf(t, plain, "/etc/uv/uv.toml").Content; !strings.HasPrefix(got,
		"allow-insecure-host = [\"127.0.0.1:8080\"]\n") {
		t.Errorf("uv.toml for plain http is %q", got)
	}
}

func TestImageCondarc(t *testing.T) {
	t.Parallel()
	got := fileOf(t, ImageMirrorFiles(mustPreset("tuna"), LockImage{}, "amd64", "conda-forge", "pytorch"),
		"/opt/conda/.condarc").Content
	const base = "https://mirrors.tuna.tsinghua.edu.cn/anaconda"
	want := "channels:\n  - conda-forge\n  - pytorch\nshow_channel_urls: true\nchannel_alias: " + base + "/cloud\n" +
		"default_channels:\n  - " + base + "/pkgs/main\n  - " + base + "/pkgs/r\ncustom_channels:\n  conda-forge: " +
		base + "/cloud\n"
	if got != want {
		t.Errorf("TUNA's .condarc is\n%s\nwant\n%s", got, want)
	}
	got = fileOf(t, ImageMirrorFiles(mustPreset("ustc"), LockImage{}, "amd64"), "/opt/conda/.condarc").Content
	want = "channels:\n  - conda-forge\nshow_channel_urls: true\ncustom_channels:\n" +
		"  conda-forge: https://mirrors.ustc.edu.cn/anaconda/cloud\n" +
		"  bioconda: https://mirrors.ustc.edu.cn/anaconda/cloud\n"
	if got != want {
		t.Errorf("USTC's .condarc is\n%s\nwant\n%s", got, want)
	}
	for _, m := range Presets() {
		var v struct {
			Channels []string `yaml:"channels"`
		}
		text := fileOf(t, ImageMirrorFiles(m, LockImage{}, "amd64"), "/opt/conda/.condarc").Content
		if err := yaml.Unmarshal([]byte(text), &v); err != nil || len(v.Channels) != 1 {
			t.Errorf("%s: conda cannot read (%v)\n%s", m.Name, err, text)
		}
	}
}
