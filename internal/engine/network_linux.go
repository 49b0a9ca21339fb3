package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/oci"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/util/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/raybuild/raybuild/internal/stepnet"
)

// stepNetworks gives each step that may use the network one of its own, so that it does not share this machine's
// loopback.
type stepNetworks struct{ resolv string } // a resolv.conf for steps

func newStepNetworks(dir string) (network.Provider, error) {
	p := &stepNetworks{resolv: filepath.Join(dir, "resolv.conf")}
	host, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read name servers: %w", err)
	}
	//nolint:gosec // a step's user reads it
	if err := os.WriteFile(p.resolv, stepResolv(host), 0o644); err != nil {
		return nil, homeError(p.resolv, err)
	}
	return p, os.Chmod(p.resolv, 0o644) //nolint:gosec // whatever the umask is
}

// stepResolv is this machine's resolv.conf with the name server of steps (resolv.conf(5)).
func stepResolv(host []byte) []byte {
	var out bytes.Buffer
	for lines := bufio.NewScanner(bytes.NewReader(host)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) > 0 && slices.Contains([]string{"search", "options", "domain"}, f[0]) {
			fmt.Fprintln(&out, lines.Text())
		}
	}
	fmt.Fprintf(&out, "nameserver %s\n", stepnet.Resolver())
	return out.Bytes()
}

// New implements network.Provider.
func (p *stepNetworks) New(context.Context, string, network.NamespaceOptions) (network.Namespace, error) {
	n, err := stepnet.New()
	if err != nil {
		return nil, fmt.Errorf("%w: a step with network: true needs it; with network: host it shares this machine's "+
			"network, its loopback too", err)
	}
	return &stepNetwork{n, p.resolv}, nil
}

// Close implements network.Provider.
func (p *stepNetworks) Close() error { return nil }

// stepNetwork is the network of a step.
type stepNetwork struct {
	*stepnet.Network
	resolv string
}

// Set implements network.Namespace.
func (n *stepNetwork) Set(s *specs.Spec) error {
	for i, m := range s.Mounts {
		if m.Destination == "/etc/resolv.conf" {
			s.Mounts[i].Source = n.resolv
		}
	}
	return oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: n.Path()})(nil, nil, nil, s)
}

// Sample implements network.Namespace.
func (n *stepNetwork) Sample() (*resourcestypes.NetworkSample, error) { return nil, nil }

// DialContext implements network.Dialer.
func (n *stepNetwork) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("this network has no way in")
}
