package cluster

import (
	"slices"
	"strings"
	"testing"
)

// A node with a read-only root writes where Ray and its user do, and a node without one keeps its digest.
func TestReadOnlyNodes(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct {
		lines, user string
		want        []string // writable volumes without a name
	}{
		"off":            {"", "ray", nil},
		"user by name":   {"read_only: true\n", "ray", []string{"/home/ray", "/run", "/tmp", "/var/tmp"}},
		"root":           {"read_only: true\n", "", []string{"/root", "/run", "/tmp", "/var/tmp"}},
		"user by number": {"read_only: true\n", "1000:1000", []string{"/run", "/tmp", "/var/tmp"}},
		"temp_dir": {"read_only: true\ntemp_dir: /scratch/ray\n", "1000",
			[]string{"/run", "/scratch/ray", "/tmp", "/var/tmp"}},
		"mounted home": {"read_only: true\nmounts: [\"homes:/home/ray\"]\n", "ray",
			[]string{"/run", "/tmp", "/var/tmp"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			spec, err := Load("cluster.yaml", []byte("name: demo\nimage: registry/ray\nhead: {host: local}\n"+
				"shm_size: 100m\n"+tt.lines))
			if err != nil {
				t.Fatal(err)
			}
			image := testImage("2.52.0")
			image.User = tt.user
			facts := factsOf(spec)
			all, err := planContainers(spec, facts, image)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range all[0].Mounts {
				if m.Volume && m.Source == "" {
					got = append(got, m.Target)
				}
			}
			if !slices.Equal(got, tt.want) || all[0].Node.ReadOnly != (tt.want != nil) {
				t.Errorf("writable are %q, want %q", got, tt.want)
			}
			off, err := planContainers(func() *Spec { s := *spec; s.Head.ReadOnly = false; return &s }(), facts, image)
			if err != nil {
				t.Fatal(err)
			}
			if same := off[0].parts()["engine"] == all[0].parts()["engine"]; same != (tt.want == nil) {
				t.Errorf("the part \"engine\" is the same as without read_only: %v", same)
			}
		})
	}
}

// Exports carry it.
func TestReadOnlyExports(t *testing.T) {
	t.Parallel()
	spec := load(t, "name: a\nimage: registry/ray@"+digest1+"\nhead: {host: u@10.0.0.1}\nread_only: true\n")
	for format, want := range map[Format][]string{
		Compose: {"read_only: true", "target: /tmp"},
		KubeRay: {"readOnlyRootFilesystem: true", "mountPath: /tmp", "emptyDir: {}"},
		RayUp:   {"--read-only", "--volume=/tmp"},
	} {
		data, err := Export(spec, format, ExportOptions{Image: testImage("2.52.0")})
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		for _, text := range want {
			if !strings.Contains(string(data), text) {
				t.Errorf("%s lacks %q:\n%s", format, text, data)
			}
		}
	}
}
