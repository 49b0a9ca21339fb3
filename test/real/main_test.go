// Package real tests raybuild with real Ray and Python packages of the real index, as its users
// meet them: the program builds images and the launcher runs them on hosts with Docker Engines.
// Stand-ins are the conda channel and the Miniconda-like installer alone.
package real

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/test/bed"
)

// place is what all tests share: a package world, the program and a builder, made when the first test asks for them.
type place struct {
	dir     string // the others lie in it
	program string // the built raybuild
	home    string // the builder's RAYBUILD_HOME
	testEnv *world.World
	hosts   *bed.Bed // made when a test asks for them
	image   built    // of real Ray
}

var (
	here     place
	hereOnce = sync.OnceValue(func() error { return here.make() })
	bedOnce  = sync.OnceValue(func() error { return here.makeHosts() })
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := here.close(); err != nil {
		log.Print("clean up: ", err)
		code = 1
	}
	os.Exit(code)
}

// needPlace gives what all tests share, or skips: where the real Python index does not answer, and
// where this machine lacks something. The latter is a failure with RAYBUILD_TEST_STRICT=1.
func needPlace(t *testing.T) *place {
	t.Helper()
	testneeds.Root(t, "runc", "mmdebstrap")
	if err := hereOnce(); err != nil {
		t.Fatal(err)
	}
	if err := here.testEnv.NotReal; err != nil {
		t.Skipf("no real Python packages can be had: %v", err)
	}
	return &here
}

func (p *place) make() error {
	var err error
	if p.dir, err = os.MkdirTemp("", "rbr"); err != nil { // a socket's path has to be short
		return err
	}
	p.program, p.home = filepath.Join(p.dir, "raybuild"), filepath.Join(p.dir, "home")
	build := exec.Command("go", "build", "-o", p.program, "github.com/raybuild/raybuild/cmd/raybuild")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build raybuild: %w\n%s", err, out)
	}
	p.testEnv, err = world.Start(context.Background(), world.Options{Log: os.Stderr})
	return err
}

func (p *place) close() error {
	var err error
	if p.hosts != nil {
		err = p.hosts.Close()
	}
	if p.home != "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if e := engine.Stop(ctx, engine.Options{Home: p.home, Exe: p.program, Env: []string{}}); e != nil {
			err = errors.Join(err, fmt.Errorf("stop engine: %w", e))
		}
	}
	if p.testEnv != nil {
		err = errors.Join(err, p.testEnv.Close())
	}
	if p.dir != "" {
		err = errors.Join(err, os.RemoveAll(p.dir))
	}
	return err
}

// needHosts gives three hosts, whose registry is the world's.
func needHosts(t *testing.T) *bed.Bed {
	t.Helper()
	needPlace(t)
	testneeds.Skip(t, bed.Missing())
	if err := bedOnce(); err != nil {
		t.Fatal(err)
	}
	return here.hosts
}

func (p *place) makeHosts() error {
	store := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: p.testEnv.Registry})
	var err error
	p.hosts, err = bed.Start(bed.Options{Hosts: 3, Store: store})
	return err
}

// onHosts is the name by which the hosts pull an image of the world's registry.
func (p *place) onHosts(image string) string {
	return strings.Replace(image, p.testEnv.Registry, p.hosts.Registry, 1)
}

// project is a directory with a recipe and its lock.
type project struct {
	*place
	t     *testing.T
	dir   string
	other string // RAYBUILD_HOME of another machine; "": that of all tests
}

func (p *place) project(t *testing.T, recipe string) *project {
	t.Helper()
	x := &project{place: p, t: t, dir: t.TempDir()}
	x.write("raybuild.yaml", recipe)
	return x
}

func (x *project) write(name, text string) {
	x.t.Helper()
	if err := os.WriteFile(filepath.Join(x.dir, name), []byte(text), 0o644); err != nil {
		x.t.Fatal(err)
	}
}

// raybuild runs the program, with nothing of the machine's own settings.
func (x *project) raybuild(args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, x.program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = x.dir, &out, &errs
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + x.dir, "RAYBUILD_HOME=" + cmp.Or(x.other, x.home)}
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// built is an image as the program pushed it.
type built struct {
	ref     string // pinned by its digest
	lock    string
	seconds float64
	err     error
}

// push builds the recipe and pushes it to the world's registry under a name without tag.
func (x *project) push(name string, args ...string) built {
	start := time.Now()
	out, output, err := x.raybuild(append([]string{"--push", "--progress", "plain", x.testEnv.Registry +
		"/real/" + name + ":test"}, args...)...)
	if err != nil {
		err = fmt.Errorf("build and push %s: %w\n%s", name, err, lastLines(output, 60))
	}
	b := built{ref: strings.TrimSpace(out), seconds: time.Since(start).Seconds(), err: err}
	if err == nil {
		var lock []byte
		lock, b.err = os.ReadFile(filepath.Join(x.dir, "raybuild.lock"))
		b.lock = string(lock)
	}
	return b
}

func lastLines(text string, n int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

// realRecipe is the world's recipe of real Ray with rsync and ssh in the image, which the real `ray up` needs there.
func (p *place) realRecipe() string {
	return strings.Replace(string(p.testEnv.RealRecipe()), "apt: [", "apt: [openssh-client, rsync, ", 1)
}

// realImage is an image of real Ray that raybuild has built, once for all tests, in the world's
// registry, pinned by its digest. It has Ray's extras default, tune and rllib, and rsync and ssh.
func realImage(t *testing.T) string {
	t.Helper()
	p := needPlace(t)
	if p.image.ref == "" && p.image.err == nil {
		p.image = p.project(t, p.realRecipe()).push("ray")
		t.Logf("built and pushed real Ray in %.0f s: %s", p.image.seconds, p.image.ref)
	}
	if p.image.err != nil {
		t.Fatal(p.image.err)
	}
	return p.image.ref
}
