package clustertest

import "testing"

// Machines with IPv6 alone, IPv4 alone and both are one mesh: every node makes a file, and then every node
// reads the files of all. Who shares no family with another is relayed, and nobody else.
//
//	hub 4 and 6   six 6   six2 6   both 4 and 6   four 4   anna 6
//	 |             |       |        |              |        |
//	 +-------------+-------+--br0---+--------------+--------+     10.77.0.0/24, fd77::/64
func TestIPv6(t *testing.T) {
	t.Parallel()
	l := NewLab(t, bin)
	l.six = true
	m := newMesh(t, l)
	names := []string{"six", "six2", "both", "four"}
	for _, name := range names {
		h := l.Host(name)
		switch name {
		case "four":
			l.ip("-n", h.ns, "-6", "addr", "flush", "dev", "eth0")
		case "six", "six2":
			l.ip("-n", h.ns, "-4", "addr", "flush", "dev", "eth0")
		}
		m.StartNode(h, 1, "--label", "at="+name)
	}
	anna := l.Host("anna")
	l.ip("-n", anna.ns, "-4", "addr", "flush", "dev", "eth0")
	m.Login(anna)
	anna.submitEveryPair(names)
	six := map[string]bool{"six": true, "six2": true, "anna": true}
	all := paths(anna)
	for pair, way := range all {
		apart := six[pair[0]] && pair[1] == "four" || six[pair[1]] && pair[0] == "four"
		if (way == "relayed") != apart {
			t.Errorf("%s reaches %s by %q, want relayed: %v", pair[0], pair[1], way, apart)
		}
	}
	if all[[2]string{"anna", "four"}] == "" { // who alone has what she wants
		t.Error("anna has not reached four")
	}
	t.Logf("the pairs:\n%s", anna.Run("coord", "nodes", "--paths"))
}
