// Package raybuild builds images for Ray without Dockerfiles, and pushes them.
//
// A [Project] is a recipe and its lock. [Open] reads them. [Project.Lock] resolves the recipe's
// packages to exact artifacts. [Project.Build] builds the image and pushes it. Unless the options
// name another builder, it uses a BuildKit engine that is part of the program:
//
//	p, err := raybuild.Open(ctx, raybuild.Options{})
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//	result, err := p.Build(ctx, raybuild.BuildOptions{Push: true, Names: []string{"registry.example/ray:2.60.0"}})
//
// [Project.Plan] and [Project.Why] compare the project with an image in a registry before a build.
// [Diff], [Inspect], [Rebase] and [Add] need only images, because a pushed image carries its lock
// and recipe. [Doctor], [Mirrors] and [CacheParts] describe this machine.
//
// An error says what to do next. Its type tells the cause: an [OptionError], a [StaleLockError], a
// [NoRecordError], a [RegistryError], an [InterruptedError], a failed step ([llb.StepError]), a
// failed test of the image ([layers.SmokeError]), or a wrong recipe ([layers.RecipeError]).
//
// Package layers describes the parts of an image. Package llb builds other graphs. Package
// cluster runs Ray from an image.
package raybuild
