package clustertest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Machines behind NATs and firewalls are one mesh with those that are not: every node makes a file,
// and then every node reads the files of all.
//
//	hub  vm  noudp  anna        full     cone     sym    lan1  lan2    192.168.1.0/24 each
//	 |    |    X     |            |        |        |        |     |
//	 |    |    |     |         forwards restricted symmetric restricted
//	 +----+----+-----+--- br0 ----+--------+--------+--------+         5.77.0.0/24
func TestBehindNAT(t *testing.T) {
	t.Parallel()
	m := NewPublicMesh(t, bin)
	l := m.Lab
	home := l.NAT("home", Restricted)
	hosts := []*Host{l.Host("vm"), l.NAT("fwd", Forwarding).Host("full"), l.NAT("rst", Restricted).Host("cone"),
		l.NAT("smt", Symmetric).Host("sym"), home.Host("lan1"), home.Host("lan2"), l.Host("noudp"), l.Host("small")}
	hosts[6].Block("meta l4proto udp")
	hosts[7].Block("meta l4proto udp meta length > 1200")
	var names []string
	for _, h := range hosts {
		m.StartNode(h, 1, "--label", "at="+h.Name)
		names = append(names, h.Name)
	}
	anna := m.Client("anna")
	anna.submitEveryPair(names)
	for _, c := range []struct{ from, to, ways string }{
		{"sym", "cone", "relayed"}, {"sym", "lan1", "relayed"}, // no hole can be punched
		{"noudp", "coordinator", "tcp"}, {"small", "coordinator", "tcp"}, {"sym", "coordinator", "direct tcp"},
		{"lan1", "lan2", "direct punched tcp"}, {"vm", "full", "direct punched tcp"},
	} {
		Eventually(t, c.from+" reaches "+c.to+" by one of "+c.ways, func() bool {
			time.Sleep(200 * time.Millisecond) // each look is a process
			return slices.Contains(strings.Fields(c.ways), paths(anna)[[2]string{c.from, c.to}])
		})
	}
	// A hole may be missed on a loaded machine, and the pair then stays relayed.
	if all := paths(anna); !strings.Contains(all[[2]string{"cone", "lan1"}]+all[[2]string{"cone", "lan2"}]+all[[2]string{"cone", "full"}], "punched") {
		t.Logf("no hole was punched: %v", all)
	}
	t.Logf("the pairs:\n%s", anna.Run("coord", "nodes", "--paths"))
}

// paths returns by which way each member reaches each other, as coord nodes tells h.
func paths(h *Host) map[[2]string]string {
	h.lab.t.Helper()
	ways := map[[2]string]string{}
	for line := range strings.Lines(h.Run("coord", "nodes", "--paths")) {
		if f := strings.Fields(line); len(f) > 2 && f[0] != "FROM" {
			ways[[2]string{f[0], f[1]}] = f[2]
		}
	}
	return ways
}

// submitEveryPair has every node make a file and read those of all.
func (h *Host) submitEveryPair(names []string) {
	t := h.lab.t
	t.Helper()
	dir := t.TempDir()
	WriteFiles(t, dir, map[string]string{"all.json": everyPair(names)})
	h.Submit(dir, "all.json", "--out", filepath.Join(dir, "out"))
	for _, name := range names {
		got := h.Run("cat", filepath.Join(dir, "out", name))
		if want := strings.Join(names, "\n") + "\n"; got != want {
			t.Errorf("%s read %q, want %q", name, got, want)
		}
	}
}

// everyPair is a graph in which every node makes a file and reads those of all.
func everyPair(names []string) string {
	var tasks, targets, inputs []string
	for _, n := range names {
		inputs = append(inputs, fmt.Sprintf("%q:%q", n, "@make-"+n+"/out"))
	}
	for _, n := range names {
		tasks = append(tasks,
			fmt.Sprintf(`"make-%s":{"labels":{"at":%q},"shell":"echo %s > out","outputs":["out"]}`, n, n, n),
			fmt.Sprintf(`"read-%s":{"labels":{"at":%q},"inputs":{%s},"shell":"cat %s > out; : %s","outputs":["out"]}`,
				n, n, strings.Join(inputs, ","), strings.Join(names, " "), n))
		targets = append(targets, fmt.Sprintf("%q:%q", n, "@read-"+n+"/out"))
	}
	return fmt.Sprintf(`{"gaggle":1,"defaults":{"tools":["sh","cat"]},"tasks":{%s},"targets":{%s}}`,
		strings.Join(tasks, ","), strings.Join(targets, ","))
}
