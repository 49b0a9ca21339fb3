package hostconf

import (
	"reflect"
	"testing"
)

func TestConda(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		env, files map[string]string
		alias      Value
		channels   map[string]Value
	}{
		{"the form of China's mirrors", nil, map[string]string{"/home/me/.condarc": `channels:
  - defaults
show_channel_urls: true
default_channels:
  - https://m.example/anaconda/pkgs/main
  - https://m.example/anaconda/pkgs/r/
  - https://m.example/anaconda/pkgs/msys2
custom_channels:
  conda-forge: https://m.example/anaconda/cloud
  pytorch: https://m.example/anaconda/cloud/
`}, Value{}, map[string]Value{
			"pkgs/main":   {"https://m.example/anaconda/pkgs/main", "/home/me/.condarc"},
			"pkgs/r":      {"https://m.example/anaconda/pkgs/r", "/home/me/.condarc"},
			"pkgs/msys2":  {"https://m.example/anaconda/pkgs/msys2", "/home/me/.condarc"},
			"conda-forge": {"https://m.example/anaconda/cloud/conda-forge", "/home/me/.condarc"},
			"pytorch":     {"https://m.example/anaconda/cloud/pytorch", "/home/me/.condarc"}}},
		{"an alias, the user's over all users'", nil, map[string]string{
			"/etc/conda/.condarc": "channel_alias: https://etc.example/c/\n",
			"/home/me/.condarc":   "channel_alias: https://me.example\n"},
			Value{"https://me.example", "/home/me/.condarc"}, nil},
		{"files in condarc.d, the last one's", nil, map[string]string{
			"/etc/conda/condarc.d/1.yml":  "channel_alias: https://one.example\n",
			"/etc/conda/condarc.d/2.yaml": "channel_alias: https://two.example\n",
			"/etc/conda/condarc.d/3.txt":  "channel_alias: https://three.example\n"},
			Value{"https://two.example", "/etc/conda/condarc.d/2.yaml"}, nil},
		{"conda's own directory", map[string]string{"CONDA_EXE": "/opt/conda/bin/conda"},
			map[string]string{"/opt/conda/.condarc": "channel_alias: https://root.example\n"},
			Value{"https://root.example", "/opt/conda/.condarc"}, nil},
		{"CONDARC over the user's", map[string]string{"CONDARC": "/corp/rc"}, map[string]string{
			"/corp/rc":          "channel_alias: https://corp.example\n",
			"/home/me/.condarc": "channel_alias: https://me.example\n"},
			Value{"https://corp.example", "/corp/rc"}, nil},
		{"the variable over all", map[string]string{"CONDA_CHANNEL_ALIAS": "https://env.example"},
			map[string]string{"/home/me/.condarc": "channel_alias: https://me.example\n"},
			Value{"https://env.example", "CONDA_CHANNEL_ALIAS"}, nil},
		{"channels by URL, with a label and a variable", map[string]string{"WHERE": "v.example"},
			map[string]string{"/home/me/.condarc": "channels: [conda-forge, 'https://${WHERE}/a/ours', " +
				"https://c.example/x/nvidia/label/cuda-12, file:///srv/conda]\n"},
			Value{}, map[string]Value{"ours": {"https://v.example/a/ours", "/home/me/.condarc"},
				"nvidia/label/cuda-12": {"https://c.example/x/nvidia/label/cuda-12", "/home/me/.condarc"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Read(machine(tt.env, tt.files))
			if tt.channels == nil {
				tt.channels = map[string]Value{}
			}
			if c.CondaAlias != tt.alias || !reflect.DeepEqual(c.CondaChannels, tt.channels) {
				t.Errorf("got alias %+v, channels %v\n"+
					"want %+v, %v", c.CondaAlias, c.CondaChannels, tt.alias, tt.channels)
			}
		})
	}
}

const (
	bookworm = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n"
	noble    = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n"
)

// A login is written out once: what looks like a variable in the value of one is a password's own.
func TestCondaExpandsOnce(t *testing.T) {
	t.Parallel()
	c := Read(machine(map[string]string{"LOGIN": "joe:a$HOME"},
		map[string]string{"/home/me/.condarc": "channels: ['https://${LOGIN}@c.example/ours']\n"}))
	if password, _ := c.Logins["https://c.example:443"].Password(); password != "a$HOME" {
		t.Errorf("the password is %q, want %q", password, "a$HOME")
	}
}
