package layers

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// hostileStrings are what must not pass where a name, path, URL or reference is asked for.
func hostileStrings() []string {
	list := []string{
		// shell
		"a;touch /tmp/canary", "a$(touch /tmp/canary)", "a`touch /tmp/canary`", "a|sh", "a||sh", "a&sh", "a&&sh", "a>x",
		"a<x", "a\nb", "a\rb", "$HOME", "${IFS}a",
		"a'b", `a"b`, `a\b`, "a*b", "a?b", "a[b", "a]b", "a{b}", "a(b)", "a!b", "a#b", "#a", "a^b", "!a", "a;b",
		"$(id)", "`id`", "|id", "&id", ">id", "a\tb\\n",
		"a${x}", "a$((1))", "a;$(x)", "';id;'", `";id;"`, "\\", "a\\;b", "a\x0bb", "a\x1bb", "\x1b[31mred",
		// options
		"-x", "--help", "-rf", "--index-url=http://evil.example", "-oProxyCommand=id", "-c", "--", "-", "-e.",
		"--extra-index-url http://e.example", "--config-file=/etc/passwd",
		"-i http://e.example", "--allow-unauthenticated", "-f", "--upload-file=/etc/shadow",
		// paths
		"../x", "../../etc/passwd", "a/../../b", "/etc/passwd/..", "..", "~root/x", "~/x/..", `..\x`,
		"a/./..", "//../x",
		// pip
		"pkg @ file:///etc/shadow", "pkg@file:///x", "git+ssh://git@h/x", "git+http://h/x.git", "file:///etc/passwd",
		"./x.whl;", "-r /etc/passwd", "x @ https://h/x.whl",
		"https://h/x.whl", "hg+http://h/x", "x[", "x[a;b]", "x==", "x==1;", "x; os.system('id')",
		"x; python_version < `id`", "x===$(id)", "x>=1,-e", "x; a == b",
		// Unicode
		"a\u00a0b", "a\u2003b", "a\u3000b", "a\u202eb", "a\u2066b", "a\u200bb", "\ufeffa", "a\u2028b", "a\u0085b",
		"a\u061cb", "a\u200fb", "a\U000e0041b", "a\x7fb", "a\x00b", "a\u0007b",
		// URLs and references
		"ftp://h/x", "javascript:alert(1)", "http://", "http:///x", "http://h:99999/", "http://h:port/", "http://a b/",
		"http://h/?q=1;id", "http://h/#f", "http://u:p@h/", "http://u@h/",
		"http://h/$(id)", "http://h/../x", "http://-h/", "http://[::1", "http://h/%zz", "https://h/x y",
		"http://h/\u202e", "http://\u0430pple.example/", "//h/x", "h:x:y:z", "UPPER/Case:tag:x",
		"a@sha256:short", "a:", "a:b:c", "a//b", ":a", "@a", "a@", "a:tag@", "A B",
		// too long, too empty
		"", " ", "  a", strings.Repeat("a", 5000), strings.Repeat("a/", 3000), strings.Repeat("é", 3000),
	}
	return list
}

// hostileFields are recipes with a place for a string in JSON, by the field that it is in.
func hostileFields() map[string]string {
	return map[string]string{
		"base": `{"base":%s}`, "apt": `{"apt":[%s]}`, "apt.packages": `{"apt":{"packages":[%s]}}`,
		"apt url":        `{"apt":{"repositories":[{"url":%s,"suite":"a","components":["m"],"key":"k"}]}}`,
		"apt suite":      `{"apt":{"repositories":[{"url":"http://h/","suite":%s,"components":["m"],"key":"k"}]}}`,
		"apt components": `{"apt":{"repositories":[{"url":"http://h/","suite":"a","components":[%s],"key":"k"}]}}`,
		"apt key":        `{"apt":{"repositories":[{"url":"http://h/","suite":"a","components":["m"],"key":%s}]}}`,
		"fetch":          `{"mirrors":{"fetch":%s}}`, "fetch apt": `{"mirrors":{"fetch":{"apt":%s}}}`,
		"fetch conda": `{"mirrors":{"fetch":{"conda":%s}}}`,
		"fetch pip":   `{"mirrors":{"fetch":{"pip":%s}}}`, "image installer": `{"mirrors":{"image":{"installer":%s}}}`,
		"distribution": `{"miniconda":{"distribution":%s}}`, "installer version": `{"miniconda":{"version":%s}}`,
		"sha256":   `{"miniconda":{"version":"py312_26.7.1-1","sha256":%s}}`,
		"env name": `{"env":{"name":%s}}`, "python": `{"env":{"python":%s}}`, "conda": `{"env":{"conda":[%s]}}`,
		"channels": `{"env":{"channels":[%s]}}`, "env file": `{"env":{"file":%s}}`,
		"ray version": `{"ray":{"version":%s}}`, "extras": `{"ray":{"extras":[%s]}}`,
		"pip": `{"pip":[%s]}`, "requirements": `{"pip":{"requirements":[%s]}}`, "wheels": `{"pip":{"wheels":[%s]}}`,
		"index url":      `{"pip":{"extra_indexes":[{"url":%s,"packages":["a"]}]}}`,
		"index packages": `{"pip":{"extra_indexes":[{"url":"http://h/","packages":[%s]}]}}`,
		"from":           `{"files":[{"from":%s,"to":"/x"}]}`, "to": `{"files":[{"from":"x","to":%s}]}`,
		"step name": `{"steps":[{"name":%s,"run":"x"}]}`, "needs": `{"steps":[{"name":"a","run":"x","needs":[%s]}]}`,
		"secrets": `{"steps":[{"name":"a","run":"x","secrets":[%s]}]}`,
		"user":    `{"image":{"user":%s}}`, "workdir": `{"image":{"workdir":%s}}`,
		"env key": `{"image":{"env":{%s:"v"}}}`, "label key": `{"image":{"labels":{%s:"v"}}}`,
		"annotation key": `{"image":{"annotations":{%s:"v"}}}`, "platforms": `{"platforms":[%s]}`, "a key": `{%s:1}`,
	}
}

