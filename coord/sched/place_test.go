package sched

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// many is a graph of n tasks, each with a leaf of its own of so many MiB.
func many(n, mib int) (text string, names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("t%d", i))
		text += fmt.Sprintf(";t%d -> src%d~%d", i, i, mib)
	}
	return text[1:], names
}

// holderWorld has all inputs on a submitter that has two slots itself, beside three other nodes.
func holderWorld(t *testing.T, rate float64, runs time.Duration) (w *world, holder *simNode) {
	w = newWorld(t, 1)
	w.runs = func(string) time.Duration { return runs }
	holder = w.addNode("submitter", 2)
	for i := range 3 {
		w.addNode(fmt.Sprint("node", i), 2)
	}
	for _, n := range w.nodes {
		n.rate = rate
		n.beat()
	}
	return w, holder
}

func TestPlacementSpreadsWorkOverFastLinks(t *testing.T) {
	for _, mib := range []int{0, 1, 16, 64} {
		t.Run(fmt.Sprintf("inputs of %d MiB", mib), func(t *testing.T) {
			w, holder := holderWorld(t, 119<<20, 3*time.Second)
			text, names := many(64, mib)
			if mib == 0 {
				text = strings.ReplaceAll(text, "~0", "")
			}
			p := makePlan(t, text)
			id := w.submit(1, holder, p, nil, names...)
			w.run(10*time.Minute, w.ended(id))
			w.wantValues(id, p, names...)
			for _, n := range w.s.Nodes() {
				t.Logf("%s ran %d of 64", n.Info.Name, n.Ran)
				if n.Ran*100 < 15*64 {
					t.Errorf("%s ran %d of 64, want at least 15 %%", n.Info.Name, n.Ran)
				}
			}
			if ideal := 64 / 8 * 3 * time.Second; w.now > ideal*3/2 {
				t.Errorf("took %v, want about %v", w.now, ideal)
			}
		})
	}
}

func TestPlacementKeepsLargeInputsOnSlowLinks(t *testing.T) {
	for _, runs := range []time.Duration{500 * time.Millisecond, 4 * time.Second} {
		t.Run(fmt.Sprint("thunks of ", runs), func(t *testing.T) {
			w, holder := holderWorld(t, 10e6/8, runs)
			text, names := many(24, 256)
			p := makePlan(t, text)
			id := w.submit(1, holder, p, nil, names...)
			w.run(30*time.Minute, w.ended(id))
			w.wantValues(id, p, names...)
			for _, n := range w.nodes[1:] {
				if w.offers[n.peer] > 0 {
					t.Errorf("%s was offered %d thunks whose inputs take minutes to fetch", n.hello.Name, w.offers[n.peer])
				}
			}
		})
	}
}

func TestPlacementTakesFreeSlotsFirst(t *testing.T) {
	w, client := small(t, 4)
	p := makePlan(t, "a -> src; b -> src; c -> src; d -> src")
	id := w.submit(1, client, p, nil, "a", "b", "c", "d")
	w.run(time.Minute, w.ended(id))
	for _, n := range w.nodes[1:] {
		if w.offers[n.peer] > 2 {
			t.Errorf("%s got %d offers for its 2 slots while others are idle", n.hello.Name, w.offers[n.peer])
		}
	}
}

func TestPlacementFilters(t *testing.T) {
	w, client := small(t, 3)
	arm := w.addNode("arm", 2)
	arm.hello.Versions.Platforms = []string{"linux/arm64"}
	gpu := w.addNode("gpu", 1)
	gpu.hello.Labels = map[string]string{"gpu": "yes"}
	big := w.addNode("big", 2)
	for _, n := range w.nodes[1:] {
		if n != big {
			n.hello.MemBytes = 2 << 30
		}
		n.crash(false)
		n.connect()
		n.beat()
	}
	p := makePlan(t, "a -> src; b -> src; c -> src")
	id := w.submit(1, client, p, func(e *Submitted) {
		e.Tasks[0].Hints.Labels = map[string]string{"gpu": "yes"}
		e.Tasks[1].Hints.MemBytes = 20 << 30
	}, "a", "b", "c")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "a", "b", "c")
	for name, want := range map[string]string{"a": "gpu", "b": "big"} {
		for _, n := range w.notes {
			if n.Task == name && n.State == wire.StateDone && n.NodeName != want {
				t.Errorf("task %s ran on %s, want %s", name, n.NodeName, want)
			}
		}
	}
	if w.offers[arm.peer] > 0 {
		t.Error("a node of another platform got an offer")
	}
}

