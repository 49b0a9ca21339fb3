package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/layers"
)

// ran is what a command line did.
type ran struct {
	code           int
	stdout, stderr string
}

// call runs a command line in dir, with raybuild's directory, Docker's configuration and CI out of the way.
func call(t *testing.T, dir string, args ...string) ran {
	t.Helper()
	return callContext(t, t.Context(), dir, args...)
}

//nolint:revive // t comes first in tests
func callContext(t *testing.T, ctx context.Context, dir string, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := map[string]string{"HOME": dir, "RAYBUILD_HOME": filepath.Join(dir, "home")}
	a := &app{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, version: "dev", dir: dir,
		getenv: func(k string) string { return env[k] }}
	root := a.rootCommand() //nolint:contextcheck // cobra hands the context to the commands
	root.SetArgs(args)
	code := a.exit(ctx, root.ExecuteContext(ctx))
	return ran{code, stdout.String(), stderr.String()}
}

// commands are all commands, hidden ones too.
func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		if c.Name() != "help" && c.Name() != "__complete" {
			all = append(all, commands(c)...)
		}
	}
	return all
}

func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	a := &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard,
		getenv: func(string) string { return "" }}
	for _, cmd := range commands(a.rootCommand()) {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			if cmd.Short == "" || len(cmd.Long) < 40 || !strings.Contains(cmd.Example, "raybuild") {
				t.Errorf("short %q, %d characters of long help, example %q", cmd.Short, len(cmd.Long), cmd.Example)
			}
			if len(cmd.Short) > 80 || strings.HasSuffix(cmd.Short, ".") {
				t.Errorf("short help %q is no short line", cmd.Short)
			}
			for _, line := range strings.Split(cmd.Long+"\n"+cmd.Example, "\n") {
				if len([]rune(line)) > 180 {
					t.Errorf("line of %d characters: %q", len([]rune(line)), line)
				}
			}
		})
	}
}

