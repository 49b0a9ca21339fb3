package cluster

import (
	"fmt"
	"slices"
)

// podVolumes are the volumes of a node's pod and where they are in its container. owned tells whether kubelet gives
// one of them to the pod's group.
func (e *exporter) podVolumes(g nodeGroup) (volumes, mounts []mapping, owned bool) {
	for i, m := range e.podMounts(g.node) {
		name := fmt.Sprintf("mount-%d", i+1)
		volumes = append(volumes, mapping{{Key: "name", Value: name}, m.source()})
		mount := mapping{{Key: "name", Value: name}, {Key: "mountPath", Value: m.Target},
			{Key: "readOnly", Value: m.ReadOnly}}
		if m.SubPath != "" {
			mount = append(mount, pair{Key: "subPath", Value: m.SubPath})
		}
		mounts = append(mounts, mount)
		owned = owned || m.owned()
	}
	home := homeOf(e.options.Image.User)
	for i, target := range g.node.writablePaths(e.options.Image.User) {
		if slices.ContainsFunc(g.node.Pod.Mounts, func(m PodMount) bool { return m.Target == target }) {
			continue
		}
		if target == home { // unlike Docker's, an empty volume would hide the image's files
			e.note("the home %s is read-only: mount a volume there if jobs write to it", home)
			continue
		}
		name := fmt.Sprintf("write-%d", i+1)
		volumes = append(volumes, mapping{{Key: "name", Value: name}, {Key: "emptyDir", Value: mapping{}}})
		mounts = append(mounts, mapping{{Key: "name", Value: name}, {Key: "mountPath", Value: target}})
		owned = true
	}
	return volumes, mounts, owned
}

// podMounts are a node's mounts as Kubernetes has them, and the pod's own. A pod's own takes the place of a node's with
// the same target.
func (e *exporter) podMounts(n Node) []PodMount {
	var out []PodMount
	for _, m := range n.Mounts {
		if slices.ContainsFunc(n.Pod.Mounts, func(p PodMount) bool { return p.Target == m.Target }) {
			continue
		}
		p := PodMount{Target: m.Target, ReadOnly: m.ReadOnly}
		if m.Volume {
			p.Claim = slug(m.Source)
			e.note("volume %s is the persistent volume claim %s, which has to be there, with access mode "+
				"ReadWriteMany if pods of several machines use it; or say in pod.mounts what is at %s", m.Source,
				p.Claim, m.Target)
		} else {
			p.Host = m.Source
			e.note("%s is read from each Kubernetes node that a pod runs on; or say in pod.mounts what is at %s",
				m.Source, m.Target)
		}
		out = append(out, p)
	}
	for _, p := range n.Pod.Mounts {
		if p.Host != "" && e.spec.Kubernetes.ArbitraryUID {
			e.note("OpenShift's restricted SCC allows no host_path (%s)", p.Host)
		}
		out = append(out, p)
	}
	return out
}

// source is what is mounted, as a field of a pod's volume.
func (m PodMount) source() pair {
	switch {
	case m.Claim != "":
		return pair{Key: "persistentVolumeClaim",
			Value: mapping{{Key: "claimName", Value: m.Claim}, {Key: "readOnly", Value: m.ReadOnly}}}
	case m.ConfigMap != "":
		return pair{Key: "configMap", Value: mapping{{Key: "name", Value: m.ConfigMap}}}
	case m.Secret != "":
		return pair{Key: "secret", Value: mapping{{Key: "secretName", Value: m.Secret}}}
	case m.EmptyDir > 0:
		return pair{Key: "emptyDir", Value: mapping{{Key: "sizeLimit", Value: quantity(m.EmptyDir)}}}
	case m.Memory > 0:
		return pair{Key: "emptyDir", Value: mapping{{Key: "medium", Value: "Memory"},
			{Key: "sizeLimit", Value: quantity(m.Memory)}}}
	case m.Ephemeral > 0:
		spec := mapping{{Key: "accessModes", Value: []string{"ReadWriteOnce"}},
			{Key: "resources", Value: mapping{{Key: "requests", Value: mapping{
				{Key: "storage", Value: quantity(m.Ephemeral)}}}}}}
		if m.StorageClass != "" {
			spec = append(spec, pair{Key: "storageClassName", Value: m.StorageClass})
		}
		return pair{Key: "ephemeral", Value: mapping{{Key: "volumeClaimTemplate", Value: mapping{
			{Key: "spec", Value: spec}}}}}
	}
	return pair{Key: "hostPath", Value: mapping{{Key: "path", Value: m.Host}}}
}

// quantity writes bytes as Kubernetes does.
func quantity(bytes int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}} {
		if bytes%u.size == 0 {
			return fmt.Sprintf("%d%s", bytes/u.size, u.name)
		}
	}
	return fmt.Sprint(bytes)
}
