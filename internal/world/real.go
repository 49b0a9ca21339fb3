package world

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/world/mirror"
)

// RayReal is the version of Ray that is taken from the real index.
const RayReal = "2.60.0"

// officialIndex is PyPI's simple index.
const officialIndex = "https://pypi.org/simple"

// indexPatience is how long the real index has to answer before it counts as out of reach.
const indexPatience = 10 * time.Second

// TestCache is the directory of artifacts that were brought from the internet:
// $RAYBUILD_TEST_CACHE, else raybuild-test in os.UserCacheDir. It is used when it is there and
// never needed.
func TestCache() (string, error) {
	dir := os.Getenv("RAYBUILD_TEST_CACHE")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a cache directory: %w: set RAYBUILD_TEST_CACHE", err)
		}
		dir = filepath.Join(cache, "raybuild-test")
	}
	return filepath.Abs(dir)
}

// Index is the Python index that this machine's pip is configured with, without a slash at its end,
// else PyPI. It may hold a user and a password.
func Index() string {
	c := hostconf.Read(hostconf.This(os.Getenv))
	u, err := url.Parse(c.PipIndex.Text)
	if err != nil || u.Host == "" {
		return officialIndex
	}
	u.User = c.Logins[hostconf.Origin(u)]
	return u.String()
}

// RealIndex is the real Python index behind the cache of tests, for a test that needs nothing else of
// a world. An error tells why it cannot be used.
func RealIndex(ctx context.Context) (*mirror.PyIndex, error) {
	dir, err := TestCache()
	if err != nil {
		return nil, err
	}
	index := Index()
	if err := Answers(ctx, index); err != nil {
		return nil, err
	}
	return &mirror.PyIndex{Upstream: index, Cache: realCache(dir)}, nil
}

// realCache is the cache of the real index in the directory of [TestCache].
func realCache(dir string) *mirror.Cache { return &mirror.Cache{Dir: filepath.Join(dir, "index")} }

// Answers tells why a Python index cannot be used; nil where it can. It asks for one small page.
func Answers(ctx context.Context, index string) error {
	ctx, cancel := context.WithTimeout(ctx, indexPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, index+"/tabulate/", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask Python index %q: %w", hostOf(index), err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask Python index %q: it answered %s", hostOf(index), resp.Status)
	}
	return nil
}

// hostOf is a URL's host: the rest may hold a password.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "?"
	}
	return u.Host
}

// fetchReal is the mirror as a value of the recipe's mirrors.fetch, with the real index in place of the stand-ins'.
func (m Mirror) fetchReal() string {
	return fmt.Sprintf("{apt: %s, conda: %s, pip: %s, installer: %s}", m.Apt, m.Conda, m.Real, m.Installer)
}

// RealRecipe is a raybuild.yaml that builds an image of real Ray: Python packages come from the
// real index, through mirror A's cache.
func (w *World) RealRecipe() []byte {
	return w.recipe(realHead, w.A.fetchReal(), RayReal, "rllib", "requests")
}

const realHead = `# An image of real Ray: Ray and all Python packages come from the real Python index,
# through a cache on loopback; base and apt packages are Debian's.
# Stand-ins are the conda channel and the Miniconda-like installer.`
