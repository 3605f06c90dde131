package sched

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// owners makes a world of nodes that belong to so many people each.
func owners(t *testing.T, names ...string) (w *world, client *simNode) {
	w, client = small(t, 0)
	for i, o := range names {
		n := w.addNode("node"+string(rune('1'+i)), 2)
		n.owner = o
		n.disconnect()
		n.connect()
		n.beat()
	}
	return w, client
}

func verify(percent int) func(*Submitted) {
	return func(s *Submitted) { s.Verify = percent }
}

func (w *world) ownerOf(name string) string {
	i := slices.IndexFunc(w.nodes, func(n *simNode) bool { return n.hello.Name == name })
	return w.nodes[i].owner
}

func (w *world) told(text string) bool {
	return slices.ContainsFunc(w.notes, func(n wire.Notice) bool { return strings.Contains(n.Note, text) })
}

// TestVerifySample: about the share that was asked for runs again, at other owners' nodes, and the
// memo's values are no exception.
func TestVerifySample(t *testing.T) {
	w, client := owners(t, "anna", "anna", "bert", "bert")
	text, names := independent(100)
	p := makePlan(t, text)
	for i, percent := range []int{0, 30, 100} {
		w.repeated = map[wire.ThunkID][]string{}
		id := w.submit(byte(1+i), client, p, verify(percent), names...)
		w.run(5*time.Minute, w.ended(id))
		w.wantValues(id, p, names...)
		if n := len(w.repeated); n < percent*6/10 || n > percent*3/2 || n != w.done[id].Counts.Verified {
			t.Errorf("%d%%: %d of 100 ran again, %d count as verified", percent, n, w.done[id].Counts.Verified)
		}
		for id, again := range w.repeated {
			if a, b := w.ownerOf(w.first[id][0]), w.ownerOf(again[0]); a == b {
				t.Errorf("both runs of %s were on nodes of %s", id, a)
			}
		}
	}
}

// TestVerifyFindsLiars, be it the first or the second that lies: it is named and shut out, and what
// jobs under way took from it is made again.
func TestVerifyFindsLiars(t *testing.T) {
	for liar := 1; liar <= 4; liar++ {
		w, client := owners(t, "anna", "bert", "carl", "carl")
		w.nodes[liar].lies = true
		text, names := independent(40)
		text += "; all -> t0 t1 t2 t3 t4 t5 t6 t7 t8 t9"
		names = append(names, "all")
		p := makePlan(t, text)
		id := w.submit(1, client, p, verify(30), names...)
		w.run(10*time.Minute, w.ended(id))
		w.wantValues(id, p, names...)
		name := w.nodes[liar].hello.Name
		if w.stateOf(name) != "quarantined" || !w.told(name+" is quarantined: it gave a value of task") {
			t.Errorf("%s is %s: %v", name, w.stateOf(name), w.notes)
		}
		for _, n := range w.s.Nodes() {
			if n.Info.Name != name && n.Quarantine != "" {
				t.Errorf("%s is quarantined, %s lied: %s", n.Info.Name, name, n.Quarantine)
			}
		}
		w.run(5*probation, nil)
		if w.stateOf(name) != "quarantined" {
			t.Errorf("%s is %s after some minutes", name, w.stateOf(name))
		}
	}
}

// TestVerifyTellsChance: a thunk that gives another value each time is to blame, not the nodes.
func TestVerifyTellsChance(t *testing.T) {
	w, client := owners(t, "anna", "bert", "carl", "dora")
	w.bad = func(*wire.Thunk) *wire.Failure { return nil } // values may change
	w.value = func(w *world, th *wire.Thunk) []wire.Object {
		outs := compute(th)
		outs[0].Digest = wire.Sum(append(outs[0].Digest[:], byte(w.rng.IntN(256))))
		return outs
	}
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, verify(100), "a")
	w.run(10*time.Minute, w.ended(id))
	d := w.done[id]
	if len(d.Failures) != 1 || d.Failures[0].Failure.Cause != wire.CauseNondeterministic || !strings.Contains(d.Failures[0].Failure.Message, "yet another value") {
		t.Errorf("done: %+v", d)
	}
	for _, n := range w.s.Nodes() {
		if n.Quarantine != "" {
			t.Errorf("%s is quarantined: %s", n.Info.Name, n.Quarantine)
		}
	}
}

