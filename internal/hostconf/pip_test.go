package hostconf

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Whatever of its files are there, pip itself takes the index that is found here.
func TestPipItselfTakesThisIndex(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil || exec.CommandContext(t.Context(), python, "-m", "pip", "--version").Run() != nil {
		t.Skip("there is no pip to compare with")
	}
	type set map[string]string // files, below the test's directory
	const home, dirs, legacy, own = "home/.config/pip/pip.conf", "dirs/pip/pip.conf", "home/.pip/pip.conf", "own.conf"
	tests := []struct {
		name  string
		files set
		env   []string // with DIR for the test's directory
	}{
		{"nothing", nil, nil},
		{"all of the user's and all users'", set{home: conf("home"), dirs: conf("dirs"), legacy: conf("legacy")}, nil},
		{"the old file over all users'", set{dirs: conf("dirs"), legacy: conf("legacy")}, nil},
		{"a file of its own", set{home: conf("home"), own: conf("own")}, []string{"PIP_CONFIG_FILE=DIR/own.conf"}},
		{"a file of its own without an index", set{home: conf("home"), own: "[global]\ntimeout = 3\n"},
			[]string{"PIP_CONFIG_FILE=DIR/own.conf"}},
		{"no file", set{home: conf("home")}, []string{"PIP_CONFIG_FILE=/dev/null"}},
		{"set to nothing", set{dirs: conf("dirs"), home: "[global]\nindex_url:\n"}, nil},
		{"a value on the next line", set{home: "[global]\n# c\nindex-url =\n\n    https://next.example/simple\n"}, nil},
		{"another home of settings", set{home: conf("home"), "xdg/pip/pip.conf": conf("xdg")},
			[]string{"XDG_CONFIG_HOME=DIR/xdg"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			env := []string{"HOME=" + filepath.Join(dir, "home"), "XDG_CONFIG_DIRS=" + filepath.Join(dir, "dirs"),
				"PATH=" + os.Getenv("PATH")}
			for _, v := range tt.env {
				env = append(env, strings.ReplaceAll(v, "DIR", dir))
			}
			for name, text := range tt.files {
				file := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), python, "-m", "pip", "config", "list")
			cmd.Env = env
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("pip config list: %v", err)
			}
			want := ""
			if m := regexp.MustCompile(`(?m)^global\.index-url='(?:\\n)*(.*)'$`).FindSubmatch(out); m != nil {
				want = strings.TrimRight(string(m[1]), "/")
			}
			c := Read(Machine{Files: os.DirFS("/"), Dir: dir, Arch: "amd64", Getenv: func(name string) string {
				for i := len(env) - 1; i >= 0; i-- {
					if v, ok := strings.CutPrefix(env[i], name+"="); ok {
						return v
					}
				}
				return ""
			}})
			if c.PipIndex.Text != want {
				t.Errorf("the index is %q here and %q for pip:\n%s", c.PipIndex.Text, want, out)
			}
		})
	}
}
