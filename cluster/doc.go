// Package cluster runs an image as a Ray cluster on Docker hosts.
//
// A cluster.yaml becomes a [Spec] ([Load]); what the hosts answered ([HostFacts]) and what is in
// the image ([ImageFacts]) turn it into one [Container] per node ([Desired]); the difference to
// what runs there ([Observed]) is a list of [Action] values ([Diff]). Everything up to here is
// pure: no clock, no network, no environment. Converging lives in Up, Down and Status.
package cluster
