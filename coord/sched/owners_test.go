package sched

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// TestTrustOwners: a value counts once nodes of so many owners gave it, and what they claim is known
// to the next job, also after a restart.
func TestTrustOwners(t *testing.T) {
	for k := wire.Trust(2); k <= 3; k++ {
		w, client := owners(t, "anna", "bert", "bert", "carl")
		p := makePlan(t, "a -> src; b -> a; fib:4 -> src; c -> a b fib")
		id := w.submit(1, client, p, trusting(k), "c")
		w.run(5*time.Minute, w.ended(id))
		w.wantValues(id, p, "c")
		for th, names := range w.gave() {
			if len(names) != int(k) {
				t.Errorf("%d owners: thunk %s ran on %v", k, th, names)
			}
		}
		if c := w.done[id].Counts; c.Ran != c.Tasks || c.Verified != c.Tasks {
			t.Errorf("%d owners: counts = %+v, want all run and verified", k, c)
		}
		w.restart()
		w.run(20*time.Second, nil)
		for job, trust := range []wire.Trust{k, 2, wire.TrustAny, wire.TrustOwn} {
			again := w.submit(byte(2+job), client, p, trusting(trust), "c")
			w.run(time.Minute, w.ended(again))
			if c := w.done[again].Counts; k == 3 && trust != wire.TrustOwn && c.Memo != c.Tasks {
				t.Errorf("%s after %d owners: counts = %+v, want all of the memo", trust, k, c)
			}
		}
		w.wantIdle()
	}
}

// TestTrustOwnersGoOnFromOne: what a job that believes anybody left in the memo, or has in flight, is
// one claim of those that are wanted.
func TestTrustOwnersGoOnFromOne(t *testing.T) {
	w, client := owners(t, "anna", "bert", "carl")
	w.s.signs = true // as since an earlier job that wanted to be shown
	p := makePlan(t, "a -> src; b -> a")
	w.submit(1, client, p, nil, "a")
	w.run(time.Minute, nil)
	if n := w.ran[p.ids["a"]]; n != 1 {
		t.Fatalf("a ran %d times for the first job", n)
	}
	any := w.submit(2, client, p, nil, "b")
	id := w.submit(3, client, p, trusting(2), "b")
	w.run(time.Minute, w.ended(any, id))
	w.wantValues(id, p, "b")
	for th, names := range w.gave() {
		if len(names) != 2 || w.ownerOf(names[0]) == w.ownerOf(names[1]) {
			t.Errorf("thunk %s ran on %v, want two owners' nodes", th, names)
		}
	}
	if c := w.done[any].Counts; c.Verified != 0 {
		t.Errorf("the job that believes anybody has counts %+v", c)
	}
	w.wantIdle()
}

// TestTrustOwnersHoldsDependentsBack: nothing is made of a value before it is believed.
func TestTrustOwnersHoldsDependentsBack(t *testing.T) {
	w, client := owners(t, "anna", "anna", "bert")
	away := w.nodes[3]
	away.disconnect()
	p := makePlan(t, "a -> src; b -> a")
	id := w.submit(1, client, p, trusting(2), "b")
	w.run(15*time.Second, nil)
	const why = "waiting for a node of another owner: the job believes what 2 owners' nodes give alike, so far 1 did"
	if st := w.s.Tasks(id, "a")[0]; st.Waiting != why || st.State != wire.StateReady {
		t.Errorf("task is %s and waits for %q, want %q", st.State, st.Waiting, why)
	}
	if st := w.s.Tasks(id, "b")[0]; st.State != wire.StateBlocked {
		t.Errorf("what needs it is %s", st.State)
	}
	away.connect()
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "b")
	w.wantIdle()
}

// TestTrustOwnersTooFew: a mesh of fewer owners cannot do it, and says so.
func TestTrustOwnersTooFew(t *testing.T) {
	w, client := owners(t, "anna", "bert", "bert", "bert")
	p := makePlan(t, "a -> src; b -> a")
	id := w.submit(1, client, p, trusting(3), "b")
	w.run(5*time.Minute, w.ended(id))
	f := w.done[id].Failures[0].Failure
	if f.Cause != wire.CauseNoPlatform || !strings.Contains(f.Message, "nodes of 3 owners") || !strings.Contains(f.Message, "those of") || !strings.Contains(f.Hint, "coord ticket --owner") {
		t.Errorf("failure = %+v", f)
	}
	w.wantIdle()
}

