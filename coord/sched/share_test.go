package sched

import (
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

func TestEqualThunksInFlightRunOnce(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "a -> src; b -> a")
	one := w.submit(1, client, p, nil, "b")
	two := w.submit(2, client, p, nil, "b")
	w.run(time.Minute, w.ended(one, two))
	w.wantValues(one, p, "b")
	w.wantValues(two, p, "b")
	for th, n := range w.ran {
		if n != 1 {
			t.Errorf("thunk %s ran %d times", th, n)
		}
	}
	if a, b := w.done[one].Counts, w.done[two].Counts; a.Ran != 2 || b.Shared != 2 {
		t.Errorf("counts %+v and %+v, want 2 run and 2 shared", a, b)
	}
	three := w.submit(3, client, p, nil, "b")
	if c := w.done[three]; c == nil || c.Counts.Memo != 2 {
		t.Errorf("a third job: %+v, want it done at once from the memo", c)
	}
}

func TestCancelLeavesSharedRunAlone(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "a -> src")
	one := w.submit(1, client, p, nil, "a")
	two := w.submit(2, client, p, nil, "a")
	w.run(500*time.Millisecond, nil)
	w.step(Cancelled{one})
	if d := w.done[one]; d == nil || d.Error == nil || d.Error.Cause != wire.CauseCancelled || d.Counts.Cancelled != 1 {
		t.Errorf("cancelled job: %+v", d)
	}
	w.run(time.Minute, w.ended(two))
	w.wantValues(two, p, "a")
	if n := w.offers[w.nodes[1].peer] + w.offers[w.nodes[2].peer]; n != 1 {
		t.Errorf("%d offers, want 1", n)
	}
	w.wantIdle()
}

func TestCancelEndsTheRun(t *testing.T) {
	w, client := small(t, 1)
	p := makePlan(t, "a -> src; b -> a")
	w.runs = func(string) time.Duration { return time.Hour }
	id := w.submit(1, client, p, nil, "b")
	w.run(time.Second, nil)
	w.step(Cancelled{id})
	w.run(time.Second, nil)
	if n := w.nodes[1]; len(n.leases) != 0 {
		t.Errorf("the node still has %d leases", len(n.leases))
	}
	w.wantIdle()
}

func TestEachWaiterKeepsItsDeadline(t *testing.T) {
	w, client := small(t, 1)
	w.runs = func(string) time.Duration { return 10 * time.Second }
	p := makePlan(t, "a -> src")
	limit := func(d time.Duration) func(*Submitted) {
		return func(e *Submitted) { e.Tasks[0].Hints.Timeout = d }
	}
	long := w.submit(1, client, p, limit(time.Minute), "a")
	short := w.submit(2, client, p, limit(3*time.Second), "a")
	w.run(5*time.Second, nil)
	if d := w.done[short]; d == nil || len(d.Failures) != 1 || d.Failures[0].Failure.Cause != wire.CauseTimeout {
		t.Fatalf("the job with 3 s: %+v, want a timeout", d)
	}
	w.run(time.Minute, w.ended(long))
	w.wantValues(long, p, "a")
}

func TestWiderLimitsOutliveNarrowRun(t *testing.T) {
	w, client := small(t, 1)
	w.runs = func(string) time.Duration { return 10 * time.Second }
	p := makePlan(t, "a -> src")
	limit := func(d time.Duration) func(*Submitted) {
		return func(e *Submitted) { e.Tasks[0].Hints.Timeout = d }
	}
	short := w.submit(1, client, p, limit(3*time.Second), "a")
	w.run(time.Second, nil) // its offer is out
	long := w.submit(2, client, p, limit(time.Minute), "a")
	w.run(time.Minute, w.ended(short, long))
	w.wantValues(long, p, "a")
	if d := w.done[short]; len(d.Failures) != 1 || d.Failures[0].Failure.Cause != wire.CauseTimeout {
		t.Errorf("the job with 3 s: %+v, want a timeout", d)
	}
}

