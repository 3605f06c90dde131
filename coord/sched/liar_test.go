package sched

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// TestVerifyBuiltins: nodes carry out builtins, too, and can lie in them.
func TestVerifyBuiltins(t *testing.T) {
	w, client := owners(t, "anna", "bert", "carl", "dora")
	liar := w.nodes[1]
	p := makePlan(t, "a -> src")
	x := wire.Thunk{Command: []string{"gaggle:select", "sub"}, Platform: "linux/amd64", ABI: 1, Inputs: []wire.Input{{Path: "in", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(p.ids["a"])}, Output: "out"}},
		Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}
	p.ids["sel"] = p.add(t, "sel", x, wire.Hints{})
	liar.liesBuiltin = true
	bad := 0
	for i := range 6 {
		_ = i
		p := makePlan(t, fmt.Sprintf("a -> src%d", i))
		x.Inputs = []wire.Input{{Path: "in", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(p.ids["a"])}, Output: "out"}}
		p.ids["sel"] = p.add(t, "sel", x, wire.Hints{})
		for _, n := range w.nodes[2:] { // work for the others, so that the liar is asked, too
			_ = n
		}
		id := w.submit(byte(1+i), client, p, verify(100), "sel")
		w.run(5*time.Minute, w.ended(id))
		e := newEvaluator()
		e.add(p.tasks)
		if w.done[id] == nil || len(w.done[id].Targets) == 0 {
			t.Logf("%+v", w.done[id])
			continue
		}
		if w.done[id].Targets[0].Held.Object != e.value(p.ids["sel"])[0] {
			bad++
		}
	}
	t.Logf("%d of 6 jobs got wrong values with --verify 100%%; liar is %s", bad, w.stateOf(liar.hello.Name))
	if bad > 0 {
		t.Error("undetected")
	}
}

// TestLiarsGraph: a sub-graph that a liar wrote cannot be taken back, so the task fails and says why.
func TestLiarsGraph(t *testing.T) {
	w, client := small(t, 3)
	liar := w.nodes[1]
	p := makePlan(t, "sub:1 -> src; slow -> other")
	w.step(Quarantined{Peer: w.nodes[2].peer, Reason: "away", ByHand: true}, Quarantined{Peer: w.nodes[3].peer, Reason: "away", ByHand: true})
	w.runs = func(n string) time.Duration {
		if n == "slow" {
			return time.Minute
		}
		return time.Second
	}
	id := w.submit(1, client, p, nil, "sub", "slow")
	w.run(20*time.Second, nil)
	before := len(w.first)
	w.step(Quarantined{Peer: w.nodes[2].peer, Over: true}, Quarantined{Peer: w.nodes[3].peer, Over: true}, Quarantined{Peer: liar.peer, Reason: "lied", Lied: true})
	w.run(30*time.Second, nil)
	for _, ts := range w.s.Tasks(id, "sub") {
		t.Logf("%s: %v runs %d", ts.Name, ts.State, w.ran[ts.Thunk])
	}
	_ = before
	if d := w.done[id]; d == nil || len(d.Failures) == 0 || !strings.Contains(d.Failures[0].Failure.Message, "wrote its sub-graph") {
		t.Errorf("sub, whose graph the liar wrote, stands: %+v", d)
	}
}

// TestLiarKeepsNoLease: nobody waits for what would not be believed.
func TestLiarKeepsNoLease(t *testing.T) {
	w, client := small(t, 3)
	liar := w.nodes[1]
	p := makePlan(t, "a -> src")
	w.step(Quarantined{Peer: w.nodes[2].peer, Reason: "away", ByHand: true}, Quarantined{Peer: w.nodes[3].peer, Reason: "away", ByHand: true})
	w.runs = func(string) time.Duration { return 1000 * time.Hour } // it never answers
	id := w.submit(1, client, p, nil, "a")
	w.run(time.Second, nil)
	w.runs = func(string) time.Duration { return time.Second }
	w.step(Quarantined{Peer: w.nodes[2].peer, Over: true}, Quarantined{Peer: w.nodes[3].peer, Over: true}, Quarantined{Peer: liar.peer, Reason: "lied", Lied: true})
	if !w.run(30*time.Minute, w.ended(id)) {
		t.Error("30 minutes after the conviction the job still waits for the liar")
	}
}

// TestLiarStaysOne: shutting a liar out by hand makes nothing of it believed.
func TestLiarStaysOne(t *testing.T) {
	w, _ := small(t, 2)
	liar := w.nodes[1]
	w.step(Quarantined{Peer: liar.peer, Reason: "it gave wrong values", Lied: true})
	w.step(Quarantined{Peer: liar.peer, Reason: "by hand", ByHand: true})
	for _, n := range w.s.Nodes() {
		if n.Info.Peer == liar.peer {
			t.Logf("lied=%v reason=%s believed=%v", n.Lied, n.Quarantine, w.s.believed(liar.peer))
			if !n.Lied {
				t.Error("the liar is no liar any more")
			}
		}
	}
}

// TestLiesStayForgotten: what a liar claimed is not believed either when it was let in again.
func TestLiesStayForgotten(t *testing.T) {
	w, client, liar, p := convicted(t)
	liar.lies = false // repaired
	w.step(Quarantined{Peer: liar.peer, Over: true})
	w.restart()
	w.run(20*time.Second, nil)
	id := w.submit(2, client, p, nil, "a")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "a")
}

