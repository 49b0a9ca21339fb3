package cluster

import "testing"

// TestCase30IDsOfUsers reads the files of users and groups.
func TestCase30IDsOfUsers(t *testing.T) {
	t.Parallel()
	const users = "root:x:0:0:root:/root:/bin/sh\nray:x:1000:100::/home/ray:/bin/bash\nbad:x:y:z::/:\nshort:x:7\n"
	for name, want := range map[string][3]int{"ray": {1000, 100, 1}, "1000": {1000, 100, 1}, "root": {0, 0, 1},
		"bad": {0, 0, 0}, "short": {0, 0, 0}, "nobody": {0, 0, 0}} {
		uid, gid, ok := idsOf([]byte(users), name)
		if uid != want[0] || gid != want[1] || ok != (want[2] == 1) {
			t.Errorf("%s is %d:%d (%v), want %v", name, uid, gid, ok, want)
		}
	}
	if gid, _, ok := idsOf([]byte("users:x:100:ray,bob\n"), "users"); !ok || gid != 100 {
		t.Errorf("the group users is %d (%v), want 100", gid, ok)
	}
}
