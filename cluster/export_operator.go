package cluster

import (
	"fmt"
	"slices"
)

// kubeRayOperator is what a version of KubeRay's operator can do.
type kubeRayOperator struct {
	version     version // of the oldest that the export is for
	authOptions bool    // makes the token: from 1.5.1 (its release notes)
	// a group has labels, and rayStartParams may not: from 1.5.0
	// (controllers/ray/utils/validation.go)
	groupLabels bool
}

// operator reads the operator's version. The default is the oldest that does all that an export of
// today's Ray asks for.
func (e *exporter) operator() (kubeRayOperator, error) {
	text := e.options.Operator
	if text == "" {
		text = "1.5.1"
	}
	v, err := parseVersion(text)
	if err != nil || v.before(1, 2) {
		return kubeRayOperator{}, fmt.Errorf("KubeRay version %q: give one such as 1.4.2; 1.2 is the oldest",
			clip(text))
	}
	return kubeRayOperator{version: v, authOptions: v.atLeast(1, 5, 1), groupLabels: v.atLeast(1, 5)}, nil
}

// operatorNotes says what the export needs of the operator and of the image.
func (e *exporter) operatorNotes(o kubeRayOperator) {
	labels := slices.ContainsFunc(e.spec.Nodes(), func(n Node) bool { return len(n.Labels) > 0 })
	switch {
	case !hasToken(e.version):
		e.note("Ray %s has no token authentication: a NetworkPolicy has to keep strangers away",
			e.options.Image.RayVersion)
	case !o.authOptions:
		e.note("the token: kubectl create secret generic %s --from-literal=auth_token=$(openssl rand -hex 32); "+
			"KubeRay makes it by itself from 1.5.1 on", e.spec.Name)
	}
	switch {
	case e.options.Operator == "" && (hasToken(e.version) || labels):
		e.note("it needs KubeRay 1.5.1 or later; for an older one export with --kuberay VERSION")
	case e.options.Operator != "" && labels && !o.groupLabels:
		e.note("labels are in rayStartParams, and KubeRay 1.5 and later refuse that: export again after its update")
	}
}

// groupLabels are a group's node labels where KubeRay takes them beside its start parameters. It
// hands them to `ray start` as pairs, which Ray before 2.46 does not read. They have Kubernetes'
// syntax: cluster.yaml takes no others.
func (e *exporter) groupLabels(n Node, o kubeRayOperator) mapping {
	if !o.groupLabels || len(n.Labels) == 0 {
		return nil
	}
	if e.version.before(2, 46) && flagIn(e.version, "--labels") {
		e.fail("%s: KubeRay 1.5 and later give labels to Ray in a form that Ray %s cannot read; remove labels, or "+
			"export with --kuberay 1.4.2 for an older one",
			n.Group, e.options.Image.RayVersion)
	}
	return mapping{{Key: "labels", Value: n.Labels}}
}
