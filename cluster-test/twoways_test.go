package clustertest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// All machines are on two networks. In the middle of a job the interface dies that a node sends most by,
// without a word, as at a switch that hangs; when the node has gone on, and that network is back, the other
// one goes down. The node goes on each time, and no value is lost.
//
//	hub  n1  n2  anna
//	 |    X   |    |
//	 +----+-br0----+     10.77.0.0/24
//	 +----+-br1----+     10.78.0.0/24
func TestTwoInterfaces(t *testing.T) {
	t.Parallel()
	l := NewLab(t, bin)
	l.two = true
	m := newMesh(t, l)
	n1, _ := m.AddNode("n1", 1)
	m.AddNode("n2", 1)
	job := m.Client("anna").StartWork(&Work{Seed: "two", Layers: 18, Width: 4, Sleep: 0.3, Pad: 300_000})
	goesOn := func(what string, fault func()) {
		begun := time.Now()
		fault()
		for _, node := range []string{"n1", "n2"} {
			Eventually(t, node+" goes on", func() bool {
				done := job.Done(node)
				return len(done) > 0 && done[len(done)-1].After(begun.Add(time.Second))
			})
		}
		job.Recovered(what, "n1", begun, begun)
	}
	goesOn("nothing", func() {})
	ports := []string{n1.port, n1.second()}
	used := n1.busiest()
	goesOn("the interface in use is dead", func() { l.ip("-n", l.switchNS(), "link", "set", ports[used], "nomaster") })
	l.ip("-n", l.switchNS(), "link", "set", ports[used], "master", fmt.Sprint("br", used))
	goesOn("the other one is down", func() { l.ip("-n", n1.ns, "link", "set", fmt.Sprint("eth", 1-used), "down") })
	job.Check()
	if strings.Contains(job.Log(), "is lost") { // on a busy machine the other way may be found late
		t.Log("a node was lost for a while")
	}
}

// busiest returns by which of its two interfaces the host sends more in a second.
func (h *Host) busiest() int {
	h.lab.t.Helper()
	before := [2]int64{h.sentBy("eth0"), h.sentBy("eth1")}
	time.Sleep(time.Second)
	if h.sentBy("eth1")-before[1] > h.sentBy("eth0")-before[0] {
		return 1
	}
	return 0
}
