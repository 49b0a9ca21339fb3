package wheel

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// entryPoint is a command's function.
type entryPoint struct{ module, call string }

var entryValue = regexp.MustCompile(`^([\w.]+)\s*:\s*([\w.]+)\s*(\[.*\])?$`)

// readEntryPoints reads entry_points.txt (packaging.python.org, "Entry points specification"): the commands of
// console_scripts and gui_scripts.
func (w *Wheel) readEntryPoints() error {
	w.console, w.gui = map[string]entryPoint{}, map[string]entryPoint{}
	text, err := w.text("entry_points.txt")
	if errors.Is(err, errMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	section := map[string]entryPoint(nil)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "["):
			section = map[string]map[string]entryPoint{"console_scripts": w.console,
				"gui_scripts": w.gui}[strings.Trim(line, "[] ")]
		case line == "" || line[0] == '#' || line[0] == ';' || section == nil:
		default:
			name, value, _ := strings.Cut(line, "=")
			name = strings.TrimSpace(name)
			found := entryValue.FindStringSubmatch(strings.TrimSpace(value))
			if found == nil || name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
				return fmt.Errorf("its entry point %q is none that can be called", line)
			}
			section[name] = entryPoint{found[1], found[2]}
		}
	}
	return nil
}

var (
	pipCommand  = regexp.MustCompile(`^pip(\d+(\.\d+)?)?$`)
	easyCommand = regexp.MustCompile(`^easy_install(-\d+\.\d+)?$`)
)

// commands are all commands by name. pip and setuptools have theirs by the version of the Python that they are
// installed for, not of the one that built them (pip's get_console_script_specs).
func (w *Wheel) commands(python string) map[string]entryPoint {
	out := maps.Clone(w.console)
	major, _, _ := strings.Cut(python, ".")
	for _, of := range []struct {
		name  string
		names []string
		other *regexp.Regexp
	}{
		{"pip", []string{"pip", "pip" + major, "pip" + python}, pipCommand},
		{"easy_install", []string{"easy_install", "easy_install-" + python}, easyCommand},
	} {
		call, has := w.console[of.name]
		if !has {
			continue
		}
		maps.DeleteFunc(out, func(name string, _ entryPoint) bool { return of.other.MatchString(name) })
		for _, name := range of.names {
			out[name] = call
		}
	}
	maps.Copy(out, w.gui)
	return out
}

// script is the program that calls an entry point, as pip's distlib writes it.
func (t Target) script(e entryPoint) []byte {
	function, _, _ := strings.Cut(e.call, ".")
	return fmt.Appendf([]byte(t.shebang()), `# -*- coding: utf-8 -*-
import re
import sys
from %s import %s
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\.pyw|\.exe)?$', '', sys.argv[0])
    sys.exit(%s())
`, e.module, function, e.call)
}

// shebang begins a program. Kernels read 127 bytes of it, and no spaces in a path.
func (t Target) shebang() string {
	python := t.python()
	if strings.Contains(python, " ") {
		python = `"` + python + `"`
	}
	if line := "#!" + python + "\n"; len(line) <= 127 && !strings.Contains(python, " ") {
		return line
	}
	return "#!/bin/sh\n'''exec' " + python + " \"$0\" \"$@\"\n' '''\n"
}

var scriptSuffix = regexp.MustCompile(`(?i)(\.exe|-script\.py|\.pya)$`)

// standsIn tells whether an entry point's program comes in the place of a script of the wheel.
func (w *Wheel) standsIn(place string) bool {
	name := scriptSuffix.ReplaceAllString(path.Base(place), "")
	_, console := w.console[name]
	_, gui := w.gui[name]
	return console || gui
}

// sortedNames are the names of commands in order.
func sortedNames(all map[string]entryPoint) []string { return slices.Sorted(maps.Keys(all)) }
