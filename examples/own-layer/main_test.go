package main

import "testing"

func TestGraphsAnExample(t *testing.T) {
	if err := run(t.Context(), []string{"../arm64"}); err != nil {
		t.Fatal(err)
	}
}
