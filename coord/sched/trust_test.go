package sched

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// trusting has a job believe as t says, submitted by a machine of anna.
func trusting(t wire.Trust) func(*Submitted) {
	return func(s *Submitted) { s.Trust, s.Owner = t, "anna" }
}

// TestTrustOwnRunsOnOwnNodes: nothing of the job is placed elsewhere, sub-graphs included, and what
// others claimed is made again.
func TestTrustOwnRunsOnOwnNodes(t *testing.T) {
	w, client := owners(t, "bert", "anna", "carl")
	p := makePlan(t, "a -> src; b -> a; fib:4 -> src; c -> a b fib; d -> src; e -> d c")
	first := w.submit(1, client, p, nil, "e")
	w.run(time.Minute, w.ended(first))
	before := w.gave()
	id := w.submit(2, client, p, trusting(wire.TrustOwn), "e")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "e")
	for th, names := range w.gave() {
		for _, n := range names[len(before[th]):] {
			if w.ownerOf(n) != "anna" {
				t.Errorf("thunk %s ran on %s, of %s", th, n, w.ownerOf(n))
			}
		}
		if !slices.ContainsFunc(names, func(n string) bool { return w.ownerOf(n) == "anna" }) {
			t.Errorf("no node of anna ran thunk %s, only %v", th, names)
		}
	}
	// Now all of it is claimed by an own node, also after a restart.
	for job := byte(3); job < 5; job++ {
		again := w.submit(job, client, p, trusting(wire.TrustOwn), "e")
		w.run(time.Minute, w.ended(again))
		if c := w.done[again].Counts; c.Memo+c.Shared != c.Tasks {
			t.Errorf("counts = %+v, want all known", c)
		}
		w.restart()
		w.run(20*time.Second, nil)
	}
	w.wantIdle()
}

// TestTrustAsksForSignatures: what nodes gave before anybody wanted to be shown whose it is serves
// such a job only once it was given again, signed, be it by the same node, and of a node that does not
// sign nothing serves it.
func TestTrustAsksForSignatures(t *testing.T) {
	for _, trust := range []wire.Trust{wire.TrustOwn, 2} {
		w, client := owners(t, "anna", "bert")
		p := makePlan(t, "a -> src; b -> a")
		first := w.submit(1, client, p, nil, "b")
		w.run(time.Minute, w.ended(first))
		if c := w.s.Claims("t", p.ids["a"]); len(c) != 0 {
			t.Fatalf("a claim is kept that nobody asked for: %+v", c)
		}
		second := w.submit(2, client, p, trusting(trust), "b")
		w.run(time.Minute, w.ended(second))
		w.wantValues(second, p, "b")
		if c := w.s.Claims("t", p.ids["a"]); len(c) != max(1, trust.Owners()) {
			t.Errorf("trust %s: %d claims are kept", trust, len(c))
		}
		w.wantIdle()
	}
	w, client := owners(t, "anna")
	w.nodes[1].old = true
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, trusting(wire.TrustOwn), "a")
	w.run(5*time.Minute, w.ended(id))
	if f := w.done[id].Failures; len(f) != 1 || f[0].Failure.Cause != wire.CauseVersion || f[0].Failure.Hint != "update gaggle on node1" {
		t.Errorf("of a node that signs nothing: %+v", f)
	}
	w.wantIdle()
}

// gave returns who gave values, by thunk.
func (w *world) gave() map[wire.ThunkID][]string {
	all := map[wire.ThunkID][]string{}
	for th, names := range w.first {
		all[th] = slices.Concat(names, w.repeated[th])
	}
	return all
}

