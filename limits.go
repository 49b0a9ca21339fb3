package raybuild

import (
	"context"
	"strings"

	"github.com/raybuild/raybuild/internal/builder"
)

// sayUnlimited warns of limits of the recipe that the builder does not keep.
func (p *Project) sayUnlimited(ctx context.Context, b *builder.Builder) {
	if p.recipe == nil {
		return
	}
	lacks, err := b.Unlimited(ctx, p.recipe.Limited())
	if err != nil || len(lacks) == 0 {
		return // a builder that does not answer fails soon enough
	}
	fix := "raybuild's own engine keeps them where raybuild runs as root"
	if b.Engine == builder.Embedded {
		fix = "it keeps them where raybuild runs as root and may make control groups"
	}
	p.env.warn("the builder %s does not keep limits.%s: commands may use as much as they like; %s", b.Engine,
		strings.Join(lacks, " and limits."), fix)
}
