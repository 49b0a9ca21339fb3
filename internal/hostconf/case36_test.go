package hostconf

import "testing"

// Case 36: logins of private indexes, as CI variables and files of pip and uv have them.
func TestCase36LoginsOfIndexes(t *testing.T) {
	t.Parallel()
	const corp = "https://pypi.corp.example/simple"
	name := "[[index]]\nname = \"corp\"\nurl = \"" + corp + "\"\nexplicit = true\n"
	for _, c := range []struct {
		name       string
		env, files map[string]string
		want       string // the login of the index
		keyring    string // what lets keyring be asked
	}{
		{"PIP_EXTRA_INDEX_URL", map[string]string{
			"PIP_EXTRA_INDEX_URL": "https://o.example https://u:p@pypi.corp.example/x"}, nil, "u:p", ""},
		{"UV_INDEX with its login", map[string]string{"UV_INDEX": "corp=https://u:p@pypi.corp.example/simple"}, nil,
			"u:p", ""},
		{"UV_INDEX_CORP_USERNAME and _PASSWORD", map[string]string{"UV_INDEX": "corp=" + corp,
			"UV_INDEX_CORP_USERNAME": "aws", "UV_INDEX_CORP_PASSWORD": "token"}, nil, "aws:token", ""},
		{"the same for an index of uv.toml", map[string]string{"UV_INDEX_CORP_PASSWORD": "token"},
			map[string]string{"/etc/uv/uv.toml": name}, ":token", ""},
		{"pip.conf", nil, map[string]string{
			"/etc/pip.conf": "[global]\nextra-index-url = https://u:p@pypi.corp.example/x\n"},
			"u:p", ""},
		{"a user whose password keyring has", map[string]string{"UV_INDEX": "corp=" + corp,
			"UV_INDEX_CORP_USERNAME": "oauth2accesstoken", "UV_KEYRING_PROVIDER": "subprocess"}, nil,
			"oauth2accesstoken", "UV_KEYRING_PROVIDER"},
		{"keyring by pip", map[string]string{"PIP_KEYRING_PROVIDER": "subprocess",
			"PIP_EXTRA_INDEX_URL": "https://u@pypi.corp.example/x"}, nil, "u", "PIP_KEYRING_PROVIDER"},
		{"keyring by uv.toml", nil, map[string]string{"/etc/uv/uv.toml": "keyring-provider = \"subprocess\"\n" + name},
			"", "/etc/uv/uv.toml"},
		{"keyring is off", map[string]string{"PIP_KEYRING_PROVIDER": "disabled"}, nil, "", ""},
	} {
		got := Read(machine(c.env, c.files))
		login := ""
		if l := got.Logins["https://pypi.corp.example:443"]; l != nil {
			login = l.String()
		}
		if login != c.want || got.Keyring.From != c.keyring || len(got.Logins) > 1 {
			t.Errorf("%s: the login is %q, want %q; keyring by %q, want %q", c.name, login, c.want, got.Keyring.From,
				c.keyring)
		}
	}
}
