package engine

import (
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestServeArgsAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]ServeOptions{
		"what is required": {Dir: "/d", Socket: "/d/s"},
		"everything": {Dir: "/a b", Socket: "/-s", Idle: 1500 * time.Millisecond, CacheLimit: 1 << 40,
			Insecure: []string{"a:1", "b"}, CertDirs: []string{"/a b/certs.d"},
			Trees: "/a b/trees", ReadyFD: 3, stage: stageRootless},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseServeArgs(o.args())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, o) {
				t.Errorf("got %+v, want %+v", got, o)
			}
		})
	}
}

func TestServeArgsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]string{
		"nothing":           "",
		"no socket":         "-dir /d",
		"an unknown flag":   "-dir /d -socket /s -frob",
		"an argument":       "-dir /d -socket /s now",
		"a negative time":   "-dir /d -socket /s -idle -1s",
		"a negative limit":  "-dir /d -socket /s -cache-limit -1",
		"an unknown stage":  "-dir /d -socket /s -stage 9",
		"too long a socket": "-dir /d -socket /" + strings.Repeat("s", 107),
	} {
		t.Run(name, func(t *testing.T) {
			if o, err := ParseServeArgs(strings.Fields(args)); err == nil {
				t.Errorf("%q was read as %+v", args, o)
			}
		})
	}
}

func FuzzParseServeArgs(f *testing.F) {
	f.Add("-dir /d -socket /s -idle 5s -insecure h:1 -insecure i -ready-fd 3")
	f.Add("-dir=/d -socket=/s -stage 3 --")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ParseServeArgs(strings.Fields(text))
		if err != nil {
			return
		}
		// Below a millisecond -idle is not written exactly.
		o.Idle = o.Idle.Round(time.Millisecond)
		if o.ReadyFD < 0 {
			o.ReadyFD = 0
		}
		again, err := ParseServeArgs(o.args())
		if err != nil || !reflect.DeepEqual(o, again) {
			t.Errorf("%+v became %+v, %v", o, again, err)
		}
	})
}

func TestInstance(t *testing.T) {
	for _, v := range proxyVars() {
		t.Setenv(v, "")
	}
	name := func(o Options) string {
		t.Helper()
		s, err := o.instance()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if got := name(Options{Idle: time.Hour, CacheLimit: 1, Home: "/x"}); got != "default" {
		t.Errorf("limits chose the instance %q", got)
	}
	a := name(Options{Insecure: []string{"b:1", "A"}})
	for what, o := range map[string]Options{
		"another order":     {Insecure: []string{"a", "b:1"}},
		"one of them twice": {Insecure: []string{"a", "b:1", "a"}},
		"space around it":   {Insecure: []string{" a", "b:1 "}},
	} {
		if got := name(o); got != a {
			t.Errorf("%s chose %q, want %q", what, got, a)
		}
	}
	seen := map[string]string{"default": "no settings", a: "two hosts"}
	for what, o := range map[string]Options{
		"one host":       {Insecure: []string{"a"}},
		"joined hosts":   {Insecure: []string{"ab:1"}},
		"a proxy":        {Env: []string{"HTTP_PROXY=http://p"}},
		"a host as env":  {Env: []string{"a=", "b:1="}},
		"host and proxy": {Insecure: []string{"a"}, Env: []string{"HTTP_PROXY=http://p"}},
	} {
		got := name(o)
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s share the instance %q", what, other, got)
		}
		seen[got] = what
	}
	t.Setenv("https_proxy", "http://p")
	if got := name(Options{}); got != name(Options{Env: []string{"https_proxy=http://p"}}) || got == "default" {
		t.Errorf("the environment's proxy chose %q", got)
	}
	if got := name(Options{Env: []string{}}); got != "default" {
		t.Errorf("an empty Env still took the environment's proxy: %q", got)
	}
}

func TestInstanceRefusesWhatIsNoHost(t *testing.T) {
	t.Parallel()
	for _, h := range []string{"", "http://host", "host/path", "user@host", "a b"} {
		if got, err := (Options{Insecure: []string{h}}).instance(); err == nil {
			t.Errorf("%q became the instance %q", h, got)
		}
	}
	if _, err := (Options{Env: []string{"=x"}}).instance(); err == nil {
		t.Error("a variable without a name was taken")
	}
	if _, err := (Options{Env: []string{"secret"}}).instance(); err == nil {
		t.Error("a variable without a value was taken")
	}
}

func TestErrorSaysKindCauseAndCure(t *testing.T) {
	t.Parallel()
	var err error = &Error{Kind: ErrNoRuntime, Detail: "the cause", Fix: "the cure"}
	if got, want := err.Error(), "no container runtime: the cause; the cure"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, ErrNoRuntime) || errors.Is(err, ErrNoSpace) {
		t.Error("errors.Is does not see the kind")
	}
}

func TestBuildKitVersionIsTheModules(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^\s*github\.com/moby/buildkit (\S+)`).FindSubmatch(mod)
	if m == nil || string(m[1]) != buildkitVersion {
		t.Errorf("go.mod has %q, this package says %q", m[1], buildkitVersion)
	}
}
