package registry

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Hosts of registries whose repositories somebody has to make first.
var (
	// https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html: ACCOUNT.dkr.ecr.REGION.amazonaws.com,
	// with "-fips" and ".cn" in some partitions
	ecrHost = regexp.MustCompile(`^[0-9]{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$`)
	// https://cloud.google.com/artifact-registry/docs/docker/names: LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE
	garHost = regexp.MustCompile(`^([a-z0-9-]+)-docker\.pkg\.dev$`)
)

// makeRepository says how the repository of a reference is made.
func makeRepository(host, ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "make it there, or check the name"
	}
	repository := reference.Path(named)
	if m := ecrHost.FindStringSubmatch(host); m != nil {
		return fmt.Sprintf("run \"aws ecr create-repository --region %s --repository-name %s\", or check the name",
			m[1], repository)
	}
	parts := strings.Split(repository, "/")
	if m := garHost.FindStringSubmatch(host); m != nil && len(parts) > 2 {
		return fmt.Sprintf("run \"gcloud artifacts repositories create %s --repository-format docker --location %s "+
			"--project %s\", or check the name", parts[1], m[1], parts[0])
	}
	return fmt.Sprintf("make %q there (Harbor, GitLab: the project), or check the name", repository)
}

// loginCommand is the command that logs in to a registry, in quotes.
func loginCommand(host string) string {
	switch ecr, gar := ecrHost.FindStringSubmatch(host), garHost.FindStringSubmatch(host); {
	case ecr != nil: // its passwords live for 12 hours
		return fmt.Sprintf("\"aws ecr get-login-password --region %s | docker login --username AWS --password-stdin "+
			"%s\"", ecr[1], host)
	case gar != nil:
		return fmt.Sprintf("\"gcloud auth configure-docker %s\"", host)
	}
	return fmt.Sprintf("\"docker login %s\"", host)
}

// Immovable tells whether a registry has refused to move a tag to another image: tags are immutable there.
func Immovable(err error) bool { return immovable(statusOf(err), err) }

// immovable knows the answers of ECR (400 TAG_INVALID: "the tag is immutable"), Harbor (412 PRECONDITION) and
// Artifact Registry (400 or 409, which name the policy).
func immovable(status int, err error) bool {
	var answer *transport.Error
	if !errors.As(err, &answer) || status < 400 || status >= 500 {
		return false
	}
	return status == http.StatusPreconditionFailed ||
		slices.ContainsFunc(answer.Errors, func(d transport.Diagnostic) bool {
			return d.Code == "TAG_INVALID" || strings.Contains(strings.ToLower(d.Message), "immutable")
		})
}
