package docker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/raybuild/raybuild/internal/wholefile"
)

// hostKeys opens the files of host keys that are there.
func hostKeys(files []string) (*knownhosts.HostKeyDB, error) {
	there := slices.DeleteFunc(slices.Clone(files), func(f string) bool {
		_, err := os.Stat(f)
		return f == "" || err != nil
	})
	db, err := knownhosts.NewDB(there...)
	if err != nil {
		return nil, fmt.Errorf("read host keys: %w", err)
	}
	return db, nil
}

// knownHosts are the user's files of host keys that count for a host.
func (o Options) knownHosts(h hop) []string {
	if !o.ConfigHosts {
		return slices.Clone(o.KnownHosts)
	}
	return slices.Concat(o.KnownHosts, h.hosts)
}

// hostKeysOf are the recorded keys that count for a host. The project's file travels with a cluster's file, so whoever
// may change that may write into it. It says only who hosts are that the user's own files do not know. It is an error
// if both know a host and differ, and if the project's file names an authority.
func (o Options) hostKeysOf(h hop) (*knownhosts.HostKeyDB, error) {
	own, err := hostKeys(o.knownHosts(h))
	if err != nil || o.ProjectHosts == "" {
		return own, err
	}
	data, err := os.ReadFile(o.ProjectHosts)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read host keys: %w", err)
	}
	line := 0
	for text := range strings.Lines(string(data)) {
		if line++; strings.HasPrefix(strings.TrimSpace(text), "@cert-authority") {
			return nil, &HostKeyError{fmt.Errorf("read host keys %q: line %d names an authority, which would vouch "+
				"for any host; move it to ~/.ssh/known_hosts, or name the file with --known-hosts", o.ProjectHosts,
				line)}
		}
	}
	project, err := hostKeys([]string{o.ProjectHosts})
	if err != nil {
		return nil, err
	}
	addr := h.keyAddr()
	known := own.HostKeys(addr)
	if len(known) == 0 {
		return project, nil
	}
	for _, k := range project.HostKeys(addr) {
		same := func(have knownhosts.PublicKey) bool { return bytes.Equal(have.Marshal(), k.Marshal()) }
		kind := func(have knownhosts.PublicKey) bool { return have.Type() == k.Type() }
		if slices.ContainsFunc(known, kind) && !slices.ContainsFunc(known, same) {
			return nil, &HostKeyError{fmt.Errorf("%s has another %s key for %s (%s) than your own known_hosts; "+
				"somebody may want to intercept the connection: ask who wrote it, and delete the line that is wrong",
				o.ProjectHosts, k.Type(), addr, ssh.FingerprintSHA256(k))}
		}
	}
	return own, nil
}

// checkHostKey explains a host key that is not the recorded one.
func checkHostKey(db *knownhosts.HostKeyDB, h hop) ssh.HostKeyCallback {
	check := db.HostKeyCallback()
	return func(_ string, remote net.Addr, key ssh.PublicKey) error {
		err := check(h.keyAddr(), remote, key)
		var bad *xknownhosts.KeyError
		var revoked *xknownhosts.RevokedError
		shown := key.Type() + " " + ssh.FingerprintSHA256(key)
		cert, isCert := key.(*ssh.Certificate)
		switch {
		case isCert && err != nil && !errors.As(err, &revoked):
			return &HostKeyError{fmt.Errorf("the certificate that %s shows, signed by the authority %s, is not "+
				"accepted: %w; record the authority (@cert-authority in known_hosts), or check the host's own key and "+
				"record it: raybuild cluster trust %s",
				h.addr, ssh.FingerprintSHA256(cert.SignatureKey), err, h.name)}
		case errors.As(err, &revoked):
			return &HostKeyError{fmt.Errorf("the host key %s of %s is revoked in %s:%d", shown, h.addr,
				revoked.Revoked.Filename, revoked.Revoked.Line)}
		case !errors.As(err, &bad):
			return err
		case len(bad.Want) == 0:
			return &HostKeyError{fmt.Errorf("the host key %s of %s is not known; check it and record it: raybuild "+
				"cluster trust %s", shown, h.addr, h.name)}
		}
		w := bad.Want[0]
		return &HostKeyError{fmt.Errorf("the host key of %s has CHANGED: it shows %s, recorded is %s %s (%s:%d); "+
			"somebody may intercept the connection: if the host was set up again, delete that line and run: raybuild "+
			"cluster trust %s",
			h.addr, shown, w.Key.Type(), ssh.FingerprintSHA256(w.Key), w.Filename, w.Line, h.name)}
	}
}

// HostKeyError is the error of a host key that is unknown, changed or revoked. Nothing was sent to that host.
type HostKeyError struct{ err error }

