package pylock

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"
)

// What is written is read as what it was, for locks of all kinds of values.
func TestMarshalIsReadBack(t *testing.T) {
	for seed := range uint64(200) {
		lock := randomLock(rand.New(rand.NewPCG(seed, 1)))
		text, err := lock.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Read(text)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		if !reflect.DeepEqual(again, lock) {
			t.Fatalf("seed %d:\n%+v\nis read as\n%+v\n%s", seed, lock, again, text)
		}
	}
}

func randomLock(r *rand.Rand) *Lock {
	texts := []string{"", "a", "1.0", `"quoted" \ and 'so'`, "ü → 漢", "tab\tand\u0001\x7f", "<&>"}
	text := func() string { return texts[r.IntN(len(texts))] }
	list := func(all ...string) []string {
		var out []string
		for _, s := range all {
			if r.IntN(2) == 0 {
				out = append(out, s)
			}
		}
		return out
	}
	file := func(name string) File {
		f := File{Name: name, Size: r.Int64N(3) * 1000, SHA256: sum}
		switch r.IntN(3) {
		case 0:
			f.URL = "https://o.example/p%20q/" + name
		case 1:
			f.URL = "https://o.example/download"
		default:
			f.Path = "dist/" + name
		}
		return f
	}
	l := &Lock{Version: "1.0", CreatedBy: text(), RequiresPython: text(), Environments: list("x", "y"),
		Extras: list("e", "f"), Groups: list("g"), DefaultGroups: list("g")}
	for i := range r.IntN(4) {
		p := Package{Name: fmt.Sprintf("p%d", i), Version: text(), Marker: text(), RequiresPython: text(),
			Index: text()}
		switch r.IntN(4) {
		case 0:
			f := file("p-1.zip")
			p.Archive = &f
		case 1:
			f := file("p-1.tar.gz")
			p.Sdist = &f
			fallthrough
		default:
			for j := range r.IntN(3) {
				p.Wheels = append(p.Wheels, file(fmt.Sprintf("p-%d-py3-none-any.whl", j)))
			}
		}
		l.Packages = append(l.Packages, p)
	}
	return l
}

func TestMarshalOfARealLock(t *testing.T) {
	data, err := os.ReadFile("testdata/pylock.ray.toml")
	if err != nil {
		t.Fatal(err)
	}
	lock, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	text, err := lock.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Read(text); err != nil || !reflect.DeepEqual(again, lock) {
		t.Errorf("it is read as another lock (%v)", err)
	}
	lock.Packages[0].Other = "git"
	if _, err := lock.Marshal(); err == nil {
		t.Error("a package from git was written")
	}
}