func TestPlacementFitsMemory(t *testing.T) {
	w := newWorld(t, 1)
	n := w.addNode("node", 4)
	n.hello.MemBytes = 1 << 30
	n.disconnect()
	n.connect()
	n.beat()
	text, names := many(12, 0)
	p := makePlan(t, strings.ReplaceAll(text, "~0", ""))
	most := 0
	w.runs = func(string) time.Duration {
		most = max(most, len(n.leases))
		return time.Second
	}
	id := w.submit(1, n, p, nil, names...) // each takes the default of 512 MiB
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	if most > 2 {
		t.Errorf("%d thunks of 512 MiB were offered at once to a node of 1 GiB and 4 slots", most)
	}
}

// A run takes a slot for each core it keeps busy, and all of a node that has fewer.
func TestPlacementCountsCores(t *testing.T) {
	w := newWorld(t, 1)
	n := w.addNode("node", 4)
	n.beat()
	text, names := many(12, 0)
	p := makePlan(t, strings.ReplaceAll(text, "~0", ""))
	most, atOnce := 0, 0
	w.runs = func(string) time.Duration {
		slots, started := 0, 0
		for _, l := range n.leases {
			slots += l.offer.Hints.Slots(4)
			if l.started {
				started++
			}
		}
		most, atOnce = max(most, slots), max(atOnce, started)
		return time.Second
	}
	id := w.submit(1, n, p, func(e *Submitted) {
		for i := range e.Tasks {
			e.Tasks[i].Hints.MilliCPU = 3000
		}
		e.Tasks[0].Hints.MilliCPU = 64_000
	}, names...)
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	if most > 8+3 || atOnce > 1 {
		t.Errorf("%d slots were offered and %d thunks of 3 cores ran at once on 4 slots", most, atOnce)
	}
}

func TestImpossibleTasksAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		hints  wire.Hints
		nodes  int
		cause  wire.Cause
		waits  string
		within time.Duration
	}{
		{"labels nobody has", wire.Hints{Labels: map[string]string{"gpu": "yes"}}, 2, wire.CauseNoPlatform, "waiting for a node with linux/amd64 labelled gpu=yes", 35 * time.Second},
		{"more memory than any node", wire.Hints{MemBytes: 100 << 30}, 2, wire.CauseTooLarge, "waiting for a node with 100 GiB of memory", 35 * time.Second},
		{"no node at all", wire.Hints{}, 0, 0, "waiting for a node: none is up (coord ticket prints what one joins with)", time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, client := small(t, c.nodes)
			p := makePlan(t, "a -> src")
			id := w.submit(1, client, p, func(e *Submitted) { e.Tasks[0].Hints = c.hints }, "a")
			w.run(10*time.Second, nil)
			if got := w.s.Tasks(id, "a"); len(got) != 1 || got[0].Waiting != c.waits {
				t.Errorf("after 10 s: %+v, want waiting %q", got, c.waits)
			}
			w.run(c.within-10*time.Second, w.ended(id))
			switch done := w.done[id]; {
			case c.cause == 0 && done != nil:
				t.Errorf("job ended: %+v, want it to wait", done)
			case c.cause != 0 && (done == nil || len(done.Failures) != 1 || done.Failures[0].Failure.Cause != c.cause):
				t.Errorf("job: %+v, want it to fail with %s", done, c.cause)
			}
		})
	}
}

