package show

import "testing"

func TestPrintableKeepsTerminalsSafe(t *testing.T) {
	t.Parallel()
	if got := Printable("a\x1b[31m → b\n"); got != `a\x1b[31m → b\n` {
		t.Errorf("it is %q", got)
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 70_100_000: "70.1 MB",
		2_500_000_000_000: "2.5 TB"} {
		if got := Size(n); got != want {
			t.Errorf("%d bytes are shown as %q, want %q", n, got, want)
		}
	}
}
