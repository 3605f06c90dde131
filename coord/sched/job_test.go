package sched

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

func TestAttachedJobWaitsForItsClient(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "a -> src; b -> a src2")
	w.runs = func(string) time.Duration { return 4 * time.Second }
	id := w.submit(1, client, p, nil, "b")
	w.run(time.Second, nil)
	client.disconnect()
	w.run(15*time.Second, nil)
	const why = "waiting for inputs on laptop"
	if j := w.s.Jobs()[0]; j.State != "waiting" || j.Waiting != why {
		t.Errorf("job is %s, waiting %q, want %q", j.State, j.Waiting, why)
	}
	if !slices.ContainsFunc(w.notes, func(n wire.Notice) bool { return n.Task == "" && n.Waiting == why }) {
		t.Error("nobody was told why the job waits")
	}
	w.run(5*time.Minute, nil) // it counts as lost by now
	if w.done[id] != nil {
		t.Fatalf("job ended: %+v", w.done[id])
	}
	client.connect()
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "b")
	if last := w.notes[len(w.notes)-1]; last.Task != "b" {
		t.Errorf("last notice %+v", last)
	}
}

// Who waits for an input is told when it waits no longer, though no node has room for it yet.
func TestEndOfAWaitIsTold(t *testing.T) {
	w, client := small(t, 1)
	w.runs = func(string) time.Duration { return time.Minute }
	busy := makePlan(t, "z -> src9")
	first := w.submit(1, client, busy, nil, "z")
	w.run(time.Second, nil)
	p := makePlan(t, "a -> src; b -> a src2")
	id := w.submit(2, client, p, nil, "b")
	client.disconnect()
	w.run(15*time.Second, nil)
	w.notes = nil
	client.connect()
	w.run(15*time.Second, nil)
	if w.done[first] != nil {
		t.Fatal("the node had room")
	}
	if !slices.ContainsFunc(w.notes, func(n wire.Notice) bool {
		return n.Task == "a" && n.Waiting == "" && n.State == wire.StateReady
	}) {
		t.Errorf("nobody was told that a waits for nothing but room: %+v", w.notes)
	}
	w.run(5*time.Minute, w.ended(id))
	w.wantValues(id, p, "b")
}

func TestInputsNobodyHasFail(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "a -> src")
	p.leaves = []wire.Object{testRoot}
	id := w.submit(1, client, p, nil, "a")
	w.run(20*time.Second, nil)
	if w.done[id] != nil {
		t.Fatalf("gave up at once: %+v", w.done[id])
	}
	w.run(time.Minute, w.ended(id))
	if d := w.done[id]; d == nil || len(d.Failures) != 1 || d.Failures[0].Failure.Cause != wire.CauseInputsGone {
		t.Errorf("job: %+v, want %s", d, wire.CauseInputsGone)
	}
}

func TestDetachedJob(t *testing.T) {
	for _, nodes := range []int{1, 2, 4} {
		w, client := small(t, nodes)
		p := makePlan(t, "a -> src; b -> a src2")
		id := w.submit(1, client, p, func(e *Submitted) { e.Detach = true }, "b")
		if w.accept[id] {
			t.Fatal("accepted before the inputs were copied")
		}
		w.run(time.Minute, func() bool { return w.accept[id] })
		if !w.accept[id] {
			t.Fatalf("%d nodes: not accepted", nodes)
		}
		for _, leaf := range p.leaves {
			copies := 0
			for _, n := range w.nodes[1:] {
				if n.durable[leaf.Digest] {
					copies++
				}
			}
			if copies < min(2, nodes) {
				t.Errorf("%d nodes: accepted with %d durable copies of an input", nodes, copies)
			}
		}
		client.crash(false)
		w.run(time.Minute, w.ended(id))
		w.wantValues(id, p, "b")
		if got := len(w.done[id].Targets[0].Held.Peers); got < min(2, nodes) {
			t.Errorf("%d nodes: the target is held by %d", nodes, got)
		}
	}
}

func TestDetachedJobNeedsAnotherMachine(t *testing.T) {
	w := newWorld(t, 1)
	own := w.addNode("laptop", 2)
	own.beat()
	p := makePlan(t, "a -> src")
	id := w.submit(1, own, p, func(e *Submitted) { e.Detach = true }, "a")
	w.run(time.Minute, w.ended(id))
	if d := w.done[id]; d == nil || d.Error == nil || d.Error.Cause != wire.CauseInvalid {
		t.Errorf("job: %+v, want it refused", d)
	}
	if w.accept[id] {
		t.Error("it was accepted")
	}
	w.wantIdle()
}

