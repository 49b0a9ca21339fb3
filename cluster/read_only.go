package cluster

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// writablePaths are what a node with a read-only root may write, sorted. A head of Ray 2.52.1 with a job wrote below
// its temporary directory (logs, sockets, spilled objects, runtime environments) and nowhere else. A home is for the
// programs of jobs, and programs of a distribution expect /run and /var/tmp. /dev/shm is always writable.
func (n Node) writablePaths(user string) []string {
	if !n.ReadOnly {
		return nil
	}
	all := []string{"/run", "/tmp", "/var/tmp"}
	if home := homeOf(user); home != "" {
		all = append(all, home)
	}
	if n.TempDir != "" && !slices.ContainsFunc(all, func(p string) bool { return within(n.TempDir, p) }) {
		all = append(all, path.Clean(n.TempDir))
	}
	all = slices.DeleteFunc(all, func(p string) bool { // what the file mounts there
		return slices.ContainsFunc(n.Mounts, func(m Mount) bool { return path.Clean(m.Target) == p })
	})
	slices.Sort(all)
	return all
}

// within tells whether a path is dir or below it.
func within(p, dir string) bool {
	return path.Clean(p) == dir || strings.HasPrefix(path.Clean(p), dir+"/")
}

// homeOf is the usual home of an image's user, as its config names it. "": it has only a number.
func homeOf(user string) string {
	name, _, _ := strings.Cut(user, ":")
	_, err := strconv.ParseUint(name, 10, 32)
	switch {
	case name == "" || name == "root" || name == "0":
		return "/root"
	case err == nil:
		return ""
	}
	return "/home/" + name
}

// writable are volumes without a name for some paths. They begin with what the image has there, and go with their
// container. Unlike memory (tmpfs) they have room for logs and spilled objects.
func writable(paths []string) []Mount {
	var out []Mount
	for _, p := range paths {
		out = append(out, Mount{Volume: true, Target: p})
	}
	return out
}
