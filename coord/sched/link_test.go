package sched

import (
	"fmt"
	"testing"
	"time"

	"gaggle/wire"
)

// sharing is a job of n tasks that all read the same object.
func sharing(t *testing.T, n int, in wire.Object) Submitted {
	e := Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t"}
	for i := range n {
		p := &plan{ids: map[string]wire.ThunkID{}}
		id := p.add(t, fmt.Sprintf("task[%d]", i), wire.Thunk{Command: []string{"sort", fmt.Sprint(i)}, Root: wire.TreeID(testRoot.Digest), Platform: "linux/amd64", ABI: 1,
			Inputs: []wire.Input{{Path: "in", Object: in}}, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}, wire.Hints{})
		e.Tasks = append(e.Tasks, p.tasks...)
		e.Targets = append(e.Targets, wire.TargetSpec{Path: fmt.Sprint(i), Thunk: id, Output: "out"})
	}
	return e
}

// Who is to fetch a large object is told who else does; a small one comes from its holders.
func TestThoseWhoFetchTheSameAreTold(t *testing.T) {
	for _, c := range []struct {
		size uint64
		want []int
	}{{1 << 30, []int{0, 1, 2}}, {1 << 20, []int{0, 0, 0}}} {
		b, holder := newBare(t), wire.PeerID{1}
		in := leaf("leaf")
		in.Size = c.size
		events := []Event{up(holder, 0), holds(holder, true, testRoot, in)}
		for i := range 3 {
			p := wire.PeerID{2, byte(i)}
			events = append(events, up(p, 1), holds(p, true, testRoot), LinkRate{From: holder, To: p, BytesPerSec: 10 << 30})
		}
		b.step(events...)
		offers := pick[Offer](b.step(sharing(t, 3, in)))
		if len(offers) != 3 {
			t.Fatalf("%d offers, want 3", len(offers))
		}
		told := map[wire.PeerID]bool{}
		for i, o := range offers {
			h := o.Offer.Holders[0]
			if len(h.Coming) != c.want[i] || len(h.Peers) != 1 || h.Peers[0] != holder {
				t.Errorf("of %d bytes: offer %d has %d that fetch it, want %d, and holders %v", c.size, i, len(h.Coming), c.want[i], h.Peers)
			}
			for _, p := range h.Coming {
				if !told[p] {
					t.Errorf("%s is said to fetch it", p)
				}
			}
			told[o.Node] = true
		}
	}
}

// Of two nodes with equal rates the one that is near gets what needs an object fetched.
func TestRoundTripsCount(t *testing.T) {
	b, holder := newBare(t), wire.PeerID{1}
	in := leaf("leaf~1")
	far, near := wire.PeerID{2}, wire.PeerID{3}
	b.step(up(holder, 0), holds(holder, true, testRoot, in),
		up(far, 1), holds(far, true, testRoot), LinkRate{From: holder, To: far, BytesPerSec: 10 << 20, RTT: 200 * time.Millisecond},
		up(near, 1), holds(near, true, testRoot), LinkRate{From: holder, To: near, BytesPerSec: 10 << 20, RTT: time.Millisecond})
	offers := pick[Offer](b.step(sharing(t, 1, in)))
	if len(offers) != 1 || offers[0].Node != near {
		t.Errorf("offers %+v, want one to the near node", offers)
	}
}

// What is kept of links is bounded, whatever nodes report.
func TestLinksAreBounded(t *testing.T) {
	const nodes = 520 // more pairs than maxLinks
	s := New(Config{})
	at := func(i int) wire.PeerID { return wire.PeerID{1, byte(i), byte(i >> 8)} }
	var events []Event
	for i := range nodes {
		events = append(events, up(at(i), 1))
	}
	s.Step(time.Second, time.Unix(1, 0), append([]Event{EpochBegan{Epoch: 1}}, events...))
	for i := range nodes {
		events = events[:0]
		for j := range nodes {
			events = append(events, LinkRate{From: at(i), To: at(j), BytesPerSec: 1 << 20})
		}
		s.Step(time.Second, time.Unix(1, 0), events)
		if len(s.links) > maxLinks {
			t.Fatalf("%d links are kept, want %d at most", len(s.links), maxLinks)
		}
	}
	if len(s.links) < maxLinks-2*nodes {
		t.Errorf("%d links are kept, want about %d", len(s.links), maxLinks)
	}
}