func TestHelpGoesToStdoutAndListsTheContract(t *testing.T) {
	t.Parallel()
	got := call(t, t.TempDir(), "--help")
	if got.code != exitDone || got.stderr != "" {
		t.Fatalf("code %d, stderr %q", got.code, got.stderr)
	}
	for _, word := range []string{
		"lock", "graph", "inspect", "mirrors", "doctor", "cache", "registry", "init", "version",
		"completion", "cluster",
		"--file", "--lock", "--frozen", "--builder", "--platform", "--cache-from", "--cache-to", "--no-cache",
		"--set", "--output",
		"--compression", "--progress", "--metadata-file", "--secret", "--insecure-registry", "--label",
		"--annotation", "--fetch",
		"--smoke", "--push", "--tag",
	} {
		if !strings.Contains(got.stdout, word) {
			t.Errorf("raybuild --help does not mention %s", word)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		args []string
		says string
	}{
		"unknown flag":                    {[]string{"--pusch", "ray"}, `did you mean "--push"?`},
		"unknown short flag":              {[]string{"-q"}, "unknown shorthand flag"},
		"unknown flag of a command":       {[]string{"lock", "--chek"}, `did you mean "--check"?`},
		"almost a command":                {[]string{"docter"}, `did you mean "doctor"?`},
		"unknown command of a group":      {[]string{"cache", "prnue"}, `did you mean "prune"?`},
		"argument of a command with none": {[]string{"version", "x"}, "takes no arguments"},
		"push without a name":             {[]string{"--push"}, "--push needs a name"},
		"bad name":                        {[]string{"--push", "Ray:X Y"}, "parse image reference"},
		"name with digest":                {[]string{"ray@sha256:" + strings.Repeat("0", 64)}, "name it by a tag"},
		"bad compression":                 {[]string{"--compression", "lz4"}, "gzip, zstd or estargz"},
		"rebase of a digest unnamed": {[]string{"rebase", "ray@sha256:" + strings.Repeat("0", 64)},
			"image name (-t) is missing"},
		"add of nothing":   {[]string{"add", "--onto", "ray:1"}, "REQUIREMENT"},
		"add onto nothing": {[]string{"add", "torch"}, "--onto IMAGE"},
		"add of a file":    {[]string{"add", "./a.whl", "--onto", "ray:1"}, "pip.wheels"},
		"add onto a digest unnamed": {[]string{"add", "torch", "--onto", "ray@sha256:" + strings.Repeat("0", 64)},
			"image name (-t) is missing"},
		"rebase of nothing":   {[]string{"rebase"}, "takes one IMAGE"},
		"bad progress":        {[]string{"--progress", "loud"}, "rawjson"},
		"bad fetch":           {[]string{"--fetch", "nobody"}, "session or builder"},
		"bad output type":     {[]string{"--output", "type=tar,dest=x"}, "must be oci"},
		"output without dest": {[]string{"--output", "type=oci"}, "dest=PATH"},
		"two outputs of a type": {[]string{"--output", "type=oci,dest=a", "--output", "type=oci,dest=b"},
			"one output of each type"},
		"two outputs to stdout": {[]string{"--output", "type=oci,dest=-", "--output", "type=docker,dest=-"},
			"only one tar"},
		"directory to stdout":       {[]string{"--output", "type=local,dest=-"}, "standard output"},
		"unknown key of an output":  {[]string{"--output", "type=oci,dst=x"}, `did you mean "dest"?`},
		"bad secret":                {[]string{"--secret", "id=a"}, "id=NAME,src=FILE"},
		"secret of two sources":     {[]string{"--secret", "id=a,src=token,env=HOME"}, "id=NAME,src=FILE"},
		"secret without a file":     {[]string{"--secret", "id=a,src=missing"}, "cannot read the file"},
		"secret without a variable": {[]string{"--secret", "id=a,env=MISSING"}, "is not set"},
		"secret twice": {[]string{"--secret", "id=a,src=token", "--secret", "id=a,src=token"},
			"twice"},
		"bad label":                     {[]string{"--label", "team"}, "KEY=VALUE"},
		"bad cache type":                {[]string{"--cache-from", "type=ftp,ref=x"}, "must be one of registry"},
		"bad cache reference":           {[]string{"--cache-to", "Not A Ref"}, "parse image reference"},
		"broken CSV":                    {[]string{"--cache-to", `type="registry`}, "KEY=VALUE"},
		"platform without architecture": {[]string{"--platform", "linux"}, "--platform"},
		"lock with arguments":           {[]string{"lock", "ray"}, "--update"},
		"lock check and update":         {[]string{"lock", "--check", "--update"}, "give one of them"},
		"inspect nothing":               {[]string{"inspect"}, "takes one IMAGE"},
		"inspect a bad name":            {[]string{"inspect", "A B"}, "parse image reference"},
		"inspect two ways":              {[]string{"inspect", "--json", "--lock", "ray"}, "give one of them"},
		"graph of no format":            {[]string{"graph", "--format", "htlm"}, `did you mean "html"?`},
		"registry on no address":        {[]string{"registry", "serve", "here"}, "HOST:PORT"},
		"prune to no size":              {[]string{"cache", "prune", "--keep", "much"}, "500MB"},
		"completion of no shell":        {[]string{"completion", "bsh"}, `did you mean "bash"?`},
	} {
		t.Run(what, func(t *testing.T) {
			got := call(t, dir, c.args...)
			if got.code != exitUsage || !strings.Contains(got.stderr, c.says) || got.stdout != "" {
				t.Errorf("code %d, stdout %q, stderr %q; want 64 and %q", got.code, got.stdout, got.stderr, c.says)
			}
		})
	}
}

func TestBadInputEndsBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		recipe string
		args   []string
		says   []string
	}{
		"unknown key":           {"rya: {}\n", nil, []string{"raybuild.yaml:1", "rya"}},
		"all problems at once":  {"rya: {}\nbase: 'Not A Ref'\n", nil, []string{"rya", "base"}},
		"not YAML":              {"a: [\n", nil, []string{"raybuild.yaml"}},
		"missing recipe":        {"", []string{"-f", "other.yaml"}, []string{"other.yaml", "raybuild init"}},
		"override of no key":    {"", []string{"--set", "ray.vresion=1"}, []string{"vresion"}},
		"frozen without a lock": {"", []string{"--frozen"}, []string{"there is no lock", "raybuild lock"}},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			if c.recipe != "" {
				if err := os.WriteFile(filepath.Join(dir, "raybuild.yaml"), []byte(c.recipe), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := call(t, dir, c.args...)
			if got.code != exitFailed || got.stdout != "" {
				t.Errorf("code %d, stdout %q", got.code, got.stdout)
			}
			for _, word := range c.says {
				if !strings.Contains(got.stderr, word) {
					t.Errorf("stderr %q does not say %q", got.stderr, word)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "home")); err == nil {
				t.Error("raybuild's directory was made for a call that could do nothing")
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{{"--push", "127.0.0.1:1/ray"}, {"lock"}, {"inspect", "127.0.0.1:1/ray"}} {
		if got := callContext(t, ctx, t.TempDir(), args...); got.code != exitInterrupted ||
			!strings.Contains(got.stderr, "interrupted; ") || got.stdout != "" {
			t.Errorf("%v: code %d, stdout %q, stderr %q", args, got.code, got.stdout, got.stderr)
		}
	}
	t.Run("a server that is ended has done its work", func(t *testing.T) {
		if got := callContext(t, ctx, t.TempDir(), "registry", "serve", "127.0.0.1:0"); got.code != exitDone ||
			!strings.HasPrefix(got.stdout, "127.0.0.1:") {
			t.Errorf("code %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
		}
	})
}

func TestInitWritesARecipeThatLoads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := call(t, dir, "init"); got.code != exitDone || got.stdout != "" {
		t.Fatalf("code %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
	}
	file := filepath.Join(dir, "raybuild.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	recipe, err := layers.LoadRecipe(data, file, nil)
	if err != nil {
		t.Fatalf("the recipe that init writes: %v", err)
	}
	want, err := layers.LoadRecipe(nil, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if recipe.Base != want.Base || recipe.Ray.Version != want.Ray.Version ||
		!slices.Equal(recipe.Ray.Extras, want.Ray.Extras) {
		t.Errorf("the recipe that init writes is not the default: %+v", recipe)
	}
	got := call(t, dir, "init")
	if got.code != exitFailed || !strings.Contains(got.stderr, "there already") {
		t.Errorf("a second init: code %d, stderr %q", got.code, got.stderr)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, data) {
		t.Errorf("the second init changed the recipe: %v", err)
	}
}

// What is commented out in the recipe that init writes has to be right too.
func TestInitCommentsAreRecipes(t *testing.T) {
	t.Parallel()
	var uncommented []string
	skip := map[string]bool{"pip: [requests, \"tensorflow>=2.16\"]": true, "or:": true,
		"yaml-language-server: $schema=" + layers.RecipeSchemaURL: true}
	for _, line := range strings.Split(string(initialRecipe), "\n") {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), "# ")
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		body := strings.TrimSpace(text)
		if ok &&
			!skip[body] &&
			(strings.Contains(body, ": ") && !strings.ContainsAny(body[:1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") ||
				strings.HasSuffix(body, ":") || strings.HasPrefix(text, "  ")) {
			line = indent + text
		}
		uncommented = append(uncommented, line)
	}
	text := strings.Join(uncommented, "\n")
	text = strings.ReplaceAll(text, "image: what apt", "# image: what apt")
	if _, err := layers.LoadRecipe([]byte(text), "raybuild.yaml", nil); err != nil {
		t.Errorf("uncommented: %v\n%s", err, text)
	}
	for _, key := range []string{"mirrors:", "apt:", "miniconda:", "extra_indexes:", "files:", "steps:", "image:",
		"platforms:", "secrets:", "smoke:"} {
		if !strings.Contains(text, "\n"+key) && !strings.Contains(text, " "+key) {
			t.Errorf("key %s is not shown", key)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if got := call(t, t.TempDir(), "version"); got.code != exitDone || !strings.HasPrefix(got.stdout, "raybuild ") {
		t.Errorf("%+v", got)
	}
	var v map[string]string
	got := call(t, t.TempDir(), "version", "--json")
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil || v["version"] == "" || v["go"] == "" {
		t.Errorf("%v: %+v", err, got)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := call(t, t.TempDir(), "completion", shell); got.code != exitDone ||
			!strings.Contains(got.stdout, "raybuild") {
			t.Errorf("%s: code %d, %d bytes, stderr %q", shell, got.code, len(got.stdout), got.stderr)
		}
	}
	for args, want := range map[string]string{
		"--progress ": "rawjson", "graph --format ": "mermaid", "doc": "doctor", "reb": "rebase",
		"rebase --progress ": "rawjson", "add --progress ": "rawjson", "completion ": "zsh", "--compression ": "zstd",
	} {
		line := strings.Split(args, " ")
		if got := call(t, t.TempDir(), append([]string{"__complete"}, line...)...); !strings.Contains(got.stdout,
			want) {
			t.Errorf("completion of %q: %q, want %s", args, got.stdout, want)
		}
	}
}

func TestMirrorsList(t *testing.T) {
	t.Parallel()
	got := call(t, t.TempDir(), "mirrors", "--list")
	for _, name := range []string{"official", "aliyun", "tuna", "ustc", "bfsu", "tencent", "huawei", "cernet"} {
		if !strings.Contains(got.stdout, name) {
			t.Errorf("no %s in %q", name, got.stdout)
		}
	}
	var rows []raybuild.MirrorPart
	if err := json.Unmarshal([]byte(call(t, t.TempDir(), "mirrors", "--list", "--json").stdout), &rows); err != nil ||
		len(rows) < 7 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	made := map[string]string{"layers": "layers/blobs/x", "locks": "locks/x.lock",
		"bases": "bases/x", "tested": "tested/x.json", "registry": "registry/x"}
	for part, file := range made {
		made[part] = filepath.Join(dir, "home", file)
		if err := os.MkdirAll(filepath.Dir(made[part]), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(made[part], make([]byte, 100_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var uses []raybuild.CachePart
	got := call(t, dir, "cache", "du", "--json")
	if err := json.Unmarshal([]byte(got.stdout), &uses); err != nil || len(uses) != 9 {
		t.Fatalf("%v: %+v", err, got)
	}
	for _, u := range uses {
		if has := made[u.Part] != ""; has != (u.Bytes >= 100_000) {
			t.Errorf("%s takes %d bytes, and there is something of it: %v", u.Part, u.Bytes, has)
		}
	}
	if got := call(t, dir, "cache", "prune"); got.code != exitDone || !strings.HasPrefix(got.stdout, "freed 4") {
		t.Errorf("%+v", got)
	}
	for part, file := range made {
		if _, err := os.Stat(file); (err == nil) != (part == "registry") {
			t.Errorf("prune leaves images of the registry alone, removes locks and tests: of %s: %v", part, err)
		}
	}
}

func TestDocsAreUpToDate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := call(t, dir, "docs", "out"); got.code != exitDone {
		t.Fatalf("%+v", got)
	}
	made, err := filepath.Glob(filepath.Join(dir, "out", "*.md"))
	if err != nil || len(made) < 15 {
		t.Fatalf("%d pages, %v", len(made), err)
	}
	for _, page := range made {
		want, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(want), dir) {
			t.Errorf("%s holds a path of this machine", filepath.Base(page))
		}
		got, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli", filepath.Base(page)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/cli/%s is out of date: run make docs (%v)", filepath.Base(page), err)
		}
	}
}

// Lines that several goroutines say at once are whole.
func TestSayingAtOnce(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	a := &app{stderr: &said}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				a.say("warning: %s", "a line")
			}
		})
	}
	all.Wait()
	if want := strings.Repeat("warning: a line\n", 400); said.String() != want {
		t.Errorf("400 lines that were said at once are not all there, or not whole: %d bytes, want %d",
			said.Len(), len(want))
	}
}
