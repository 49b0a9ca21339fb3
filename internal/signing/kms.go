package signing

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"

	// The KMSs that need no program beside raybuild. Each makes its address known to package kms.
	_ "github.com/sigstore/sigstore/pkg/signature/kms/aws"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/azure"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/gcp"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
)

// openKMS opens a key of a KMS: one that is linked in, or another one by a program of sigstore's plugin interface.
func openKMS(ctx context.Context, key, scheme string) (signature.Signer, error) {
	signer, err := kms.Get(ctx, key, crypto.SHA256)
	var unknown *kms.ProviderNotFoundError
	if errors.As(err, &unknown) {
		return nil, fmt.Errorf("raybuild knows awskms, azurekms, gcpkms and hashivault, and there is no program "+
			"sigstore-kms-%s, which would speak to another KMS: install it "+
			"(github.com/sigstore/sigstore/tree/main/pkg/signature/kms/cliplugin)", scheme)
	}
	return signer, err
}
