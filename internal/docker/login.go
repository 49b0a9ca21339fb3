package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Login is what a program that cannot ask an SSH agent uses to log in to a host.
type Login struct {
	User    string
	Key     string // private key file that needs no passphrase; empty: there is none
	Missing string // why Key is empty
}

// LoginOf reads the client configuration and looks at the key files in the order in which Dial
// would offer them. It connects to nothing.
func LoginOf(ctx context.Context, t Target, o Options) (Login, error) {
	o = o.withDefaults()
	cfg, err := readClientConfig(o.SSHConfig)
	if err != nil {
		return Login{}, err
	}
	h, err := cfg.resolve(ctx, t)
	if err != nil {
		return Login{}, err
	}
	l, files := Login{User: h.user}, slices.Concat(h.keys, o.Identities)
	if t.Key != "" {
		files = h.keys[:1] // what is named is meant
	}
	var tried, locked []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			tried = append(tried, file)
			continue
		}
		var passphrase *ssh.PassphraseMissingError
		switch _, err := ssh.ParsePrivateKey(data); {
		case err == nil:
			l.Key = file
			return l, nil
		case errors.As(err, &passphrase):
			locked = append(locked, file)
		default:
			tried = append(tried, file)
		}
	}
	if len(locked) > 0 {
		l.Missing = fmt.Sprintf("%s needs a passphrase", strings.Join(locked, ", "))
	} else {
		l.Missing = fmt.Sprintf("no private key at %s", strings.Join(tried, ", "))
	}
	return l, nil
}
