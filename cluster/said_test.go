package cluster

import (
	"strings"
	"testing"
)

func TestTextOfHasNoEscapes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"\x1b[1m\x1b[33mWARN\x1b[39m\x1b[22m x":        "WARN x",
		"\x1b[38;5;9mred\x1b[0m":                       "red",
		"\x1b]0;title\x07text":                         "text",
		"\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\":     "link",
		"\x1b(Bascii":                                  "ascii",
		"10 %\r50 %\r100 %\r\nnext":                    "100 %\nnext",
		"bell\x07 back\x08 nul\x00 del\x7f c1\u009b2J": "bell back nul del c12J",
		"cut off \x1b[":                                "cut off ",
		"größer — 5\t%":                                "größer — 5\t%",
	} {
		if got := textOf(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func FuzzTextOf(f *testing.F) {
	f.Add("\x1b[1mx\x1b[")
	f.Add("\x1b]0;a\r\n\x1b\\")
	f.Fuzz(func(t *testing.T, in string) {
		out := textOf(in)
		if strings.ContainsFunc(out, func(r rune) bool {
			return r < ' ' && r != '\n' && r != '\t' ||
				r >= 0x7f && r < 0xa0
		}) {
			t.Errorf("%q is %q", in, out)
		}
		if again := textOf(out); again != out {
			t.Errorf("%q is %q, and that is %q", in, out, again)
		}
	})
}

func TestComplaintOfALog(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, log, want string }{
		{"a process of Ray's that ended", "\x1b[31mSome Ray subprocesses exited unexpectedly:\x1b[0m\n" +
			"  \x1b[1mgcs_server\x1b[22m [exit code=1]\n  raylet [exit code=-9]\n" +
			"Remaining processes will be killed.\n",
			"gcs_server ended with exit code 1, raylet ended with exit code -9, which is SIGKILL: " + killedBy},
		{"a traceback", "Traceback (most recent call last):\n  File \"x.py\", line 1\n    raise ValueError(1)\n" +
			"RuntimeError: The port 6379 is taken\n\nsee above\n",
			"RuntimeError: The port 6379 is taken"},
		{"an error with its package", "x\nray.exceptions.AuthenticationError: no token\n",
			"ray.exceptions.AuthenticationError: no token"},
		{"a log line", "[2026-11-29 12:00:00,000 I 7 7] starting\n" +
			"[2026-11-29 12:00:01,000 W 7 7] Failed to connect to GCS, retrying\nwaiting\n",
			"[2026-11-29 12:00:01,000 W 7 7] Failed to connect to GCS, retrying"},
		{"nothing wrong", "Ray runtime started.\n\n--block\n" +
			"  This command will now block forever until terminated by a signal.\n", ""},
		{"an empty log", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := complaintOf(tt.log); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestExitOf(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]string{1: "exit code 1", 127: "exit code 127, its command cannot be run",
		137: "exit code 137, which is SIGKILL: " + killedBy} {
		if got := exitOf(code); got != want {
			t.Errorf("%d: %q, want %q", code, got, want)
		}
	}
}
