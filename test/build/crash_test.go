package build

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/raybuild/raybuild/layers"
)

// crashes is how often TestCrashesAtRandomMoments kills something; RAYBUILD_TEST_CRASHES sets it.
const crashes = 5

// Something is killed with SIGKILL at a random moment: raybuild in a push, in lock and in add, the engine, and the
// registry. Then no name shows an image that is not whole, nothing has wrong bytes under its digest, locks and other
// files are whole, and the same command works without any cleaning up. At the end the image is that of a build that
// nobody has disturbed, and nothing of all this is left running or mounted.
func TestCrashesAtRandomMoments(t *testing.T) {
	random, rounds := crashSeed(t, crashes)
	h := coldHome(t)
	c := &crash{home: h, random: random, registry: serveRegistry(t, filepath.Join(t.TempDir(), "registry"))}
	c.edit(0)
	h.push(c.registry.addr + "/crash:1")
	kinds := []string{"push", "registry", "add", "engine", "lock"}
	for n := 1; c.killed < rounds && n <= 3*rounds; n++ {
		c.edit(n)
		c.round(t, kinds[n%len(kinds)], n)
	}
	if c.killed < rounds {
		t.Errorf("%d of %d commands were killed: the others had ended", c.killed, rounds)
	}
	c.end(t)
}

// end checks that the image is that of a build that nobody has disturbed, and that nothing is left.
func (c *crash) end(t *testing.T) {
	t.Helper()
	whole := c.push(c.registry.addr + "/crash:1").meta
	c.validate(t, c.registry.addr+"/crash:1")
	same := warmLike(t, warm.dir)
	for _, file := range []string{"raybuild.yaml", "raybuild.lock", "app/main.py"} {
		same.write(file, c.read(file))
	}
	undisturbed := same.push(ref(t, "undisturbed"), "--graph-tag=false", "--reuse=false").meta
	if undisturbed.Digest != whole.Digest {
		t.Errorf("after crashes the image is %s, without %s\n%s", whole.Digest, undisturbed.Digest,
			differing(whole, undisturbed))
	}
	if err := stopEngine(c.dir); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, c.dir)
}

