package hostconf

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

var iniSeeds = []string{
	"[global]\nindex-url = https://a.example/simple\n", "[global]\nextra-index-url =\n    https://a\n    https://b\n" +
		"\n  # c\n    https://c\n[install]\nX:y=z\n",
	"; c\n[a]\nb\n", "[DEFAULT]\nk=v\n[s]\n[t]\nk : w\n", "k=v\n", "[a]\nk=1\nk=2\n", "[a]\n[a]\n", "[a]\n = x\n",
	"[a]b]\r\nk = v \r\n  more\r\n\r\n x\r\n",
	"[]\n", "[a]\n  k = v\n  l = w\n     x\n k2 = 3\n", "[a]\nk=\n", "\ufeff[a]\nk=v", "[a]\nk = v ; no comment\n",
	"[a]\nK = v\nk=w", " [a]\n k=v\n", "[a]\nk=v\n\n[b]\n", "[a]\nk=v\n\n\n  w\n",
}

func FuzzParseINI(f *testing.F) {
	for _, s := range iniSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseINI(text)
		if err != nil && got != nil {
			t.Errorf("%q has an error and a value", text)
		}
		for section, options := range got {
			for option := range options {
				if option != strings.ToLower(option) {
					t.Errorf("%q: option %q of %q is not in lower case", text, option, section)
				}
			}
		}
	})
}

// What Python's own parser reads is what is read here, and what it refuses is refused.
func TestINIAsPythonReadsIt(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 to compare with")
	}
	const script = `import configparser, json, sys
out = []
for text in json.load(sys.stdin):
    p = configparser.RawConfigParser()
    try:
        p.read_string(text)
        d = {s: dict(p._sections[s]) for s in p._sections}
        if p.defaults() or "[DEFAULT]" in text: d["DEFAULT"] = dict(p.defaults())
        out.append(d)
    except configparser.Error:
        out.append(None)
json.dump(out, sys.stdout)`
	in, err := json.Marshal(iniSeeds)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", script)
	cmd.Stdin = bytes.NewReader(in)
	data, err := cmd.Output()
	if err != nil {
		t.Fatalf("run Python: %v", err)
	}
	var want []ini
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	for i, text := range iniSeeds {
		if got, _ := parseINI(text); !reflect.DeepEqual(got, want[i]) {
			t.Errorf("%q\nhere   %v\nPython %v", text, got, want[i])
		}
	}
}

func FuzzParseUV(f *testing.F) {
	f.Add([]byte("index-url = \"https://a\"\n[[index]]\nname=\"x\"\nurl = \"https://b\"\ndefault = true\n[pip]\n" +
		"index-url='c'"))
	f.Add([]byte("index = 3"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		u, err := parseUV(data)
		if err == nil {
			u.defaultIndex()
		}
	})
}

func FuzzParseCondarc(f *testing.F) {
	f.Add([]byte("channels: [a, https://b/c]\ncustom_channels: {x: https://y}\nchannel_alias: https://z\n" +
		"ssl_verify: false\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCondarc(data)
		if err != nil {
			return
		}
		for _, u := range append(c.channels, c.defaults...) {
			if name := channelName(u); strings.HasPrefix(name, "/") {
				t.Errorf("the channel of %q is called %q", u, name)
			}
		}
	})
}

func FuzzParseAptSources(f *testing.F) {
	f.Add("deb [arch=amd64 signed-by=/a] http://h/debian bookworm main\n# x\ndeb-src http://h s m\n")
	f.Add("Types: deb\nURIs: http://a\n http://b\nSuites: s\nComponents: main\nSigned-By:\n -----BEGIN\n\n" +
		"Enabled: no\nTypes: deb\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range append(parseSources(text), parseList(text)...) {
			for _, w := range append(s.uris, s.suites...) {
				if w == "" || strings.ContainsAny(w, " \n") && utf8.ValidString(w) {
					t.Errorf("%q gives the word %q", text, w)
				}
			}
		}
	})
}

func FuzzParseAptAuth(f *testing.F) {
	f.Add("machine https://h:1/p login a password b\n# c\nmachine x login y\nmachine")
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range parseAptAuth(text) {
			if l.login == nil {
				t.Errorf("%q gives an entry of %s without a login", text, l.host)
			}
		}
	})
}
