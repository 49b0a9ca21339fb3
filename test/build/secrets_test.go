package build

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// canary is a secret that no other text has.
func canary(t *testing.T) string {
	t.Helper()
	b := make([]byte, 20)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return "canary" + hex.EncodeToString(b)
}

// A secret that a step uses, and a mirror's password, are found nowhere afterwards.
func TestSecretsAreFoundNowhere(t *testing.T) {
	h := warmHome(t)
	fromFile, fromEnv, password := canary(t), canary(t), canary(t)
	secrets := [][]byte{[]byte(fromFile), []byte(fromEnv), []byte(password),
		[]byte(base64.StdEncoding.EncodeToString([]byte("mirror:" + password)))}
	asked := &atomic.Int64{}
	private := guardedMirror(t, password, asked)
	outside := t.TempDir() // where the user keeps secrets: not raybuild's
	file, netrc := filepath.Join(outside, "token"), filepath.Join(outside, "netrc")
	for name, text := range map[string]string{file: fromFile,
		netrc: "machine 127.0.0.1 login mirror password " + password + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.env = []string{"NETRC=" + netrc, "OTHER_SECRET=" + fromEnv}
	h.write("raybuild.yaml", strings.ReplaceAll(shortRecipe("pip: [cachetools]", `steps:
- name: private
  needs: [miniconda]
  secrets: [token, other]
  run: |
    sha256sum < /run/secrets/token > /opt/token.sum
    sha256sum < /run/secrets/other > /opt/other.sum
    stat -c %a /run/secrets/token > /opt/mode`), testEnv.A.URL, private))
	dst := ref(t, "1")
	stop := watchCommandLines(t, secrets)
	out := h.push(dst, "--secret", "id=token,src="+file, "--secret", "id=other,env=OTHER_SECRET")
	stop()
	if asked.Load() == 0 {
		t.Error("the mirror with a password was never asked")
	}
	image := pull(t, dst)
	root := unpack(t, image)
	for name, secret := range map[string]string{"opt/token.sum": fromFile, "opt/other.sum": fromEnv} {
		sum := sha256.Sum256([]byte(secret))
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil ||
			!strings.HasPrefix(string(got), hex.EncodeToString(sum[:])) {
			t.Errorf("the step did not get its secret: %s is %q, %v", name, got, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(root, "run/secrets")); err == nil {
		t.Error("the place of secrets is in the image")
	}
	clean := func(what string, data []byte) {
		for i, s := range secrets {
			if bytes.Contains(data, s) {
				t.Errorf("secret %d is in %s", i, what)
			}
		}
	}
	clean("standard output", []byte(out.stdout))
	clean("standard error", []byte(out.stderr))
	for _, read := range []func() ([]byte, error){image.RawManifest, image.RawConfigFile} {
		data, err := read()
		if err != nil {
			t.Fatal(err)
		}
		clean("manifest or config", data)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range layers[1:] {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		clean(fmt.Sprintf("layer %d", i+1), data)
	}
	for _, args := range [][]string{{"inspect", "--json", dst}, {"inspect", "--lock", dst},
		{"graph", "--format", "json"}, {"cache", "du", "--json"}} {
		o := h.run(args...)
		if o.code != 0 {
			t.Errorf("raybuild %s: exit %d\n%s", strings.Join(args, " "), o.code, o.stderr)
		}
		clean("raybuild "+strings.Join(args, " "), []byte(o.stdout+o.stderr))
	}
	for _, dir := range []string{h.cwd, h.dir, testEnv.Dir} {
		everyFile(t, dir, clean)
	}
	// A refusal tells nothing either.
	h.env = []string{"NETRC=" + os.DevNull}
	refused := h.refused(1, []string{"401 Unauthorized", strings.TrimPrefix(private, "http://")}, "lock",
		"--update", "ray")
	clean("the refusal", []byte(refused.stderr))
}

// guardedMirror is mirror A for those who know the password.
func guardedMirror(t *testing.T, password string, asked *atomic.Int64) string {
	t.Helper()
	target, err := url.Parse(testEnv.A.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, p, _ := r.BasicAuth(); p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="mirror"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		asked.Add(1)
		r.Header.Del("Authorization")
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// watchCommandLines looks at the command lines of all processes until the returned function is called.
func watchCommandLines(t *testing.T, secrets [][]byte) (stop func()) {
	t.Helper()
	end, done := make(chan struct{}), make(chan struct{})
	var leak string
	scans := 0
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
			for _, f := range files {
				data, err := os.ReadFile(f)
				if err != nil {
					continue // it has ended
				}
				for _, s := range secrets {
					if bytes.Contains(data, s) {
						leak = string(data)
					}
				}
			}
			scans++
		}
	}()
	return func() {
		close(end)
		<-done
		if leak != "" {
			t.Errorf("a secret was on a command line: %q", strings.ReplaceAll(leak, "\x00", " "))
		}
		if scans < 10 {
			t.Errorf("the command lines were read %d times only", scans)
		}
	}
}

// everyFile hands each regular file below dir to check.
func everyFile(t *testing.T, dir string, check func(what string, data []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the engine removes what it no longer needs
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		check(file, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A step without network that tries to use it gets an error that says why, and what would give it.
func TestStepsHaveNoNetwork(t *testing.T) {
	h := warmHome(t)
	served := &atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		fmt.Fprintln(w, "hello")
	}))
	t.Cleanup(srv.Close)
	for name, run := range map[string]string{
		"wget of an address":      "wget -q -O- " + srv.URL + " || wget -O- " + srv.URL,
		"wget of a name":          "wget http://deb.debian.org/",
		"a silent look at a name": "getent hosts deb.debian.org",
		"python": "/opt/conda/envs/ray/bin/python -c \"import urllib.request; " +
			"urllib.request.urlopen('" + srv.URL + "')\"",
	} {
		t.Run(name, func(t *testing.T) {
			h := warmLike(t, h.dir)
			h.write("raybuild.yaml", onlineRecipe(run, false))
			dst := ref(t, "1")
			h.refused(1, []string{"layer online", "no network", "network: true"}, "--push", "--progress", "quiet", dst)
			if found(t, dst) {
				t.Error("the image was pushed")
			}
		})
	}
	if n := served.Load(); n != 0 {
		t.Errorf("steps without network sent %d requests", n)
	}
	h.write("raybuild.yaml", onlineRecipe("wget -q -O /opt/hello "+srv.URL, "host"))
	h.push(ref(t, "1"))
	if served.Load() != 1 {
		t.Errorf("the step with the host's network sent %d requests, want 1", served.Load())
	}
}

// TestM11OnlineStepsDoNotShareLoopback: a step with a network reaches what this machine reaches, and nothing that
// listens on its loopback, such as a registry without a password.
func TestM11OnlineStepsDoNotShareLoopback(t *testing.T) {
	h := warmHome(t)
	served := &atomic.Int64{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		fmt.Fprintln(w, "hello")
	})
	loopback := httptest.NewServer(handler)
	t.Cleanup(loopback.Close)
	h.write("raybuild.yaml", onlineRecipe("wget -q -T 5 -t 1 -O /opt/hello "+loopback.URL, true))
	h.refused(1, []string{"layer online"}, "--push", "--progress", "quiet", ref(t, "1"))
	if n := served.Load(); n != 0 {
		t.Errorf("the step sent %d requests to this machine's loopback", n)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(testneeds.OutsideAddress(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	outside := httptest.NewUnstartedServer(handler)
	outside.Listener = ln
	outside.Start()
	t.Cleanup(outside.Close)
	h.write("raybuild.yaml", onlineRecipe("wget -q -T 10 -t 1 -O /opt/hello "+outside.URL, true))
	h.push(ref(t, "1"))
	if n := served.Load(); n != 1 {
		t.Errorf("the step sent %d requests to a server of the network, want 1", n)
	}
}

func onlineRecipe(run string, network any) string {
	return strings.Replace(shortRecipe(fmt.Sprintf("steps: [{name: online, run: %q, needs: [apt, env], network: %v}]",
		run, network)), "apt: [less]", "apt: [less, wget]", 1)
}
