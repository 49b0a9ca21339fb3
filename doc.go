// Package raybuild builds images for Ray without Dockerfiles, and pushes them.
//
// A [Project] is a recipe and its lock. [Open] reads them; [Project.Lock] resolves what the recipe
// asks for to exact artifacts; [Project.Build] builds the image, on a BuildKit that runs inside the
// program where nothing else is named, and pushes it:
//
//	p, err := raybuild.Open(raybuild.Options{})
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//	result, err := p.Build(ctx, raybuild.BuildOptions{Push: true, Names: []string{"registry.example/ray:2.60.0"}})
//
// [Project.Plan] and [Project.Why] compare the project with an image of a registry before any work.
// [Diff], [Inspect], [Rebase] and [Add] need images alone, because lock and recipe travel with what
// was pushed. [Doctor], [Mirrors] and [CacheParts] tell of this machine.
//
// An error says what to do next. Its type tells what it is: an [OptionError], a
// [StaleLockError], a [NoRecordError], a [RegistryError], an [InterruptedError],
// a step that failed ([llb.StepError]), an image that does not import what it was
// made for ([layers.SmokeError]), a recipe that is wrong ([layers.RecipeError]).
//
// Package layers has what an image is made of, package llb builds graphs of one's own, package
// cluster runs Ray from an image.
package raybuild
