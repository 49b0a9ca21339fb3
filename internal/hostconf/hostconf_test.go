package hostconf

import (
	"io/fs"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

// machine is one that has these variables and files.
func machine(env, files map[string]string) Machine {
	m := fstest.MapFS{"etc/ca.pem": {Data: []byte("x")}, "corp/ca.pem": {Data: []byte("x")}}
	for name, text := range files {
		m[strings.TrimPrefix(name, "/")] = &fstest.MapFile{Data: []byte(text)}
	}
	return Machine{
		Getenv: func(name string) string {
			if v, ok := env[name]; ok || name != "HOME" {
				return v
			}
			return "/home/me"
		},
		Files: m, Dir: "/work", Arch: "amd64",
	}
}

const index = "[global]\nindex-url = https://FILE.example/simple/\n"

func conf(name string) string { return strings.ReplaceAll(index, "FILE", name) }

// Each place of pip's settings is over those before it, as pip has it.
func TestPipIndex(t *testing.T) {
	t.Parallel()
	all := map[string]string{
		"/etc/xdg/pip/pip.conf":         conf("xdg"),
		"/etc/pip.conf":                 conf("etc"),
		"/home/me/.pip/pip.conf":        conf("legacy"),
		"/home/me/.config/pip/pip.conf": conf("user"),
		"/venv/pip.conf":                conf("venv"),
		"/work/own.conf":                conf("own"),
		"/opt/config/pip/pip.conf":      conf("home"),
		"/opt/dirs/pip/pip.conf":        conf("dirs"),
		"/etc/broken.conf":              "index-url = https://x.example",
		"/etc/section.conf": "[install]\nindex-url = https://install.example\n[global]\n" +
			"index-url=https://global.example",
		"/etc/emptied.conf":              "[global]\nindex_url =\n",
		"/etc/underscore.conf":           "[global]\n--index_url : https://underscore.example\n",
		"/home/me/.config/uv/uv.toml":    "[[index]]\nurl = \"https://uv.example/simple\"\ndefault = true\n",
		"/home/other/.config/pip/README": "",
	}
	with := func(names ...string) map[string]string {
		out := map[string]string{}
		for _, n := range names {
			out[n] = all[n]
		}
		return out
	}
	tests := []struct {
		name       string
		env        map[string]string
		files      map[string]string
		want, from string
		note       string
	}{
		{"nothing at all", nil, nil, "", "", ""},
		{"XDG's directory", nil, with("/etc/xdg/pip/pip.conf"), "https://xdg.example/simple",
			"/etc/xdg/pip/pip.conf", ""},
		{"/etc over XDG's", nil, with("/etc/xdg/pip/pip.conf", "/etc/pip.conf"), "https://etc.example/simple",
			"/etc/pip.conf", ""},
		{"another XDG directory", map[string]string{"XDG_CONFIG_DIRS": "/none:/opt/dirs"},
			with("/etc/xdg/pip/pip.conf", "/opt/dirs/pip/pip.conf"), "https://dirs.example/simple",
			"/opt/dirs/pip/pip.conf", ""},
		{"the user's old file", nil, with("/etc/pip.conf", "/home/me/.pip/pip.conf"), "https://legacy.example/simple",
			"/home/me/.pip/pip.conf", ""},
		{"the user's file", nil, with("/etc/pip.conf", "/home/me/.pip/pip.conf", "/home/me/.config/pip/pip.conf"),
			"https://user.example/simple", "/home/me/.config/pip/pip.conf", ""},
		{"another home of settings", map[string]string{"XDG_CONFIG_HOME": "/opt/config"},
			with("/home/me/.config/pip/pip.conf", "/opt/config/pip/pip.conf"), "https://home.example/simple",
			"/opt/config/pip/pip.conf", ""},
		{"the virtual environment", map[string]string{"VIRTUAL_ENV": "/venv"}, all, "https://venv.example/simple",
			"/venv/pip.conf", ""},
		{"PIP_CONFIG_FILE", map[string]string{"VIRTUAL_ENV": "/venv", "PIP_CONFIG_FILE": "own.conf"}, all,
			"https://own.example/simple", "/work/own.conf", ""},
		{"PIP_CONFIG_FILE turns the user's off", map[string]string{"PIP_CONFIG_FILE": "/etc/emptied2.conf"},
			map[string]string{"/etc/emptied2.conf": "[global]\n", "/home/me/.config/pip/pip.conf": conf("user")}, "",
			"", ""},
		{"PIP_CONFIG_FILE that is not there", map[string]string{"PIP_CONFIG_FILE": "/none"},
			with("/home/me/.config/pip/pip.conf"), "https://user.example/simple", "/home/me/.config/pip/pip.conf", ""},
		{"no file at all", map[string]string{"PIP_CONFIG_FILE": "/dev/null"},
			with("/etc/pip.conf", "/home/me/.pip/pip.conf"), "", "", ""},
		{"the variable", map[string]string{"PIP_INDEX_URL": "https://env.example/simple/", "VIRTUAL_ENV": "/venv"}, all,
			"https://env.example/simple", "PIP_INDEX_URL", ""},
		{"an empty variable", map[string]string{"PIP_INDEX_URL": ""}, with("/etc/pip.conf"),
			"https://etc.example/simple", "/etc/pip.conf", ""},
		{"install is over global", map[string]string{"PIP_CONFIG_FILE": "/etc/section.conf"}, with("/etc/section.conf"),
			"https://install.example", "/etc/section.conf", ""},
		{"a file sets it to nothing", map[string]string{"PIP_CONFIG_FILE": "/etc/emptied.conf"},
			with("/etc/emptied.conf", "/etc/pip.conf"), "", "", ""},
		{"a name with underscores and dashes", map[string]string{"PIP_CONFIG_FILE": "/etc/underscore.conf"},
			with("/etc/underscore.conf"), "https://underscore.example", "/etc/underscore.conf", ""},
		{"a broken file counts as none", map[string]string{"PIP_CONFIG_FILE": "/etc/broken.conf"},
			with("/etc/broken.conf", "/etc/pip.conf"), "https://etc.example/simple", "/etc/pip.conf",
			"/etc/broken.conf is not used: line 1: an option stands before the first [section]"},
		{"a path is no URL", map[string]string{"PIP_INDEX_URL": "/opt/wheels"}, nil, "", "",
			"PIP_INDEX_URL is not used: its value is no URL that begins with http:// or https://"},
		{"pip's is over uv's", nil, with("/etc/pip.conf", "/home/me/.config/uv/uv.toml"), "https://etc.example/simple",
			"/etc/pip.conf", ""},
		{"uv's where pip has none", nil, with("/home/me/.config/uv/uv.toml"), "https://uv.example/simple",
			"/home/me/.config/uv/uv.toml", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Read(machine(tt.env, tt.files))
			if want := (Value{tt.want, tt.from}); c.PipIndex != want {
				t.Errorf("the index is %+v, want %+v", c.PipIndex, want)
			}
			if got := strings.Join(c.Notes, "\n"); got != tt.note {
				t.Errorf("the notes are %q, want %q", got, tt.note)
			}
		})
	}
}

