// Package llb writes container images as BuildKit graphs and solves them.
//
// If you know BuildKit's own client/llb package: a [Stage] is a State without image config. It is a value: every
// method returns a new stage and does not change its receiver. An [Image] says which stages are merged into one
// filesystem, and which config the image has. Marshalling an image is a pure function: the same stages give the
// same bytes in every process and on every machine. A [Builder] is a connection to a BuildKit daemon. It solves
// images, pushes or exports them, and reads files of stages.
//
// # Titles
//
// Every operation has a title. Progress output and errors show it. A title is
//
//	title = [ "[" layer "] " ] step
//
// so "[ray] install ray 2.60.0" is the step "install ray 2.60.0" of the layer "ray".
//
// # Time
//
// Files that operations of this package make have one fixed time, [Epoch]. A command must set the times of the files
// that it writes.
package llb
