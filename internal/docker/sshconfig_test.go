package docker

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/client"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
)

// relayTo is the variable by which a test runs this program as a ProxyCommand: it connects to the address in it.
const relayTo = "RAYBUILD_TEST_RELAY_TO"

func TestMain(m *testing.M) {
	if to := os.Getenv(relayTo); to != "" {
		os.Exit(relay(to))
	}
	os.Exit(m.Run())
}

// relay joins standard input and output to an address until either ends.
func relay(to string) int {
	conn, err := net.Dial("tcp", to)
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		return 1
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, conn)
	return 0
}

// config writes an ssh_config, and makes the bed's target the host "box" of it.
func (b *bed) config(t *testing.T, text string) {
	t.Helper()
	b.opts.SSHConfig = filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(b.opts.SSHConfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.target = Target{Address: "box", Key: b.target.Key}
}

// A host behind a ProxyCommand is reached by it alone: its own address leads nowhere.
func TestL13ProxyCommand(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, "1.41")
	b := newBed(t, sshtest.Options{Unix: e.unix})
	host, port, err := net.SplitHostPort(b.server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	known, err := os.ReadFile(b.opts.KnownHosts[0])
	if err != nil {
		t.Fatal(err)
	}
	// The name that the host has behind the proxy is never resolved here.
	named := strings.ReplaceAll(string(known), "["+host+"]", "[inner.invalid]")
	if err := os.WriteFile(b.opts.KnownHosts[0], []byte(named), 0o600); err != nil {
		t.Fatal(err)
	}
	b.config(t, fmt.Sprintf("Host box\n HostName inner.invalid\n Port %s\n User me\n ProxyCommand env %s=%s:%%p %s\n",
		port, relayTo, host, self))
	h := b.dial(t)
	if _, err := h.Docker().ContainerList(t.Context(), client.ContainerListOptions{}); err != nil {
		t.Errorf("the Engine behind the proxy does not answer: %v", err)
	}
	keys, err := ScanHostKeys(t.Context(), b.target, b.opts)
	if err != nil || len(keys) != 1 || !keys[0].Known {
		t.Errorf("trust finds %+v, %v", keys, err)
	}
	b.config(t, "Host box\n HostName inner.invalid\n User me\n ProxyCommand echo no such gate >&2; exit 1\n")
	if _, err := Dial(t.Context(), b.target, b.opts); err == nil || !strings.Contains(err.Error(), "no such gate") {
		t.Errorf("the error does not say what the ProxyCommand said: %v", err)
	}
}

// A host whose keys are recorded under an alias is known by it, and by nothing else.
func TestL13HostKeyAlias(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.41")
	b := newBed(t, sshtest.Options{Unix: e.unix})
	host, port, err := net.SplitHostPort(b.server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("Host box\n HostName %s\n Port %s\n User me\n HostKeyAlias the-box\n", host, port)
	known := b.opts.KnownHosts[0]
	b.config(t, text)
	if _, err := Dial(t.Context(), b.target, b.opts); err == nil || !strings.Contains(err.Error(), "is not known") {
		t.Errorf("the key of its address counts for the alias: %v", err)
	}
	data, err := os.ReadFile(known)
	if err != nil {
		t.Fatal(err)
	}
	as := strings.ReplaceAll(string(data), fmt.Sprintf("[%s]:%s", host, port), "the-box")
	if err := os.WriteFile(known, []byte(as), 0o600); err != nil {
		t.Fatal(err)
	}
	b.dial(t)
	keys, err := ScanHostKeys(t.Context(), b.target, b.opts)
	if err != nil || len(keys) != 1 || !keys[0].Known || !strings.HasPrefix(keys[0].Line, "the-box ") {
		t.Errorf("trust finds %+v, %v", keys, err)
	}
}

// With IdentitiesOnly a host sees no key of the agent that no named file has.
func TestL13IdentitiesOnly(t *testing.T) {
	t.Parallel()
	ring, dir := agent.NewKeyring(), t.TempDir()
	for _, name := range []string{"named", "private"} {
		public, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key, Comment: name}); err != nil {
			t.Fatal(err)
		}
		shown, err := ssh.NewPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".pub"), ssh.MarshalAuthorizedKey(shown), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	file := filepath.Join(dir, "config")
	for text, want := range map[string]int{"": 2, " IdentitiesOnly yes\n": 1} {
		text = "Host box\n User me\n IdentityFile " + filepath.Join(dir, "named") + "\n" + text
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := readClientConfig(file)
		if err != nil {
			t.Fatal(err)
		}
		h, err := cfg.resolve(t.Context(), Target{Address: "box"})
		if err != nil {
			t.Fatal(err)
		}
		k := newKeyring(h, Options{Agent: socket, MaxKeys: 5})
		if len(k.signers) != want {
			t.Errorf("with %q the host sees the keys %q, want %d", text, k.names, want)
		}
		k.close()
	}
}

// What two processes record at once is all there.
func TestL6TrustAtOnce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sub", "known_hosts")
	const many = 24
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			n, err := RecordHostKeys(t.Context(), file, []HostKey{{Line: fmt.Sprintf("h%d ssh-ed25519 AAAA", i)}})
			if n != 1 || err != nil {
				t.Errorf("recorded %d, %v", n, err)
			}
		})
	}
	wg.Wait()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(data), "\n"); got != many {
		t.Errorf("%d of %d keys that were recorded at once are there", got, many)
	}
}
