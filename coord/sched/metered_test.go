package sched

import (
	"slices"
	"testing"
	"time"

	"gaggle/wire"
)

func metered(p wire.PeerID, slots int) NodeUp {
	e := up(p, slots)
	e.Hello.Metered = true
	return e
}

// A metered node is named as a holder only while no other node is up that has the object, and to nobody as
// one that is fetching it.
func TestMeteredNodeServesWhatNobodyElseHas(t *testing.T) {
	b, in := newBare(t), leaf("leaf")
	in.Size = 1 << 30
	paid, free, worker := wire.PeerID{1}, wire.PeerID{2}, wire.PeerID{3}
	b.step(metered(paid, 0), holds(paid, true, testRoot, in), up(free, 0), holds(free, false, testRoot, in),
		up(worker, 1), holds(worker, true, testRoot), LinkRate{From: free, To: worker, BytesPerSec: 1 << 20})
	offers := pick[Offer](b.step(sharing(t, 1, in)))
	if len(offers) != 1 || !slices.Equal(offers[0].Offer.Holders[0].Peers, []wire.PeerID{free}) {
		t.Fatalf("offers %+v, want one with %s as the holder", offers, free)
	}
	if got := b.s.Holders("t", in.Digest); !slices.Equal(got, []wire.PeerID{free}) {
		t.Errorf("holders %v, want %s", got, free)
	}
	for range 5 {
		b.now += time.Second
		b.step(Beat{Peer: paid}, Beat{Peer: worker})
	}
	if got := b.s.Holders("t", in.Digest); !slices.Equal(got, []wire.PeerID{paid, free}) {
		t.Errorf("holders %v while %s is silent, want both", got, free)
	}
}

// Neither does a metered node hear of others that fetch the same, nor they of it.
func TestMeteredNodeLendsNothing(t *testing.T) {
	b, holder, in := newBare(t), wire.PeerID{1}, leaf("leaf")
	in.Size = sharedFrom
	events := []Event{up(holder, 0), holds(holder, true, testRoot, in)}
	for i := range 4 {
		p, node := wire.PeerID{2, byte(i)}, up
		if i%2 == 0 {
			node = metered
		}
		events = append(events, node(p, 1), holds(p, true, testRoot), LinkRate{From: holder, To: p, BytesPerSec: 10 << 30})
	}
	b.step(events...)
	offers := pick[Offer](b.step(sharing(t, 40, in)))
	given := 0
	for _, o := range offers {
		for _, h := range o.Offer.Holders {
			if o.Node[1]%2 == 0 {
				given++
				if len(h.Coming) > 0 {
					t.Errorf("a metered node is told that %v fetch it, too", h.Coming)
				}
			}
			for _, p := range h.Coming {
				if p[1]%2 == 0 {
					t.Errorf("a metered node is said to fetch it")
				}
			}
		}
	}
	if given == 0 {
		t.Error("no metered node was given anything")
	}
}

// A metered node gets a task if it has what that needs, or if nobody else can run it, but not what it
// would have to fetch only to begin a little earlier.
func TestMeteredNodeGetsWhatIsWorthIt(t *testing.T) {
	paid, free, holder := wire.PeerID{1}, wire.PeerID{2}, wire.PeerID{3}
	in := leaf("leaf")
	in.Size = 1 << 20
	for _, c := range []struct {
		name string
		free NodeUp
		has  []wire.Object
		want []wire.PeerID
	}{
		{"others are free", up(free, 2), nil, []wire.PeerID{free, free}},
		{"others have one slot, and it would fetch for eight seconds", up(free, 1), nil, []wire.PeerID{free, free}},
		{"it has all that is needed", up(free, 1), []wire.Object{in}, []wire.PeerID{paid, paid}},
		{"there is nobody else", up(free, 0), nil, []wire.PeerID{paid, paid}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBare(t)
			b.step(metered(paid, 2), up(holder, 0), c.free, holds(holder, true, testRoot, in), holds(paid, true, append(c.has, testRoot)...), holds(free, true, testRoot),
				LinkRate{From: holder, To: free, BytesPerSec: 1 << 20}, LinkRate{From: holder, To: paid, BytesPerSec: 100 << 20})
			actions := b.step(sharing(t, 2, in))
			var got []wire.PeerID
			for _, o := range pick[Offer](actions) {
				got = append(got, o.Node)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("offers to %v, want to %v", got, c.want)
			}
			if probes := pick[Probe](actions); len(probes) > 0 {
				t.Errorf("%+v: nothing is measured over a metered link", probes)
			}
		})
	}
}

// Of a detached job's inputs no copies are put on metered nodes, and with only such there is no member for
// it.
func TestMeteredNodeKeepsNoCopies(t *testing.T) {
	client, paid, free := wire.PeerID{1}, wire.PeerID{2}, wire.PeerID{3}
	in := leaf("leaf")
	submit := sharing(t, 1, in)
	submit.Detach, submit.Client = true, client

	b := newBare(t)
	b.step(up(client, 0), holds(client, true, testRoot, in), metered(paid, 1), up(free, 1))
	copies := pick[Copy](b.step(submit))
	if len(copies) == 0 {
		t.Error("no copies were ordered")
	}
	for _, c := range copies {
		if c.Node != free {
			t.Errorf("a copy was ordered from %s, want %s", c.Node, free)
		}
	}

	b = newBare(t)
	b.step(up(client, 0), holds(client, true, testRoot, in), metered(paid, 1))
	b.now += lostAfterLaptop
	b.step(Beat{Peer: client}, Beat{Peer: paid})
	if copies := pick[Copy](b.step(submit)); len(copies) > 0 {
		t.Errorf("copies were ordered: %+v", copies)
	}
	if nodes := b.s.Nodes(); nodes[0].Metered || !nodes[1].Metered {
		t.Errorf("nodes shown: %+v", nodes)
	}
}
