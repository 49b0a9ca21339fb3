package cluster

import "testing"

func TestAllowNeedsTheFilter(t *testing.T) {
	t.Parallel()
	const base = "name: a\nimage: r\nhead: {host: local}\n"
	s := load(t, base+"filter: true\nallow: [8000, 9000-9100, 10.1.0.0/16, 10.2.3.4, \"fd00::/64\"]\n")
	if len(s.Allow.Ports) != 2 || s.Allow.Ports[1] != (PortRange{9000, 9100}) || len(s.Allow.From) != 3 {
		t.Errorf("got %+v", s.Allow)
	}
	for _, bad := range []string{"allow: [8000]\n", "filter: true\nallow: [0]\n", "filter: true\nallow: [70000]\n",
		"filter: true\nallow: [9-8]\n", "filter: true\nallow: [10.1.2.3/16]\n", "filter: true\nallow: [\"-\"]\n",
		"filter: true\nallow: 8000\n", "filter: true\nallow: [\"::ffff:10.0.0.0/104\"]\n"} {
		if _, err := Load("cluster.yaml", []byte(base+bad)); err == nil {
			t.Errorf("accepted: %s", bad)
		}
	}
}

func TestPortsOfOtherServices(t *testing.T) {
	t.Parallel()
	const sockets = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   2: 0B00580A:0016 0100580A:D431 01 00000000:00000000 00:00000000 00000000     0        0 1
   0: 00000000000000000000000000000000:270F 00000000000000000000000000000000:0000 0A 00000000:00000000 0
   1: 00000000000000000000000001000000:0019 00000000000000000000000000000000:0000 0A 00000000:00000000 0
   2: 0000000000000000FFFF00000100007F:001A 00000000000000000000000000000000:0000 0A 00000000:00000000 0
 100: 00000000:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0
 101: 0B00580A:C001 08080808:0035 01 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0
 102: 0100007F:0143 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0
`
	o := parseSockets(sockets)
	if got, want := o.String(), "tcp 22,9999 udp 4789"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if again, ok := parseOpen(o.String()); !ok || again.String() != o.String() {
		t.Errorf("read again: %v, %v", again, ok)
	}
	for _, s := range []string{"", "tcp udp", "tcp x", "tcp 22; drop", "22"} {
		if o, ok := parseOpen(s); ok && s != "22" {
			t.Errorf("%q is %v", s, o)
		}
	}
	if got := portList(mergePorts([]PortRange{{5, 9}, {1, 2}, {3, 4}, {7, 8}, {20, 20}})); got != "1-9,20" {
		t.Errorf("merged: %s", got)
	}
}
