package channel

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// edit undoes one of Debian's changes to Python: what was is replaced, exactly once.
type edit struct{ file, was, now string }

// Debian's Python installs to dist-packages below local/; conda's, as python.org's, to site-packages.
var pythonEdits = []edit{
	{"sysconfig.py", "        'prefix': prefix_scheme,\n", "        'prefix': 'posix_prefix',\n"},
	{"sysconfig.py", "f'_sysconfigdata_{sys.abiflags}_{multiarch}'",
		"f'_sysconfigdata_{sys.abiflags}_{sys.platform}_{multiarch}'"},
	{"sysconfig.py", "    for scheme in ('posix_prefix', 'posix_home', 'posix_local', 'deb_system'):\n",
		"    for scheme in ('posix_prefix', 'posix_home'):\n"},
	{"site.py", `            if is_virtual_environment:
                sitepackages.append(os.path.join(prefix, "lib",
                                                 "python%d.%d" % sys.version_info[:2],
                                                 "site-packages"))
            sitepackages.append(os.path.join(prefix, "local/lib",
                                             "python%d.%d" % sys.version_info[:2],
                                             "dist-packages"))
            sitepackages.append(os.path.join(prefix, "lib",
                                             "python3",
                                             "dist-packages"))
            # this one is deprecated for Debian
`, ""},
	{"site.py", "                                    \"dist-packages\")\n",
		"                                    \"site-packages\")\n"},
	// Debian's setuptools asks for this module: it stays, and chooses as Python does.
	{"_distutils_system_mod.py", "                  or is_virtual_environment()):\n", "                  or True):\n"},
	{"_distutils_system_mod.py", "    elif is_default_prefix and not is_virtual_environment():\n", "    elif False:\n"},
	{"distutils/command/install.py", "                  or is_virtual_environment()):\n",
		"                  or True):\n"},
	{"distutils/sysconfig.py", "        elif is_default_prefix and not is_virtual_environment():\n",
		"        elif False:\n"},
}

// dropModules are files of Debian's library that conda's has not, or whose libraries are not worth it.
var dropModules = []string{
	"EXTERNALLY-MANAGED", "sitecustomize.py", "_sysconfigdata__x86_64-linux-gnu.py", "test/", "pydoc_data/topics.py",
	"lib-dynload/_test", "lib-dynload/_ctypes_test", "lib-dynload/xx", "lib-dynload/_xxtest", "lib-dynload/nis.",
	"lib-dynload/ossaudiodev.", "lib-dynload/_dbm.",
}

const pyLib = "lib/python3.11/"

// pythonFiles lays Debian's Python out as conda does, with the shared libraries that a minimal system
// lacks in lib/.
func pythonFiles(ctx context.Context, find func(string) (string, error)) ([]entry, error) {
	from, err := debs(ctx, find, pythonDebs)
	if err != nil {
		return nil, err
	}
	libs, err := debs(ctx, find, libDebs)
	if err != nil {
		return nil, err
	}
	headers, err := debs(ctx, find, headerDebs)
	if err != nil {
		return nil, err
	}
	out := headerFiles(headers)
	for _, e := range from {
		if e.path == "usr/bin/python3.11" {
			program, err := editProgram(e.data)
			if err != nil {
				return nil, err
			}
			out = append(out, entry{path: "bin/python3.11", data: program, mode: 0o755})
		}
		rest, ok := strings.CutPrefix(e.path, "usr/lib/python3.11/")
		if !ok || dropModule(rest) || e.link != "" {
			if rest != "_sysconfigdata__linux_x86_64-linux-gnu.py" {
				continue
			}
			// A link of Debian's to the file that is left out under its own name.
			if e.data, err = fileData(from, "usr/lib/python3.11/_sysconfigdata__x86_64-linux-gnu.py"); err != nil {
				return nil, err
			}
			e.data = []byte(strings.ReplaceAll(strings.ReplaceAll(string(e.data), "'/usr/", "'"+placeholder+"/"),
				"'/usr'", "'"+placeholder+"'"))
			e.link, e.mode, e.prefix = "", 0o644, "text"
		}
		e.path = pyLib + rest
		out = append(out, e)
	}
	if err := editPython(out); err != nil {
		return nil, err
	}
	for _, e := range libs {
		dir, name := path.Split(e.path)
		if strings.Contains(name, ".so") && (dir == "lib/x86_64-linux-gnu/" || dir == "usr/lib/x86_64-linux-gnu/") {
			e.path = "lib/" + name
			out = append(out, e)
		}
	}
	out = append(out,
		entry{path: "bin/python3", link: "python3.11"}, entry{path: "bin/python", link: "python3.11"},
		entry{path: pyLib + "site-packages/README.txt", data: []byte("Third party Python packages.\n")})
	return out, setRunPaths(ctx, find, out)
}

