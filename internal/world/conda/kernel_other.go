//go:build !linux

package main

// kernel is empty: only Linux has a __linux.
func kernel() string { return "" }