func (e *HostKeyError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *HostKeyError) Unwrap() error { return e.err }

// HostKey is a public key of a host.
type HostKey struct {
	Host        string // as the user wrote it
	Addr        string // host:port that it was read from
	Type        string // ssh-ed25519, …
	Fingerprint string // SHA256:…
	Known       bool   // it is recorded already
	Line        string // for known_hosts
}

var errSeen = errors.New("host key seen")

// ScanHostKeys asks a host for one key of each kind. It does not log in to the host. It logs in to the jump hosts on
// the way and checks their keys. A key that differs from the recorded one gives a HostKeyError.
func ScanHostKeys(ctx context.Context, t Target, o Options) ([]HostKey, error) {
	o = o.withDefaults()
	cfg, err := readClientConfig(o.SSHConfig)
	if err != nil {
		return nil, err
	}
	hops, err := cfg.route(ctx, t)
	if err != nil {
		return nil, err
	}
	h := hops[len(hops)-1]
	db, err := hostKeys(append(o.knownHosts(h), o.ProjectHosts))
	if err != nil {
		return nil, err
	}
	var dial dialer = &net.Dialer{}
	if len(hops) > 1 {
		via, err := dialHops(ctx, hops[:len(hops)-1], o)
		if err != nil {
			return nil, fmt.Errorf("scan host keys of %q: %w", t, err)
		}
		defer via.close(nil)
		dial = via.client
	}
	var keys []HostKey
	for _, algos := range [][]string{
		{ssh.KeyAlgoED25519},
		{ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521},
		{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
	} {
		key, err := scanKey(ctx, dial, h, algos, o)
		if err != nil {
			return nil, fmt.Errorf("scan host keys of %q: %w", t, err)
		}
		if key == nil {
			continue
		}
		known := checkHostKey(db, h)(h.addr, &net.TCPAddr{IP: net.IPv4zero}, key)
		var bad *HostKeyError
		if errors.As(known, &bad) && len(db.HostKeys(h.keyAddr())) > 0 &&
			slices.Contains(db.HostKeyAlgorithms(h.keyAddr()), key.Type()) {
			return nil, known
		}
		keys = append(keys, HostKey{Host: t.String(), Addr: h.addr, Type: key.Type(),
			Fingerprint: ssh.FingerprintSHA256(key),
			Known:       known == nil, Line: knownhosts.Line([]string{h.keyAddr()}, key)})
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("scan host keys of %q: the host shows no key of a kind in use (ed25519, "+
			"ecdsa, rsa-sha2)", t)
	}
	return keys, nil
}

// scanKey returns nil when the host has no key of these algorithms.
func scanKey(ctx context.Context, d dialer, h hop, algos []string, o Options) (ssh.PublicKey, error) {
	conn, err := dialPhase(ctx, d, h, o.ConnectTimeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close() // only its key was wanted
	var seen ssh.PublicKey
	_, err = handshake(ctx, conn, h, &ssh.ClientConfig{User: h.user, HostKeyAlgorithms: algos,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error { seen = key; return errSeen }},
		o.HandshakeTimeout)
	var none *ssh.AlgorithmNegotiationError
	if seen == nil && !errors.As(err, &none) {
		return nil, err
	}
	return seen, nil
}

// recordWait is the longest wait for another process that records keys in the same file.
const recordWait = 30 * time.Second

// RecordHostKeys appends the keys that a file of host keys lacks. It replaces the file as a whole, and returns how
// many keys were new. A lock file beside it keeps a second process waiting, so that neither loses the other's lines.
func RecordHostKeys(ctx context.Context, file string, keys []HostKey) (added int, err error) {
	fail := func(err error) (int, error) { return 0, fmt.Errorf("record host keys in %q: %w", file, err) }
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, recordWait)
	defer cancel()
	lock := flock.New(filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".lock"))
	if ok, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil || !ok {
		return fail(fmt.Errorf("lock it: %w", cmp.Or(err, errors.New("somebody else records keys"))))
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail(err)
	}
	data, added = withKeys(data, keys)
	if added == 0 {
		return 0, nil
	}
	if err := wholefile.WriteLasting(file, data, 0o600); err != nil {
		return fail(err)
	}
	return added, nil
}

// withKeys adds the keys that a file's text lacks.
func withKeys(data []byte, keys []HostKey) (_ []byte, added int) {
	if len(data) > 0 && !bytes.HasSuffix(data, []byte("\n")) {
		data = append(data, '\n')
	}
	have := strings.Split(string(data), "\n")
	for _, k := range keys {
		if !slices.Contains(have, k.Line) && !k.Known {
			data = append(data, k.Line+"\n"...)
			added++
		}
	}
	return data, added
}
