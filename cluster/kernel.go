package cluster

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/internal/docker"
)

// kernel is what a host's kernel tells of it.
type kernel struct {
	addresses []netip.Addr
	looked    bool  // it has shown its addresses: each kernel has at least that of loopback
	memory    int64 // bytes; 0: not known
	cpus      int   // 0: not known
}

// askKernel asks for what Docker's API has no call for, or only a dear one; ip(8) and its like may
// be missing. A host that does not let us look (no Linux, no shell) tells nothing.
func askKernel(ctx context.Context, h *docker.Host) kernel {
	// cat says what it can read, and fails when one of the files is missing, as without IPv6.
	out, err := h.Run(ctx, nil, "cat", "/proc/net/fib_trie", "/proc/net/if_inet6", "/proc/meminfo",
		"/sys/devices/system/cpu/online")
	var failed *docker.CommandError
	if err != nil && !errors.As(err, &failed) {
		return kernel{}
	}
	return parseKernel(string(out))
}

// parseKernel reads these files, one after the other. /proc/net/fib_trie has a line with an
// address, then "/32 host LOCAL" for the host's own; /proc/net/if_inet6 has 32 hex digits first;
// /proc/meminfo has "MemTotal: 16384 kB"; cpu/online has "0-7" or "0,2-3". Source: Linux
// net/ipv4/fib_trie.c, net/ipv6/addrconf.c, fs/proc/meminfo.c,
// Documentation/admin-guide/cputopology.rst.
func parseKernel(text string) kernel {
	var k kernel
	add := func(a netip.Addr) {
		k.looked = true
		if !a.IsLoopback() && !a.IsUnspecified() && !slices.Contains(k.addresses, a) {
			k.addresses = append(k.addresses, a)
		}
	}
	var last netip.Addr
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) >= 2 && f[0] == "|--":
			last, _ = netip.ParseAddr(f[1])
		case len(f) >= 3 && f[0] == "/32" && f[1] == "host" && f[2] == "LOCAL" && last.IsValid():
			add(last)
		case len(f) == 6 && len(f[0]) == 32:
			if b, err := hex.DecodeString(f[0]); err == nil {
				add(netip.AddrFrom16([16]byte(b)))
			}
		case len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB":
			if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				k.memory = kb << 10
			}
		case len(f) == 1:
			k.cpus = max(k.cpus, countCPUs(f[0]))
		}
	}
	return k
}

// countCPUs counts what a kernel's list of CPUs names, as "0,2-3"; 0 for anything else.
func countCPUs(list string) int {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(first, 10, 16)
		b := a
		if err == nil && isRange {
			b, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || b < a {
			return 0
		}
		n += int(b-a) + 1
	}
	return n
}

// labelHost keeps, with a node's container, what the Engine told of its host when the container was
// made. Asking again makes a Docker Engine run runc and docker-init, which costs it more than all
// other questions.
const labelHost = "raybuild.host"

// hostRecord is the content of labelHost. Memory and CPUs are not in it: the kernel is asked for them each time.
type hostRecord struct {
	Sign   string `json:"sign"` // of the Engine that said it
	Engine string `json:"engine"`
	Arch   string `json:"arch"`
	GPUs   int    `json:"gpus,omitempty"`
}

// recordLabel is the value of labelHost. It is empty if the Engine and the kernel that we ask differ in memory or
// CPUs, as with an Engine in a virtual machine: that kernel does not show when the Engine's machine changes.
func (hs hostState) recordLabel() string {
	if hs.sign.Engine == "" || hs.kernel.memory == 0 || hs.kernel.memory != hs.facts.Memory ||
		hs.kernel.cpus != hs.facts.CPUs {
		return ""
	}
	data, err := json.Marshal(hostRecord{Sign: hs.sign.Engine, Engine: hs.facts.Engine, Arch: hs.facts.Arch,
		GPUs: hs.facts.GPUs})
	if err != nil {
		return ""
	}
	return string(data)
}

// restoreFacts fills in the facts from a container's record. It fails if no record is of the Engine that answers now.
// It fails beside a lock, too: a lease is judged by a clock that is exact to less than a second, and Sign's is not.
func (hs *hostState) restoreFacts() bool {
	if hs.lock != nil || hs.kernel.memory == 0 || hs.kernel.cpus == 0 {
		return false
	}
	for _, c := range hs.containers {
		var r hostRecord
		if json.Unmarshal([]byte(c.Labels[labelHost]), &r) == nil && r.Sign != "" && r.Sign == hs.sign.Engine {
			hs.facts = hostFacts{CPUs: hs.kernel.cpus, Memory: hs.kernel.memory, GPUs: r.GPUs, Arch: r.Arch,
				Engine: r.Engine, Skew: hs.sign.Skew}
			return true
		}
	}
	return false
}
