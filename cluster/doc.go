// Package cluster runs an image as a Ray cluster on Docker hosts.
//
// [Load] reads a cluster.yaml into a [Spec]. [Up] starts the cluster, [MakePlan] shows what Up would do, [Inspect]
// shows how the cluster is, and [Down] removes it. [Submit], [Exec], [Logs], [Bench] and [Dashboard] work with a
// cluster that is up. [Export] writes the cluster for another launcher.
//
// Inside, a plan is a pure function: it depends on no clock, network or environment. From the Spec, the facts about
// the hosts and the facts about the image it makes one container for each node (planContainers). It compares these
// with the containers on the hosts and lists what to do (planActions).
package cluster
