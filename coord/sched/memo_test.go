package sched

import (
	"testing"
	"time"

	"gaggle/wire"
)

// TestWithdrawIsOwedToASilentNode: the connection of a node that was killed has not ended yet; what it is
// told then it is told again when it comes back.
func TestWithdrawIsOwedToASilentNode(t *testing.T) {
	w, client := small(t, 3)
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, nil, "a")
	w.run(time.Minute, w.ended(id))
	var holder *simNode
	for _, n := range w.nodes[1:] {
		if len(w.first) > 0 {
			for _, f := range w.first {
				if f[0] == n.hello.Name {
					holder = n
				}
			}
		}
	}
	// killed: no NodeGone, silent
	holder.up = false
	holder.life++
	w.run(5*time.Second, nil)
	st := w.stateOf(holder.hello.Name)
	o := w.done[id].Targets[0].Held.Object
	var k key
	for r := memoRef(1); r < w.s.memos.next; r++ {
		k = w.s.memos.at(r).key
	}
	w.s.withdraw(&k, []wire.Object{o})
	n := w.s.nodes[w.s.nodeOf[holder.peer]]
	t.Logf("node is %s, owed=%d", st, len(n.owed))
	if len(n.owed) == 0 {
		t.Error("nothing is owed to a suspect node")
	}
}
