package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Access is what a container may use of its host beside files: all that the zero value does not have is Docker's
// default.
type Access struct {
	Devices []string         // paths of the host (PATH[:TARGET[:rwm]]), or names of CDI devices (vendor/class=name)
	CapAdd  []string         // capabilities without CAP_
	Groups  []string         // further groups of the container's user: names of the image, or numbers
	Ulimits map[string]int64 // soft and hard, by name; -1: no limit
	Runtime string           // the Engine's runtime
}

// empty tells whether nothing is said.
func (a Access) empty() bool {
	return len(a.Devices)+len(a.CapAdd)+len(a.Groups)+len(a.Ulimits) == 0 && a.Runtime == ""
}

// clone copies what a group may change.
func (a Access) clone() Access { a.Ulimits = maps.Clone(a.Ulimits); return a }

// equal tells whether two containers have the same.
func (a Access) equal(b Access) bool {
	return slices.Equal(a.Devices, b.Devices) && slices.Equal(a.CapAdd, b.CapAdd) &&
		slices.Equal(a.Groups, b.Groups) && maps.Equal(a.Ulimits, b.Ulimits) && a.Runtime == b.Runtime
}

// isCDI tells whether a device is a name of the Container Device Interface.
func isCDI(device string) bool { return !strings.HasPrefix(device, "/") }

// ownGPU is a device that is a GPU, so that Docker is not asked for NVIDIA's: AMD's, Intel's and Huawei's.
var ownGPU = newGrammar(`^(/dev/(kfd|dri|davinci|accel)[^:]*(:.*)?|[a-z0-9.-]+/(gpu|npu|hpu|xpu)=.*)$`)

// bringsGPUs tells whether the devices have the node's GPUs.
func (a Access) bringsGPUs() bool { return slices.ContainsFunc(a.Devices, ownGPU.MatchString) }

// limits are the container's ulimits: those that are said, and as many open files as Ray needs.
func (a Access) limits(files int64) []docker.Ulimit {
	all := map[string]int64{"nofile": files}
	maps.Copy(all, a.Ulimits)
	var out []docker.Ulimit
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, docker.Ulimit{Name: name, Limit: all[name]})
	}
	return out
}

// splitDevice is a path of the host, one in the container, and what may be done to it.
func splitDevice(d string) (source, target, may string) {
	parts := strings.Split(d, ":")
	source, target, may = parts[0], parts[0], "rwm"
	if len(parts) > 1 {
		target = parts[1]
	}
	if len(parts) > 2 {
		may = parts[2]
	}
	return source, target, may
}

// devices are the container's devices.
func (a Access) devices() (paths []docker.Device, names []string) {
	for _, d := range a.Devices {
		if isCDI(d) {
			names = append(names, d)
			continue
		}
		source, target, may := splitDevice(d)
		paths = append(paths, docker.Device{Source: source, Target: target, May: may})
	}
	return paths, names
}

const (
	devicePath = `/dev/[A-Za-z0-9._/@+=~,%-]+`
	// github.com/cncf-tags/container-device-interface/blob/main/SPEC.md, "Kind" and "Names"
	cdiName = `[A-Za-z0-9][A-Za-z0-9.-]*/[A-Za-z0-9][A-Za-z0-9_-]*=[A-Za-z0-9][A-Za-z0-9_.:-]*`
)

// ulimitNames are those that Docker takes (github.com/docker/go-units, ulimit.go).
func ulimitNames() []string {
	return []string{"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
		"rtprio", "rttime", "sigpending", "stack"}
}

var (
	deviceExpr     = newGrammar(`^(` + devicePath + `(:/[A-Za-z0-9._/@+=~,%-]+(:r?w?m?)?)?|` + cdiName + `)$`)
	capabilityExpr = newGrammar(`^[A-Z][A-Z0-9_]{1,39}$`)
)

func deviceGrammar() strictyaml.Grammar {
	return strictyaml.Grammar{What: "a device", Limit: 512, Pattern: strings.Trim(deviceExpr.text, "^$"),
		Check: func(s string) (string, string) {
			source, target, _ := splitDevice(s)
			if !deviceExpr.MatchString(s) || !isCDI(s) && (!cleanPath(source) || !cleanPath(target)) {
				return fmt.Sprintf("%q is not a device", clip(s)),
					"write a path such as /dev/infiniband, /dev/kfd:/dev/kfd:rw, or a CDI name such as amd.com/gpu=0"
			}
			return "", ""
		}}
}

