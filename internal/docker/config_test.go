package docker

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	t.Parallel()
	good := map[string]Target{
		"local":                    {Local: true},
		"h1":                       {Address: "h1"},
		"ssh://ubuntu@10.0.0.1":    {User: "ubuntu", Address: "10.0.0.1"},
		"ubuntu@10.0.0.1:2222":     {User: "ubuntu", Address: "10.0.0.1", Port: 2222},
		"ssh://me@[fd00::1]:2222":  {User: "me", Address: "fd00::1", Port: 2222},
		"fd00::1":                  {Address: "fd00::1"},
		"me@[fd00::1]":             {User: "me", Address: "fd00::1"},
		`dom\me@node.example.org.`: {User: `dom\me`, Address: "node.example.org."},
	}
	for in, want := range good {
		if got, err := ParseTarget(in); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-oProxyCommand=x", "me@-x", "-me@h", "h:0", "h:70000", "h:x", "a b", "h;x",
		"ssh://h/path", "me@", "$(x)@h", "h\n", "a@b@c d", "[::1", "\u202eh"} {
		if got, err := ParseTarget(in); err == nil {
			t.Errorf("%q was taken as %+v", in, got)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("ssh://me@[fd00::1]:2222")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseTarget(s)
		if err != nil {
			return
		}
		b, err := ParseTarget(a.String())
		if err != nil || a != b {
			t.Errorf("%q: %+v is written %q and read %+v, %v", s, a, a.String(), b, err)
		}
		if strings.HasPrefix(a.Address, "-") || strings.HasPrefix(a.User, "-") {
			t.Errorf("%q gives an option: %+v", s, a)
		}
	})
}

func config(t *testing.T, text string) clientConfig {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := readClientConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientConfigSubset(t *testing.T) {
	t.Parallel()
	more := filepath.Join(t.TempDir(), "more")
	if err := os.WriteFile(more, []byte("Host gpu1\n  HostName 10.1.1.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config(t, "Include "+more+`
Host bastion
  HostName 192.168.0.1
  Port 2200
  User gate
Host gpu*
  User ubuntu
  Port 2022
  IdentityFile /keys/%h
  ProxyJump bastion
Host direct
  HostName %h.example.org
  ProxyJump none
`)
	hops, err := c.route(t.Context(), Target{Address: "gpu1"})
	if err != nil {
		t.Fatal(err)
	}
	want := []hop{
		{name: "ssh://bastion", user: "gate", addr: "192.168.0.1:2200", original: "bastion"},
		{name: "ssh://gpu1", user: "ubuntu", addr: "10.1.1.1:2022", keys: []string{"/keys/10.1.1.1"}, jump: "bastion",
			original: "gpu1"},
	}
	if !reflect.DeepEqual(hops, want) {
		t.Errorf("got %+v", hops)
	}
	hops, err = c.route(t.Context(), Target{Address: "gpu1", User: "root", Port: 22, Key: "/k", Jump: "none"})
	if err != nil || len(hops) != 1 || hops[0].user != "root" || hops[0].addr != "10.1.1.1:22" ||
		hops[0].keys[0] != "/k" {
		t.Errorf("what the target says does not go first: %+v, %v", hops, err)
	}
	hops, err = c.route(t.Context(), Target{Address: "direct", User: "me"})
	if err != nil || hops[0].addr != "direct.example.org:22" {
		t.Errorf("got %+v, %v", hops, err)
	}
}

func TestJumpCircleIsAnError(t *testing.T) {
	t.Parallel()
	c := config(t, "Host a\n  ProxyJump b\nHost b\n  ProxyJump a\nHost *\n  User me\n")
	if _, err := c.route(t.Context(), Target{Address: "a"}); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Errorf("got %v", err)
	}
}

func FuzzClientConfig(f *testing.F) {
	f.Add("Host a\n  HostName b\n  Port 1\n")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(strings.ToLower(s), "include") {
			t.Skip("would read other files")
		}
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := readClientConfig(file); err == nil {
			c.route(t.Context(), Target{Address: "a", User: "me"}) //nolint:errcheck // it must only return
		}
	})
}
