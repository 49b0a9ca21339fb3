package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// Labels of an image that say what is in it: those of raybuild, and of the images of the Ray project.
const (
	imageRay    = "dev.raybuild.ray"
	imagePython = "dev.raybuild.python"
	officialRay = "io.ray.ray-version" // rayproject/ray, docker/ray/Dockerfile
)

// Labels that a node's container gets beside those of the plan: what was found out about an image
// that does not say it itself.
const (
	labelRay    = "raybuild.ray"
	labelPython = "raybuild.python"
	labelFilter = "raybuild.filter" // digest of the packet filter that was installed with it
)

// pinned is an image that is named by digest.
type pinned struct {
	facts ImageFacts
	size  int64 // unpacked; 0: not known
}

func (l *launch) auth(ctx context.Context, ref string) docker.Auth {
	host := registryOf(ref)
	if l.Auth == nil {
		return docker.Auth{}
	}
	c, err := l.Auth(ctx, host)
	if err != nil {
		l.logf("warning: no credentials for %s: %v", host, err)
		return docker.Auth{}
	}
	return docker.Auth{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, Registry: host}
}

// registryOf is the registry of a reference, by Docker's rule: the first part is one if it has a
// dot or a colon, or is localhost.
func registryOf(ref string) string {
	first, _, ok := strings.Cut(ref, "/")
	if !ok || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return "docker.io"
	}
	return first
}

// splitDigest takes name[:tag][@digest] apart.
func splitDigest(ref string) (name, digest string) {
	name, digest, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name, digest
}

// errNotPulled is why it is not known what is in an image.
var errNotPulled = fmt.Errorf("the head's host has not pulled it yet, and it does not say which Ray is in it (label "+
	"%s); up finds out", imageRay)

// resolveImage finds the digest that every node will run, and the facts about the image. h is the head's host, and
// there are its containers. If mayPull is set, the head's host may pull the image; no other host does.
func (l *launch) resolveImage(ctx context.Context, h *docker.Host, there []containerState,
	mayPull bool) (pinned, error) {
	fail := func(err error) (pinned, error) { return pinned{}, fmt.Errorf("find image %q: %w", l.spec.Image, err) }
	name, digest := splitDigest(l.spec.Image)
	digest = cmp.Or(digest, l.digest) // the second survey takes what the first one found
	var from ImageFacts
	if digest == "" {
		var local *docker.Image
		var err error
		if digest, from, local, err = l.findDigest(ctx, h); err != nil {
			return fail(err)
		}
		if local != nil && len(l.spec.Trust.SignedBy) > 0 {
			return fail(errLocal)
		}
		if local != nil {
			return l.localImage(ctx, h, *local, there)
		}
	}
	l.digest = digest
	ref := name + "@" + digest
	if err := l.verifyImage(ctx, ref); err != nil {
		return fail(err)
	}
	img, err := h.Image(ctx, ref)
	if docker.IsNotFound(err) {
		if from.Digest == "" && l.Images != nil {
			if from, err = l.Images.Facts(ctx, ref); err != nil {
				from = ImageFacts{}
			}
		}
		from.Ref, from.Digest = ref, digest
		if from.RayVersion != "" {
			return pinned{facts: from}, nil
		}
		img, err = l.pullToHead(ctx, h, from, mayPull)
	}
	if err != nil {
		return fail(err)
	}
	return l.imageFacts(ctx, h, ref, digest, img, there)
}

// findDigest finds the digest of an image that is not named by one. It asks the registry from the head's host, and
// then from here; from are the facts of the second answer. If the cluster has only one host, the image may be local:
// the Engine of this host has it, and no registry does.
func (l *launch) findDigest(ctx context.Context, h *docker.Host) (digest string, from ImageFacts, local *docker.Image,
	err error) {
	alone := len(l.spec.Hosts()) == 1
	if alone && registryOf(l.spec.Image) == "docker.io" && !strings.HasPrefix(l.spec.Image, "docker.io/") {
		if img, err := h.Image(ctx, l.spec.Image); err == nil { // Docker's own rule for a name without a registry
			return "", from, &img, nil
		}
	}
	if digest, err = l.askDigest(ctx, h); err == nil {
		return digest, from, nil, nil
	}
	if alone {
		if img, lerr := h.Image(ctx, l.spec.Image); lerr == nil {
			return "", from, &img, nil
		}
	}
	if l.Images == nil {
		return "", from, nil, err
	}
	from, ferr := l.Images.Facts(ctx, l.spec.Image)
	var told *remedyError
	switch known := errors.As(err, &told); {
	case ferr != nil && known: // how we would get in from here does not help the host
		return "", from, nil, err
	case ferr != nil:
		return "", from, nil, errors.Join(err, ferr)
	case known && onlyHere(registryOf(l.spec.Image)) && !h.Target().Local:
		name, _ := splitDigest(l.spec.Image)
		if _, lerr := h.Image(ctx, name+"@"+from.Digest); docker.IsNotFound(lerr) {
			return "", from, nil, err // each host would say the same
		}
	}
	return from.Digest, from, nil, nil
}

// pullToHead pulls an image to the head's host, if it may and there is room. Workers with much room pull it at the same
// time.
func (l *launch) pullToHead(ctx context.Context, h *docker.Host, image ImageFacts, may bool) (docker.Image, error) {
	if !may {
		return docker.Image{}, errNotPulled
	}
	id := l.spec.Head.Host.ID()
	info, err := h.Info(ctx)
	if err == nil {
		err = l.checkRoom(ctx, id, h, info, image, 0)
	}
	if err != nil {
		return docker.Image{}, err
	}
	auth := l.auth(ctx, image.Ref)
	early, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var wg sync.WaitGroup
	wg.Go(func() { l.pullEarly(early, image.Ref, auth) })
	img, err := l.fetchImage(ctx, id, h, image.Ref, auth)
	if err != nil {
		giveUp()
	}
	wg.Wait()
	return img, err
}

