package real

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/internal/world"
)

const (
	startPage = "../../docs/start.md"
	readmeNet = "10.0.0." // of the page's hosts
)

// readmeCluster is what docs/start.md shows of a cluster: the lines to type, the program, and what the terminal prints.
// README.md shows a part of it, which a test of internal/cli compares.
func readmeCluster(t *testing.T) (lines []string, program, printed string) {
	t.Helper()
	data, err := os.ReadFile(startPage)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(data), "\n## The cluster\n")
	section, _, _ = strings.Cut(section, "\n## ")
	block := func(kind string) string {
		_, rest, found := strings.Cut(section, "\n```"+kind+"\n")
		text, _, closed := strings.Cut(rest, "```")
		ok = ok && found && closed
		return text
	}
	lines, program, printed = strings.Split(strings.TrimSpace(block("sh")), "\n"), block("python"), block("console")
	if !ok || len(lines) != 5 {
		t.Fatalf("%s has no section \"The cluster\" with five lines of sh, a python program and a console:\n%s",
			startPage, section)
	}
	return lines, program, printed
}

// TestReadmeLinesOnTwoHosts types the lines of README.md and docs/start.md on a newcomer's machine:
// an SSH key in ~/.ssh, two hosts whose user may use Docker and is not root, a registry with TLS.
// All that is changed in them is the hosts' addresses. What they print is what the page shows, but
// for numbers and for what Ray itself logs at level INFO.
func TestReadmeLinesOnTwoHosts(t *testing.T) {
	b := needHosts(t)
	lines, program, shown := readmeCluster(t)
	image := parsed(t, realImage(t))
	b.Clean(t, "demo")
	img, err := remote.Image(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(parsed(t, here.testEnv.Registry+"/ray:"+world.RayReal), img); err != nil {
		t.Fatal(err)
	}
	b.ServeTLS(t, nil)
	for i := 1; i <= 2; i++ {
		// a newcomer's hosts have no image
		b.Must(t, "exec", fmt.Sprint(i), "docker", "image", "prune", "--all", "--force")
		b.Must(t, "exec", fmt.Sprint(i), "sh", "-c",
			`id -u ubuntu >/dev/null 2>&1 || { useradd -m -G docker ubuntu && usermod -p '*' ubuntu; }
install -d -o ubuntu -m 700 ~ubuntu/.ssh && install -o ubuntu -m 600 /root/.ssh/authorized_keys ~ubuntu/.ssh/`)
	}
	home := b.Home(t, "id_ed25519")
	dir := filepath.Join(home, "work")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "train.py"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"HOME=" + home, "PATH=" + filepath.Dir(here.program) + ":" + os.Getenv("PATH")}
	var printed strings.Builder
	for _, line := range lines {
		line, _, _ = strings.Cut(line, " #")
		line = strings.TrimSpace(line)
		var out bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(line, readmeNet, b.Net+"."))
		cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, env, strings.NewReader("y\n"), &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s, line %q: %v\n%s", startPage, line, err, out.String())
		}
		text := raysOwn.ReplaceAllString(strings.ReplaceAll(out.String(), b.Net+".", readmeNet), "")
		fmt.Fprintf(&printed, "$ %s\n%s", line, strings.Replace(text, "[y/N]\n", "[y/N]\ny\n", 1))
	}
	t.Logf("the terminal prints:\n%s", printed.String())
	if file := os.Getenv("RAYBUILD_README_CONSOLE"); file != "" {
		if err := os.WriteFile(file, []byte(printed.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range strings.Split(printed.String(), "\n") {
		if len([]rune(l)) > 80 && !strings.HasPrefix(l, "$ ") {
			t.Errorf("a line is longer than a terminal is wide (80): %s", l)
		}
	}
	if got, want := withoutNumbers(printed.String()), withoutNumbers(shown); !slices.Equal(got, want) {
		t.Errorf("the terminal does not print what %s shows.\nprinted:\n%s\nthe page, numbers left out:\n%s",
			startPage, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func parsed(t *testing.T, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var (
	ofThisRun = regexp.MustCompile(`SHA256:\S+|sha256:[0-9a-f…]+|raysubmit_\w+|[0-9]+([.,:][0-9]+)*`)
	blanks    = regexp.MustCompile(` +`)
	raysOwn   = regexp.MustCompile(`(?m)^[0-9-]+ [0-9:,]+\tINFO .*\n`)
)

// withoutNumbers is what is the same in every run: sorted, as hosts that work at once tell what they do in any order.
func withoutNumbers(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSpace(blanks.ReplaceAllString(ofThisRun.ReplaceAllString(l, "#"), " "))
	}
	slices.Sort(lines)
	return lines
}