// A grammar that guards a value must let none of these pass which its own form
// does not have; what passes must be harmless as one element of an argv.
func TestHostileStringsInEveryField(t *testing.T) {
	t.Parallel()
	fields := hostileFields()
	strs := hostileStrings()
	if len(strs) < 100 {
		t.Fatalf("only %d strings", len(strs))
	}
	for field, form := range fields {
		t.Run(field, func(t *testing.T) {
			for _, s := range strs {
				quoted, err := json.Marshal(s)
				if err != nil {
					t.Fatal(err)
				}
				_, err = LoadRecipe(fmt.Appendf(nil, form, quoted), "raybuild.yaml", nil)
				if err == nil && !harmless(field, s) {
					t.Errorf("%q was accepted", s)
				}
				if err != nil && strings.ContainsAny(err.Error(), "\x00\x1b\x7f\u202e\u2066\u200b") {
					t.Errorf("%q is refused with a raw control character: %q", s, err)
				}
			}
		})
	}
}

// harmless are the few strings of the list that are of a field's own form: each
// is one element of an argv or of a file, without a meaning there of its own.
func harmless(field, s string) bool {
	var own []string
	switch field {
	case "conda": // versions, and a version after a space
		own = []string{"a>x", "a<x", "A B"}
	case "pip": // blanks around a requirement are dropped
		own = []string{"  a"}
	case "from", "env file", "requirements", "apt key": // no shell reads a path
		own = []string{"a:b:c", "h:x:y:z", "UPPER/Case:tag:x", "a:", ":a", "@a", "a@", "a:tag@", "A B",
			"a@sha256:short", "a//b", "x=="}
	// a URL, whatever its last element is called
	case "apt url", "fetch apt", "fetch conda", "image installer", "index url", "channels":
		own = []string{"https://h/x.whl"}
	}
	return slices.Contains(own, s)
}

