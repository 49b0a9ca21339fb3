// Package llb writes container images as BuildKit graphs and solves them.
//
// If you know BuildKit's own client/llb package: a [Stage] is a State without image config. It is a value; every
// method returns a new one and leaves its receiver as it was. An [Image] says which stages are merged into one
// filesystem and which config it is pushed with. Marshalling an image is a pure function: the same stages give the
// same bytes in every process and on every machine. A [Builder] is a connection to whatever BuildKit answers at an
// address; it solves images, pushes or exports them, and reads files out of stages.
//
// # Titles
//
// Every operation has a title, which is what people see in progress output and in errors. A title is
//
//	title = [ "[" layer "] " ] step
//
// so "[ray] install ray 2.60.0" is the step "install ray 2.52.0" of the layer "ray".
//
// # Time
//
// Files that operations of this package make carry one fixed time, [Epoch]. What commands write is theirs to clamp.
package llb