func TestUVIndex(t *testing.T) {
	t.Parallel()
	const user, system = "/home/me/.config/uv/uv.toml", "/etc/uv/uv.toml"
	named := "[[index]]\nname = \"corp-1\"\nurl = \"https://named.example/simple\"\ndefault = true\n"
	tests := []struct {
		name       string
		env, files map[string]string
		want, from string
	}{
		{"UV_DEFAULT_INDEX", map[string]string{"UV_DEFAULT_INDEX": "https://d.example/simple",
			"UV_INDEX_URL": "https://i.example"}, map[string]string{user: named}, "https://d.example/simple",
			"UV_DEFAULT_INDEX"},
		{"UV_DEFAULT_INDEX with a name", map[string]string{"UV_DEFAULT_INDEX": "corp=https://d.example/simple?a=b"},
			nil, "https://d.example/simple", "UV_DEFAULT_INDEX"},
		{"UV_INDEX_URL", map[string]string{"UV_INDEX_URL": "https://i.example"}, map[string]string{user: named},
			"https://i.example", "UV_INDEX_URL"},
		{"the user's file", nil, map[string]string{user: named, system: "index-url = \"https://s.example\""},
			"https://named.example/simple", user},
		{"the file of all", nil, map[string]string{user: "offline = false",
			system: "index-url = \"https://s.example\""}, "https://s.example", system},
		{"pip's section", nil, map[string]string{system: "[pip]\nindex-url = \"https://p.example\""},
			"https://p.example", system},
		{"a file of its own", map[string]string{"UV_CONFIG_FILE": "/corp/uv.toml"}, map[string]string{user: named,
			"/corp/uv.toml": "index-url = \"https://own.example\""}, "https://own.example", "/corp/uv.toml"},
		{"files are off", map[string]string{"UV_NO_CONFIG": "1"}, map[string]string{user: named}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Read(machine(tt.env, tt.files))
			if want := (Value{tt.want, tt.from}); c.PipIndex != want || len(c.Notes) > 0 {
				t.Errorf("the index is %+v, want %+v (notes: %q)", c.PipIndex, want, c.Notes)
			}
		})
	}
	c := Read(machine(map[string]string{"UV_INDEX_CORP_1_USERNAME": "joe", "UV_INDEX_CORP_1_PASSWORD": "pw"},
		map[string]string{user: named}))
	if got := c.Logins["https://named.example:443"]; got.String() != "joe:pw" {
		t.Errorf("the login by the index's name is %v, want joe:pw", got)
	}
}