func TestGrammarsAccept(t *testing.T) {
	t.Parallel()
	good := map[string]struct {
		g    func(string) (string, string)
		list []string
	}{
		"apt": {nameApt.Check, []string{"vim", "g++", "libstdc++6", "vim=2:9.1.0016-1ubuntu7.6", "python3.12-venv",
			"libc6=2.35-0ubuntu3.8~22.04+esm1", "7zip", "0ad"}},
		"suite": {nameSuite.Check, []string{"noble", "noble-updates", "./", "stable",
			"bookworm/updates", "xenial/"}},
		"env":    {envName, []string{"ray", "ray-2.52", "3d"}},
		"user":   {userName, []string{"ray", "root", "_x", "ray-user"}},
		"python": {namePython.Check, []string{"3.6", "3.12", "3.12.4"}},
		"ray":    {nameRayVersion.Check, []string{"2.52.0", "0.8.6", "1.0.1.post1", "3.0.0.dev0", "2.9.0rc1"}},
		"conda":  {installerVersion, []string{"py312_26.7.1-1", "py37_4.8.2", "26.3.2-3", "4.7.12.1"}},
		"base": {baseReference, []string{"ubuntu:22.04", "debian", "127.0.0.1:5000/base:x",
			"h.example/a/b@sha256:" + strings.Repeat("a", 64), "ubuntu:22.04@sha256:" + strings.Repeat("0", 64)}},
		"to":     {imagePath, []string{"/", "/home/ray/app", "/opt/x y/é", "/a@b,c=d%~+-._:"}},
		"from":   {localPath, []string{"app", "./app", ".", "a/b.txt", "données/Ünïcode"}},
		"wheels": {wheelPattern, []string{"./dist/*.whl", "a-1.0-py3-none-any.whl", "w/??-*.whl"}},
		"url": {plainURL, []string{"http://127.0.0.1:8080/x", "https://h.example", "http://[::1]:8080/a/b",
			"https://xn--pple-43d.example/a%20b/"}},
		"channel": {channelName, []string{"conda-forge", "pkgs/main", "nvidia/label/cuda-12.4.1",
			"https://h.example/ch"}},
		"label":    {nameLabel.Check, []string{"org.opencontainers.image.title", "a", "a/b_c-d"}},
		"platform": {platformName, []string{"linux/amd64", "linux/arm64", "linux/s390x"}},
		"match": {matchSpec, []string{"numpy", "numpy=1.26", "numpy==1.26.4", "numpy>=1.26,<2", "numpy >=1.26,<2|3.*",
			"conda-forge::numpy=1.26=py312_0", "_libgcc_mutex",
			"numpy 1.26.* py312*", "pkgs/main::python-dateutil", "xz!=5.6.0", "libgcc-ng 13.2"}},
		"requirement": {requirementText, []string{"torch", "ray-x[a, b]>=1,<2", "numpy (>=1.20)", "x==1.*", "x~=1.4.2",
			"x===1.0-weird", "x!=1.3.*,>=1!2.0", "A.b_c",
			"x; python_version < '3.11'",
			`x>=1 ; (os_name == "posix" or sys_platform == "linux") and platform_machine not in "ppc64"`, "x[]",
			"x==2.0.0+cpu", "x>=1.0a1"}},
	}
	for name, tt := range good {
		for _, s := range tt.list {
			if m, f := tt.g(s); m != "" {
				t.Errorf("%s: %q is refused: %s; %s", name, s, m, f)
			}
		}
	}
}

func TestGrammarsRefuse(t *testing.T) {
	t.Parallel()
	bad := map[string]struct {
		g    func(string) (string, string)
		list []string
	}{
		"requirement": {requirementText, []string{"x=1", "x>1..2", "x==1.0;", "x[a", "x>=", "x 1.0", "x==1,,", "x~=1",
			"x; python_version", "x; (python_version < '3'", "x; extra == 'a' b",
			"x; '1' < '2'", "x; " + strings.Repeat("(", 40) + "os_name=='a'" + strings.Repeat(")", 40), "x.whl",
			"x.tar.gz", "~x", "x==1 --hash=sha256:abc"}},
		"match": {matchSpec, []string{"numpy[version=1", "*", "a b c d", "numpy=", "numpy=1=2=3", "__glibc",
			"a::b::c", "x.conda", "-c evil", "numpy>=1,", "numpy@1"}},
		"platform": {platformName, []string{"linux", "darwin/arm64", "linux/amd64/v9", "linux/x86_64", "amd64"}},
		"user":     {userName, []string{"Ray", "1000", "daemon", "www-data", "a:b", "ray$"}},
		"python":   {namePython.Check, []string{"3", "2.7", "3.12.x", "3.x", "python3.12", ">=3.9"}},
		"version":  {installerVersion, []string{"latest", "py312_latest", "py312", "x"}},
		"label":    {nameLabel.Check, []string{".a", "a.", "a b", "a=b"}},
		"path":     {imagePath, []string{"/a/", "/a//b", "/a/../b", "/proc/x", "/sys", "/dev/null", "/run/secrets/x"}},
		"base": {baseReference, []string{"scratch", "Ubuntu", "ubuntu:22.04:x", "ubuntu@sha256:abc",
			strings.Repeat("a", 300), "http://h/x"}},
	}
	for name, tt := range bad {
		for _, s := range tt.list {
			if m, f := tt.g(s); m == "" || f == "" {
				t.Errorf("%s: %q: message %q, fix %q", name, s, m, f)
			}
		}
	}
}

func TestParseRequirement(t *testing.T) {
	t.Parallel()
	r, err := ParseRequirement(`Foo_Bar.baz [B, a] ( >= 1.0 , < 2 ) ; python_version<"3.8" and os_name=='posix'`)
	if err != nil {
		t.Fatal(err)
	}
	if want := `foo-bar-baz[a,b]>=1.0,<2 ; python_version < "3.8" and os_name == "posix"`; r.String() != want {
		t.Errorf("got %q, want %q", r.String(), want)
	}
	again, err := ParseRequirement(r.String())
	if err != nil || again.String() != r.String() {
		t.Errorf("reading it again gives %q, %v", again.String(), err)
	}
}
