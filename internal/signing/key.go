package signing

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// Keyless is the name of the key that a CI job has by its OIDC token.
const Keyless = "keyless"

// KeyOptions say which key signs. Key must be set.
type KeyOptions struct {
	// Key is a file with a private key (one of cosign's, or a plain PEM), env://NAME for a variable with one, the
	// address of a key in a KMS (awskms://…), or [Keyless].
	Key string
	// Password returns the password of an encrypted key. It is asked if the variable COSIGN_PASSWORD is not set.
	// Default: the empty password.
	Password func() ([]byte, error)
	// Getenv returns environment variables. Default: os.Getenv.
	Getenv Getenv
	// Config is a file that names the servers of a private Sigstore for keyless signatures (signing_config.json).
	// Default: the servers of the public Sigstore.
	Config string
	// Trust is the root by which a keyless signature is checked after it was made.
	Trust TrustOptions
}

// Key signs images, and claims about them.
type Key struct {
	signer  signature.Signer // nil: keyless
	own     *Trust           // knows what the key has signed before; nil: keyless
	keyless *keyless         // nil: a key

	mu    sync.Mutex
	ahead map[digest.Digest][]byte // signed claims by the digest of their statement
}

// OpenKey reads a key, or asks a KMS for it. For [Keyless] it only looks whether there is a token to ask for. Its
// errors have no part of a key or a password.
func OpenKey(ctx context.Context, o KeyOptions) (*Key, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Key == Keyless {
		k, err := openKeyless(o)
		if err != nil {
			return nil, fmt.Errorf("open key %q: %w", o.Key, err)
		}
		return &Key{keyless: k}, nil
	}
	if strings.Contains(o.Key, "PRIVATE KEY") {
		return nil, errors.New("open key: it is the key itself: name a file, or a variable as env://NAME, because " +
			"others can read a command line")
	}
	signer, err := openSigner(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open key %q: %w", o.Key, err)
	}
	own, err := ownTrust(ctx, o.Key, signer)
	if err != nil {
		return nil, fmt.Errorf("open key %q: %w", o.Key, err)
	}
	return &Key{signer: signer, own: own}, nil
}

// ownTrust returns a Trust that trusts the signer alone.
func ownTrust(ctx context.Context, name string, signer signature.Signer) (*Trust, error) {
	public, err := signer.PublicKey(options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("read its public key: %w", err)
	}
	text, err := cryptoutils.MarshalPublicKeyToPEM(public)
	if err != nil {
		return nil, fmt.Errorf("write its public key: %w", err)
	}
	return NewTrust([]Identity{{Name: name, Key: string(text)}}, TrustOptions{})
}

// openSigner opens a key of a file, a variable or a KMS. All sign SHA-256, as cosign expects of every key.
func openSigner(ctx context.Context, o KeyOptions) (signature.Signer, error) {
	variable, isVariable := strings.CutPrefix(o.Key, "env://")
	if scheme, _, ok := strings.Cut(o.Key, "://"); ok && !isVariable {
		return openKMS(ctx, o.Key, scheme)
	}
	data := []byte(o.Getenv(variable))
	if isVariable && len(data) == 0 {
		return nil, errors.New("the variable is not set")
	}
	if !isVariable {
		var err error
		if data, err = os.ReadFile(o.Key); err != nil {
			return nil, err
		}
	}
	asked := false
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(data, func(bool) ([]byte, error) {
		asked = true
		return o.password()
	})
	switch {
	case err != nil && asked:
		return nil, fmt.Errorf("%w: COSIGN_PASSWORD is its password", err)
	case err != nil:
		return nil, fmt.Errorf("%w: it is a private key in PEM, as cosign.key", err)
	}
	return signature.LoadSigner(private, crypto.SHA256)
}

// IsFile tells whether the key is a file.
func (o KeyOptions) IsFile() bool { return o.Key != Keyless && !strings.Contains(o.Key, "://") }

// password returns the password of the key. An empty one is not nil: nil would mean that the key is not encrypted.
func (o KeyOptions) password() ([]byte, error) {
	if text := o.Getenv("COSIGN_PASSWORD"); text != "" || o.Password == nil {
		return []byte(text), nil
	}
	return o.Password()
}
