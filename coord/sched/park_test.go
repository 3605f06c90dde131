package sched

import (
	"fmt"
	"testing"
	"time"

	"gaggle/wire"
)

// parkedJob has one node with all inputs of a job of n tasks, and an idle one to which they would take
// hours.
func parkedJob(t *testing.T, n int) (b *bare, holder, idle wire.PeerID) {
	b, holder, idle = newBare(t), wire.PeerID{1}, wire.PeerID{2}
	b.step(up(holder, 2), up(idle, 2))
	var e Submitted
	objects := []wire.Object{testRoot}
	for i := range n {
		in := leaf(fmt.Sprint("leaf", i))
		in.Size = 1 << 30
		objects = append(objects, in)
		e = withTask(t, e, i, in)
	}
	b.step(holds(holder, true, objects...), LinkRate{From: holder, To: idle, BytesPerSec: 10_000})
	b.step(e)
	return b, holder, idle
}

// A Step parks so many runs, and weighs some of those anew once a second: a job may have a million.
func TestParkingIsBounded(t *testing.T) {
	const tasks = maxParking + 1000
	b, holder, idle := parkedJob(t, tasks)
	if b.s.parked > maxParking || b.s.parked < maxParking-10 {
		t.Errorf("the first Step parked %d runs, want %d", b.s.parked, maxParking)
	}
	b.step(Tick{})
	if b.s.parked != tasks-4 {
		t.Errorf("two Steps parked %d runs, want all of %d but 4, which are offered", b.s.parked, tasks)
	}
	for range 3 {
		b.now += time.Second
		weighed := b.s.stamp
		b.step(Beat{Peer: holder}, Beat{Peer: idle})
		if n := b.s.stamp - weighed; n < reweighed || n > 2*reweighed {
			t.Errorf("after a second %d of %d parked runs were weighed anew, want about %d", n, b.s.parked, reweighed)
		}
	}
}

// While a node is idle, offers that wait at others are weighed for it, some at a time and all in turn.
func TestLevellingIsBounded(t *testing.T) {
	const nodes = 400
	b, idle := newBare(t), wire.PeerID{2}
	events, objects := []Event{up(idle, 2)}, []wire.Object{testRoot}
	var e Submitted
	for i := range 2 * nodes {
		in := leaf(fmt.Sprint("leaf", i))
		in.Size = 1 << 30
		objects, e = append(objects, in), withTask(t, e, i, in)
	}
	for i := range nodes {
		p := wire.PeerID{1, byte(i), byte(i >> 8)}
		events = append(events, up(p, 1), LinkRate{From: p, To: idle, BytesPerSec: 10_000}, holds(p, true, objects...))
	}
	b.step(events...)
	if n := len(pick[Offer](b.step(e))); n != 2*nodes {
		t.Fatalf("%d tasks were offered, want %d", n, 2*nodes)
	}
	total := uint64(0)
	for range 5 {
		b.now += levelEvery
		weighed := b.s.stamp
		b.step(Tick{})
		n := b.s.stamp - weighed
		total += n
		if n == 0 || n > maxLevelled+1 {
			t.Errorf("%d offers were weighed at a time, want at most %d", n, maxLevelled+1)
		}
	}
	if total < 2*nodes {
		t.Errorf("%d of %d offers were weighed in a second", total, 2*nodes)
	}
}

// What waits for one node goes to others as fast as they take it once that is better.
func TestParkedRunsMoveWhenLinksAreFast(t *testing.T) {
	b, holder, idle := parkedJob(t, 3000)
	var events []Event
	for i := range 600 {
		p := wire.PeerID{3, byte(i), byte(i >> 8)}
		events = append(events, up(p, 2), holds(p, true, testRoot), LinkRate{From: holder, To: p, BytesPerSec: 10 << 30})
	}
	b.step(events...)
	b.now += time.Second
	b.step(Beat{Peer: holder}, Beat{Peer: idle})
	free := 0
	for _, n := range b.s.nodes[1:] {
		if n.listed && n.peer != idle && n.room() {
			free++
		}
	}
	if free > 10 {
		t.Errorf("%d nodes have room while %d runs wait for another", free, b.s.parked)
	}
}

