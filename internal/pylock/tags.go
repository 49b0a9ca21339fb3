package pylock

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Target is the environment that files are picked for: CPython on a Linux with glibc.
type Target struct {
	// Python version; its major and minor count, "3.11" or "3.11.9".
	Python string
	// Platform is "linux/amd64" or "linux/arm64".
	Platform string
	// Glibc version, such as "2.35".
	Glibc string
}

// Tag is a wheel's tag (PEP 425), such as cp311-cp311-manylinux_2_17_x86_64.
type Tag struct{ Interpreter, ABI, Platform string }

// String is the tag as wheels are named by it.
func (t Tag) String() string { return t.Interpreter + "-" + t.ABI + "-" + t.Platform }

// Machine is the platform's name in tags and markers: "x86_64" or "aarch64".
func (t Target) Machine() (string, error) {
	switch t.Platform {
	case "linux/amd64":
		return "x86_64", nil
	case "linux/arm64":
		return "aarch64", nil
	}
	return "", fmt.Errorf("read platform %q: want linux/amd64 or linux/arm64", t.Platform)
}

// two reads the first two numbers of a version.
func two(kind, version string) (major, minor int, err error) {
	parts := strings.Split(version, ".")
	if len(parts) < 2 {
		return 0, 0, fmt.Errorf("read %s version %q: want two numbers at least", kind, version)
	}
	if major, err = strconv.Atoi(parts[0]); err == nil {
		minor, err = strconv.Atoi(parts[1])
	}
	if err != nil || major < 0 || minor < 0 || minor > 999 {
		return 0, 0, fmt.Errorf("read %s version %q: %w", kind, version, errors.Join(err, errNumbers))
	}
	return major, minor, nil
}

var errNumbers = errors.New("want numbers")

// PythonVersion is the target's major and minor version of Python.
func (t Target) PythonVersion() (major, minor int, err error) {
	if major, minor, err = two("Python", t.Python); err == nil && major != 3 {
		err = fmt.Errorf("read Python version %q: want Python 3", t.Python)
	}
	return major, minor, err
}

// GlibcVersion is the target's version of glibc.
func (t Target) GlibcVersion() (major, minor int, err error) {
	if major, minor, err = two("glibc", t.Glibc); err == nil && (major != 2 || minor > 199) {
		err = fmt.Errorf("read glibc version %q: want 2.x", t.Glibc)
	}
	return major, minor, err
}

// Markers are the values of the variables of markers (PEP 508) on the target, by name.
func (t Target) Markers() (map[string]string, error) {
	machine, err := t.Machine()
	if err != nil {
		return nil, err
	}
	major, minor, err := t.PythonVersion()
	if err != nil {
		return nil, err
	}
	short := fmt.Sprintf("%d.%d", major, minor)
	full := t.Python
	if full == short {
		full += ".0"
	}
	return map[string]string{
		"implementation_name": "cpython", "implementation_version": full, "os_name": "posix",
		"platform_machine": machine, "platform_python_implementation": "CPython", "platform_release": "",
		"platform_system": "Linux", "platform_version": "", "python_full_version": full, "python_version": short,
		"sys_platform": "linux",
	}, nil
}

// Tags are the tags of the wheels that run on the target, best first. They are those of packaging.tags.sys_tags
// (packaging 26), which pip uses.
func (t Target) Tags() ([]Tag, error) {
	platforms, err := t.platforms()
	if err != nil {
		return nil, err
	}
	_, minor, err := t.PythonVersion()
	if err != nil {
		return nil, err
	}
	cp := fmt.Sprintf("cp3%d", minor)
	abi := cp
	if minor < 8 {
		abi += "m" // with pymalloc, as builds of CPython are
	}
	var out []Tag
	each := func(interpreter, abi string) {
		for _, p := range platforms {
			out = append(out, Tag{interpreter, abi, p})
		}
	}
	each(cp, abi)
	each(cp, "abi3")
	each(cp, "none")
	for m := minor - 1; m >= 2; m-- {
		each(fmt.Sprintf("cp3%d", m), "abi3")
	}
	generic := []string{fmt.Sprintf("py3%d", minor), "py3"}
	for m := minor - 1; m >= 0; m-- {
		generic = append(generic, fmt.Sprintf("py3%d", m))
	}
	for _, py := range generic {
		each(py, "none")
	}
	out = append(out, Tag{cp, "none", "any"})
	for _, py := range generic {
		out = append(out, Tag{py, "none", "any"})
	}
	return out, nil
}

// platforms are the platforms of the target's wheels, best first: manylinux (PEP 600) with its legacy names
// after the version that they stand for, then linux.
func (t Target) platforms() ([]string, error) {
	machine, err := t.Machine()
	if err != nil {
		return nil, err
	}
	_, glibc, err := t.GlibcVersion()
	if err != nil {
		return nil, err
	}
	oldest := 17 // before it there was no glibc for it, as far as packaging knows
	if machine == "x86_64" {
		oldest = 5
	}
	legacy := map[int]string{17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
	var out []string
	for v := glibc; v >= oldest; v-- {
		out = append(out, fmt.Sprintf("manylinux_2_%d_%s", v, machine))
		if name, ok := legacy[v]; ok {
			out = append(out, name+"_"+machine)
		}
	}
	return append(out, "linux_"+machine), nil
}
