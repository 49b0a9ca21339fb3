package cluster

import (
	"fmt"
	"regexp"
	"strings"
)

// escapes are what programs send to a terminal beside text: colours, titles, character sets.
// Source: ECMA-48, 5.4 (CSI), 5.6 (OSC and other strings); xterm's ctlseqs for those that end with BEL.
var escapes = regexp.MustCompile("\x1b\\[[0-?]*[ " +
	"-/]*[@-~]|\x1b[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)?|\x1b[ -/]*[0-~]?")

// textOf is what a host, a container or Ray said, as text: without escapes and control characters,
// of a progress line its last state.
func textOf(s string) string {
	s = strings.ReplaceAll(escapes.ReplaceAllString(s, ""), "\r\n", "\n")
	var b strings.Builder
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		line = strings.TrimRight(line, "\r")
		line = line[strings.LastIndexByte(line, '\r')+1:]
		b.WriteString(strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
				return -1
			}
			return r
		}, line))
	}
	return b.String()
}

var (
	// of `ray start --block`, when one of its processes ends
	endedProcess = regexp.MustCompile(`^\s*(\w+) \[exit code=(-?\d+)\]`)
	// the end of a traceback
	errorLine = regexp.MustCompile(`^\s*(?:[\w.]+\.)?\w*(?:Error|Exception|Failure)\b:?.*`)
	complaint = regexp.MustCompile(`(?i)\b(?:error|fatal|failed|cannot|could not|unable to|refused)\b`) // in a log line
)

// complaintOf finds what went wrong in the end of a container's log; empty: nothing in it says so.
// Ray's own account of a process that ended comes first, then the end of a traceback, then the last
// line that complains.
func complaintOf(log string) string {
	lines := strings.Split(strings.TrimSpace(textOf(log)), "\n")
	var ended []string
	for _, l := range lines {
		if m := endedProcess.FindStringSubmatch(l); m != nil {
			ended = append(ended, m[1]+" ended with exit code "+m[2]+signalOf(m[2]))
		}
	}
	if len(ended) > 0 {
		return strings.Join(ended, ", ")
	}
	for _, form := range []*regexp.Regexp{errorLine, complaint} {
		for i := len(lines) - 1; i >= 0; i-- {
			if form.MatchString(lines[i]) {
				return clipLine(lines[i])
			}
		}
	}
	return ""
}

// signalOf says what a negative exit code of Python's subprocess means.
func signalOf(code string) string {
	switch code {
	case "-9":
		return ", which is SIGKILL: " + killedBy
	case "-11":
		return ", a segmentation fault"
	case "-15":
		return ", which is SIGTERM"
	}
	return ""
}

const killedBy = "sent by somebody, or by the kernel because memory ran out (see dmesg on the host)"

// exitOf says what a container's exit code means: above 128 it is a signal's number (POSIX shells;
// Docker reports init's).
func exitOf(code int) string {
	s := fmt.Sprintf("exit code %d", code)
	switch code {
	case 126, 127:
		return s + ", its command cannot be run"
	case 137:
		return s + ", which is SIGKILL: " + killedBy
	case 139:
		return s + ", a segmentation fault"
	case 143:
		return s + ", which is SIGTERM"
	}
	return s
}

const longestWords = 300 // characters of a line that is shown

func clipLine(s string) string {
	if r := []rune(strings.TrimSpace(s)); len(r) > longestWords {
		return string(r[:longestWords]) + "…"
	}
	return strings.TrimSpace(s)
}
