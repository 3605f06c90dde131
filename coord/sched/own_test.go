package sched

import (
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

func TestOwnOnlyNodesRunNothingOfOthers(t *testing.T) {
	w, client := small(t, 0)
	own := func(name string, tenants ...wire.Space) *simNode {
		n := w.addNode(name, 2)
		n.hello.OwnOnly, n.tenants = true, tenants
		n.disconnect()
		n.connect()
		n.beat()
		return n
	}
	bare, other := own("bare"), own("other", "u")
	p := makePlan(t, "a -> src; b -> a")
	waiting := w.submit(1, client, p, nil, "b")
	w.run(10*time.Second, nil)
	if n := w.offers[bare.peer] + w.offers[other.peer]; n != 0 {
		t.Errorf("%d offers to nodes of others", n)
	}
	const why = "waiting for a node that can bound the memory of tasks, or belongs to t"
	if st := w.s.Tasks(waiting, "a")[0]; st.Waiting != why {
		t.Errorf("task waits for %q, want %q", st.Waiting, why)
	}
	w.run(time.Minute, w.ended(waiting))
	f := w.done[waiting].Failures[0].Failure
	if f.Cause != wire.CauseNoPlatform || !strings.Contains(f.Hint, "node --unbounded") {
		t.Errorf("after a while: %+v", f)
	}

	mine := own("mine", "u", "t")
	id := w.submit(2, client, p, nil, "b")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "b")
	if w.offers[mine.peer] != 2 {
		t.Errorf("the node of the tenant got %d offers, want 2", w.offers[mine.peer])
	}
	for _, n := range w.s.Nodes() {
		if n.OwnOnly != (n.Slots > 0) {
			t.Errorf("node %s is shown as for its own tenants only: %v", n.Info.Name, n.OwnOnly)
		}
	}
}

// TestOwnOnlyRunsBuiltins: what a worker does itself takes no memory of anybody.
func TestOwnOnlyRunsBuiltins(t *testing.T) {
	w, client := small(t, 0)
	n := w.addNode("bare", 1)
	n.hello.OwnOnly = true
	n.disconnect()
	n.connect()
	n.beat()
	p := new(plan)
	src := wire.Object{Kind: wire.Dir, Digest: leaf("src").Digest, Size: 1000}
	p.leaves = []wire.Object{src}
	p.ids = map[string]wire.ThunkID{"pick": p.add(t, "pick", wire.Thunk{Command: []string{wire.BuiltinSelect, "x"}, Platform: "linux/amd64",
		Inputs: []wire.Input{{Path: "in", Object: src}}, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}, wire.Hints{})}
	id := w.submit(1, client, p, nil, "pick")
	if !w.run(time.Minute, w.ended(id)) || len(w.done[id].Failures) > 0 {
		t.Errorf("job = %+v", w.done[id])
	}
}
