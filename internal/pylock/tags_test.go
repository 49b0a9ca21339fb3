package pylock

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func lines(t *testing.T, target Target) string {
	t.Helper()
	tags, err := target.Tags()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, tag := range tags {
		fmt.Fprintln(&b, tag)
	}
	return b.String()
}

// The data is what testdata/tags.py prints with packaging 26.4.
func TestTagsAreThoseOfPackaging(t *testing.T) {
	for file, target := range map[string]Target{
		"tags-3.11-amd64-2.35.txt": {Python: "3.11.9", Platform: "linux/amd64", Glibc: "2.35"},
		"tags-3.9-arm64-2.28.txt":  {Python: "3.9", Platform: "linux/arm64", Glibc: "2.28"},
	} {
		want, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if lines(t, target) != string(want) {
			t.Errorf("%s: the tags differ", file)
		}
	}
}

func TestTagsAreThoseOfThePackagingHere(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3")
	}
	if exec.Command("python3", "-c", "import packaging; int(packaging.__version__.split('.')[0]) >= 24 or 1/0").
		Run() != nil {
		t.Skip("python3 has no packaging 24 or later")
	}
	for _, python := range []string{"3.7", "3.12", "3.14"} {
		for machine, platform := range map[string]string{"x86_64": "linux/amd64", "aarch64": "linux/arm64"} {
			for _, glibc := range []string{"2.17", "2.39"} {
				out, err := exec.Command("python3", "testdata/tags.py", python, machine, glibc).CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				if got := lines(t, Target{Python: python, Platform: platform, Glibc: glibc}); got != string(out) {
					t.Errorf("Python %s on %s with glibc %s: the tags differ", python, machine, glibc)
				}
			}
		}
	}
}

func TestPickPrefersAsPipDoes(t *testing.T) {
	picker, err := NewPicker(Target{Python: "3.11", Platform: "linux/amd64", Glibc: "2.35"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, want string
		wheels     []string
	}{
		{"the newest glibc that is there", "a-1-cp311-cp311-manylinux_2_34_x86_64.whl", []string{
			"a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
			"a-1-cp311-cp311-manylinux_2_34_x86_64.whl",
			"a-1-cp311-cp311-manylinux_2_36_x86_64.whl", "a-1-cp311-cp311-musllinux_1_2_x86_64.whl"}},
		{"its own ABI", "a-1-cp311-cp311-manylinux1_x86_64.whl", []string{
			"a-1-cp39-abi3-manylinux_2_35_x86_64.whl", "a-1-cp311-cp311-manylinux1_x86_64.whl",
			"a-1-py3-none-any.whl"}},
		{"the stable ABI of an older Python", "a-1-cp39-abi3-manylinux_2_28_x86_64.whl", []string{
			"a-1-cp312-abi3-manylinux_2_28_x86_64.whl", "a-1-cp37-abi3-manylinux_2_28_x86_64.whl",
			"a-1-cp39-abi3-manylinux_2_28_x86_64.whl", "a-1-cp39-cp39-manylinux_2_28_x86_64.whl"}},
		{"any platform last", "a-1-py3-none-manylinux2014_x86_64.whl", []string{
			"a-1-py3-none-any.whl", "a-1-py3-none-manylinux2014_x86_64.whl"}},
		{"a compressed set", "a-1-py2.py3-none-any.whl", []string{
			"a-1-py2.py3-none-any.whl", "a-1-cp310-none-any.whl"}},
		{"the highest build", "a-1-10-py3-none-any.whl", []string{
			"a-1-py3-none-any.whl", "a-1-9-py3-none-any.whl", "a-1-10-py3-none-any.whl"}},
		{"the sdist", "a-1.tar.gz", []string{
			"a-1-cp311-cp311-macosx_11_0_arm64.whl", "a-1-cp313-cp313t-linux_x86_64.whl"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			p := Package{Name: "a", Version: "1", Sdist: &File{Name: "a-1.tar.gz"}}
			for _, w := range tc.wheels {
				p.Wheels = append(p.Wheels, File{Name: w})
			}
			f, err := picker.Pick(p)
			if err != nil || f.Name != tc.want {
				t.Errorf("picked %q, want %q (%v)", f.Name, tc.want, err)
			}
		})
	}
}

func TestTargetsAreComplete(t *testing.T) {
	for _, target := range []Target{
		{}, {Python: "2.7", Platform: "linux/amd64", Glibc: "2.35"},
		{Python: "3.11", Platform: "linux/s390x", Glibc: "2.35"},
		{Python: "3.11", Platform: "linux/amd64", Glibc: "musl"}, {Python: "3", Platform: "linux/amd64", Glibc: "2.35"},
		{Python: "3.x", Platform: "linux/amd64", Glibc: "2.35"},
		{Python: "3.9999999", Platform: "linux/amd64", Glibc: "2.35"},
	} {
		if _, err := NewPicker(target); err == nil {
			t.Errorf("%+v: no error", target)
		}
	}
}
