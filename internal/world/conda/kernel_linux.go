package main

import (
	"strings"
	"syscall"
)

// kernel is the running kernel's version, "" where it is not told.
func kernel() string {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return ""
	}
	var b []byte
	for _, c := range u.Release {
		if (c < '0' || c > '9') && c != '.' {
			break
		}
		b = append(b, byte(c))
	}
	return strings.Trim(string(b), ".")
}
