package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{
		{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(c.in); got != c.want {
			t.Errorf("median of %v: %v", c.in, got)
		}
	}
}

func TestTableHasMediansAndRatios(t *testing.T) {
	r := newReport()
	r.add("a build", "s", []float64{0.2, 0.1, 0.3}, []float64{0.8, 0.4})
	r.add("a size", "B", []float64{57e6}, nil)
	var b bytes.Buffer
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	for i, want := range []string{"a build 200 ms [100 ms–300 ms] 600 ms [400 ms–800 ms] 0.33", "a size 57.0 MB"} {
		if got := strings.Join(strings.Fields(lines[4+i]), " "); got != want {
			t.Errorf("line %q, want %q", got, want)
		}
	}
}