// roomForAny is the free space with which a host may pull an image whose size nobody knows: far more than images of
// Ray usually take.
const roomForAny = 40 << 30

// pullEarly pulls an image to the workers' hosts that have room for any image. The others wait until the head's Engine
// has counted the image. Errors come again, and count, when all hosts pull.
func (l *launch) pullEarly(ctx context.Context, ref string, auth docker.Auth) {
	workers := map[string]bool{}
	for _, n := range l.spec.Workers {
		workers[n.Host.ID()] = n.Host.ID() != l.spec.Head.Host.ID()
	}
	l.each(func(id string, h *docker.Host) error {
		if !workers[id] {
			return nil
		}
		_, err := h.Image(ctx, ref)
		if !docker.IsNotFound(err) {
			return err
		}
		info, err := h.Info(ctx)
		if err != nil {
			return err
		}
		if kib, err := freeOf(ctx, h, "-Pk", info.Root); err != nil || kib<<10 < roomForAny {
			return err
		}
		_, err = l.fetchImage(ctx, id, h, ref, auth)
		return err
	})
}

// fetchImage pulls an image to a host, and tells what that took.
func (l *launch) fetchImage(ctx context.Context, id string, h *docker.Host, ref string,
	auth docker.Auth) (docker.Image, error) {
	l.logf("%s: pulling %s", id, brief(ref))
	start := time.Now()
	received, err := h.Pull(ctx, ref, auth)
	if err != nil {
		return docker.Image{}, explainPull(h.Target(), ref, err)
	}
	img, err := h.Image(ctx, ref)
	if err == nil {
		wire := ""
		if received > 0 { // not every Engine tells
			wire = fmt.Sprintf("%d MiB ", mib(received))
		}
		l.logf("%s: pulled %s(%d MiB unpacked) in %.1f s", id, wire, mib(img.Size), time.Since(start).Seconds())
	}
	return img, err
}

func (l *launch) askDigest(ctx context.Context, h *docker.Host) (string, error) {
	ctx, cancel := docker.Within(ctx, engineLimit)
	defer cancel()
	digest, err := h.Digest(ctx, l.spec.Image, l.auth(ctx, l.spec.Image))
	return digest, explainPull(h.Target(), l.spec.Image, err)
}

// localImage is an image that only the one host's Engine knows, as after a build without a
// registry. Its ID is its digest.
func (l *launch) localImage(ctx context.Context, h *docker.Host, img docker.Image,
	there []containerState) (pinned, error) {
	l.local.Do(func() {
		l.logf("note: raybuild takes the image %s that is on %s, and asks no registry", l.spec.Image,
			l.spec.Head.Host.ID())
	})
	return l.imageFacts(ctx, h, img.ID, img.ID, img, there)
}

// imageFacts reads an image that the head's Engine has. What it does not say itself was found out
// before, or is asked of it now.
func (l *launch) imageFacts(ctx context.Context, h *docker.Host, ref, digest string, img docker.Image,
	there []containerState) (pinned, error) {
	p := pinned{size: img.Size, facts: ImageFacts{Ref: ref, Digest: digest, User: img.User,
		RayVersion: img.Labels[imageRay], Python: img.Labels[imagePython]}}
	if img.Arch != "" {
		p.facts.Arch = []string{img.Arch}
	}
	if p.facts.RayVersion == "" {
		p.facts.RayVersion = img.Labels[officialRay]
	}
	if p.facts.RayVersion == "" {
		for _, c := range there {
			if c.Labels[labelImage] == digest && c.Labels[labelRay] != "" {
				p.facts.RayVersion, p.facts.Python = c.Labels[labelRay], c.Labels[labelPython]
			}
		}
	}
	if p.facts.RayVersion != "" {
		return p, nil
	}
	var err error
	if p.facts.RayVersion, err = askVersion(ctx, h, l.mark(), ref); err != nil {
		return pinned{}, fmt.Errorf("find image %q: it has no label %s, and %w", l.spec.Image, imageRay, err)
	}
	l.ran = digest
	return p, nil
}

var versionLine = regexp.MustCompile(`ray, version ([0-9][0-9A-Za-z.+]*)`)

const versionPids = 512 // processes and threads of `ray --version`

// askVersion runs `ray --version` in the image: an image that raybuild did not build need not say what is in it.
func askVersion(ctx context.Context, h *docker.Host, m mark, ref string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	name := "raybuild-version-" + m.cluster
	if err := h.Remove(ctx, name); err != nil {
		return "", err
	}
	id, err := h.Create(ctx, docker.Create{Name: name, Image: ref, Cmd: []string{"ray", "--version"}, Network: "none",
		DropCaps: droppedCaps(), NoNewPrivileges: true, Pids: versionPids,
		Labels: m.labels(roleVersion)})
	if err != nil {
		return "", err
	}
	defer h.Remove(context.WithoutCancel(ctx), id) //nolint:errcheck // down finds it by its label
	var out, errs bytes.Buffer
	if err := h.Start(ctx, id); err != nil {
		return "", fmt.Errorf("`ray --version` cannot be run in it: %w", err)
	}
	if err := h.Logs(ctx, id, docker.LogOptions{Follow: true}, &out, &errs); err != nil {
		return "", err
	}
	found := versionLine.FindStringSubmatch(out.String())
	if found == nil {
		return "", fmt.Errorf("`ray --version` in it prints %q", lastLine(textOf(out.String()+errs.String())))
	}
	return found[1], nil
}