// capabilityGrammar takes no capability that makes the container root of its host. ALL is one.
func capabilityGrammar() strictyaml.Grammar {
	return strictyaml.Grammar{What: "a capability", Limit: 40, Pattern: strings.Trim(capabilityExpr.text, "^$"),
		Normal: func(s string) string { return strings.TrimPrefix(s, "CAP_") },
		Check: func(s string) (string, string) {
			name := strings.TrimPrefix(s, "CAP_")
			switch {
			case !capabilityExpr.MatchString(s):
				return fmt.Sprintf("%q is not a capability", clip(s)), "write a name such as IPC_LOCK"
			case name == "ALL" || name == "SYS_ADMIN" || name == "SYS_MODULE" || name == "SYS_RAWIO" || name == "BPF":
				return fmt.Sprintf("%s makes the container root of its host", name),
					"name what the program needs, such as IPC_LOCK, SYS_NICE or SYS_PTRACE"
			}
			return "", ""
		}}
}

func accessKeys(a *Access) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "devices", Doc: "Devices of the host in the container: a path, PATH:TARGET, PATH:TARGET:rwm, or a " +
			"CDI name. If one is a GPU (`/dev/kfd`, `/dev/dri`, `/dev/davinci0`, `/dev/accel`, `amd.com/gpu=0`), " +
			"Docker is not asked for NVIDIA's `num_gpus`.", Default: "none", Example: "[/dev/infiniband]",
			Value: strictyaml.Strings(&a.Devices, deviceGrammar())},
		{Name: "cap_add",
			Doc:     "Capabilities of the container. They are effective only for an image whose user is root.",
			Default: "none", Example: "[IPC_LOCK]", Value: strictyaml.Strings(&a.CapAdd, capabilityGrammar())},
		{Name: "group_add", Doc: "Further groups of the image's user, such as those that own devices.", Default: "none",
			Example: "[video, render]", Value: strictyaml.Strings(&a.Groups, strictyaml.Pattern("a group",
				`[A-Za-z0-9_][A-Za-z0-9_.-]*`, 32, "write its name in the image, or its number"))},
		{Name: "ulimits", Doc: "Limits of the container's processes, by name: " + strings.Join(ulimitNames(), ", ") +
			". -1 is no limit.", Default: "`{nofile: " + strconv.Itoa(noFile) + "}`", Example: "{memlock: -1}",
			Value: ulimitsValue(&a.Ulimits)},
		{Name: "runtime", Doc: "The Engine's runtime for the container.", Default: "the Engine's default",
			Example: "nvidia", Value: strictyaml.String(&a.Runtime, strictyaml.Pattern("a runtime",
				`[A-Za-z0-9][A-Za-z0-9_.-]*`, 64, "write a name of docker info, such as nvidia"))},
	}
}

func ulimitsValue(dst *map[string]int64) strictyaml.Value {
	var text map[string]string
	values := strictyaml.Pattern("a limit", `-1|[0-9]{1,18}`, 19, "write a whole number, or -1 for no limit")
	return strictyaml.Pairs(&text, strictyaml.OneOf("a limit", ulimitNames()...), values).Then(func() {
		if *dst == nil && len(text) > 0 {
			*dst = map[string]int64{}
		}
		for name, value := range text {
			(*dst)[name], _ = strconv.ParseInt(value, 10, 64) // the grammar's
		}
	})
}

// runFlags are the arguments of docker run for what a container may use.
func (a Access) runFlags() (out []string) {
	for _, d := range a.Devices {
		out = append(out, "--device="+d)
	}
	for _, c := range a.CapAdd {
		out = append(out, "--cap-add="+c)
	}
	for _, g := range a.Groups {
		out = append(out, "--group-add="+g)
	}
	for _, u := range a.limits(noFile) {
		out = append(out, fmt.Sprintf("--ulimit=%s=%d:%d", u.Name, u.Limit, u.Limit))
	}
	if a.Runtime != "" {
		out = append(out, "--runtime="+a.Runtime)
	}
	return out
}