func TestEarlyCutOff(t *testing.T) {
	w, client := small(t, 2)
	w.value = func(_ *world, th *wire.Thunk) []wire.Object {
		outs := compute(th)
		if strings.HasPrefix(th.Command[0], "same") {
			outs[0].Digest = wire.Sum([]byte("always the same"))
		}
		return outs
	}
	one := w.submit(1, client, makePlan(t, "same -> src1; b -> same"), nil, "b")
	w.run(time.Minute, w.ended(one))
	two := w.submit(2, client, makePlan(t, "same -> src2; b -> same"), nil, "b")
	w.run(time.Minute, w.ended(two))
	if c := w.done[two].Counts; c.Ran != 1 || c.Memo != 1 {
		t.Errorf("counts %+v, want the changed task run and the one behind it known", c)
	}
}

func TestSpacesAreApart(t *testing.T) {
	w, client := small(t, 1)
	p := makePlan(t, "a -> src")
	one := w.submit(1, client, p, nil, "a")
	w.run(time.Minute, w.ended(one))
	w.step(Have{client.peer, wire.SpaceSet{Space: "u", Objects: p.leaves}, true})
	two := w.submit(2, client, p, func(e *Submitted) { e.Space = "u" }, "a")
	if w.done[two] != nil {
		t.Error("a job of another space was served from the memo")
	}
	if h := w.s.Holders("u", w.done[one].Targets[0].Held.Object.Digest); len(h) != 0 {
		t.Errorf("the other space sees holders %v", h)
	}
}

func TestMemoNeedsHolders(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "a -> src; b -> a")
	one := w.submit(1, client, p, nil, "b")
	w.run(time.Minute, w.ended(one))
	for _, n := range w.nodes[1:] {
		for _, d := range append([]wire.Digest(nil), n.order...) {
			n.drop(d)
		}
	}
	w.run(time.Second, nil)
	two := w.submit(2, client, p, nil, "b")
	w.run(time.Minute, w.ended(two))
	w.wantValues(two, p, "b")
	if c := w.done[two].Counts; c.Ran != 2 {
		t.Errorf("counts %+v, want both run again", c)
	}
}

func TestResubmissionIsKnown(t *testing.T) {
	w, client := small(t, 1)
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, nil, "a")
	w.accept[id] = false
	w.submit(1, client, p, nil, "a")
	if !w.accept[id] {
		t.Error("a repeated submission was not accepted again")
	}
	w.run(time.Minute, w.ended(id))
	w.done[id] = nil
	w.submit(1, client, p, nil, "a")
	if w.done[id] == nil {
		t.Error("a repeated submission of a job that is over was not told its end")
	}
	if len(w.s.Jobs()) != 1 {
		t.Errorf("%d jobs", len(w.s.Jobs()))
	}
}

func TestTenantsShareByWeight(t *testing.T) {
	w := newWorld(t, 1)
	w.cfg.Weights = []Weight{{"b", 3}}
	w.begin()
	client := w.addNode("client", 0)
	client.beat()
	w.addNode("node", 4).beat()
	jobs := map[string]int{}
	for i, tenant := range []string{"a", "b"} {
		text, names := many(80, 0)
		text = strings.ReplaceAll(strings.ReplaceAll(text, "~0", tenant), "t", "t"+tenant)
		for k := range names {
			names[k] = strings.ReplaceAll(names[k], "t", "t"+tenant)
		}
		w.submit(byte(i+1), client, makePlan(t, text), func(e *Submitted) { e.Tenant = tenant }, names...)
	}
	w.run(10*time.Second, nil)
	first := 8 // were given out before b came
	for _, n := range w.notes {
		if n.State == wire.StateDone {
			if first--; first < 0 {
				jobs[n.Task[1:2]]++
			}
		}
	}
	if a, b := jobs["a"], jobs["b"]; a+b < 25 || b < 2*a || b > 4*a {
		t.Errorf("tenant a had %d thunks done, b of weight 3 had %d", a, b)
	}
}

func TestPriorityGoesFirst(t *testing.T) {
	w := newWorld(t, 1)
	client := w.addNode("client", 0)
	client.beat()
	w.addNode("node", 1).beat()
	text, names := many(10, 0)
	p := makePlan(t, strings.ReplaceAll(text, "~0", ""))
	id := w.submit(1, client, p, func(e *Submitted) { e.Tasks[9].Hints.Priority = 5 }, names...)
	w.run(time.Minute, w.ended(id))
	var order []string
	for _, n := range w.notes {
		if n.State == wire.StateDone {
			order = append(order, n.Task)
		}
	}
	if order[0] != "t9" {
		t.Errorf("tasks were done in the order %v, want t9 first", order)
	}
}
