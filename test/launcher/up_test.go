package launcher

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
)

// Ray is miniray here: a stand-in that counts nodes and runs nothing.
func TestThreeHostsComeUpStayAndGo(t *testing.T) {
	b := needBed(t)
	b.clean(t, "demo")
	spec := b.spec(t, "demo", b.image, "", 2, 3)

	plan, err := cluster.MakePlan(t.Context(), spec, b.options(t))
	if err != nil || plan.Changes != 3 {
		t.Fatalf("plan: %+v, %v", plan, err)
	}
	start := time.Now()
	s, err := cluster.Up(t.Context(), spec, b.options(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("cold up: %s\n%s", time.Since(start), s)
	if !s.Healthy || s.Alive != 3 || s.Changed != 3 {
		t.Errorf("got %+v", s)
	}
	start = time.Now()
	if s, err = cluster.Up(t.Context(), spec, b.options(t)); err != nil || s.Changed != 0 || !s.Healthy {
		t.Fatalf("second up: %+v, %v", s, err)
	}
	t.Logf("no-op up: %s", time.Since(start))
	if plan, err = cluster.MakePlan(t.Context(), spec, b.options(t)); err != nil || plan.Changes != 0 {
		t.Errorf("plan after up: %+v, %v", plan, err)
	}
	for i := 1; i <= 3; i++ {
		out := b.must(t, "exec", fmt.Sprint(i), "sh", "-c", "docker inspect $(docker ps -aq); cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; docker logs $(docker ps -q | head -1) 2>&1")
		token := strings.TrimSpace(b.must(t, "exec", "1", "sh", "-c", "cat /var/lib/docker/volumes/raybuild-demo-auth/_data/token"))
		if len(token) != 64 {
			t.Fatalf("token %q", token)
		}
		if strings.Contains(out, token) {
			t.Errorf("host %d: the token shows in docker inspect, a process or a log", i)
		}
	}
	moved := b.spec(t, "demo", b.moved, "", 2, 3)
	plan, err = cluster.MakePlan(t.Context(), moved, b.options(t))
	if err != nil || plan.Changes != 3 || !strings.Contains(plan.String(), "image changed") {
		t.Fatalf("plan of a new image: %s, %v", plan, err)
	}
	if s, err = cluster.Up(t.Context(), moved, b.options(t)); err != nil || !s.Healthy {
		t.Fatalf("up with a new image: %+v, %v", s, err)
	}
	fewer := b.spec(t, "demo", b.moved, "", 2)
	o := b.options(t)
	o.Also = moved.Hosts()
	if s, err = cluster.Up(t.Context(), fewer, o); err != nil || !s.Healthy || s.Alive != 2 {
		t.Fatalf("up with a worker less: %+v, %v", s, err)
	}
}
