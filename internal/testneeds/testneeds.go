// Package testneeds leaves out tests that this machine cannot run, or that nobody has the time for:
// tests that start engines, hosts or clusters need root and programs, take minutes, and are left
// out with -short.
package testneeds

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Missing says what this machine lacks for tests that run as root with programs, or why they are
// left out. "": nothing. A TestMain that asks has parsed the flags.
func Missing(programs ...string) string {
	if testing.Short() {
		return "-short leaves out what runs engines, hosts and clusters"
	}
	if os.Geteuid() != 0 {
		return "this test needs root"
	}
	return without(programs)
}

// without says which of programs is not there.
func without(programs []string) string {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return "this test needs " + p + ": make needs"
		}
	}
	return ""
}

// Root skips a test that runs as root with programs where one of that is missing.
func Root(t testing.TB, programs ...string) {
	t.Helper()
	Skip(t, Missing(programs...))
}

// Long leaves a test that takes many seconds out with -short.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short leaves out what takes long")
	}
}

// Programs skips a test that runs programs, as anybody, where one is not there.
func Programs(t testing.TB, programs ...string) {
	t.Helper()
	Skip(t, without(programs))
}

// Python is the machine's own interpreter of Python 3. It skips the test if there is none. A python3 on PATH may be
// pyenv's shim, which makes all shims anew after each "pip install": two at once disturb each other.
func Python(t testing.TB) string {
	t.Helper()
	Programs(t, "python3")
	out, err := exec.CommandContext(t.Context(), "python3", "-c",
		"import os, sys; print(os.path.realpath(sys.executable))").Output()
	if err != nil {
		t.Fatal("asking python3 where its interpreter is:", err)
	}
	return strings.TrimSpace(string(out))
}

// Skip skips a test for want of something; "": it does nothing. With RAYBUILD_TEST_STRICT=1 the
// test fails, unless -short was asked for.
func Skip(t testing.TB, why string) {
	t.Helper()
	switch {
	case why == "":
	case os.Getenv("RAYBUILD_TEST_STRICT") == "1" && !testing.Short():
		t.Fatal(why)
	default:
		t.Skip(why)
	}
}

// OutsideAddress gives an IPv4 address of this machine that is not loopback, for servers that steps with a network
// reach. It skips the test if there is none.
func OutsideAddress(t testing.TB) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsGlobalUnicast() {
			return ip.IP.String()
		}
	}
	Skip(t, "this machine has no address but loopback")
	return ""
}
