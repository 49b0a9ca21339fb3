package convert

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/wholefile"
)

// mostRepos is how many repositories are kept of a layer.
const mostRepos = 4

// Repos are repositories that the layer was pushed to, the last one first. A registry can mount it from there. It may
// be gone.
func (c *Converter) Repos(d digest.Digest) []string {
	data, err := os.ReadFile(c.store.reposFile(d))
	if err != nil {
		return nil
	}
	return strings.Fields(string(data))
}

// Pushed keeps that the layer is in a repository, such as registry.example/team/ray.
func (c *Converter) Pushed(d digest.Digest, repo string) error {
	all := c.Repos(d)
	if len(all) > 0 && all[0] == repo {
		return nil
	}
	all = slices.DeleteFunc(all, func(r string) bool { return r == repo })
	all = append([]string{repo}, all[:min(len(all), mostRepos-1)]...)
	file := c.store.reposFile(d)
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755),
		wholefile.Write(file, []byte(strings.Join(all, "\n")+"\n"), 0o644))
}

func (s store) reposFile(d digest.Digest) string { return filepath.Join(s.dir, "repos", d.Encoded()) }
