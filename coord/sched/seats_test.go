package sched

import (
	"testing"
	"time"
)

// TestGangOnTrial: a gang takes a node on trial rather than none.
func TestGangOnTrial(t *testing.T) {
	w, client := small(t, 2)
	w.step(Quarantined{Peer: w.nodes[1].peer, Reason: "3 tasks failed on it"})
	p := gangPlan(t, 4, false)
	id := w.submit(1, client, p, nil, "a")
	w.run(20*time.Minute, w.ended(id))
	d := w.done[id]
	if d == nil {
		t.Fatal("never ends")
	}
	t.Logf("%+v", d.Failures)
	w.wantValues(id, p, "a")
}
