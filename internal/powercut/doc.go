// Package powercut shows what a power cut leaves of files: what programs wrote and the kernel has not yet brought to
// the disk is gone. It is for tests, and needs root.
package powercut