// TestTrustOwnSharesNothingForeign: a run in flight at another owner's node does not serve the job,
// but one at an own node does, whoever asked for it.
func TestTrustOwnSharesNothingForeign(t *testing.T) {
	for _, owner := range []string{"anna", "bert"} {
		w, client := owners(t, owner)
		w.s.signs = true // as since an earlier job that wanted to be shown
		w.runs = func(string) time.Duration { return 30 * time.Second }
		p := makePlan(t, "a -> src")
		any := w.submit(1, client, p, nil, "a")
		w.run(5*time.Second, nil)
		w.runs = func(string) time.Duration { return 100 * time.Second }
		if owner == "bert" {
			n := w.addNode("mine", 2)
			n.owner = "anna"
			n.disconnect()
			n.connect()
			n.beat()
		}
		id := w.submit(2, client, p, trusting(wire.TrustOwn), "a")
		w.run(10*time.Minute, w.ended(any, id))
		w.wantValues(id, p, "a")
		began := w.now
		if want := 50 * time.Second; owner == "anna" && began > want {
			t.Errorf("the own node's value came to the job only at %v", began)
		}
		if owner == "bert" && !slices.Contains(w.first[p.ids["a"]], "mine") {
			t.Errorf("a ran on %v, want the own node among them", w.first[p.ids["a"]])
		}
		w.wantIdle()
	}
}

// TestTrustOwnWithoutOwnNode: the task says what it waits for, and fails after a while.
func TestTrustOwnWithoutOwnNode(t *testing.T) {
	w, client := owners(t, "bert", "carl")
	p := makePlan(t, "a -> src; b -> a")
	id := w.submit(1, client, p, trusting(wire.TrustOwn), "b")
	w.run(10*time.Second, nil)
	const why = "waiting for a node of anna: the job believes no other"
	if st := w.s.Tasks(id, "a")[0]; st.Waiting != why {
		t.Errorf("task waits for %q, want %q", st.Waiting, why)
	}
	w.run(time.Minute, w.ended(id))
	f := w.done[id].Failures[0].Failure
	if f.Cause != wire.CauseNoPlatform || !strings.Contains(f.Message, "believes nodes of anna only") {
		t.Errorf("after a while: %+v", f)
	}
	w.wantIdle()
}

// TestTrustOwnNodeChangesHands: what a node runs for its last owner is not believed from the next.
func TestTrustOwnNodeChangesHands(t *testing.T) {
	w, client := owners(t, "anna", "anna")
	w.runs = func(string) time.Duration { return 10 * time.Second }
	p := makePlan(t, "a -> src; b -> src2; c -> a b")
	id := w.submit(1, client, p, trusting(wire.TrustOwn), "c")
	w.run(5*time.Second, nil)
	n := w.nodes[1]
	n.owner = "bert"
	n.disconnect()
	n.connect()
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "c")
	for th, names := range w.first {
		if !slices.Contains(names, "node2") {
			t.Errorf("thunk %s ran on %v, want node2 among them", th, names)
		}
	}
	w.wantIdle()
}

// TestTrustOwnGang: the members of a gang are on own nodes, all of them or none, and a gang for which
// there are none fails.
func TestTrustOwnGang(t *testing.T) {
	for _, owner := range []string{"anna", "dora"} {
		w, client := owners(t, "bert", owner, "carl")
		p := makePlan(t, "pa -> src; pb -> src2")
		id := w.submit(1, client, p, func(s *Submitted) { trusting(wire.TrustOwn)(s); pair(w.rng, false, s.Tasks) }, "pa", "pb")
		w.run(10*time.Minute, w.ended(id))
		if owner == "anna" {
			w.wantValues(id, p, "pa", "pb")
		} else if f := w.done[id].Failures; len(f) == 0 || f[0].Failure.Cause != wire.CauseNoPlatform {
			t.Errorf("without an own node: %+v", f)
		}
		for th, names := range w.first {
			if slices.ContainsFunc(names, func(n string) bool { return w.ownerOf(n) != "anna" }) {
				t.Errorf("thunk %s ran on %v", th, names)
			}
		}
		w.wantIdle()
	}
}

