package sched

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// chainOf returns a graph of n tasks one after the other, and the last one's name.
func chainOf(n int) (text, last string) {
	parts := []string{"c0 -> src"}
	for i := 1; i < n; i++ {
		parts = append(parts, fmt.Sprintf("c%d -> c%d", i, i-1))
	}
	return strings.Join(parts, "; "), fmt.Sprint("c", n-1)
}

// TestChainCostsNoRoundTrips: far from the coordinator a link of a chain costs what it runs, but for a
// few round trips in all.
func TestChainCostsNoRoundTrips(t *testing.T) {
	w, client := small(t, 2)
	w.delay = func() time.Duration { return 15 * time.Millisecond }
	w.runs = func(string) time.Duration { return 5 * time.Millisecond }
	text, last := chainOf(200)
	p := makePlan(t, text)
	// How long the kinds take is known after the first.
	first := w.submit(1, client, p, nil, last)
	w.run(time.Minute, w.ended(first))
	w.wantValues(first, p, last)

	began := w.now
	p = makePlan(t, strings.ReplaceAll(text, "src", "other"))
	id := w.submit(2, client, p, nil, last)
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, last)
	took := w.now - began
	t.Logf("200 links of 5 ms each, 30 ms from the coordinator: %v; %v a link", took, took/200)
	if took > 200*5*time.Millisecond+20*30*time.Millisecond {
		t.Errorf("took %v", took)
	}
	for th, n := range w.ran {
		if n > 1 {
			t.Errorf("%s ran %d times", th, n)
		}
	}
}

// TestContinuationOfAJobThatEnds: what a node goes on with for a job that was cancelled it is told to
// leave, and its slot is free for others.
func TestContinuationOfAJobThatEnds(t *testing.T) {
	w, client := small(t, 1)
	w.runs = func(string) time.Duration { return 200 * time.Millisecond }
	text, last := chainOf(9)
	p := makePlan(t, text)
	id := w.submit(1, client, p, nil, last)
	other := w.submit(2, client, makePlan(t, "c0 -> src"), nil, "c0") // keeps the first run going when the job is cancelled
	w.run(100*time.Millisecond, nil)
	w.step(Cancelled{id})
	w.run(time.Minute, w.ended(other))
	w.run(time.Second, nil)
	for _, n := range w.nodes {
		if len(n.leases) > 0 {
			t.Errorf("%s still has %d leases", n.hello.Name, len(n.leases))
		}
	}
	if len(w.ran) > 2 {
		t.Errorf("%d thunks ran for what was cancelled", len(w.ran)-1)
	}
}

// TestContinuationMeetsTheMemo: what a node goes on with is known already, since the task before gave
// the value that another gave. The node is told to leave it, and nothing runs twice.
func TestContinuationMeetsTheMemo(t *testing.T) {
	w, client := small(t, 1)
	w.runs = func(string) time.Duration { return 100 * time.Millisecond }
	w.value = func(_ *world, th *wire.Thunk) []wire.Object {
		if len(th.Inputs) == 1 && th.Command[0] == "c0" {
			return []wire.Object{leaf("same")}
		}
		return compute(th)
	}
	w.chancy = true // not the values of a serial run
	text, last := chainOf(6)
	for i := range 2 {
		p := makePlan(t, strings.ReplaceAll(text, "src", fmt.Sprint("src", i)))
		id := w.submit(byte(1+i), client, p, nil, last)
		w.run(time.Minute, w.ended(id))
		if d := w.done[id]; d == nil || d.Counts.Ran != 6-5*i || d.Counts.Memo != 5*i {
			t.Fatalf("job %d: %+v", i, d)
		}
	}
	w.run(time.Second, nil)
	if n := w.nodes[1]; len(n.leases) > 0 {
		t.Errorf("%d leases are left", len(n.leases))
	}
}