func TestTargetsStayPinnedUntilReleased(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, nil, "a")
	w.run(time.Minute, w.ended(id))
	if j := w.s.jobs.at(w.s.jobOf[id]); len(j.pins) != 1 {
		t.Fatalf("%d pins at the end, want 1", len(j.pins))
	}
	actions := w.s.Step(w.now, time.Unix(0, 0), []Event{Released{id}})
	if !slices.ContainsFunc(actions, func(a Action) bool { u, ok := a.(Unpin); return ok && u.Pin.Owner == id.String() }) {
		t.Errorf("released: %v, want an Unpin", actions)
	}
}

func TestRecovery(t *testing.T) {
	w, client := small(t, 2)
	w.runs = func(name string) time.Duration {
		if strings.HasPrefix(name, "long") {
			return 20 * time.Second
		}
		return time.Second
	}
	p := makePlan(t, "a -> src; b -> a; sub:2 -> b src; long1 -> b; long2 -> b; z -> long1 long2 sub")
	id := w.submit(1, client, p, nil, "z")
	w.run(8*time.Second, nil)
	w.restart()
	w.run(2*time.Minute, w.ended(id))
	w.wantValues(id, p, "z")
	for th, n := range w.ran {
		if n != 1 {
			t.Errorf("thunk %s ran %d times over a restart of the coordinator", th, n)
		}
	}
	again := w.submit(2, client, p, nil, "z")
	if d := w.done[again]; d == nil || d.Counts.Memo != d.Counts.Tasks {
		t.Errorf("the job again: %+v, want it all known", d)
	}
}

func TestRecoveryRecordsNothingTwice(t *testing.T) {
	w, client := small(t, 1)
	p := makePlan(t, "sub:1 -> src; b -> sub")
	id := w.submit(1, client, p, nil, "b")
	w.run(2500*time.Millisecond, nil)
	before := len(w.rows)
	w.begin()
	if len(w.rows) != before {
		t.Errorf("%d rows more after recovery", len(w.rows)-before)
	}
	for _, n := range w.nodes {
		n.connect()
	}
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "b")
}

func gangPlan(t *testing.T, size int, service bool) *plan {
	p := &plan{ids: map[string]wire.ThunkID{}, leaves: []wire.Object{testRoot}}
	for i := range size {
		name := string(rune('a' + i))
		p.ids[name] = p.add(t, name, wire.Thunk{Command: []string{name}, Root: wire.TreeID(testRoot.Digest), Platform: "linux/amd64", ABI: 1,
			Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}, wire.Hints{})
		p.tasks[i].Gang = &wire.Gang{Name: "g", Size: size, Service: service && i == 0}
	}
	return p
}

func TestGangStartsTogether(t *testing.T) {
	w, client := small(t, 2)
	filler := makePlan(t, "f1 -> src; f2 -> src; f3 -> src")
	other := w.submit(1, client, filler, nil, "f1", "f2", "f3")
	p := gangPlan(t, 4, false)
	id := w.submit(2, client, p, nil, "a", "b", "c", "d")
	var at []int64
	w.run(time.Minute, w.ended(id, other))
	for _, n := range w.notes {
		if n.State == wire.StateOffered && len(n.Task) == 1 {
			at = append(at, n.At)
		}
	}
	if len(at) != 4 || at[0] != at[3] {
		t.Errorf("members were offered at %v, want four at once", at)
	}
	w.wantValues(id, p, "a", "b", "c", "d")
	w.wantIdle()
}

func TestGangBeginsAgainWhenANodeIsLost(t *testing.T) {
	w, client := small(t, 3)
	w.runs = func(string) time.Duration { return 20 * time.Second }
	p := gangPlan(t, 4, false)
	id := w.submit(1, client, p, nil, "a")
	w.run(2*time.Second, nil)
	for _, n := range w.nodes[1:] {
		if len(n.leases) > 0 {
			n.crash(false)
			break
		}
	}
	w.run(5*time.Minute, w.ended(id))
	w.wantValues(id, p, "a")
	offers := 0
	for _, n := range w.offers {
		offers += n
	}
	if offers != 8 {
		t.Errorf("%d offers, want 4 for each of two generations", offers)
	}
}

