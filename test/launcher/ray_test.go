package launcher

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
)

// TestWorldImageOnThreeHosts runs on the stand-in Ray of the offline world.
func TestWorldImageOnThreeHosts(t *testing.T) {
	b := needBed(t)
	image := b.rayImage(t)
	b.Clean(t, "world")
	spec := b.Spec(t, "world", image, "", 2, 3)
	start := time.Now()
	s, err := cluster.Up(t.Context(), spec, b.Options(t))
	if err != nil || !s.Healthy || s.Alive != 3 {
		t.Fatalf("%v\n%s", err, s)
	}
	t.Logf("up in %s\n%s", time.Since(start), s)

	t.Run("bench spreads the tasks", func(t *testing.T) {
		// long enough for what starting them costs not to count
		r, err := cluster.Bench(t.Context(), spec, 20, 1, b.Options(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("\n%s", r)
		if r.CPUs != 5 || r.SpeedUp < 0.8*r.CPUs {
			t.Errorf("%.1f times as fast on %g CPUs, want at least 0.8 times their number: %+v", r.SpeedUp, r.CPUs, r)
		}
		ran := 0
		for _, host := range []string{"h1", "h2", "h3"} {
			if r.Nodes[host] == 0 {
				t.Errorf("%s ran no task: %v", host, r.Nodes)
			}
			ran += r.Nodes[host]
		}
		if ran != r.Tasks || len(r.Nodes) != 3 {
			t.Errorf("%d of %d tasks ran on the three hosts: %v", ran, r.Tasks, r.Nodes)
		}
	})
	t.Run("submit sends files, follows the job and returns its exit code", func(t *testing.T) {
		dir := t.TempDir()
		files := map[string]string{
			"job.py": "import os, sys, ray, helper\nray.init()\n" +
				"print('helper says', helper.word, os.environ['WHO'])\nprint('arg', sys.argv[1])\n" +
				"sys.exit(int(sys.argv[2]))\n",
			"helper.py":   "word = 'hello'\n",
			"secret.key":  "do not send",
			".rayignore":  "*.key\n",
			".git/config": "x",
		}
		for f, text := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, code := range []int{0, 3} {
			var out bytes.Buffer
			odd := "it's $(touch /tmp/canary) \"quoted\"; a\\b"
			res, err := cluster.Submit(t.Context(), spec,
				cluster.Job{Argv: []string{"python", "job.py", odd, fmt.Sprint(code)}, Dir: dir,
					Env: map[string]string{"WHO": "world"}}, &out, io.Discard, b.Options(t))
			if err != nil {
				t.Fatal(err)
			}
			if res.ExitCode != code || res.By != "jobs-api" ||
				!strings.Contains(out.String(), "helper says hello world") ||
				!strings.Contains(out.String(), "arg "+odd) {
				t.Errorf("got %+v\n%s", res, out.String())
			}
		}
	})
	t.Run("exec runs in the head and in a worker", func(t *testing.T) {
		for _, node := range []string{"", spec.Workers[0].ID} {
			var out, errs bytes.Buffer
			code, err := cluster.Exec(t.Context(), spec, []string{"sh", "-c", "cat; echo $RAY_ADDRESS; exit 5"},
				cluster.ExecOptions{Node: node, Stdin: strings.NewReader("typed "), Stdout: &out,
					Stderr: &errs}, b.Options(t))
			if err != nil || code != 5 || !strings.HasPrefix(out.String(), "typed "+b.Addr(1)+":6379") {
				t.Errorf("node %q: %d, %v, %q %q", node, code, err, out.String(), errs.String())
			}
		}
	})
	t.Run("logs are merged with prefixes", func(t *testing.T) {
		var out, errs bytes.Buffer
		if err := cluster.Logs(t.Context(), spec, cluster.LogOptions{}, &out, &errs, b.Options(t)); err != nil {
			t.Fatal(err)
		}
		for _, n := range spec.Nodes() {
			if !strings.Contains(out.String()+errs.String(), n.ID) {
				t.Errorf("no line of %s in\n%s%s", n.ID, out.String(), errs.String())
			}
		}
	})
	t.Run("the dashboard's tunnel survives a lost connection and refuses without the token", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		urls, done := make(chan [2]string, 1), make(chan error, 1)
		go func() {
			done <- cluster.Dashboard(ctx, spec, 0,
				func(url, token string) { urls <- [2]string{url, token} }, b.Options(t))
		}()
		var at [2]string
		select {
		case at = <-urls:
		case err := <-done:
			t.Fatal(err)
		}
		if !strings.HasPrefix(at[0], "http://127.0.0.1:") {
			t.Errorf("it listens at %s", at[0])
		}
		get := func(token string) int {
			req := must(http.NewRequest(http.MethodGet, at[0]+"/api/v0/nodes", nil))
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
			res, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return 0
			}
			defer res.Body.Close()
			return res.StatusCode
		}
		for token, want := range map[string]int{"": 401, "wrong": 403, at[1]: 200} {
			if got := get(token); got != want {
				t.Errorf("token %.8q: %d, want %d", token, got, want)
			}
		}
		b.Must(t, "exec", "1", "sh", "-c", "pkill -o -f 'sshd: root' || kill $(ps -eo pid,args | awk '/sshd: root/ "+
			"{print $1; exit}')")
		if got := get(at[1]); got != 200 {
			t.Errorf("after the connection was cut: %d", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("killed head comes back with its workers", func(t *testing.T) { b.mends(t, spec, b.killHead(t, spec)) })
}
