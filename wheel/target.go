package wheel

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
)

// Target says where wheels are installed. Prefix and Python are required.
type Target struct {
	// Prefix is the environment's directory, such as /opt/conda/envs/ray.
	Prefix string
	// Python is the environment's Python, as major.minor, such as 3.12.
	Python string
	// Executable is the Python that scripts are run by. Default: bin/python below Prefix.
	Executable string
	// UID and GID own all files. Default: 0.
	UID, GID int
	// Time is that of all files. Default: 1980-01-01, the first that a ZIP archive can have.
	Time time.Time
	// Installer is what INSTALLER says. Default: pip.
	Installer string
}

var pythonVersion = regexp.MustCompile(`^[23]\.[0-9]{1,2}$`)

func (t *Target) check() error {
	switch {
	case !path.IsAbs(t.Prefix) || path.Clean(t.Prefix) != t.Prefix || t.Prefix == "/":
		return fmt.Errorf("prefix %q: must be a clean absolute path", t.Prefix)
	case !pythonVersion.MatchString(t.Python):
		return fmt.Errorf("python %q: must be major.minor, such as 3.12", t.Python)
	case strings.ContainsAny(t.Prefix+t.Executable, "\n\x00"):
		return fmt.Errorf("prefix %q: has a line end in it", t.Prefix)
	}
	if t.Time.IsZero() {
		t.Time = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if t.Installer == "" {
		t.Installer = "pip"
	}
	return nil
}

func (t Target) python() string {
	if t.Executable != "" {
		return t.Executable
	}
	return t.Prefix + "/bin/python"
}

// library is the directory of pure and of other modules: one, as in every Python of conda.
func (t Target) library() string { return t.Prefix + "/lib/python" + t.Python + "/site-packages" }

// roots are the directories of the kinds of files that a .data directory can have (sysconfig.get_paths).
func (t Target) roots(project string) map[string]string {
	return map[string]string{
		"purelib": t.library(), "platlib": t.library(), "scripts": t.Prefix + "/bin", "data": t.Prefix,
		"headers": t.Prefix + "/include/python" + t.Python + "/" + project,
	}
}

var separators = regexp.MustCompile(`[-_.]+`)

// normalized is a project's name as PEP 503 has it.
func normalized(name string) string { return strings.ToLower(separators.ReplaceAllString(name, "-")) }