// TestLiesOfTheMemo: a job takes back what it took from the memo by the word of a liar.
func TestLiesOfTheMemo(t *testing.T) {
	w, client := small(t, 3)
	liar := w.nodes[1]
	p := makePlan(t, "a -> src")
	w.step(Quarantined{Peer: w.nodes[2].peer, Reason: "away", ByHand: true}, Quarantined{Peer: w.nodes[3].peer, Reason: "away", ByHand: true})
	liar.lies = true
	id := w.submit(1, client, p, nil, "a")
	w.run(time.Minute, w.ended(id))
	w.step(Quarantined{Peer: w.nodes[2].peer, Over: true}, Quarantined{Peer: w.nodes[3].peer, Over: true})
	w.runs = func(string) time.Duration { return 30 * time.Second }
	p = makePlan(t, "a -> src; slow -> other")
	id = w.submit(2, client, p, nil, "a", "slow")
	w.run(5*time.Second, nil)
	w.step(Quarantined{Peer: liar.peer, Reason: "it gave wrong values", Lied: true})
	w.run(5*time.Minute, w.ended(id))
	w.wantValues(id, p, "a", "slow")
}

// convicted makes a world of two nodes of which one lied about the only task of a plan, in a job that
// has ended, and was found out.
func convicted(t *testing.T) (w *world, client, liar *simNode, p *plan) {
	w, client = small(t, 2)
	liar = w.nodes[1]
	p = makePlan(t, "a -> src")
	w.step(Quarantined{Peer: w.nodes[2].peer, Reason: "away", ByHand: true})
	liar.lies = true
	id := w.submit(1, client, p, nil, "a")
	w.run(time.Minute, w.ended(id))
	w.step(Quarantined{Peer: w.nodes[2].peer, Over: true}, Quarantined{Peer: liar.peer, Reason: "it gave wrong values", Lied: true})
	return w, client, liar, p
}

// TestLiarIsNotBelieved: nothing that a liar ever claimed is used again.
func TestLiarIsNotBelieved(t *testing.T) {
	w, client, _, p := convicted(t)
	for i := range 2 {
		id := w.submit(byte(2+i), client, p, nil, "a")
		w.run(time.Minute, w.ended(id))
		w.wantValues(id, p, "a")
		w.restart()
		w.run(20*time.Second, nil)
	}
}

// TestLiarsGraphOfTheMemo: that a liar wrote a sub-graph is known, too, of one that the memo had, and
// while its tasks still run.
func TestLiarsGraphOfTheMemo(t *testing.T) {
	for _, wait := range []time.Duration{time.Second, 20 * time.Second} {
		w, client := small(t, 3)
		liar := w.nodes[1]
		away := func(over bool) {
			for _, n := range w.nodes[2:] {
				w.step(Quarantined{Peer: n.peer, Reason: "away", ByHand: !over, Over: over})
			}
		}
		w.runs = func(n string) time.Duration {
			if n == "slow" {
				return time.Minute
			}
			return 5 * time.Second
		}
		away(false)
		p := makePlan(t, "sub:1 -> src; slow -> other")
		first := w.submit(1, client, p, nil, "sub")
		w.run(7*time.Second, nil) // the graph is there, what it comes to is not
		w.step(Cancelled{first})
		away(true)
		known := w.submit(2, client, p, nil, "sub", "slow")
		w.run(wait, nil)
		if st := w.s.Tasks(known, "sub")[0]; st.How != wire.HowMemo {
			t.Fatalf("sub is %s by %v", st.State, st.How)
		}
		w.step(Quarantined{Peer: liar.peer, Reason: "lied", Lied: true})
		w.run(2*time.Minute, w.ended(known))
		if d := w.done[known]; d == nil || len(d.Failures) == 0 || !strings.Contains(d.Failures[0].Failure.Message, "wrote its sub-graph") {
			t.Errorf("sub, whose graph the liar wrote, stands after %v: %+v", wait, d)
		}
	}
}

// twist has liars write a graph of their own making.
func (w *world) twist() {
	w.twisted = func(th *wire.Thunk) *wire.Thunk {
		other := *th
		other.Command = []string{"fib", "3"}
		return &other
	}
}

// TestLiarsGraphIsNotTakenForAnother: what the graph of a liar came to does not become of the graph
// that others write for the same thunk, be it before or after it was found out or after a restart.
func TestLiarsGraphIsNotTakenForAnother(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w, client := small(t, 3)
		w.twist()
		liar := w.nodes[1]
		liar.lies = true
		for _, n := range w.nodes[2:] {
			w.step(Quarantined{Peer: n.peer, Reason: "away", ByHand: true})
		}
		p := makePlan(t, "sub:1 -> src")
		id := w.submit(1, client, p, nil, "sub")
		w.run(time.Minute, w.ended(id))
		for _, n := range w.nodes[2:] {
			w.step(Quarantined{Peer: n.peer, Over: true})
		}
		w.step(Quarantined{Peer: liar.peer, Reason: "it gave wrong values", Lied: true})
		if restart {
			w.restart()
			w.run(20*time.Second, nil)
		}
		id = w.submit(2, client, p, nil, "sub")
		w.run(time.Minute, w.ended(id))
		w.wantValues(id, p, "sub")
	}
}