// TestGangOutputLost: when what a member gave is lost the whole gang runs again, for its members saw
// each other.
func TestGangOutputLost(t *testing.T) {
	w, client := small(t, 2)
	p := gangPlan(t, 2, false)
	id := w.submit(1, client, p, nil, "a", "b")
	slow := makePlan(t, "slow -> src")
	w.runs = func(name string) time.Duration { return time.Second }
	w.run(1500*time.Millisecond, nil)
	lost := w.s.tasks.at(w.s.jobs.at(w.s.jobOf[id]).tasks[0]).outs()
	if len(lost) == 0 {
		w.run(time.Second, nil)
		lost = w.s.tasks.at(w.s.jobs.at(w.s.jobOf[id]).tasks[0]).outs()
	}
	other := w.submit(2, client, slow, nil, "slow")
	w.dropEverywhere(lost[0].Digest)
	w.run(time.Minute, w.ended(id, other))
	w.run(10*time.Second, nil)
	w.wantValues(id, p, "a", "b")
	for name, th := range p.ids {
		if w.ran[th] != 2 {
			t.Errorf("%s ran %d times, want twice", name, w.ran[th])
		}
	}
	if len(w.s.gangs) != 0 {
		t.Errorf("%d gangs are left", len(w.s.gangs))
	}
}

// TestWideGangIsRefused: a gang whose tasks ask for more cores than there are is refused, and does not
// keep the mesh waiting until then.
func TestWideGangIsRefused(t *testing.T) {
	w, client := small(t, 1)
	p := gangPlan(t, 2, false)
	id := w.submit(1, client, p, func(s *Submitted) {
		for k := range s.Tasks {
			s.Tasks[k].Hints.MilliCPU = 2000
		}
	}, "a", "b")
	text, names := independent(10)
	q := makePlan(t, text)
	w.run(10*time.Second, nil)
	other := w.submit(2, client, q, nil, names...)
	w.run(15*time.Second, w.ended(other))
	w.wantValues(other, q, names...)
	w.run(time.Minute, w.ended(id))
	if d := w.done[id]; d == nil || len(d.Failures) != 1 || d.Failures[0].Failure.Cause != wire.CauseTooLarge {
		t.Errorf("done: %+v, want the gang refused as too large", d)
	}
}

func TestServiceEndsWithItsGang(t *testing.T) {
	w, client := small(t, 2)
	w.runs = func(name string) time.Duration {
		if name == "a" {
			return time.Hour
		}
		return time.Second
	}
	p := gangPlan(t, 3, true)
	id := w.submit(1, client, p, nil, "b", "c")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "b", "c")
	w.wantIdle()
}

func TestGangLargerThanTheMeshIsRefused(t *testing.T) {
	w, client := small(t, 2)
	id := w.submit(1, client, gangPlan(t, 5, false), nil, "a")
	w.run(time.Minute, w.ended(id))
	if d := w.done[id]; d == nil || len(d.Failures) != 1 || d.Failures[0].Failure.Cause != wire.CauseTooLarge {
		t.Errorf("job: %+v, want %s", d, wire.CauseTooLarge)
	}
	w.wantIdle()
}

func TestGangIsNotStarved(t *testing.T) {
	w, client := small(t, 2)
	text, names := many(100, 0)
	filler := w.submit(1, client, makePlan(t, strings.ReplaceAll(text, "~0", "")), nil, names...)
	w.run(time.Second, nil)
	id := w.submit(2, client, gangPlan(t, 4, false), nil, "a")
	w.run(15*time.Second, w.ended(id))
	if w.done[id] == nil {
		t.Error("the gang got no slots beside a job of many tasks")
	}
	w.run(time.Minute, w.ended(filler))
}

// A job that passes gives what any other gives, and leaves no trace but its values.
func TestPassingJob(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "a -> src; b -> a src2")
	passing := func(e *Submitted) { e.Passing = true }
	id := w.submit(1, client, p, passing, "b")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "b")
	for _, r := range w.rows {
		switch r.(type) {
		case RowJob, RowJobState:
			t.Errorf("recorded %+v", r)
		}
	}
	if w.accept[id] {
		t.Error("it was said to be accepted, as if it were durable")
	}
	if jobs := w.s.Jobs(); len(jobs) != 1 || !jobs[0].Passing || jobs[0].State != "done" {
		t.Errorf("just ended: %+v", jobs)
	}
	w.step(Released{id})
	if len(w.s.Jobs()) != 0 || len(w.s.over) != 0 {
		t.Errorf("released, but remembered: %+v", w.s.Jobs())
	}
	// Nobody releases the next one, whose values are known.
	again := w.submit(2, client, p, passing, "b")
	w.run(time.Minute, w.ended(again))
	if d := w.done[again]; d == nil || d.Counts.Memo != 2 && d.Counts.Memo != 1 || d.Counts.Ran != 0 {
		t.Errorf("submitted again: %+v", d)
	}
	w.run(passingLingers+2*time.Second, nil)
	if len(w.s.Jobs()) != 0 || len(w.s.jobOf) != 0 {
		t.Errorf("after %v it is remembered: %+v", passingLingers, w.s.Jobs())
	}
}
