package clustertest

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// A link that is cut for 2 s, one way, the other way and both ways, loses nobody.
//
//	hub  node1  node2  anna
//	 |     X      |      |
//	 +-----+-br0--+------+
func TestShortCuts(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 2, 2)
	job := m.Client("anna").StartWork(&Work{Seed: "short", Layers: 8, Width: 8, Sleep: 0.8, Pad: 20_000})
	job.WaitLog(`"how":"ran"`)
	h := m.Nodes[0]
	for _, c := range []struct {
		what      string
		cut, heal func()
	}{{"what node1 sends is lost", h.CutOut, h.HealOut}, {"what is sent to node1 is lost", h.CutIn, h.HealIn},
		{"node1 is cut off", h.Cut, h.Heal}} {
		begun := time.Now()
		c.cut()
		time.Sleep(2 * time.Second)
		c.heal()
		healed := time.Now()
		defer job.Recovered(c.what, "node1", begun, healed)
		time.Sleep(2 * time.Second)
	}
	job.Check()
	if strings.Contains(job.Log(), "is lost") {
		t.Errorf("a node was lost in a cut of 2 s:\n%s", job.Log())
	}
}

// Three of four nodes are cut off for 20 s, and for a minute: of one, what it sends is lost, of one,
// what is sent to it, of one both. The fourth goes on, and the three come back.
//
//	hub  node1  node2  node3  node4  anna
//	 |     v      ^      X      |      |
//	 +-----+------+-br0--+------+------+
func TestLongCuts(t *testing.T) { testCuts(t, 20*time.Second) }

func TestCutsOfAMinute(t *testing.T) { testCuts(t, time.Minute) }

func testCuts(t *testing.T, length time.Duration) {
	t.Parallel()
	m := NewMesh(t, bin, 4, 1)
	// Enough for one node meanwhile, and some more for four.
	work := &Work{Seed: "long", Layers: 6 + int(length.Seconds()/3.6), Width: 4, Sleep: 0.9, Pad: 20_000}
	job := m.Client("anna").StartWork(work)
	job.WaitLog(`"how":"ran"`)
	one, two, three := m.Nodes[0], m.Nodes[1], m.Nodes[2]
	begun := time.Now()
	one.CutOut()
	two.CutIn()
	three.Cut()
	for _, name := range []string{"node1", "node2", "node3"} {
		m.WaitState(name, "lost")
		t.Logf("%s is lost after %v", name, time.Since(begun).Round(10*time.Millisecond))
	}
	time.Sleep(time.Until(begun.Add(length)))
	one.HealOut()
	two.HealIn()
	three.Heal()
	healed := time.Now()
	for _, h := range m.Nodes[:3] {
		m.WaitState(h.Name, "up")
		t.Logf("%s is up again after %v", h.Name, time.Since(healed).Round(10*time.Millisecond))
	}
	job.Check()
	job.Recovered("what node1 sends is lost", "node1", begun, healed)
	job.Recovered("what is sent to node2 is lost", "node2", begun, healed)
	job.Recovered("node3 is cut off", "node3", begun, healed)
}

// One node is stopped for 40 s, another with all that it runs, as a laptop is that is closed. The
// clocks of this machine cannot be stopped, so that the difference between monotonic and boot time
// is left to the tests of the worker.
func TestStoppedNodes(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 3, 1)
	job := m.Client("anna").StartWork(&Work{Seed: "stop", Layers: 18, Width: 4, Sleep: 0.9, Pad: 20_000})
	job.WaitLog(`"how":"ran"`)
	begun := time.Now()
	tree := m.nodes[1]
	m.nodes[0].Signal(syscall.SIGSTOP)
	tree.Freeze()
	m.WaitState("node1", "lost")
	m.WaitState("node2", "lost")
	time.Sleep(time.Until(begun.Add(40 * time.Second)))
	m.nodes[0].Signal(syscall.SIGCONT)
	tree.Thaw()
	woken := time.Now()
	for _, name := range []string{"node1", "node2"} {
		m.WaitState(name, "up")
		t.Logf("%s is a member again %v after it was woken", name, time.Since(woken).Round(10*time.Millisecond))
	}
	job.Check()
	job.Recovered("node1 is stopped", "node1", begun, woken)
	job.Recovered("node2 is suspended", "node2", begun, woken)
}
