package cluster

import (
	"context"
	"fmt"
)

// labelRan is the digest of the image in which `ray --version` was run before the node was made. "": it was not.
const labelRan = "raybuild.ray-ran"

// confirmVersion runs `ray --version` in an image that only says which Ray is in it, before nodes are made of it: once
// for each cluster and image. A Ray before 2.52 knows no token, so a wrong label could make a cluster that lets in
// everybody, and that nobody has accepted. A signed image is believed: who signs it says what is in it.
func (l *launch) confirmVersion(ctx context.Context, cs *clusterState) error {
	f, err := featuresOf(cs.image.RayVersion)
	if err != nil || !f.Token || l.verified == cs.image.Ref || l.ran == cs.image.Digest || !cs.makesNodes() {
		return nil //nolint:nilerr // the plan has refused a version that nobody knows
	}
	for _, hs := range cs.hosts {
		for _, c := range hs.containers {
			if role := c.Labels[labelRole]; (role == string(Head) || role == string(Worker)) &&
				c.Labels[labelRan] == cs.image.Digest {
				l.ran = cs.image.Digest
				return nil
			}
		}
	}
	got, err := askVersion(ctx, l.head(), l.mark(), cs.image.Ref)
	if err != nil {
		return fmt.Errorf("check image %q: %w", l.spec.Image, err)
	}
	if got != cs.image.RayVersion {
		return fmt.Errorf("check image %q: its label says that it has Ray %s, and `ray --version` in it prints %s: "+
			"whether a cluster has a token depends on it; build the image again, or correct the label", l.spec.Image,
			cs.image.RayVersion, got)
	}
	l.ran = cs.image.Digest
	return nil
}

// makesNodes tells whether the plan makes a container.
func (cs *clusterState) makesNodes() bool {
	for _, a := range cs.actions {
		if a.Kind == Create || a.Kind == Recreate {
			return true
		}
	}
	return false
}