// crashSeed gives the source of random moments, and how many there are.
func crashSeed(t *testing.T, otherwise int) (*rand.Rand, int) {
	t.Helper()
	number := func(variable string, otherwise uint64) uint64 {
		text := os.Getenv(variable)
		if text == "" {
			return otherwise
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
		return n
	}
	seed := number("RAYBUILD_TEST_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seed: RAYBUILD_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0)), int(number("RAYBUILD_TEST_CRASHES", uint64(otherwise)))
}

// crash is a project whose commands are killed.
type crash struct {
	*home
	random   *rand.Rand
	registry *ownRegistry
	killed   int
}

// edit changes the recipe, so that there is something to build and to push.
func (c *crash) edit(n int) {
	c.write("app/main.py", fmt.Sprintf("print(%d)\n", n))
	c.write("raybuild.yaml", shortRecipe("files: [{from: app, to: /home/ray/app}]",
		fmt.Sprintf("steps: [{name: work, run: 'seq %d 700000 > /opt/numbers', needs: [user]}]", n)))
}

// command is what a round disturbs.
func (c *crash) command(kind string, n int) []string {
	image := c.registry.addr + "/crash:1"
	switch kind {
	case "lock":
		return []string{"lock", "--update"}
	case "add":
		return []string{"add", "--push", "-t", fmt.Sprintf("%s/crash:add-%d", c.registry.addr, n), "uvicorn[standard]",
			"--onto", image}
	default:
		return []string{"--push", "--progress", "plain", "--metadata-file", "meta.json", image}
	}
}

// round kills something while a command runs, looks at what is left, and runs the command again.
func (c *crash) round(t *testing.T, kind string, n int) {
	t.Helper()
	args := c.command(kind, n)
	after := time.Duration(c.random.IntN(2500)) * time.Millisecond
	what := fmt.Sprintf("round %d: %s killed after %v", n, kind, after)
	r := c.start(args...)
	if r.ended(after) {
		if code := r.cmd.ProcessState.ExitCode(); code != 0 {
			t.Fatalf("%s: it had ended with %d\n%s", what, code, tail(r.stderr.String(), 40))
		}
		return
	}
	c.killed++
	switch kind {
	case "engine":
		killEngines(t, c.dir)
	case "registry":
		c.registry.kill(t)
		c.registry.serve(t)
	default:
		r.signal(t, syscall.SIGKILL)
	}
	if !r.ended(2 * time.Minute) {
		t.Fatalf("%s: the command does not end\n%s", what, tail(r.stderr.String(), 40))
	}
	t.Logf("%s: exit %d: %s", what, r.cmd.ProcessState.ExitCode(), strings.TrimSpace(tail(r.stderr.String(), 2)))
	c.look(t, what)
	if out := c.run(args...); out.code != 0 {
		t.Fatalf("%s: the next run ends with %d\n%s", what, out.code, tail(out.stderr, 40))
	}
	c.look(t, what+", and after the next run")
}

// look checks what lies in the registry, in the store, and beside the recipe.
func (c *crash) look(t *testing.T, what string) {
	t.Helper()
	digestsHold(t, what, filepath.Join(c.registry.dir, "blobs", "sha256"))
	digestsHold(t, what, filepath.Join(c.dir, "artifacts", "sha256"))
	c.eachName(t, func(desc *remote.Descriptor, tag string) error {
		if desc.MediaType.IsIndex() {
			return nil // a list of documents: their digests hold, and the registry has taken none without its parts
		}
		image, err := desc.Image()
		if err == nil {
			err = validate.Image(image, validate.Fast)
		}
		if err != nil {
			t.Errorf("%s: the name %s shows an image that is not whole: %v", what, tag, err)
		}
		return nil
	})
	if data, err := os.ReadFile(filepath.Join(c.cwd, "raybuild.lock")); err != nil {
		t.Errorf("%s: the lock is gone: %v", what, err)
	} else if _, err := layers.ParseLock(data, "raybuild.lock"); err != nil {
		t.Errorf("%s: the lock is not whole: %v", what, err)
	}
	if data, err := os.ReadFile(filepath.Join(c.cwd, "meta.json")); err == nil && !json.Valid(data) {
		t.Errorf("%s: the metadata is not whole:\n%s", what, data)
	}
}

// validate reads every byte of an image.
func (c *crash) validate(t *testing.T, ref string) {
	t.Helper()
	if err := validate.Image(pull(t, ref)); err != nil {
		t.Errorf("the image is not whole: %v", err)
	}
}

// eachName calls f for all names of the registry.
func (c *crash) eachName(t *testing.T, f func(desc *remote.Descriptor, tag string) error) {
	t.Helper()
	repository, err := name.NewRepository(c.registry.addr + "/crash")
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(repository)
	if err != nil {
		t.Fatalf("list the names of the registry: %v", err)
	}
	for _, tag := range tags {
		desc, err := remote.Get(repository.Tag(tag))
		if err == nil {
			err = f(desc, tag)
		}
		if err != nil {
			t.Errorf("the name %s: %v", tag, err)
		}
	}
}

var hexName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// digestsHold checks that each file that is named by a digest has it.
func digestsHold(t *testing.T, what, dir string) {
	t.Helper()
	some := false
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || !hexName.MatchString(e.Name()) {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		some = true
		if got := hex.EncodeToString(sum.Sum(nil)); got != e.Name() {
			t.Errorf("%s: %s has the digest %s", what, path, got)
		}
		return nil
	})
	if err != nil || !some {
		t.Errorf("%s: files of %s: found some: %v, %v", what, dir, some, err)
	}
}

// ownRegistry is "raybuild registry serve" as a process.
type ownRegistry struct {
	addr, dir string
	cmd       *exec.Cmd
}

func serveRegistry(t *testing.T, dir string) *ownRegistry {
	t.Helper()
	r := &ownRegistry{addr: "127.0.0.1:0", dir: dir}
	r.serve(t)
	t.Cleanup(func() { r.kill(t) })
	return r
}

// serve starts the registry, on the address that it had.
func (r *ownRegistry) serve(t *testing.T) {
	t.Helper()
	r.cmd = exec.Command(program, "registry", "serve", "--dir", r.dir, r.addr)
	r.cmd.Env = []string{"HOME=" + t.TempDir()}
	var stderr strings.Builder
	r.cmd.Stderr = &stderr
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the registry does not start again: %v\n%s", err, stderr.String())
	}
	r.addr = strings.TrimSpace(line)
}

func (r *ownRegistry) kill(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	_ = r.cmd.Wait() // killed
}

// killEngines kills the engines of a home, if some are there yet.
func killEngines(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "engine", "*", "engine.pid"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // not written yet
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && isOf(pid, dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}

// isOf tells whether a process was started for a directory: the number may have become another's.
func isOf(pid int, dir string) bool {
	for _, file := range []string{"cmdline", "environ"} {
		if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file)); err == nil &&
			strings.Contains(string(data), dir) {
			return true
		}
	}
	return false
}

// processesOf are the processes that were started for a directory.
func processesOf(t *testing.T, dir string) (pids []int) {
	t.Helper()
	all, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if pid, err := strconv.Atoi(e.Name()); err == nil && isOf(pid, dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// nothingLeft checks that no process and no mount of a home is left, once they had time to go.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		var left []string
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(mounts)) {
			if strings.Contains(line, dir) {
				left = append(left, "mount "+line)
			}
		}
		for _, pid := range processesOf(t, dir) {
			left = append(left, fmt.Sprintf("process %d", pid))
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Errorf("left behind: %q", left)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}
