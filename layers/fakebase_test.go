package layers_test

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
)

// ownBase is the base image of a builder that runs nothing: it is empty.
func ownBase(context.Context, string, v1.Platform) (v1.Image, error) { return empty.Image, nil }
