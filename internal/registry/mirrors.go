package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Mirror is a place that has copies of a registry's images.
type Mirror struct {
	// Host is the mirror's host, with its port if it has one.
	Host string
	// Path is what stands before the names of repositories there, without slashes at its ends. Harbor's proxies and
	// Artifactory have one. Default: nothing.
	Path string
	// Insecure allows plain HTTP, and certificates that nobody signed.
	Insecure bool
}

// String is the mirror as it stands before the name of an image.
func (m Mirror) String() string {
	if m.Path == "" {
		return m.Host
	}
	return m.Host + "/" + m.Path
}

// mirrorPath is one or more components of a repository's name
// (https://pkg.go.dev/github.com/distribution/reference).
var mirrorPath = regexp.MustCompile(`^[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*$`)

// ParseMirror reads a mirror's URL: http or https, a host, and what stands before the names of repositories. A leading
// /v2/ of the path is left out: containerd's hosts.toml has it.
func ParseMirror(text string) (Mirror, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return Mirror{}, errors.New("read mirror: it is no URL") // the URL may have a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return Mirror{}, fmt.Errorf("read mirror %q: want http:// or https://, a host, and a path at most",
			u.Redacted())
	case u.User != nil:
		return Mirror{}, fmt.Errorf("read mirror %q: it has a user: log in with docker login %s instead", u.Redacted(),
			u.Host)
	}
	path := strings.Trim(strings.TrimPrefix(strings.TrimSuffix(u.Path, "/")+"/", "/v2/"), "/")
	if path != "" && !mirrorPath.MatchString(path) {
		return Mirror{}, fmt.Errorf("read mirror %q: %q is not the beginning of an image's name", text, path)
	}
	return Mirror{Host: u.Host, Path: path, Insecure: u.Scheme == "http"}, nil
}

// mirrorState is what a client knows of mirrors.
type mirrorState struct {
	mu       sync.Mutex
	down     map[Mirror]bool // they failed, and are left alone
	up       map[Mirror]bool // they have answered
	insecure map[string]bool // their hosts
}

// Mirrored tells whether the registry of a reference has mirrors.
func (c *Client) Mirrored(ref string) bool {
	host, err := Host(ref)
	return err == nil && len(c.mirrorsOf(host)) > 0
}

// mirrorsOf are the mirrors of a registry that have not failed yet.
func (c *Client) mirrorsOf(host string) []Mirror {
	if c.o.Mirrors == nil {
		return nil
	}
	all := c.o.Mirrors(host)
	c.mirrors.mu.Lock()
	defer c.mirrors.mu.Unlock()
	var up []Mirror
	for _, m := range all {
		if m.Insecure {
			if c.mirrors.insecure == nil {
				c.mirrors.insecure = map[string]bool{}
			}
			c.mirrors.insecure[m.Host] = true
		}
		if !c.mirrors.down[m] {
			up = append(up, m)
		}
	}
	return up
}

// insecureMirror tells whether a mirror's URL allows plain HTTP to a host.
func (c *Client) insecureMirror(host string) bool {
	c.mirrors.mu.Lock()
	defer c.mirrors.mu.Unlock()
	return c.mirrors.insecure[host]
}

// at is a reference with a mirror in the place of its registry.
func (c *Client) at(m Mirror, ref name.Reference) (name.Reference, error) {
	repository := m.String() + "/" + ref.Context().RepositoryStr()
	var opts []name.Option
	if c.insecure(m.Host) {
		opts = append(opts, name.Insecure)
	}
	if d, ok := ref.(name.Digest); ok {
		return name.NewDigest(repository+"@"+d.DigestStr(), opts...)
	}
	return name.NewTag(repository+":"+ref.Identifier(), opts...)
}

// failed notes that a mirror does not give an image. Unless the mirror only lacks it, the mirror is left alone from now
// on.
func (c *Client) failed(m Mirror, registry string, ref name.Reference, err error) {
	if statusOf(err) == http.StatusNotFound {
		return
	}
	c.mirrors.mu.Lock()
	again := c.mirrors.down[m]
	if c.mirrors.down == nil {
		c.mirrors.down = map[Mirror]bool{}
	}
	c.mirrors.down[m] = true
	c.mirrors.mu.Unlock()
	if !again && c.o.Log != nil {
		c.o.Log("mirror %s of %s is left out: %v", m, registry, c.fail("read", ref.String(), m.Host, err))
	}
}

// mirrorPatience is how long a mirror may take for its first answer.
const mirrorPatience = 10 * time.Second

// up tells whether a mirror answers. It asks once.
func (c *Client) up(ctx context.Context, m Mirror) error {
	c.mirrors.mu.Lock()
	asked := c.mirrors.up[m]
	c.mirrors.mu.Unlock()
	if asked {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, mirrorPatience)
	defer cancel()
	scheme := "https"
	if m.Insecure {
		scheme = "http"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+m.Host+"/v2/", nil)
	if err != nil {
		return fmt.Errorf("ask mirror: %w", err)
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	c.mirrors.mu.Lock()
	defer c.mirrors.mu.Unlock()
	if c.mirrors.up == nil {
		c.mirrors.up = map[Mirror]bool{}
	}
	c.mirrors.up[m] = true
	return res.Body.Close()
}

// readFrom asks for what a reference names: images at hand if they have it, the mirrors of its registry in their order,
// and the registry at last. tags says that images at hand and mirrors answer for tags, too: a mirror may know an older
// image of a tag, so whoever asks what was pushed asks the registry itself.
func readFrom[T any](ctx context.Context, c *Client, parsed name.Reference, named reference.Named, tags bool,
	ask func(p *remote.Puller, ref name.Reference) (T, error)) (T, error) {
	if p := c.from(named, tags); p != c.puller {
		return ask(p, parsed)
	}
	host := reference.Domain(named)
	var mirrors []Mirror
	if _, byDigest := parsed.(name.Digest); byDigest || tags {
		mirrors = c.mirrorsOf(host)
	}
	for _, m := range mirrors {
		found, err := fromMirror(ctx, c, m, parsed, ask)
		if err == nil {
			return found, nil
		}
		if ctx.Err() != nil {
			break
		}
		c.failed(m, host, parsed, err)
	}
	return ask(c.puller, parsed)
}

// get reads the manifest that a reference names.
func (c *Client) get(ctx context.Context, parsed name.Reference, named reference.Named,
	tags bool) (*remote.Descriptor, error) {
	ask := func(p *remote.Puller, ref name.Reference) (*remote.Descriptor, error) { return p.Get(ctx, ref) }
	return readFrom(ctx, c, parsed, named, tags, ask)
}

// fromMirror asks one mirror.
func fromMirror[T any](ctx context.Context, c *Client, m Mirror, parsed name.Reference,
	ask func(p *remote.Puller, ref name.Reference) (T, error)) (none T, err error) {
	if err := c.up(ctx, m); err != nil {
		return none, err
	}
	ref, err := c.at(m, parsed)
	if err != nil {
		return none, err
	}
	return ask(c.puller, ref)
}
