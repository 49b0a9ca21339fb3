package llb

import "testing"

func TestWantedNetwork(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		// What programs print in a network namespace with loopback only.
		"curl: (6) Could not resolve host: pypi.org":      true,
		"wget: unable to resolve host address 'pypi.org'": true,
		"wget: bad address 'pypi.org'":                    true,
		"Err:1 http://archive.ubuntu.com/ubuntu jammy InRelease\n" +
			"  Temporary failure resolving 'archive.ubuntu.com'": true,
		"socket.gaierror: [Errno -3] Temporary failure in " +
			"name resolution": true,
		"fatal: unable to access 'https://github.com/x/': Could not resolve " +
			"host: github.com": true,
		"NewConnectionError('<urllib3.connection object>: Failed to establish a new connection: [Errno 101] Network " +
			"is unreachable')": true,
		"dial tcp: lookup proxy.golang.org: Temporary failure in name resolution": true,
		"ModuleNotFoundError: No module named 'numpy'":                            false,
		"E: Unable to locate package vim":                                         false,
		"":                                                                        false,
	} {
		if got := wantedNetwork([]string{"first", line}); got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}
