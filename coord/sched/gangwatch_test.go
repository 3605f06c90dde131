package sched

import (
	"fmt"
	"testing"
	"time"

	"gaggle/wire"
)

// plainThunk is a thunk that writes a file, for plans that are made by hand.
func plainThunk(command string, inputs ...wire.Input) wire.Thunk {
	return wire.Thunk{Command: []string{command}, Root: wire.TreeID(testRoot.Digest), Platform: "linux/amd64", ABI: 1, Inputs: inputs,
		Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}
}

func newPlan() *plan {
	return &plan{ids: map[string]wire.ThunkID{}, leaves: []wire.Object{testRoot}}
}

// A gang that waits for slots loses an input which cannot be made again.
func TestWaitingGangLosesAnInput(t *testing.T) {
	w, client := small(t, 2)
	busy := makePlan(t, "f1 -> src; f2 -> src; f3 -> src; f4 -> src")
	w.runs = func(name string) time.Duration {
		if name[0] == 'f' {
			return time.Hour
		}
		return time.Second
	}
	p := newPlan()
	p.ids["x"] = p.add(t, "x", plainThunk("x"), wire.Hints{})
	for i, name := range []string{"a", "b", "c"} {
		in := wire.Input{Path: "in", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(p.ids["x"])}, Output: "out"}
		p.ids[name] = p.add(t, name, plainThunk(name, in), wire.Hints{})
		p.tasks[i+1].Gang = &wire.Gang{Name: "g", Size: 3}
	}
	id := w.submit(1, client, p, nil, "a", "b", "c")
	w.run(500*time.Millisecond, nil)
	w.submit(2, client, busy, nil, "f1", "f2", "f3", "f4")
	w.run(1200*time.Millisecond, nil)
	x := w.s.tasks.at(w.s.taskOf.find(&key{uint32(w.s.jobs.at(w.s.jobOf[id]).ref), wire.Digest(p.ids["x"])}))
	x.gen = maxGenerations
	for _, o := range x.outs() {
		for _, n := range w.nodes {
			if _, ok := n.holds[o.Digest]; ok {
				n.drop(o.Digest)
			}
		}
	}
	w.run(time.Minute, w.ended(id))
	if d := w.done[id]; d == nil || len(d.Failures) != 1 || d.Failures[0].Failure.Cause != wire.CauseInputsGone {
		t.Errorf("the job ended with %+v, want inputs gone", d)
	}
}

// A gang waits for the one node that gives networks. Another tenant's task runs on a node that is of no
// use to the gang.
func TestWaitingGangLeavesOtherNodes(t *testing.T) {
	w, client := small(t, 1)
	w.givesNetworks()
	w.runs = func(name string) time.Duration {
		if name[0] == 'l' {
			return 2 * time.Hour
		}
		return time.Second
	}
	single := func(name string) *plan {
		p := newPlan()
		p.ids[name] = p.add(t, name, plainThunk(name), wire.Hints{})
		return p
	}
	for i := range 2 {
		w.submit(byte(10+i), client, single(fmt.Sprint("l", i)), nil, fmt.Sprint("l", i))
	}
	w.run(2*time.Second, nil)
	w.submit(2, client, netPlan(t, gangSpec{name: "g", others: 2}), nil, "g-o0")
	w.addNode("plain", 8).beat()
	w.run(gangPatience+5*time.Second, nil)
	if !w.s.reserved() {
		t.Fatal("no gang waits, so that the test shows nothing")
	}
	id := w.submit(3, client, single("quick"), func(s *Submitted) { s.Tenant = "other" }, "quick")
	w.run(10*time.Second, w.ended(id))
	if w.done[id] == nil {
		t.Errorf("another tenant's task waits beside 8 idle slots: %+v", w.s.Tasks(id, "quick"))
	}
}

// What a gang gave beside a service on another owner's node is no value of its own owner's: nothing is
// remembered.
func TestGangOfTwoOwnersIsNotRemembered(t *testing.T) {
	w, client := small(t, 0)
	for _, name := range []string{"foreign", "own"} {
		n := w.addNode(name, 1)
		n.beat()
		if name == "foreign" {
			n.owner = "mallory"
		}
	}
	w.givesNetworks()
	p := netPlan(t, gangSpec{name: "g", services: 1, others: 1, deterministic: true})
	for job := range 2 {
		id := w.submit(byte(job+1), client, p, nil, "g-o0")
		w.run(time.Minute, w.ended(id))
		if d := w.done[id]; d == nil || d.Counts.Memo != 0 || d.Counts.Ran == 0 || len(d.Failures) > 0 {
			t.Errorf("job %d ended with %+v, want that all ran", job, d)
		}
	}
}

// A node of a running gang starts anew. The others are too few meanwhile, but it comes back.
func TestGangOutlivesAReboot(t *testing.T) {
	w, client := small(t, 2)
	w.givesNetworks()
	w.run(2*time.Minute, nil)
	w.runs = func(string) time.Duration { return 40 * time.Second }
	id := w.submit(1, client, netPlan(t, gangSpec{name: "g", others: 4}), nil, "g-o0")
	w.run(5*time.Second, nil)
	w.nodes[2].crash(false)
	w.after(time.Minute, w.nodes[2].connect)
	w.run(10*time.Minute, w.ended(id))
	if d := w.done[id]; d == nil || len(d.Failures) > 0 {
		t.Errorf("ended with %+v, want that it ran again", d)
	}
}
