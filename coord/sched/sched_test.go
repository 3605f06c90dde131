package sched

import (
	"fmt"
	"testing"
	"time"

	"gaggle/wire"
)

// small returns a world of a client and some nodes of two slots.
func small(t testing.TB, nodes int) (w *world, client *simNode) {
	w = newWorld(t, 1)
	client = w.addNode("laptop", 0)
	client.beat()
	for i := range nodes {
		w.addNode(fmt.Sprint("node", i+1), 2).beat()
	}
	return w, client
}

// wantValues fails the test unless the job ended with the values of a serial run.
func (w *world) wantValues(id wire.JobID, p *plan, names ...string) {
	w.t.Helper()
	done := w.done[id]
	if done == nil {
		w.t.Fatalf("job %s has not ended at %v: %+v", id, w.now, w.s.Jobs())
	}
	if done.Error != nil || len(done.Failures) > 0 {
		w.t.Fatalf("job %s: error %v, failures %+v", id, done.Error, done.Failures)
	}
	e := newEvaluator()
	e.add(p.tasks)
	for i, name := range names {
		if got, want := done.Targets[i].Held.Object, e.value(p.ids[name])[0]; got != want {
			w.t.Fatalf("job %s: target %s = %v, want %v", id, name, got, want)
		}
		if len(done.Targets[i].Held.Peers) == 0 {
			w.t.Fatalf("job %s: nobody holds target %s", id, name)
		}
	}
}

func (w *world) ended(ids ...wire.JobID) func() bool {
	return func() bool {
		for _, id := range ids {
			if w.done[id] == nil {
				return false
			}
		}
		return true
	}
}

func TestGraphs(t *testing.T) {
	for _, g := range []struct{ name, text, target string }{
		{"one task", "a", "a"},
		{"a chain", "a -> src; b -> a; c -> b", "c"},
		{"a diamond", "a -> b c; b -> d src1; c -> d src2; d", "a"},
		{"a sub-graph", "sub:3 -> src", "sub"},
		{"a sub-graph in the middle", "a -> sub; sub:2; c -> a sub", "c"},
		{"fib(12)", "fib:12 -> src", "fib"},
	} {
		t.Run(g.name, func(t *testing.T) {
			w, client := small(t, 3)
			p := makePlan(t, g.text)
			id := w.submit(1, client, p, nil, g.target)
			w.run(5*time.Minute, w.ended(id))
			w.wantValues(id, p, g.target)
		})
	}
}

func TestFibRunsEachNumberOnce(t *testing.T) {
	w, client := small(t, 2)
	w.calm = true
	w.runs = func(string) time.Duration { return 10 * time.Millisecond }
	p := makePlan(t, "fib:90 -> src")
	id := w.submit(1, client, p, nil, "fib")
	w.run(5*time.Minute, w.ended(id))
	w.wantValues(id, p, "fib")
	for th, n := range w.ran {
		if n != 1 {
			t.Errorf("thunk %s ran %d times, want once", th, n)
		}
	}
	if c := w.done[id].Counts; c.Ran != len(w.ran) || c.Tasks < 180 {
		t.Errorf("counts %+v with %d thunks run", c, len(w.ran))
	}
}
