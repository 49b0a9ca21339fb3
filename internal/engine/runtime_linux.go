package engine

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// searchPath is path with the directories where distributions put runc and
// newuidmap but that a user's PATH often lacks (Debian: /usr/sbin/runc).
// An empty path stays empty.
func searchPath(path string) string {
	if path == "" {
		return ""
	}
	dirs := filepath.SplitList(path)
	for _, d := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	return strings.Join(dirs, string(filepath.ListSeparator))
}

// findProgram finds a program on path. Relative directories are left out.
func findProgram(path, name string) (string, bool) {
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			continue
		}
		if p, err := exec.LookPath(filepath.Join(d, name)); err == nil {
			return p, true
		}
	}
	return "", false
}

// findRuntime finds a program that can run a step on path, the preferred one first.
func findRuntime(path string) (string, error) {
	for _, n := range [...]string{"buildkit-runc", "runc", "crun"} {
		if p, ok := findProgram(path, n); ok {
			return p, nil
		}
	}
	return "", &Error{Kind: ErrNoRuntime, Detail: "neither runc nor crun is on PATH (" + path + ")",
		Fix: "install one: " + installCommand("runc")}
}

// installCommand is the command that installs a package on this distribution.
func installCommand(pkg string) string {
	for _, m := range [...]struct{ program, command string }{
		{"apt-get", "apt-get install -y "},
		{"dnf", "dnf install -y "},
		{"zypper", "zypper install -y "},
		{"pacman", "pacman -S --noconfirm "},
		{"apk", "apk add "},
	} {
		for _, dir := range []string{"/usr/bin", "/sbin", "/usr/sbin"} {
			if _, err := os.Stat(filepath.Join(dir, m.program)); err != nil {
				continue
			}
			if pkg == "uidmap" && (m.program == "dnf" || m.program == "zypper") {
				pkg = "shadow-utils"
			}
			return sudo() + m.command + pkg
		}
	}
	return sudo() + "apt-get install -y " + pkg
}

func sudo() string {
	if os.Geteuid() == 0 {
		return ""
	}
	return "sudo "
}
