package build

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/powercut"
)

// powerCuts is how often TestPowerCutsAtRandomMoments cuts the power; RAYBUILD_TEST_CRASHES sets it.
const powerCuts = 3

// The power goes at a random moment of a push, of lock and of add: the disk of raybuild's directory, of the recipe and
// of the registry has what was synced, and all processes are gone. What was pushed before is there with all its bytes,
// nothing has wrong bytes under its digest, and the same command works without any cleaning up. At the end the image is
// that of a build that nobody has disturbed.
func TestPowerCutsAtRandomMoments(t *testing.T) {
	random, rounds := crashSeed(t, powerCuts)
	warmHome(t)
	disk := powercut.New(t, 8<<30)
	h := &home{t: t, dir: filepath.Join(disk.Dir, "home"), cwd: filepath.Join(disk.Dir, "project")}
	for _, dir := range []string{h.dir, h.cwd} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	boot := filepath.Join(t.TempDir(), "boot")
	h.within = []string{"unshare", "--mount", "sh", "-euc",
		`mount --bind "$0" /proc/sys/kernel/random/boot_id; exec "$@"`, boot}
	starts := func(n int) { // the machine, once more
		if err := os.WriteFile(boot, fmt.Appendf(nil, "00000000-0000-4000-8000-%012d\n", n), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	starts(0)
	h.write("raybuild.lock", warm.lock)
	disk.Sync() // of what follows, raybuild has to sync what it reports as done
	t.Cleanup(func() { killAll(t, disk.Dir) })
	c := &crash{home: h, random: random, registry: serveRegistry(t, filepath.Join(disk.Dir, "registry"))}
	c.edit(0)
	done := h.push(c.registry.addr + "/crash:1").meta.Digest
	kinds := []string{"push", "lock", "add"}
	for n := 1; c.killed < rounds && n <= 3*rounds; n++ {
		c.edit(n)
		c.powerCut(t, disk, kinds[n%len(kinds)], n, done, func() { starts(n) })
		done = h.push(c.registry.addr + "/crash:1").meta.Digest
	}
	if c.killed < rounds {
		t.Errorf("%d of %d commands lost their power: the others had ended", c.killed, rounds)
	}
	c.end(t)
}

// powerCut cuts the power while a command runs, looks at what is left, and runs the command again. done is the digest
// of the image that was pushed before, and starts starts the machine again.
func (c *crash) powerCut(t *testing.T, disk *powercut.Disk, kind string, n int, done string, starts func()) {
	t.Helper()
	after := time.Duration(c.random.IntN(4000)) * time.Millisecond
	what := fmt.Sprintf("round %d: %s without power after %v", n, kind, after)
	r := c.start(c.command(kind, n)...)
	if r.ended(after) {
		if code := r.cmd.ProcessState.ExitCode(); code != 0 {
			t.Fatalf("%s: it had ended with %d\n%s", what, code, tail(r.stderr.String(), 40))
		}
	} else {
		c.killed++
	}
	disk.Off()
	killAll(t, disk.Dir)
	if !r.ended(time.Minute) {
		t.Fatalf("%s: the command does not end", what)
	}
	_ = c.registry.cmd.Wait() // killed
	disk.On()
	starts()
	t.Log(what)
	c.registry.serve(t)
	c.look(t, what)
	c.validate(t, c.registry.addr+"/crash@"+done)
	c.edit(n) // nobody has synced it
	if out := c.run(c.command(kind, n)...); out.code != 0 {
		t.Fatalf("%s: the next run ends with %d\n%s", what, out.code, tail(out.stderr, 40))
	}
	c.look(t, what+", and after the next run")
}

// killAll kills all processes that were started for a directory.
func killAll(t *testing.T, dir string) {
	t.Helper()
	for _, pid := range processesOf(t, dir) {
		if pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}
