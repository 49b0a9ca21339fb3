package layers

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/llb"
)

// resolveApt asks the apt of root what a would install there. Its answer
// depends on root's own package status, so root is the image's real base.
func resolveApt(ctx context.Context, r *Resolver, root llb.Stage, a Apt) ([]Artifact, error) {
	if err := r.allowAptSources(ctx, root); err != nil {
		return nil, err
	}
	extra, err := aptSources(r, a)
	if err != nil {
		return nil, err
	}
	final := ""
	if isFinal(r.locked.Base, r.in.Now) {
		final = "yes"
		r.in.Log("apt: Debian %s is past its end, and gets no security updates", r.locked.Base.Release)
	}
	out, err := r.Run(ctx, root, "[apt] resolve "+shorten(a.Packages, 60), aptResolveText,
		map[string]string{"EXTRA": work + "/sources", "FINAL": final},
		[]llb.Mount{{Path: work + "/sources", Stage: extra}}, a.Packages...)
	if err != nil {
		return nil, err
	}
	if len(out["failed"]) > 0 {
		return nil, fmt.Errorf("apt-get cannot install %s: %s", strings.Join(a.Packages, ", "),
			aptReason(string(out["stderr"])))
	}
	return parsePrintURIs(string(out["uris"]), a.Repositories)
}

// allowAptSources lets apt ask for the sources that an image comes with.
func (r *Resolver) allowAptSources(ctx context.Context, image llb.Stage) error {
	sandbox, err := r.in.Sandbox(ctx)
	if err != nil {
		return err
	}
	names := slices.Concat(r.locked.Base.AptFiles, r.locked.Tool.AptFiles)
	slices.Sort(names)
	files, err := sandbox.ReadFiles(ctx, image, r.platform, slices.Compact(names), r.session())
	if err != nil {
		return fmt.Errorf("read apt's sources: %w", err)
	}
	for _, text := range files {
		for _, source := range aptURLs(text) {
			if _, err := r.allow(source); err != nil {
				return fmt.Errorf("read url of apt's source %q: %w", source, err)
			}
		}
	}
	return nil
}

// aptURL is a URL in one of apt's files of sources, in either form (sources.list(5)).
var aptURL = lazy(`https?://[^\s"]+`)

// aptURLs are the URLs in a file of sources that are no comments.
func aptURLs(text []byte) []string {
	var out []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		out = append(out, aptURL().FindAllString(line, -1)...)
	}
	return out
}

// aptSources are the recipe's further repositories as one-line sources, each
// bound to its own key.
func aptSources(r *Resolver, a Apt) (llb.Stage, error) {
	files := []llb.File{{Path: "/none"}} // a stage cannot be empty
	for i, repo := range a.Repositories {
		f, err := openIn(r.in.Recipe.Dir, repo.Key)()
		if err != nil {
			return llb.Stage{}, fmt.Errorf("read key %q of apt repository %s: %w", repo.Key, repo.URL, err)
		}
		key, err := io.ReadAll(io.LimitReader(f, 1<<20))
		if err := f.Close(); err != nil {
			return llb.Stage{}, err
		}
		if err != nil {
			return llb.Stage{}, fmt.Errorf("read key %q of apt repository %s: %w", repo.Key, repo.URL, err)
		}
		ext := "gpg"
		if strings.Contains(string(key), "-----BEGIN PGP") {
			ext = "asc"
		}
		if _, err := r.allow(repo.URL); err != nil {
			return llb.Stage{}, fmt.Errorf("read url of apt repository %s: %w", repo.URL, err)
		}
		name := fmt.Sprintf("raybuild-%d", i+1)
		line := fmt.Sprintf("deb [signed-by=%s/sources/%s.%s] %s %s %s\n", work, name, ext, repo.URL, repo.Suite,
			strings.Join(repo.Components, " "))
		files = append(files,
			llb.File{Path: "/" + name + ".list", Data: []byte(line)},
			llb.File{Path: "/" + name + "." + ext, Data: key})
	}
	return llb.Scratch().Files("[apt] further repositories", files...), nil
}

// uriLine is a line of apt-get --print-uris (apt 1.2 to 2.7):
// 'URL' file-name size SHA256:hex
var uriLine = lazy(`^'([^']+)' (\S+) (\d+) ?(?:SHA256:([0-9a-f]{64})|(\S*))$`)

// parsePrintURIs reads what apt-get --print-uris prints; lines of another form
// are what it says to people.
func parsePrintURIs(text string, repositories []AptRepository) ([]Artifact, error) {
	var out []Artifact
	for line := range strings.Lines(text) {
		m := uriLine().FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		if m[4] == "" {
			return nil, fmt.Errorf("read apt's answer %q: it has no sha256 of the package; the repository is too old "+
				"to be trusted", line)
		}
		name, version, err := debFile(m[2])
		if err != nil {
			return nil, err
		}
		size, err := strconv.ParseInt(m[3], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read apt's answer %q: %w", line, err)
		}
		origin, path := aptOrigin(m[1], repositories)
		out = append(out, Artifact{Kind: KindDeb, Name: name, Version: version, Origin: origin, Path: path,
			SHA256: m[4], Size: size})
	}
	return out, nil
}

// debFile takes apt's name of a package file apart: name_version_arch.deb, with
// the colon of an epoch as %3a.
func debFile(file string) (name, version string, err error) {
	parts := strings.Split(strings.TrimSuffix(file, ".deb"), "_")
	if len(parts) != 3 {
		return "", "", fmt.Errorf("read apt's answer: %q is not name_version_arch.deb", file)
	}
	version, err = url.PathUnescape(parts[1])
	return parts[0], version, err
}

// aptOrigin is the canonical origin and path of a package's URL.
func aptOrigin(raw string, repositories []AptRepository) (origin, path string) {
	for _, repo := range repositories {
		root := strings.TrimSuffix(repo.URL, "/") + "/"
		if rest, ok := strings.CutPrefix(raw, strings.Replace(root, "https://", "http://", 1)); ok {
			return strings.TrimSuffix(root, "/"), rest
		}
	}
	if origin, path, ok := originOf(raw); ok {
		return origin, path
	}
	if root, rest, ok := strings.Cut(raw, "/pool/"); ok {
		return root, "pool/" + rest
	}
	scheme, rest, _ := strings.Cut(raw, "://")
	host, path, _ := strings.Cut(rest, "/")
	return scheme + "://" + host, path
}

// aptReason is the part of apt's complaint that says what is wrong.
func aptReason(stderr string) string {
	var reasons []string
	for line := range strings.Lines(stderr) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "E: "); ok {
			reasons = append(reasons, rest)
		}
	}
	if len(reasons) == 0 {
		return strings.TrimSpace(stderr)
	}
	return strings.Join(reasons, "; ")
}
