package cluster

import (
	"strings"
	"testing"
)

func TestExportRayUpSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	keyed := strings.Replace(threeHosts, "\nhead:", "\nssh: {user: u, key: ~/.ssh/mine}\nhead:", 1)
	if keyed == threeHosts {
		t.Fatal("the cluster has no line for its head")
	}
	tests := []struct {
		name, yaml string
		login      Login
		want       []string
		not        []string
	}{
		{"what ssh logs in with", threeHosts, Login{User: "me", Key: "/home/me/.ssh/id_ed25519"},
			[]string{"ssh_private_key: /home/me/.ssh/id_ed25519"}, []string{"missing", "guess: ubuntu"}},
		{"a key in an agent alone", threeHosts, Login{User: "me",
			Missing: "no private key at /home/me/.ssh/id_ed25519"},
			[]string{MissingMark + "auth.ssh_private_key, a key without passphrase",
				"(no private key at /home/me/.ssh/id_ed25519)", "ssh: {key: FILE}"}, []string{"ssh_private_key: "}},
		{"the file's key", keyed, Login{}, []string{"ssh_private_key: ~/.ssh/mine", "ssh_user: u"},
			[]string{"missing"}},
		{"the file's key, which needs a passphrase", keyed,
			Login{Missing: "/home/me/.ssh/mine needs a passphrase"},
			[]string{"ssh_private_key: ~/.ssh/mine", "(/home/me/.ssh/mine needs a passphrase)"}, nil},
		{"what the launcher needs", threeHosts, Login{},
			[]string{"# - it needs rsync on this machine, on every host and in the image, and ssh in the image",
				"- touch ~/.bashrc",
				"ulimit -n 65536; RAY_enable_autoscaler_v2=0 ray start --head"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := exportOptions("2.60.0")
			o.Login = tt.login
			b := string(export(t, load(t, tt.yaml), RayUp, o))
			for _, w := range tt.want {
				if !strings.Contains(b, w) {
					t.Errorf("no %q in\n%s", w, b)
				}
			}
			for _, n := range tt.not {
				if strings.Contains(b, n) {
					t.Errorf("%q in\n%s", n, b)
				}
			}
		})
	}
}
