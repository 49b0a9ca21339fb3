// Package bundle writes and reads bundles. A bundle is an OCI image layout (OCI image specification 1.1,
// image-layout.md) that holds all that an image is made of, so that a machine without a network makes the image again:
//
//	index.json          the bundle's index by the name "bundle", and each finished image by its reference
//	bundle's index      artifactType application/vnd.raybuild.bundle.v1:
//	  files             a manifest whose layers are the recipe, the lock and each artifact, with title and URL
//	  base images       the manifests of the locked platforms, each with the reference that the lock has for it
//	  finished images   as their registry has them, with what is attached to them
//	blobs/sha256/HEX    the bytes. An artifact's name is its digest in the lock
//	raybuild.yaml, raybuild.lock   copies of the recipe and of the lock, for people
//
// All is below one index, so tools that copy images copy a bundle to a registry and back.
//
// index.json is written last: a directory without it is no bundle yet. Nothing of a bundle is believed: each
// blob is compared with its digest when it is read.
package bundle

import (
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Types and annotations of the format. They stay as they are.
const (
	// IndexType is the artifactType of a bundle's index.
	IndexType = "application/vnd.raybuild.bundle.v1"
	// FilesType is the artifactType of the manifest that lists recipe, lock and artifacts.
	FilesType = "application/vnd.raybuild.bundle.files.v1"
	// NeedsAnnotation of the files' manifest lists the paths of local files that the recipe names and that the bundle
	// does not have, one a line.
	NeedsAnnotation = "dev.raybuild.bundle.needs"
	// URLAnnotation of a file is its canonical URL.
	URLAnnotation = "dev.raybuild.bundle.url"
	// ImageAnnotation of a manifest is the image's full reference, "docker.io/library/ubuntu:22.04".
	ImageAnnotation = "dev.raybuild.bundle.image"
	// RoleAnnotation of a manifest is "base" or "image". A manifest without it belongs to a finished image.
	RoleAnnotation = "dev.raybuild.bundle.role"
)

// Roles of images.
const (
	RoleBase  = "base"  // the lock names it: the base, or the image of the tool stage
	RoleImage = "image" // a finished image
)

// Names of the files' entries, and of the copies beside the layout.
const (
	RecipeName = "raybuild.yaml"
	LockName   = "raybuild.lock"
)

// refName is the name that the bundle's index has in index.json.
const refName = "bundle"

// Media types of recipe, lock and artifacts.
const (
	recipeType   = "application/vnd.raybuild.recipe.v1+yaml"
	lockType     = "application/vnd.raybuild.lock.v1+yaml"
	artifactType = "application/octet-stream"
)

// maxDocument limits a manifest or an index, in bytes. A lock of five thousand artifacts comes to 3 MB.
const maxDocument = 64 << 20

// File is the recipe, the lock, or an artifact of a bundle.
type File struct {
	Name   string // file name
	URL    string // canonical; "": it has none
	Digest digest.Digest
	Size   int64
}

// Image is an image of a bundle.
type Image struct {
	// Ref is its full reference, "docker.io/library/ubuntu:22.04".
	Ref string
	// Role is RoleBase or RoleImage.
	Role string
	// Manifest describes its manifest or index. A base is that of one platform, which it names.
	Manifest ocispecs.Descriptor
	// Attached are manifests that have it, or a part of it, as their subject.
	Attached []ocispecs.Descriptor
}

// DamagedError says that a blob of a bundle is not what its digest says.
type DamagedError struct {
	Bundle string
	Name   string // what the blob is, such as a file name
	Digest digest.Digest
	Got    digest.Digest // "": it is cut or missing
}

// Error implements error.
func (e *DamagedError) Error() string {
	what := "it is missing or cut"
	if e.Got != "" {
		what = "its bytes have digest " + e.Got.String()
	}
	return fmt.Sprintf("read %q (%s) of bundle %q: %s: the bundle is damaged: copy it again, or run raybuild bundle "+
		"again where there is a network", e.Name, e.Digest, e.Bundle, what)
}
