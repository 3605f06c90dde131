package clustertest

import (
	"testing"
	"time"
)

// A laptop gets another address, its router reboots with another, and its link is cut for 20 s, all
// in the middle of a job to which it and a machine in the open contribute. Nothing is lost.
//
//	hub  vm  anna    laptop       192.168.1.0/24
//	 |    |    |     home (restricted)
//	 +----+----+-br0---+          5.77.0.0/24
func TestLaptopMoves(t *testing.T) {
	t.Parallel()
	m := NewPublicMesh(t, bin)
	home := m.Lab.NAT("home", Restricted)
	laptop := home.Host("laptop")
	m.StartNode(m.Lab.Host("vm"), 2)
	m.StartNode(laptop, 2)
	anna := m.Client("anna")
	m.eye = anna
	job := anna.StartWork(&Work{Seed: "moves", Layers: 34, Width: 4, Sleep: 0.9, Pad: 20_000})
	job.WaitLog(`"how":"ran"`)
	for _, c := range []struct {
		what       string
		begin, end func()
		lasts      time.Duration
	}{
		{"another address", func() { home.Readdress(laptop) }, func() {}, 0},
		{"a router that reboots", func() { home.Reboot(2 * time.Second) }, func() {}, 0},
		{"a link that is cut", func() { home.Unplug(laptop) }, func() { home.Plug(laptop) }, 20 * time.Second},
	} {
		begun := time.Now()
		c.begin()
		time.Sleep(c.lasts)
		c.end()
		defer job.Recovered(c.what, "laptop", begun, time.Now())
		time.Sleep(6 * time.Second)
	}
	job.Check()
	m.WaitState("laptop", "up")
	t.Logf("the pairs:\n%s", anna.Run("coord", "nodes", "--paths"))
}