// TestTrustOwnersJudge: a node that gives another value than those of other owners is found out, and
// the job ends with theirs; where nobody is left to judge it fails.
func TestTrustOwnersJudge(t *testing.T) {
	for liar := 1; liar <= 4; liar++ {
		w, client := owners(t, "anna", "bert", "carl", "dora")
		w.nodes[liar].lies = true
		text, names := independent(12)
		p := makePlan(t, text+"; all -> t0 t1 t2 t3; fib:3 -> t4 t5")
		names = append(names, "all", "fib")
		id := w.submit(1, client, p, func(s *Submitted) { trusting(2)(s); s.KeepGoing = true }, names...)
		w.run(20*time.Minute, w.ended(id))
		w.wantValues(id, p, names...)
		if name := w.nodes[liar].hello.Name; w.stateOf(name) != "quarantined" {
			t.Errorf("%s is %s", name, w.stateOf(name))
		}
		w.wantIdle()
	}
	w, client := owners(t, "anna", "bert")
	w.nodes[1].lies = true
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, trusting(2), "a")
	w.run(20*time.Minute, w.ended(id))
	if f := w.done[id].Failures; len(f) != 1 || f[0].Failure.Cause != wire.CauseNondeterministic {
		t.Errorf("without a judge: %+v", w.done[id])
	}
}

// TestTrustOwnersOfGang: its members are run once.
func TestTrustOwnersOfGang(t *testing.T) {
	w, client := owners(t, "anna", "bert")
	p := makePlan(t, "pa -> src; pb -> src2")
	id := w.submit(1, client, p, func(s *Submitted) { trusting(2)(s); pair(w.rng, false, s.Tasks) }, "pa", "pb")
	if d := w.done[id]; d == nil || d.Error == nil || !strings.Contains(d.Error.Message, "gang") {
		t.Errorf("done: %+v", d)
	}
}

// TestTrustOwnersLoses: a value of which a claim turns out to be a liar's needs another.
func TestTrustOwnersLoses(t *testing.T) {
	w, client := owners(t, "anna", "bert", "carl", "carl")
	p := makePlan(t, "a -> src; slow -> other; b -> a slow")
	w.runs = func(name string) time.Duration {
		if name == "slow" {
			return 2 * time.Minute
		}
		return time.Second
	}
	id := w.submit(1, client, p, trusting(2), "b")
	w.run(20*time.Second, nil)
	names := w.gave()[p.ids["a"]]
	if len(names) != 2 {
		t.Fatalf("a ran on %v", names)
	}
	i := slices.IndexFunc(w.nodes, func(n *simNode) bool { return n.hello.Name == names[0] })
	w.step(Quarantined{Peer: w.nodes[i].peer, Reason: "it gave wrong values", Lied: true})
	w.run(20*time.Minute, w.ended(id))
	w.wantValues(id, p, "b")
	honest := map[string]bool{}
	for _, n := range w.gave()[p.ids["a"]] {
		if n != names[0] {
			honest[w.ownerOf(n)] = true
		}
	}
	if len(honest) < 2 {
		t.Errorf("a ran on %v, want nodes of two owners beside %s", w.gave()[p.ids["a"]], names[0])
	}
	w.wantIdle()
}

// TestTrustOwnersCountsNoLiar: whoever is found to lie while further owners are asked is not one of
// those that gave the value.
func TestTrustOwnersCountsNoLiar(t *testing.T) {
	w, client := owners(t, "anna", "bert", "carl")
	liar := w.nodes[1]
	for _, n := range w.nodes[2:] {
		w.step(Quarantined{Peer: n.peer, Reason: "away", ByHand: true})
	}
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, trusting(2), "a")
	w.run(10*time.Second, nil)
	w.runs = func(string) time.Duration { return 20 * time.Second }
	for _, n := range w.nodes[2:] {
		w.step(Quarantined{Peer: n.peer, Over: true})
	}
	w.run(5*time.Second, nil) // bert's or carl's runs it now
	w.step(Quarantined{Peer: liar.peer, Reason: "it gave wrong values", Lied: true})
	w.run(5*time.Minute, w.ended(id))
	w.wantValues(id, p, "a")
	for th, names := range w.gave() {
		names = slices.DeleteFunc(names, func(n string) bool { return n == liar.hello.Name })
		if len(names) < 2 {
			t.Errorf("thunk %s: beside the liar only %v gave its value", th, names)
		}
	}
	w.wantIdle()
}