// Runs that wait for a node get its room, though others have shorter queues.
func TestParkedRunsGetTheRoom(t *testing.T) {
	const nodes, tasks = 40, 600
	b, idle := newBare(t), wire.PeerID{2}
	b.step(up(idle, 2))
	var all, half Submitted
	var first, second []wire.Object
	for i := range tasks {
		in := leaf(fmt.Sprint("leaf", i))
		in.Size = 1 << 30
		if i < tasks*2/3 {
			first, all = append(first, in), withTask(t, all, i, in)
		} else {
			second, half = append(second, in), withTask(t, half, i, in)
		}
	}
	half.Job = wire.JobID{2}
	for i := range nodes {
		p := wire.PeerID{1, byte(i)}
		b.step(up(p, 1), LinkRate{From: p, To: idle, BytesPerSec: 10_000}, holds(p, true, testRoot), holds(p, true, first...))
		if i < nodes/2 {
			b.step(holds(p, true, second...))
		}
	}
	offers := map[wire.PeerID]Offer{}
	for _, o := range pick[Offer](b.step(all)) {
		offers[o.Node] = o
	}
	b.step(half)
	if len(offers) != nodes || b.s.parked != tasks-2*nodes {
		t.Fatalf("%d nodes got offers and %d runs are parked, want %d and %d", len(offers), b.s.parked, nodes, tasks-2*nodes)
	}
	var done []Event
	for i := range nodes / 2 {
		o := offers[wire.PeerID{1, byte(i)}]
		r := result(o.Node, o.Offer.Lease, wire.ThunkID(wire.Sum(o.Offer.Thunk)), leaf(o.Offer.Name))
		r.Result.Run = time.Second
		done = append(done, r)
	}
	if n := len(pick[Offer](b.step(done...))); n != nodes/2 {
		t.Errorf("%d runs were offered when %d nodes had room again, for each of which some waited", n, nodes/2)
	}
}

// Small fetches overlap, so that many of them are no reason to wait for the node that has the inputs.
func TestSmallFetchesDoNotKeepWorkAtTheirSource(t *testing.T) {
	const nodes, tasks = 100, 400
	b, holder := newBare(t), wire.PeerID{1}
	events, objects := []Event{up(holder, 2)}, []wire.Object{testRoot}
	for i := range nodes {
		events = append(events, up(wire.PeerID{2, byte(i)}, 2), holds(wire.PeerID{2, byte(i)}, true, testRoot))
	}
	var e Submitted
	for i := range tasks + 1 {
		in := leaf(fmt.Sprint("leaf", i))
		objects = append(objects, in)
		e = withTask(t, e, i, in)
	}
	b.step(append(events, holds(holder, true, objects...))...)
	first := e
	first.Job, first.Tasks, first.Targets = wire.JobID{2}, e.Tasks[:1:1], e.Targets[:1:1]
	o := pick[Offer](b.step(first))[0]
	r := result(o.Node, o.Offer.Lease, wire.ThunkID(wire.Sum(o.Offer.Thunk)), leaf("out"))
	r.Result.Run = time.Millisecond // which is what they are known to take from here
	b.step(r)
	e.Tasks, e.Targets = e.Tasks[1:], e.Targets[1:]
	if n := len(pick[Offer](b.step(e))); n < tasks*3/4 {
		t.Errorf("%d of %d tasks were offered to %d idle nodes, and %d wait for one", n, tasks, nodes, b.s.parked)
	}
}

// withTask adds a task with one input to a job, and wants what it makes.
func withTask(t *testing.T, e Submitted, i int, in wire.Object) Submitted {
	p := &plan{ids: map[string]wire.ThunkID{}}
	id := p.add(t, fmt.Sprintf("task[%d]", i), wire.Thunk{Command: []string{"sort"}, Root: wire.TreeID(testRoot.Digest), Platform: "linux/amd64", ABI: 1,
		Inputs: []wire.Input{{Path: "in", Object: in}}, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}, wire.Hints{})
	e.Job, e.Space, e.Tenant = wire.JobID{1}, "t", "t"
	e.Tasks = append(e.Tasks, p.tasks...)
	e.Targets = append(e.Targets, wire.TargetSpec{Path: fmt.Sprint(i), Thunk: id, Output: "out"})
	return e
}

// A node that is alive and begins nothing, because its disk hangs for instance, has all inputs. What
// waits for it goes to others in the end, though they have to fetch for long.
func TestNothingWaitsForAHungNode(t *testing.T) {
	w, holder := holderWorld(t, 1<<20, time.Second)
	holder.hung = true
	text, names := many(24, 64)
	p := makePlan(t, text)
	for i := range p.tasks {
		p.tasks[i].Name = fmt.Sprintf("count[%d]", i)
	}
	id := w.submit(1, holder, p, nil, names...)
	w.run(time.Hour, w.ended(id))
	w.wantValues(id, p, names...)
	t.Logf("%v", w.now)
}