// TestTrustAndContinuations: a chain of a job that believes own nodes goes on there without a round
// trip; where others have to confirm each link it does not.
func TestTrustAndContinuations(t *testing.T) {
	for _, trust := range []wire.Trust{wire.TrustOwn, 2} {
		w, client := owners(t, "bert", "anna")
		w.runs = func(string) time.Duration { return 20 * time.Millisecond }
		seen := 0
		for job := byte(1); job < 3; job++ { // the first shows how short they are
			p := makePlan(t, "a -> src"+string('0'+job)+"; b -> a; c -> b; d -> c")
			id := w.submit(job, client, p, trusting(trust), "d")
			for !w.ended(id)() {
				w.run(time.Millisecond, nil)
				for _, n := range w.s.nodes[1:] {
					for _, l := range n.leases {
						seen = max(seen, len(l.then))
					}
				}
			}
			w.wantValues(id, p, "d")
		}
		if (seen > 0) != (trust == wire.TrustOwn) {
			t.Errorf("trust %s: continuations of %d", trust, seen)
		}
		w.wantIdle()
	}
}

// TestTrustTogether: what is to be verified, or run twice, is so under a policy, too.
func TestTrustTogether(t *testing.T) {
	for _, c := range []struct {
		trust         wire.Trust
		twice         bool
		verify, times int // runs of each thunk
	}{{wire.TrustOwn, true, 0, 2}, {wire.TrustOwn, false, 100, 2}, {2, true, 0, 3}, {2, false, 100, 2}, {3, false, 100, 3}} {
		w, client := owners(t, "anna", "bert", "anna", "carl")
		p := makePlan(t, "a -> src; b -> a; fib:3 -> src; c -> b fib")
		id := w.submit(1, client, p, func(s *Submitted) { trusting(c.trust)(s); s.Twice, s.Verify = c.twice, c.verify }, "c")
		w.run(10*time.Minute, w.ended(id))
		w.wantValues(id, p, "c")
		for th, names := range w.gave() {
			var by []string
			for _, n := range names {
				if o := w.ownerOf(n); !slices.Contains(by, o) {
					by = append(by, o)
				}
			}
			if len(names) != c.times || c.trust == wire.TrustOwn && !slices.Equal(by, []string{"anna"}) || len(by) < c.trust.Owners() {
				t.Errorf("%+v: thunk %s ran on %v, of %v", c, th, names, by)
			}
		}
		w.wantIdle()
	}
}

// TestTrustOwnTakesNoForeignGraph: where an own node and another's write different graphs for a thunk,
// the job takes what the own one comes to, whether the other was expanded before or is there at once.
func TestTrustOwnTakesNoForeignGraph(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Minute} {
		w, client := owners(t, "bert", "anna")
		w.twist()
		w.nodes[1].lies = true
		w.step(Quarantined{Peer: w.nodes[2].peer, Reason: "away", ByHand: true})
		p := makePlan(t, "sub:1 -> src")
		w.submit(1, client, p, nil, "sub")
		w.run(wait, nil)
		w.step(Quarantined{Peer: w.nodes[2].peer, Over: true})
		id := w.submit(2, client, p, trusting(wire.TrustOwn), "sub")
		w.run(time.Minute, w.ended(id))
		w.wantValues(id, p, "sub")
	}
}

// TestTrustOwnNodeAwayForAMoment: runs that were queued for long do not fail the moment that the one
// node which may run them is lost: it has half a minute to come back.
func TestTrustOwnNodeAwayForAMoment(t *testing.T) {
	w, client := owners(t, "anna", "bert")
	mine := w.nodes[1]
	w.runs = func(string) time.Duration { return 5 * time.Second }
	text, names := independent(40)
	p := makePlan(t, text)
	id := w.submit(1, client, p, trusting(wire.TrustOwn), names...)
	w.run(40*time.Second, nil)
	if w.done[id] != nil {
		t.Fatalf("the job ended before the node is away: %+v", w.done[id])
	}
	mine.disconnect()
	w.run(lostAfter+10*time.Second, nil)
	mine.connect()
	mine.beat()
	w.run(10*time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	mine.disconnect() // for good: it fails in time
	p = makePlan(t, "late -> src")
	id = w.submit(2, client, p, trusting(wire.TrustOwn), "late")
	if !w.run(2*time.Minute, w.ended(id)) || w.done[id].Failures[0].Failure.Cause != wire.CauseNoPlatform {
		t.Errorf("with its only node away the job ends with %+v", w.done[id])
	}
}
