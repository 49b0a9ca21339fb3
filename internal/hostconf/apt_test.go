package hostconf

import (
	"testing"
)

func TestApt(t *testing.T) {
	t.Parallel()
	const list, sources = "/etc/apt/sources.list", "/etc/apt/sources.list.d/"
	tests := []struct {
		name, os, arch string
		files          map[string]string
		want           [5]string // Debian, DebianSecurity, Ubuntu, UbuntuSecurity, Ports
	}{
		{"Debian's container", bookworm, "", map[string]string{sources + "debian.sources": `Types: deb
# a comment
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`}, [5]string{"http://deb.debian.org/debian", "http://deb.debian.org/debian-security"}},
		{"a company's mirror beside vendors", bookworm, "", map[string]string{
			sources + "a-vendor.list": "deb https://packages.vendor.example/debian/12/prod bookworm main\n",
			sources + "b-signed.sources": "Types: deb\nURIs: https://apt.other.example\n" +
				"Suites: bookworm bookworm-updates\nComponents: main\nSigned-By:\n" +
				" -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x\n",
			sources + "docker.list": "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] " +
				"https://download.docker.com/linux/debian bookworm stable\n",
			sources + "off.sources": "Enabled: no\nTypes: deb\nURIs: http://off.example/debian\n" +
				"Suites: bookworm\nComponents: main\n",
			sources + "old.list.disabled": "deb http://old.example/debian bookworm main\n",
			list: "# deb http://cd.example bookworm main\ndeb-src http://src.example/debian bookworm main\n" +
				"deb cdrom:[Debian]/ bookworm main\n" +
				"deb https://nexus.corp.example/repository/apt-debian/ bookworm main contrib # ours\n" +
				"deb https://nexus.corp.example/repository/apt-debian/ bookworm-updates main\n" +
				"deb https://nexus.corp.example/repository/apt-security/ bookworm-security main\n"},
			[5]string{"https://nexus.corp.example/repository/apt-debian",
				"https://nexus.corp.example/repository/apt-security"}},
		{"one line of a small system", bookworm, "",
			map[string]string{list: "deb http://ftp.de.debian.org/debian bookworm main"},
			[5]string{"http://ftp.de.debian.org/debian"}},
		{"a cloud image's list of mirrors", bookworm, "", map[string]string{
			sources + "debian.sources": "Types: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/debian.list\n" +
				"Suites: bookworm bookworm-updates bookworm-backports\nComponents: main\n",
			"/etc/apt/mirrors/debian.list": "# first\nhttps://deb.debian.org/debian\tpriority:1\n"},
			[5]string{"https://deb.debian.org/debian"}},
		{"Ubuntu on its own PC", noble, "amd64", map[string]string{sources + "ubuntu.sources": "Types: deb\n" +
			"URIs: http://de.archive.ubuntu.com/ubuntu/\nSuites: noble noble-updates noble-backports\n" +
			"Components: main universe\nSigned-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n\nTypes: deb\n" +
			"URIs: http://security.ubuntu.com/ubuntu/\nSuites: noble-security\nComponents: main\n" +
			"Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n"},
			[5]string{"", "", "http://de.archive.ubuntu.com/ubuntu", "http://security.ubuntu.com/ubuntu"}},
		{"Ubuntu on ARM", noble, "arm64", map[string]string{list: "deb http://m.example/anything noble main\n" +
			"deb http://m.example/anything noble-updates main\ndeb http://m.example/anything noble-security main\n"},
			[5]string{"", "", "", "", "http://m.example/anything"}},
		{"both, by their architectures", noble, "amd64",
			map[string]string{list: "deb [arch=amd64,i386] http://m.example/ubuntu noble main\n" +
				"deb [ arch=arm64 ] http://m.example/u2 noble main\n"},
			[5]string{"", "", "http://m.example/ubuntu", "", "http://m.example/u2"}},
		{"another distribution", "ID=fedora\n", "",
			map[string]string{list: "deb http://deb.debian.org/debian bookworm main"}, [5]string{}},
		{"another release's line", bookworm, "",
			map[string]string{list: "deb http://deb.debian.org/debian trixie main"}, [5]string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.files["/etc/os-release"] = tt.os
			m := machine(nil, tt.files)
			if tt.arch != "" {
				m.Arch = tt.arch
			}
			c := Read(m)
			got := [5]string{c.Debian.Text, c.DebianSecurity.Text, c.Ubuntu.Text, c.UbuntuSecurity.Text, c.Ports.Text}
			if got != tt.want || len(c.Notes) > 0 {
				t.Errorf("Debian, its security, Ubuntu, its security, ports:\ngot  %q\n"+
					"want %q\nnotes %q", got, tt.want, c.Notes)
			}
		})
	}
}

func TestAptLogins(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"/etc/os-release": bookworm,
		"/etc/apt/sources.list": "deb https://nexus.example:8443/apt/debian bookworm main\n" +
			"deb http://sec.example/security bookworm-security main\n",
		"/etc/apt/auth.conf": "# ours\nmachine nexus.example:8443/other login no password no\n" +
			"machine sec.example login plain password none\n",
		"/etc/apt/auth.conf.d/10.conf": "machine nexus.example:8443/apt\n  login joe\n  password pw\n" +
			"machine https://sec.example login no password no\n",
	}
	c := Read(machine(nil, files))
	if got := c.Logins["https://nexus.example:8443"]; got.String() != "joe:pw" {
		t.Errorf("the login of the archive is %v, want joe:pw", got)
	}
	if got := c.Logins["http://sec.example:80"]; got != nil {
		t.Errorf("a login goes out in the clear that was not meant to: %v", got)
	}
	files["/etc/apt/auth.conf.d/20.conf"] = "machine http://sec.example/ login ann password pw"
	if got := Read(machine(nil, files)).Logins["http://sec.example:80"]; got.String() != "ann:pw" {
		t.Errorf("the login that names http is %v, want ann:pw", got)
	}
}
