package sources

import (
	"bytes"
	"context"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/raybuild/raybuild/internal/hostconf"
)

// keyringTime limits how long the program keyring may take: it may ask a cloud for a token.
const keyringTime = 30 * time.Second

// keyring asks the program of that name for passwords, as pip and uv do if their setting keyring-provider is
// subprocess. It asks only for a user whose name is known, and once for each index.
type keyring struct {
	program string
	mu      sync.Mutex
	known   map[[2]string]string // passwords by origin and user; "": it has none
}

// keyringOf is a keyring's function for fetch.Options; nil if the machine's settings name no keyring, or there is none.
func keyringOf(host hostconf.Config) func(context.Context, *url.URL, string) (string, string, bool) {
	if host.Keyring.Text == "" {
		return nil
	}
	program, err := exec.LookPath("keyring")
	if err != nil {
		return nil
	}
	k := &keyring{program: program, known: map[[2]string]string{}}
	indexes := host.PipExtra
	if host.PipIndex.Text != "" {
		indexes = append(indexes[:len(indexes):len(indexes)], host.PipIndex)
	}
	return func(ctx context.Context, u *url.URL, user string) (string, string, bool) {
		return k.find(ctx, u, user, indexes)
	}
}

// find asks for the index that has the URL's origin, and then for the host alone.
func (k *keyring) find(ctx context.Context, u *url.URL, user string, indexes []hostconf.Value) (string, string,
	bool) {
	if user == "" {
		return "", "", false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	key := [2]string{hostconf.Origin(u), user}
	password, asked := k.known[key]
	if !asked {
		for _, i := range indexes {
			if at, err := url.Parse(i.Text); err == nil && password == "" && hostconf.Origin(at) == key[0] {
				password = k.ask(ctx, i.Text, user)
			}
		}
		if password == "" {
			password = k.ask(ctx, u.Host, user)
		}
		if password != "" || ctx.Err() == nil {
			k.known[key] = password
		}
	}
	return user, password, password != ""
}

// ask runs keyring. The password is on its standard output, and nowhere else.
func (k *keyring) ask(ctx context.Context, service, user string) string {
	ctx, cancel := context.WithTimeout(ctx, keyringTime)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, k.program, "get", service, user)
	cmd.Stdout, cmd.WaitDelay = &out, time.Second
	if cmd.Run() != nil {
		return "" // it has none
	}
	return strings.TrimRight(out.String(), "\r\n")
}
