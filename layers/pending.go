package layers

import (
	"errors"
	"net/url"
	"time"

	"github.com/opencontainers/go-digest"
)

// The signatures below are the contract; their bodies move to the files of their subject.

var errPending = errors.New("not written yet")

// DefaultRecipe is the recipe of a project that has none.
func DefaultRecipe() *Recipe { return &Recipe{} }

// LoadRecipe reads a recipe. No data is the default recipe. All problems come
// at once, as a *RecipeError. Nothing is read from disk: see LoadFiles.
func LoadRecipe(data []byte, filename string, sets []string) (*Recipe, error) { return nil, errPending }

// LoadFiles reads the files that the recipe names and that the resolver needs
// as text: environment.yml and requirements files. It fills in EnvFile and Required.
func (r *Recipe) LoadFiles() error { return errPending }

// Digest is that of what the lock answers.
func (r *Recipe) Digest() digest.Digest { return "" }

// Check fits the recipe against the tables; it adds Pins.
func Check(r *Recipe) ([]Note, error) { return nil, errPending }

// ParseLock reads a lock, YAML or JSON.
func ParseLock(data []byte, filename string) (*Lock, error) { return nil, errPending }

// Marshal writes the lock in its canonical form.
func (l *Lock) Marshal() ([]byte, error) { return nil, errPending }

// DiffLocks lists what differs.
func DiffLocks(old, new *Lock) []Change { return nil }

// URL is the canonical URL.
func (a Artifact) URL() string { return "" }

// Filename is the last element of Path.
func (a Artifact) Filename() string { return "" }

// Digest of the file.
func (a Artifact) Digest() digest.Digest { return "" }

// OriginOf splits a canonical URL into origin and path.
func OriginOf(canonical string) (origin, path string, ok bool) { return "", "", false }

// OriginURL is the root of an origin, without a trailing slash.
func OriginURL(origin string) string { return "" }

// Presets are the mirrors known by name, "official" first.
func Presets() []Mirror { return nil }

// Candidates lists where a file of a canonical URL can be fetched from, best first.
func Candidates(mirrors []Mirror, canonical *url.URL, resolved time.Time) []Candidate { return nil }

// ImageMirrorFiles are the files that configure an image with a mirror.
func ImageMirrorFiles(m Mirror, base LockImage, arch string) []MirrorFile { return nil }
