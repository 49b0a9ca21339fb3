package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/raybuild/raybuild/internal/signers"
	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Trust says whose signatures of images are believed. The zero value asks for none.
type Trust = signers.Trust

// trustKey is the key trust.
func (doc *document) trustKey() strictyaml.Key {
	return strictyaml.Key{Name: "trust", Doc: "Whose signatures of images are believed: `cluster up` starts no " +
		"other image.", Default: "signatures are not asked for", Example: "{signed_by: [{key: cosign.pub}]}",
		Value: strictyaml.Map(signers.Keys(&doc.spec.Trust, besideFile())...)}
}

// besideFile is a path relative to the cluster's file.
func besideFile() strictyaml.Grammar {
	return strictyaml.Grammar{What: "a path relative to this file", Limit: 1024,
		Pattern: `[^-/~ \x00-\x1f\x7f][^\x00-\x1f\x7f]*`,
		Check: func(s string) (string, string) {
			if s == "" || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "~") || strings.HasPrefix(s, "-") ||
				strings.HasPrefix(s, " ") {
				return strictyaml.Quote(s) + " is not a path relative to this file",
					"write a path such as keys/cosign.pub"
			}
			return strictyaml.OneLine(s)
		}}
}

// verifyImage returns an error if the file asks for signatures and nobody whom it names has signed an image, which is
// named by its digest. The registry is asked from this machine, before any host pulls.
func (l *launch) verifyImage(ctx context.Context, ref string) error {
	if len(l.spec.Trust.SignedBy) == 0 || l.verified == ref {
		return nil
	}
	if l.Verify == nil {
		return errors.New("cluster.yaml asks for a signature, and this launcher cannot verify one")
	}
	who, err := l.Verify(ctx, ref, l.spec.Trust)
	if err != nil {
		return fmt.Errorf("it is not signed by an identity of trust.signed_by (%w): sign it with raybuild --sign, or "+
			"name an image that is", err)
	}
	l.logf("%s is signed by %s", ref, who)
	l.verified = ref
	return nil
}

// errLocal is why an image that no registry has is not started.
var errLocal = errors.New("cluster.yaml asks for a signature, and an image that only the Engine has can have none: " +
	"push and sign it, or remove trust")