// headerFiles are Python's C headers. Debian has pyconfig.h, which depends on the architecture, in
// a directory of its own.
func headerFiles(from []entry) []entry {
	var out []entry
	for _, e := range from {
		for _, dir := range []string{"usr/include/", "usr/include/x86_64-linux-gnu/"} {
			if rest, ok := strings.CutPrefix(e.path, dir+"python3.11/"); ok && e.link == "" {
				e.path = "include/python3.11/" + rest
				out = append(out, e)
			}
		}
	}
	return out
}

// editProgram does for the module site what pythonEdits does for the others: the interpreter has
// its code built in (frozen). Of the two names of the directory, which are of one length, Debian's
// gives way to Python's own.
func editProgram(program []byte) ([]byte, error) {
	was, now := []byte("dist-packages"), []byte("site-packages")
	if !bytes.Contains(program, was) {
		return nil, fmt.Errorf("undo Debian's change of %q: no %q in the interpreter", "site.py", was)
	}
	return bytes.ReplaceAll(program, was, now), nil
}

func fileData(entries []entry, name string) ([]byte, error) {
	for _, e := range entries {
		if e.path == name {
			return e.data, nil
		}
	}
	return nil, fmt.Errorf("find %q in Debian's packages: not there", name)
}

func dropModule(rest string) bool {
	for _, d := range dropModules {
		if rest == d || strings.HasPrefix(rest, d) && !strings.HasSuffix(d, ".py") {
			return true
		}
	}
	return false
}

func editPython(entries []entry) error {
	for _, ed := range pythonEdits {
		found := false
		for i := range entries {
			if entries[i].path != pyLib+ed.file {
				continue
			}
			text := string(entries[i].data)
			if strings.Count(text, ed.was) != 1 {
				return fmt.Errorf("undo Debian's change of %q: %d places like %q, want 1", ed.file,
					strings.Count(text, ed.was), ed.was)
			}
			entries[i].data, found = []byte(strings.Replace(text, ed.was, ed.now, 1)), true
		}
		if !found {
			return fmt.Errorf("undo Debian's change of %q: no such file", ed.file)
		}
	}
	return nil
}

// setRunPaths makes programs and modules find the libraries in lib/, wherever the prefix is; as in
// conda's packages the old DT_RPATH does that, which LD_LIBRARY_PATH does not overrule.
func setRunPaths(ctx context.Context, find func(string) (string, error), entries []entry) error {
	dir, err := os.MkdirTemp("", "raybuild-world-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	deb, err := find("patchelf")
	if err != nil {
		return err
	}
	tool, err := readDeb(ctx, deb)
	if err != nil {
		return err
	}
	data, err := fileData(tool, "usr/bin/patchelf")
	if err != nil {
		return err
	}
	patchelf := filepath.Join(dir, "patchelf")
	if err := os.WriteFile(patchelf, data, 0o755); err != nil {
		return err
	}
	for i, e := range entries {
		if !strings.HasPrefix(string(e.data), "\x7fELF") {
			continue
		}
		to := "$ORIGIN"
		switch path.Dir(e.path) {
		case "bin":
			to = "$ORIGIN/../lib"
		case pyLib + "lib-dynload":
			to = "$ORIGIN/../.."
		}
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, e.data, 0o755); err != nil {
			return err
		}
		if out, err := exec.CommandContext(ctx, patchelf, "--force-rpath", "--set-rpath", to,
			file).CombinedOutput(); err != nil {
			return fmt.Errorf("set run path of %q with patchelf: %w\n%s", e.path, err, out)
		}
		if entries[i].data, err = os.ReadFile(file); err != nil {
			return err
		}
	}
	return nil
}
