package layers

import (
	"strings"
	"testing"
)

const (
	flashWheel = "https://github.com/Dao-AILab/flash-attention/releases/download/v2.8.3/" +
		"flash_attn-2.8.3+cu12torch2.8cxx11abiTRUE-cp312-cp312-linux_x86_64.whl"
	sumB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// Case 13: the wheel of an upstream's release page, as the authors of flash-attn tell people to take it.
func TestCase13WheelsByURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"a name and a URL", "flash-attn @ " + flashWheel, "flash-attn @ " + flashWheel},
		{"without spaces", "flash_attn@" + flashWheel, "flash-attn @ " + flashWheel},
		{"the URL alone", flashWheel, "flash-attn @ " + flashWheel},
		{"a hash", flashWheel + "#sha256=" + strings.ToUpper(sumB), "flash-attn @ " + flashWheel + "#sha256=" + sumB},
		{"a marker", flashWheel + " ; platform_system=='Linux'",
			"flash-attn @ " + flashWheel + ` ; platform_system == "Linux"`},
		{"a marker after a semicolon", "x[b,A] @ https://h.example/x-1-py3-none-any.whl; python_version<'3.13'",
			`x[a,b] @ https://h.example/x-1-py3-none-any.whl ; python_version < "3.13"`},
		{"sources", "https://h.example/my_lib-1.0.tar.gz#egg=my-lib", "my-lib @ https://h.example/my_lib-1.0.tar.gz"},
		{"sources in a subdirectory", "x @ https://h.example/x-1.zip#subdirectory=py/x&sha256=" + sumB,
			"x @ https://h.example/x-1.zip#sha256=" + sumB + "&subdirectory=py/x"},
		{"sources that do not tell their name", "https://github.com/o/r/archive/refs/heads/main.zip",
			"https://github.com/o/r/archive/refs/heads/main.zip"},
		{"no TLS and a hash", "x @ http://h.example/x-1.zip#sha256=" + sumB,
			"x @ http://h.example/x-1.zip#sha256=" + sumB},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, message, _ := parseRequirement(tt.text)
			if message != "" || req.String() != tt.want {
				t.Fatalf("%q (%s), want %q", req.String(), message, tt.want)
			}
			again, message, _ := parseRequirement(req.String())
			if message != "" || again.String() != req.String() {
				t.Errorf("its own form is read as %q (%s)", again.String(), message)
			}
		})
	}
}

// Case 13: what cannot be locked is refused, with what to write instead, and no message shows a secret.
func TestCase13URLsThatCannotBeLocked(t *testing.T) {
	t.Parallel()
	const secret = "c4n4ry"
	for _, tt := range []struct{ name, text, want, fix string }{
		{"a login", "x @ https://joe:" + secret + "@h.example/x-1.zip", "a URL with credentials", "~/.netrc"},
		{"a token for a user", "https://" + secret + "@h.example/x-1-py3-none-any.whl", "a URL with credentials",
			"~/.netrc"},
		{"a variable", "x @ https://${TOKEN}@h.example/x-1.zip", "a URL with a variable in it", "~/.netrc"},
		{"a query", "x @ https://h.example/x-1-py3-none-any.whl?token=" + secret, "a URL with a query", "pip.wheels"},
		{"no TLS", "x @ http://h.example/x-1-py3-none-any.whl", "a URL without TLS", "#sha256=HEX"},
		{"another hash", "x @ https://h.example/x-1.zip#md5=abc", `"md5" after # in a URL`, "#sha256=HEX"},
		{"a page", "x @ https://h.example/x", "neither a wheel nor a source archive", ".tar.gz"},
		{"another project's wheel", "y @ https://h.example/x-1-py3-none-any.whl", `the wheel is one of "x"`, "the name"},
		{"a name that is none", "x @ https://h.example/x.whl", "not named as a wheel", "NAME @ https://"},
		{"another name after it", "x @ https://h.example/x-1.zip#egg=y", "#egg=y", "leave out #egg="},
		{"a way out of the archive", "x @ https://h.example/x-1.zip#subdirectory=../y", "not a path", ""},
		{"a path", "x @ ./x", "a requirement by path", "pip.wheels"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			message, fix := requirementText(tt.text)
			if !strings.Contains(message, tt.want) || !strings.Contains(fix, tt.fix) {
				t.Errorf("%q; %q, want %q; %q", message, fix, tt.want, tt.fix)
			}
			if strings.Contains(message+fix, secret) {
				t.Errorf("the secret is shown: %s; %s", message, fix)
			}
		})
	}
}

func FuzzDirectRequirement(f *testing.F) {
	f.Add("x[a] @ " + flashWheel + "#sha256=" + sumB + "&subdirectory=a%20b ; python_version < '3'")
	f.Add("https://h/main.zip#egg=x[y]")
	f.Fuzz(func(t *testing.T, text string) {
		req, message, _ := parseRequirement(text)
		if message != "" {
			return
		}
		again, message, _ := parseRequirement(req.String())
		if message != "" || again.String() != req.String() {
			t.Errorf("%q is written as %q, which is read as %q (%s)", text, req.String(), again.String(), message)
		}
	})
}
