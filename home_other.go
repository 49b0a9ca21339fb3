//go:build !unix

package raybuild

// checkHome does nothing: a user's directories are the user's own.
func checkHome(string) error { return nil }