// TestVerifyNeedsAJudge: of two nodes that differ nobody can say which one is right.
func TestVerifyNeedsAJudge(t *testing.T) {
	w, client := owners(t, "anna", "bert")
	w.nodes[1].lies = true
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, verify(100), "a")
	w.run(10*time.Minute, w.ended(id))
	if d := w.done[id]; len(d.Failures) != 1 || !strings.Contains(d.Failures[0].Failure.Message, "no third node") {
		t.Errorf("done: %+v", d)
	}
	if w.stateOf("node1") != "up" || w.stateOf("node2") != "up" {
		t.Errorf("node1 is %s, node2 %s", w.stateOf("node1"), w.stateOf("node2"))
	}
}

// TestVerifyOneOwner: the second run is at least on another node.
func TestVerifyOneOwner(t *testing.T) {
	w, client := small(t, 2)
	text, names := independent(10)
	p := makePlan(t, text)
	id := w.submit(1, client, p, verify(100), names...)
	w.run(10*time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	for id, again := range w.repeated {
		if w.first[id][0] == again[0] {
			t.Errorf("both runs of %s were on %s", id, again[0])
		}
	}
	if len(w.repeated) != 10 {
		t.Errorf("%d of 10 ran again", len(w.repeated))
	}
}

// TestVerifyDoubledMemory: a task that needed twice its memory needs that when it is verified.
func TestVerifyDoubledMemory(t *testing.T) {
	w, client := owners(t, "anna", "bert", "carl")
	p := makePlan(t, "a -> src")
	w.bad = nil
	// fails unless it got at least 1.5x of the default
	def := wire.Hints{}.Memory()
	_ = def
	mem := map[string]int64{}
	orig := w.runs
	_ = orig
	for _, n := range w.nodes[1:] {
		n.bad = func(th *wire.Thunk) *wire.Failure {
			var limit int64
			for _, l := range n.leases {
				limit = max(limit, l.offer.Hints.MemBytes)
			}
			mem[n.hello.Name] = limit
			if limit < def*3/2 {
				return &wire.Failure{Cause: wire.CauseMemory, Message: "out of memory"}
			}
			return nil
		}
	}
	a := w.submit(1, client, p, nil, "a")
	w.run(5*time.Minute, w.ended(a))
	t.Logf("without verify: %+v", w.done[a].Failures)
	p = makePlan(t, "a -> src2")
	id := w.submit(2, client, p, verify(100), "a")
	w.run(10*time.Minute, w.ended(id))
	if d := w.done[id]; d == nil || len(d.Failures) > 0 {
		t.Errorf("with verify: %+v", d)
	}
}

// TestVerifyFindsTheOtherOwner: among many nodes of one owner the only one of another is found.
func TestVerifyFindsTheOtherOwner(t *testing.T) {
	var names []string
	for range 60 {
		names = append(names, "anna")
	}
	names = append(names, "bert")
	w, client := small(t, 0)
	w.calm = true
	for i, o := range names {
		n := w.addNode(fmt.Sprint("node", i+1), 2)
		n.owner = o
		n.disconnect()
		n.connect()
		n.beat()
	}
	text, ts := independent(20)
	p := makePlan(t, text)
	id := w.submit(1, client, p, verify(100), ts...)
	w.run(5*time.Minute, w.ended(id))
	w.wantValues(id, p, ts...)
	same := 0
	for id, again := range w.repeated {
		if w.ownerOf(w.first[id][0]) == w.ownerOf(again[0]) {
			same++
		}
	}
	t.Logf("%d of %d verified by the same owner", same, len(w.repeated))
	if same > 0 {
		t.Error("same owner")
	}
}

// TestVerifyJudgesAreApart: two nodes of one owner that lie alike do not convict a third.
func TestVerifyJudgesAreApart(t *testing.T) {
	w, client := owners(t, "evil", "evil", "good")
	for _, n := range w.nodes[1:3] {
		n.lies, n.lieAs = true, "evil"
	}
	text, names := independent(20)
	p := makePlan(t, text)
	id := w.submit(1, client, p, verify(100), names...)
	w.run(10*time.Minute, w.ended(id))
	for _, n := range w.s.Nodes() {
		t.Log(n.Info.Name, n.Owner, n.State, n.Quarantine)
	}
	if w.stateOf("node3") == "quarantined" {
		t.Error("the honest node was convicted by the liars' owner")
	}
}
