package sched

import (
	"encoding/binary"
	"testing"
	"time"

	"gaggle/wire"
)

func TestOldestLostNodeIsForgotten(t *testing.T) {
	w, client := small(t, 1)
	w.calm = true
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, nil, "a")
	w.run(time.Minute, w.ended(id))
	object := wire.Object{Kind: wire.File, Digest: wire.Sum([]byte("x")), Size: 1}
	for i := range maxNodes + 50 {
		peer := wire.PeerID{1}
		binary.BigEndian.PutUint32(peer[1:], uint32(i))
		at := w.now + time.Duration(i)*100*time.Millisecond
		w.s.Step(at, time.Unix(0, 0), []Event{
			Beat{Peer: client.peer}, Beat{Peer: w.nodes[1].peer},
			NodeUp{Peer: peer, Hello: wire.Hello{Name: "visitor", Inventory: 1}},
			Have{Peer: peer, Set: wire.SpaceSet{Space: "t", Objects: []wire.Object{object}}}, NodeGone{Peer: peer}})
	}
	if n := len(w.s.Nodes()); n > maxNodes+1 {
		t.Errorf("%d nodes are remembered, want at most %d", n, maxNodes)
	}
	if err := checkState(w.s, nil); err != nil {
		t.Error(err)
	}
	if n := len(w.s.Holders("t", object.Digest)); n == 0 || n > 700 {
		t.Errorf("%d live holders; those heard of in the last minute are 600", n)
	}
}

func TestSleepOfTheCoordinatorLosesNobody(t *testing.T) {
	w, _ := small(t, 2)
	w.run(time.Second, nil)
	actions := w.s.Step(w.now+10*time.Minute, time.Unix(0, 0), []Event{Tick{}})
	for _, n := range w.s.Nodes() {
		if n.State != "up" {
			t.Errorf("%s is %s after the coordinator slept: %v", n.Info.Name, n.State, actions)
		}
	}
}

func TestNodeThatSaidGoodbyeHasLeft(t *testing.T) {
	b := newBare(t)
	p := wire.PeerID{7}
	b.step(up(p, 1), NodeGone{Peer: p, Left: true})
	state := func(want string) {
		t.Helper()
		if nodes := b.s.Nodes(); len(nodes) != 1 || nodes[0].State != want {
			t.Errorf("nodes are %+v, want one that is %s", nodes, want)
		}
	}
	state("left")
	b.now += 2 * lostAfter
	b.step(Tick{})
	state("left")
	b.step(up(p, 1))
	state("up")
	b.step(NodeGone{Peer: p})
	state("suspect")
}

func TestNamesOfKinds(t *testing.T) {
	for name, want := range map[string]string{
		"count": "count", "count[a.go]": "count", "count[src/a.go]": "count", "fib/a": "a", "fib/a[x/y]/sum[1]": "sum", "a[b[c/d]]": "a",
	} {
		if got := kindName(name); got != want {
			t.Errorf("kindName(%q) = %q, want %q", name, got, want)
		}
	}
}

// A node that says that it hears nothing is silent for us, whatever else it says.
func TestDeafNodeIsAsSilent(t *testing.T) {
	b := newBare(t)
	one := wire.PeerID{1}
	b.step(up(one, 2))
	says := func(beat wire.Beat, want string) {
		t.Helper()
		b.step(Beat{Peer: one, Beat: &beat}, Tick{})
		if got := b.s.Nodes()[0].State; got != want {
			t.Errorf("after %v and %+v it is %s, want %s", b.now, beat, got, want)
		}
	}
	says(wire.Beat{}, "up")
	says(wire.Beat{Deaf: true}, "suspect")
	for range 8 {
		b.now += time.Second
		says(wire.Beat{Deaf: true}, "suspect")
	}
	for range 3 {
		b.now += time.Second
		b.step(Beat{Peer: one, Beat: &wire.Beat{Deaf: true}}, Tick{})
	}
	says(wire.Beat{Deaf: true}, "lost")
	says(wire.Beat{}, "up")
}