// Users and passwords are apart from the URLs, whoever gave them, and in no note.
func TestNoPasswordInValues(t *testing.T) {
	t.Parallel()
	const canary = "s3cr3t"
	c := Read(machine(map[string]string{
		"PIP_INDEX_URL":       "https://joe:" + canary + "@Corp.example/simple?token=" + canary,
		"PIP_EXTRA_INDEX_URL": "https://joe:" + canary + "@two.example/simple https://three.example",
		"CONDA_CHANNEL_ALIAS": "https://ann:" + canary + "@conda.example:8443/c",
		"UV_INDEX":            "://joe:" + canary + "@",
		"CONDA_CHANNELS":      "https://joe:" + canary + "%zz@x.example/ch",
	}, map[string]string{
		"/etc/uv/uv.toml":           "index-url = https://joe:" + canary + "@x\n",
		"/etc/conda/.condarc":       "channel_alias: [https://joe:" + canary + "\n",
		"/home/me/.pip/pip.conf":    "[global]\nhttps://joe " + canary + "\n",
		"/etc/os-release":           "ID=debian\nVERSION_CODENAME=trixie\n",
		"/etc/apt/sources.list":     "deb http://bob:" + canary + "@deb.example/debian trixie main\n",
		"/home/me/.config/pip/none": "",
	}))
	logins := c.Logins
	c.Logins = nil
	if text := strings.ToLower(strings.Join(c.Notes, "\n") + reflect.ValueOf(c).String() +
		dump(c)); strings.Contains(text, canary) {
		t.Errorf("a password is among the values:\n%s", text)
	}
	for origin, want := range map[string]string{
		"https://corp.example:443": "joe:" + canary, "https://conda.example:8443": "ann:" + canary,
		"http://deb.example:80": "bob:" + canary, "https://two.example:443": "joe:" + canary,
	} {
		if got := logins[origin]; got.String() != want {
			t.Errorf("the login of %s is %v, want %s", origin, got, want)
		}
	}
	if len(logins) != 4 {
		t.Errorf("logins are kept of %d origins, want 4", len(logins))
	}
	if len(c.PipExtra) != 2 || c.PipExtra[0].Text != "https://two.example/simple" {
		t.Errorf("the further indexes are %v", c.PipExtra)
	}
	if want := "further indexes of PIP_EXTRA_INDEX_URL " +
		"are not used"; !strings.Contains(strings.Join(c.Notes, "\n"), want) {
		t.Errorf("no note says %q: %q", want, c.Notes)
	}
}

