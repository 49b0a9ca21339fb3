package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/llb"
)

// projectOptions converts the flags into options of a project.
func (a *app) projectOptions(r recipeOptions, b builderOptions) (raybuild.Options, error) {
	o := a.imageOptions(b.insecure)
	o.Trust, o.Bundles = raybuild.TrustMode(r.trust), r.bundles()
	o.Set, o.Platforms, o.Builder, o.Progress = r.sets, r.platforms, b.builder, llb.ProgressMode(b.progress)
	if r.fileGiven {
		o.Recipe = r.file
	}
	if r.lockGiven {
		o.Lock = r.lock
	}
	created, err := a.created()
	o.Created = created
	return o, err
}

// imageOptions returns the options of a command that reads images from registries.
func (a *app) imageOptions(insecure []string) raybuild.Options {
	o := a.options()
	o.InsecureRegistries = insecure
	return o
}

// created returns the image's creation time from SOURCE_DATE_EPOCH, or zero if it is not set.
func (a *app) created() (time.Time, error) {
	text := a.getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH %q: it is the image's time in seconds since 1970: mend "+
			"it or unset it", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// libraryOptions converts the build's flags, after they were checked, into options of the library.
func (a *app) libraryOptions(o *buildOptions) (raybuild.Options, raybuild.BuildOptions, error) {
	project, err := a.projectOptions(o.recipeOptions, o.builderOptions)
	p := o.parsed
	build := raybuild.BuildOptions{
		Names: o.names, Push: o.push, Outputs: p.outputs, NoCache: o.noCache, NoReuse: !o.reuse,
		NoGraphTag: !o.graphTag, KeepGraphTags: o.outside, NoSBOM: !o.sbom, Version: a.versionText(),
		CacheFrom: p.cacheFrom, CacheTo: p.cacheTo, CacheBudget: o.cacheBudget, BuilderFetches: o.builderFetches(),
		Compression: o.compression, Labels: p.labels, Annotations: p.annotations, Secrets: p.secrets,
		EarlierImage: o.earlierImage, Before: o.reportFile != "", Sign: a.signOptions(o),
	}
	if o.pushRetryGiven {
		if build.PushRetry = o.pushRetry; build.PushRetry == 0 {
			build.PushRetry = -1
		}
	}
	if o.smokeGiven {
		build.Smoke = map[bool]raybuild.SmokeMode{true: raybuild.SmokeAlways, false: raybuild.SmokeNever}[o.smoke]
	}
	return project, build, err
}
