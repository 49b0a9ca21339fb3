package stepnet

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// in runs a shell in a network. There, "get URL [BODY]" asks for a URL.
func in(t *testing.T, n *Network, sh string) (string, error) {
	t.Helper()
	const get = `get() { python3 -c '
import sys, urllib.request
body = sys.argv[2].encode() if len(sys.argv) > 2 else None
sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], body, timeout=5).read())
' "$@"; }
`
	cmd := exec.CommandContext(t.Context(), "nsenter", "--net="+n.Path(), "sh", "-c", get+sh)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // no proxy
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestM11StepsHaveTheirOwnLoopback: a step reaches the network, and nothing that listens on this machine's loopback.
func TestM11StepsHaveTheirOwnLoopback(t *testing.T) {
	testneeds.Root(t, "ip", "nsenter", "python3")
	big := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = fmt.Fprint(w, n)
			return
		}
		_, _ = io.WriteString(w, big)
	})
	loopback := httptest.NewServer(handler)
	defer loopback.Close()
	address := testneeds.OutsideAddress(t)
	ln, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener = ln
	server.Start()
	defer server.Close()
	for name, way := range map[string]func(*Network) (wire, error){
		"by veth": (*Network).veth, "by TUN": (*Network).tun,
	} {
		t.Run(name, func(t *testing.T) {
			ownLoopback(t, func() (*Network, error) { return newBy(way) }, server.URL, loopback.URL, len(big))
		})
	}
}

func ownLoopback(t *testing.T, again func() (*Network, error), server, loopback string, size int) {
	n, err := again()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	start := time.Now()
	if out, err := in(t, n, "get "+server+" | wc -c"); err != nil ||
		strings.TrimSpace(out) != fmt.Sprint(size) {
		t.Errorf("a server of the network: %q, %v", out, err)
	}
	t.Logf("16 MiB in %v", time.Since(start))
	if out, err := in(t, n, "get "+server+" "+strings.Repeat("x", 100)); err != nil ||
		strings.TrimSpace(out) != "100" {
		t.Errorf("a request with a body: %q, %v", out, err)
	}
	for _, url := range []string{loopback, strings.Replace(loopback, "127.0.0.1", gateway4, 1)} {
		if out, err := in(t, n, "get "+url); err == nil {
			t.Errorf("%s is reached: %q", url, out[:min(len(out), 40)])
		}
	}
	// A second network does not see the first.
	other, err := again()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if out, err := in(t, other, "ip -o -4 addr show dev eth0"); err != nil || !strings.Contains(out, "198.18.0.2") {
		t.Errorf("the second network has %q, %v", out, err)
	}
}

// A name server of this machine answers, also one on loopback. A packet to loopback that a step writes itself leads
// nowhere.
func TestWhereConnectionsLead(t *testing.T) {
	t.Parallel()
	if address, ok := target4(t, "127.0.0.1", 80); ok {
		t.Errorf("a packet to loopback leads to %s", address)
	}
	if address, ok := target4(t, "192.0.2.7", 80); !ok || address != "192.0.2.7:80" {
		t.Errorf("a packet to 192.0.2.7 leads to %q, %v", address, ok)
	}
	if address, ok := target4(t, gateway4, dns); !ok || address != nameServer() {
		t.Errorf("the resolver leads to %q (%v), want %q", address, ok, nameServer())
	}
	if _, ok := target4(t, gateway4, 80); ok {
		t.Error("another port of the gateway leads somewhere")
	}
}

// target4 is where a connection to an IPv4 address leads.
func target4(t *testing.T, ip string, port uint16) (string, bool) {
	t.Helper()
	return target(tcpip.AddrFromSlice(net.ParseIP(ip).To4()), port)
}

func TestWhatAStepMayReach(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"8.8.8.8": true, "10.0.0.1": true, "192.168.1.1": true, "2001:db8::1": true, "fd00::1": true,
		"127.0.0.1": false, "127.1.2.3": false, "0.0.0.0": false, "::": false, "::1": false, "::ffff:127.0.0.1": false,
		"169.254.169.254": false, "fe80::1": false, "224.0.0.1": false, "255.255.255.255": false,
		"100.100.100.200": false, "fd00:ec2::254": false, "168.63.129.16": false,
	} {
		if got := reachable(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s may be reached: %v, want %v", text, got, want)
		}
	}
}
