package uv

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzAnswer: what uv writes gives packages that have a name, a version and a digest, or an error; and no escape
// sequence of what it says reaches a terminal.
func FuzzAnswer(f *testing.F) {
	sum := strings.Repeat("a", 64)
	f.Add([]byte("lock-version = '1.0'\ncreated-by = 'uv'\n[[packages]]\nname = 'a'\nversion = '1'\n"+
		"[[packages.wheels]]\nurl = 'http://files.pythonhosted.org/packages/a-1-py3-none-any.whl'\n"+
		"hashes = {sha256 = '"+sum+"'}\n"), "\x1b[31merror\x1b[0m: No solution found\n  cause: Because a==1\n")
	f.Add([]byte("lock-version = '1.0'\ncreated-by = 'uv'\n[[packages]]\nname = 'a'\n[packages.archive]\n"+
		"path = 'a-1.tar.gz'\nhashes = {sha256 = '"+sum+"'}\n"), "warning: http://u:p@h/\nResolved 1 package")
	q := Question{Target: testTarget(), Requirements: []string{"a"}, Held: []Held{{Name: "b", Version: "1"}},
		Hashes: map[string][]string{"c": {"sha256:" + sum}}, Installed: []Installed{{Name: "a-b", Version: "1"}},
		Projects: map[string]string{"d": "https://index.example/simple"}}
	stubs := map[string]Installed{"a-1.whl": {Name: "a", Version: "1"}}
	f.Fuzz(func(t *testing.T, data []byte, said string) {
		if a, err := q.read(data, stubs); err == nil {
			for _, p := range a.Packages {
				if u, err := url.Parse(p.URL); p.Name == "" || p.Version == "" && p.Path == "" || len(p.SHA256) != 64 ||
					strings.ContainsAny(p.Filename, "/\x00") || err != nil || u.User != nil {
					t.Fatalf("%+v (%v)", p, err)
				}
			}
		}
		clean := text{said: said, run: "/own/run", dir: "/own", stubs: stubs}.clean(q)
		if strings.Count(clean, "\n") >= maxLines || strings.Contains(clean, "\x1b[") {
			t.Fatalf("%q", clean)
		}
		if len(q.named(clean)) > 5 {
			t.Fatalf("%q", q.named(clean))
		}
		q.environment(clean)
		warnings(said)
	})
}
