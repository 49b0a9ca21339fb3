package layers

import (
	"strings"
	"testing"
)

// Answers of apt-get install --print-uris as these versions printed them.
func TestParsePrintURIs(t *testing.T) {
	t.Parallel()
	const sum = "1c4b1d5c1f2b8e4a7f6a1c9be0f6f5b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7"
	tests := map[string]struct {
		text string
		want []Artifact
		err  string
	}{
		"apt 2.6 on Debian 12": {
			text: "Reading package lists...\nBuilding dependency tree...\n" +
				"The following NEW packages will be installed:\n  less\n" +
				"0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.\nNeed to get 132 kB of archives.\n" +
				"'http://deb.debian.org/debian/pool/main/l/less/less_590-2.1%7edeb12u2_amd64.deb' " +
				"less_590-2.1~deb12u2_amd64.deb 132416 SHA256:" + sum + "\n",
			want: []Artifact{{Kind: KindDeb, Name: "less", Version: "590-2.1~deb12u2", Origin: "debian",
				Path: "pool/main/l/less/less_590-2.1%7edeb12u2_amd64.deb", SHA256: sum, Size: 132416}},
		},
		"apt 1.2 on Ubuntu 16.04, an epoch and the security pocket": {
			text: "'http://security.ubuntu.com/ubuntu/pool/main/v/vim/vim_7.4.1689-3ubuntu1.5_amd64.deb' " +
				"vim_2%3a7.4.1689-3ubuntu1.5_amd64.deb 1036160 SHA256:" + sum + "\n",
			want: []Artifact{{Kind: KindDeb, Name: "vim", Version: "2:7.4.1689-3ubuntu1.5", Origin: "ubuntu-security",
				Path: "pool/main/v/vim/vim_7.4.1689-3ubuntu1.5_amd64.deb", SHA256: sum, Size: 1036160}},
		},
		"nothing to install": {text: "wget is already the newest version (1.21.3-1).\n" +
			"0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n"},
		"a repository of its own, reached by TLS": {
			text: "'http://apt.example.org/cuda/ubuntu/pool/c/cuda_12_amd64.deb' cuda_12_amd64.deb 9 SHA256:" +
				sum + "\n",
			want: []Artifact{{Kind: KindDeb, Name: "cuda", Version: "12", Origin: "https://apt.example.org/cuda/ubuntu",
				Path: "pool/c/cuda_12_amd64.deb", SHA256: sum, Size: 9}},
		},
		"a repository without sha256 is refused": {
			text: "'http://old.example.org/pool/a/a_1_all.deb' a_1_all.deb 9 MD5Sum:0cc175b9c0f1b6a831c399e269772661\n",
			err:  "no sha256",
		},
	}
	own := []AptRepository{{URL: "https://apt.example.org/cuda/ubuntu/", Suite: "stable", Components: []string{"main"}}}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parsePrintURIs(tt.text, own)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error is %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(tt.want) {
				t.Fatalf("found %d packages, want %d: %v", len(got), len(tt.want), got)
			}
			for i, a := range got {
				if w := tt.want[i]; a.Name != w.Name || a.Version != w.Version || a.Origin != w.Origin ||
					a.Path != w.Path || a.SHA256 != w.SHA256 || a.Size != w.Size {
					t.Errorf("package %d is\n %+v, want\n %+v", i, a, w)
				}
			}
		})
	}
}

func FuzzParsePrintURIs(f *testing.F) {
	f.Add("'http://deb.debian.org/debian/pool/main/l/less/less_590-2_amd64.deb' less_590-2_amd64.deb 132416 SHA256:" +
		strings.Repeat("a", 64))
	f.Add("'' _ 9 SHA256:")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parsePrintURIs(text, nil)
		for _, a := range got {
			if err == nil && (a.Name == "" && strings.HasPrefix(a.Path, "/")) {
				t.Errorf("a package without a name at an absolute path: %+v", a)
			}
		}
	})
}

func TestOSReleaseAndGlibc(t *testing.T) {
	t.Parallel()
	release := osRelease([]byte("PRETTY_NAME=\"Ubuntu 22.04.4 LTS\"\nID=ubuntu\nVERSION_ID=\"22.04\"\n" +
		"VERSION_CODENAME=jammy\n"))
	if release["ID"] != "ubuntu" || release["VERSION_ID"] != "22.04" || release["VERSION_CODENAME"] != "jammy" {
		t.Errorf("os-release read as %v", release)
	}
	for status, want := range map[string]string{
		"Package: bash\nVersion: 5.1\n\nPackage: libc6\nStatus: install ok installed\n" +
			"Version: 2.35-0ubuntu3.8\n": "2.35",
		"Package: libc6\nVersion: 2.36-9+deb12u10\n":  "2.36",
		"Package: libc6\nVersion: 1:2.23-0ubuntu11\n": "2.23",
		"Package: musl\nVersion: 1.2\n":               "",
	} {
		if got := glibc([]byte(status)); got != want {
			t.Errorf("glibc of %q is %q, want %q", status, got, want)
		}
	}
}