func TestSelectRunsWhereTheTreeIs(t *testing.T) {
	w, client := small(t, 4)
	p := makePlan(t, "a -> src~64")
	th := wire.Thunk{Command: []string{wire.BuiltinSelect, "x/y"}, Platform: "linux/amd64", ABI: 1,
		Inputs:  []wire.Input{{Path: "in", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(p.ids["a"])}, Output: "out"}},
		Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}
	p.ids["pick"] = p.add(t, "pick", th, wire.Hints{})
	w.value = func(_ *world, th *wire.Thunk) []wire.Object {
		outs := compute(th)
		if th.Command[0] == "a" {
			outs[0].Size = 1 << 30
		}
		return outs
	}
	id := w.submit(1, client, p, nil, "pick")
	w.run(time.Minute, w.ended(id))
	if w.done[id] == nil || len(w.done[id].Targets) != 1 {
		t.Fatalf("job: %+v", w.done[id])
	}
	var on []string
	for _, n := range w.notes {
		if n.State == wire.StateDone {
			on = append(on, n.NodeName)
		}
	}
	if len(on) != 2 || on[0] != on[1] {
		t.Errorf("a and its selection ran on %v, want the same node", on)
	}
}

func TestOffersAreTakenBackForIdleNodes(t *testing.T) {
	w := newWorld(t, 1)
	client := w.addNode("client", 0)
	client.beat()
	slow := w.addNode("slow", 2)
	slow.beat()
	text, names := many(4, 0)
	p := makePlan(t, strings.ReplaceAll(text, "~0", ""))
	w.runs = func(string) time.Duration { return 10 * time.Second }
	id := w.submit(1, client, p, nil, names...)
	w.run(time.Second, nil)
	if w.offers[slow.peer] != 4 {
		t.Fatalf("%d offers, want 4: two run and two are prefetched", w.offers[slow.peer])
	}
	fast := w.addNode("fast", 2)
	fast.beat()
	w.run(5*time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	if w.offers[fast.peer] != 2 {
		t.Errorf("the node that came later got %d thunks, want 2", w.offers[fast.peer])
	}
}

func TestStragglerIsCopiedOnce(t *testing.T) {
	w, client := small(t, 3)
	text, names := many(12, 0)
	text = strings.ReplaceAll(text, "~0", "")
	for _, n := range names { // one kind
		text = strings.ReplaceAll(text, n+" ->", n+" ->")
	}
	p := makePlan(t, text)
	for i := range p.tasks {
		p.tasks[i].Name = fmt.Sprintf("count[%d]", i)
	}
	slow := 0
	w.runs = func(name string) time.Duration {
		if name == "count[11]" {
			if slow++; slow == 1 {
				return 10 * time.Minute
			}
		}
		return time.Second
	}
	id := w.submit(1, client, p, nil, names...)
	w.run(20*time.Minute, w.ended(id))
	w.wantValues(id, p, names...)
	if slow != 2 || w.now > 15*time.Second {
		t.Errorf("the straggler ran %d times and the job took %v", slow, w.now)
	}
}

// TestSlowNode is the case of gg (section 5.3): tasks of a second, and one machine of eight that takes
// ten times as long. The whole takes at most 1.3 times what it would if each machine got what it can
// do, by the machine's measured speed and by copies in the end.
func TestSlowNode(t *testing.T) {
	for _, tasks := range []int{48, 160} {
		t.Run(fmt.Sprint(tasks), func(t *testing.T) {
			w, client := small(t, 8)
			w.nodes[8].slow = 10
			text, names := many(tasks, 0)
			p := makePlan(t, text)
			for i := range p.tasks {
				p.tasks[i].Name = fmt.Sprintf("count[%d]", i)
			}
			begun := w.now
			id := w.submit(1, client, p, nil, names...)
			w.run(20*time.Minute, w.ended(id))
			w.wantValues(id, p, names...)
			ideal := time.Duration(float64(tasks) / (7*2 + 2.0/10) * float64(time.Second))
			took, ran := w.now-begun, 0
			for _, n := range w.ran {
				ran += n
			}
			t.Logf("%v, %.2fx of %v; %d tasks ran %d times", took, float64(took)/float64(ideal), ideal, tasks, ran)
			if took > ideal*13/10 || ran > tasks+tasks/10 {
				t.Errorf("took %v, want at most 1.3x of %v; %d tasks ran %d times", took, ideal, tasks, ran)
			}
		})
	}
}