func dump(c Config) string {
	var b strings.Builder
	for _, v := range append([]Value{c.PipIndex, c.CondaAlias, c.Debian}, c.PipExtra...) {
		b.WriteString(v.Text + " " + v.From + "\n")
	}
	for name, v := range c.CondaChannels {
		b.WriteString(name + " " + v.Text + " " + v.From + "\n")
	}
	return b.String()
}

// A pipe would be waited for, and a device read for ever.
func TestWhatIsNoFileIsNotOpened(t *testing.T) {
	t.Parallel()
	m := machine(map[string]string{"PIP_CONFIG_FILE": "/run/pipe", "UV_CONFIG_FILE": "/dev/null"}, nil)
	m.Files = refusing{fstest.MapFS{"run/pipe": {Mode: fs.ModeNamedPipe},
		"dev/null": {Mode: fs.ModeDevice | fs.ModeCharDevice}}, t}
	want := []string{"/run/pipe is not read: it is no regular file"}
	if c := Read(m); !reflect.DeepEqual(c.Notes, want) {
		t.Errorf("the notes are %q, want %q", c.Notes, want)
	}
}

// refusing are files of which none may be opened.
type refusing struct {
	fstest.MapFS
	t *testing.T
}

func (r refusing) Open(name string) (fs.File, error) {
	if f := r.MapFS[name]; f != nil {
		r.t.Errorf("%s is opened", name)
	}
	return r.MapFS.Open(name)
}

func TestCerts(t *testing.T) {
	t.Parallel()
	c := Read(machine(map[string]string{
		"PIP_CERT": "/corp/ca.pem", "SSL_CERT_FILE": "/etc/ca.pem", "REQUESTS_CA_BUNDLE": "/corp/ca.pem",
		"CURL_CA_BUNDLE": "/none.pem", "CONDA_SSL_VERIFY": "true",
	}, map[string]string{"/etc/pip.conf": "[global]\ncert = ~/conf.pem\n", "/home/me/conf.pem": "x",
		"/home/me/.condarc": "ssl_verify: /home/me/conda.pem\n", "/home/me/conda.pem": "x"}))
	want := []Value{{"/home/me/conda.pem", "/home/me/.condarc"}, {"/corp/ca.pem", "PIP_CERT"},
		{"/etc/ca.pem", "SSL_CERT_FILE"}}
	if !reflect.DeepEqual(c.Certs, want) {
		t.Errorf("certificates are %v, want %v: PIP_CERT is over pip.conf, and each file counts once", c.Certs, want)
	}
	if note := "CURL_CA_BUNDLE is not used: /none.pem is not there"; !reflect.DeepEqual(c.Notes, []string{note}) {
		t.Errorf("notes are %q, want %q", c.Notes, note)
	}
	c = Read(machine(nil, map[string]string{"/etc/pip.conf": "[global]\ncert = ~/conf.pem\n",
		"/home/me/conf.pem": "x"}))
	if want := []Value{{"/home/me/conf.pem", "/etc/pip.conf"}}; !reflect.DeepEqual(c.Certs, want) {
		t.Errorf("certificates are %v, want %v", c.Certs, want)
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{"https://H.example/x": "https://h.example:443",
		"http://h:8080": "http://h:8080", "http://[::1]/": "http://::1:80"} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := Origin(u); got != want {
			t.Errorf("the origin of %s is %s, want %s", raw, got, want)
		}
	}
}
