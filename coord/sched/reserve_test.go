package sched

import (
	"testing"

	"gaggle/wire"
)

// TestWhatIsLostTwiceIsReserved: a node's store drops a value again and again before it is used. The
// third time the node is told to keep it, until it was used.
func TestWhatIsLostTwiceIsReserved(t *testing.T) {
	b := newBare(t)
	c, n := wire.PeerID{1}, wire.PeerID{2}
	p := makePlan(t, "a -> src; b -> a")
	p.tasks[0].Hints.Priority = 1 // so that b is no continuation of it
	b.step(up(c, 0), up(n, 1), holds(c, true, p.leaves...), holds(n, true, p.leaves...))
	acts := b.step(Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t", Client: c, Tasks: p.tasks, Targets: p.target("b")})
	var value wire.Object // of a
	var pins, unpins, losses int
	for range 1000 {
		for _, a := range pick[Pin](acts) {
			if a.Pin.Object == value {
				pins++
			}
		}
		unpins += len(pick[Unpin](acts))
		var answers []Event
		for _, a := range pick[Offer](acts) {
			o := a.Offer
			th := decoded(t, o.Thunk)
			id, _ := th.Encode()
			outs := compute(th)
			switch {
			case o.Name == "a":
				value = outs[0]
				answers = append(answers, holds(n, true, value), result(n, o.Lease, id, value))
			case pins == 0:
				losses++
				answers = append(answers, Lost{Peer: n, Space: "t", Digests: []wire.Digest{value.Digest}},
					AttemptFailed{n, wire.Attempt{Lease: o.Lease, Space: "t", Thunk: id, Failure: wire.Failure{Cause: wire.CauseFetch, Message: "trimmed"}}})
			default:
				if unpins > 0 {
					t.Error("it is let go before it is used")
				}
				answers = append(answers, result(n, o.Lease, id, outs...))
			}
		}
		if acts = b.step(append(answers, Beat{Peer: n})...); unpins > 0 {
			break
		}
	}
	if losses != reserveAfter || pins != 1 || unpins != 1 {
		t.Errorf("lost %d times, pinned %d times and let go %d times, want %d, 1 and 1", losses, pins, unpins, reserveAfter)
	}
}
