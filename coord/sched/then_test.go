package sched

import (
	"fmt"
	"slices"
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

// TestChainsAreCharged: tasks of a continuation count in the share of their tenant.
func TestChainsAreCharged(t *testing.T) {
	w, client := small(t, 1)
	w.calm = true
	busy := map[string]time.Duration{}
	w.runs = func(name string) time.Duration {
		busy[name[:1]] += 50 * time.Millisecond
		return 50 * time.Millisecond
	}
	var text, flat []string
	var cn, fn []string
	for c := range 40 {
		text = append(text, fmt.Sprintf("c%d_0 -> src%d", c, c))
		for i := 1; i < 30; i++ {
			text = append(text, fmt.Sprintf("c%d_%d -> c%d_%d", c, i, c, i-1))
		}
		cn = append(cn, fmt.Sprintf("c%d_29", c))
	}
	for i := range 1200 {
		flat = append(flat, fmt.Sprintf("f%d -> srcf%d", i, i))
		fn = append(fn, fmt.Sprint("f", i))
	}
	// the kinds are known
	kinds := makePlan(t, "c0_0 -> x; f0 -> x")
	id := w.submit(9, client, kinds, nil, "c0_0", "f0")
	w.run(time.Minute, w.ended(id))
	clear(busy)
	a := makePlan(t, strings.Join(text, "; "))
	b := makePlan(t, strings.Join(flat, "; "))
	w.submit(1, client, a, func(s *Submitted) { s.Tenant = "chains" }, cn...)
	w.submit(2, client, b, func(s *Submitted) { s.Tenant = "flat" }, fn...)
	w.run(20*time.Second, nil)
	t.Logf("in 20 s of 2 slots: chains got %v, flat got %v", busy["c"], busy["f"])
	if busy["c"] > 2*busy["f"] {
		t.Error("no fair share")
	}
}

// TestStartedBeforeResult: a frame of a node tells what began before it tells what ended.
func TestStartedBeforeResult(t *testing.T) {
	b := newBare(t)
	c, n := wire.PeerID{1}, wire.PeerID{2}
	p := makePlan(t, "a -> src; b -> a")
	b.step(up(c, 0), up(n, 2), holds(c, true, p.leaves...), holds(n, true, p.leaves...))
	acts := b.step(Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t", Client: c, Tasks: p.tasks, Targets: p.target("b")})
	acts = append(acts, b.step(Tick{})...)
	for i := 0; i < 100 && len(pick[Offer](acts)) == 0; i++ {
		acts = b.step(Tick{})
	}
	o := pick[Offer](acts)[0].Offer
	if len(o.Then) != 1 {
		t.Fatalf("no then: %+v", o)
	}
	th := decoded(t, o.Thunk)
	id, _ := th.Encode()
	// What server.nodeFrame makes of one frame {Started: [2], Results: [1]}
	b.step(Started{n, o.Lease})
	b.step(Started{n, o.Then[0].Lease}, result(n, o.Lease, id, compute(th)...))
	l := b.s.leases[o.Then[0].Lease]
	if l == nil {
		t.Fatal("no lease")
	}
	t.Logf("began=%v node.running=%d state=%v", l.began, l.node.running, b.s.Tasks(wire.JobID{1}, "b")[0].State)
	if !l.began {
		t.Errorf("lease runs on the node but has not begun here")
	}
}

// TestLinksAreNotCopied: a link that its node has begun is no straggler because it takes some seconds.
func TestLinksAreNotCopied(t *testing.T) {
	b := newBare(t)
	c, n, m := wire.PeerID{1}, wire.PeerID{2}, wire.PeerID{3}
	p := makePlan(t, "a -> src; b -> a")
	b.step(up(c, 0), up(n, 2), up(m, 2), holds(c, true, p.leaves...), holds(n, true, p.leaves...), holds(m, true, p.leaves...))
	acts := b.step(Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t", Client: c, Tasks: p.tasks, Targets: p.target("b")})
	for i := 0; i < 100 && len(pick[Offer](acts)) == 0; i++ {
		acts = b.step(Tick{})
	}
	off := pick[Offer](acts)[0]
	o := off.Offer
	n = off.Node
	th := decoded(t, o.Thunk)
	id, _ := th.Encode()
	b.step(Started{n, o.Lease})
	b.step(Started{n, o.Then[0].Lease}, result(n, o.Lease, id, compute(th)...))
	copies := 0
	for range 600 {
		acts := b.step(Beat{Peer: wire.PeerID{1}, Beat: &wire.Beat{}}, Beat{Peer: wire.PeerID{2}, Beat: &wire.Beat{}}, Beat{Peer: wire.PeerID{3}, Beat: &wire.Beat{}})
		copies += len(pick[Offer](acts))
	}
	t.Logf("%d copies in 6 s of a run that is running", copies)
	if copies > 0 {
		t.Error("copied")
	}
}

// TestCancelAfterTheEnd: a node hears of a cancelled link when it runs the next: it leaves that, too.
func TestCancelAfterTheEnd(t *testing.T) {
	w, client := small(t, 1)
	w.delay = func() time.Duration { return 15 * time.Millisecond }
	w.runs = func(name string) time.Duration {
		if name == "c0" {
			return 200 * time.Millisecond
		}
		return 10 * time.Minute
	}
	text, last := chainOf(9)
	p := makePlan(t, text)
	id := w.submit(1, client, p, nil, last)
	n := w.nodes[1]
	w.run(time.Minute, func() bool { return w.ran[p.ids["c0"]] > 0 || len(n.unacked) > 0 })
	w.step(Cancelled{id})
	w.run(30*time.Second, nil)
	t.Logf("30 s after the cancel the node has %d leases; coordinator counts taken=%d", len(n.leases), w.s.nodes[w.s.nodeOf[n.peer]].taken)
	if len(n.leases) > 0 {
		t.Error("node still works for a cancelled job")
	}
}

// goOn begins the next thunk of a continuation.
func (n *simNode) goOn(l *simLease, before *wire.Thunk, outs []wire.Object) {
	if len(l.offer.Then) == 0 || !final(outs) {
		return
	}
	x := l.offer.Then[0]
	th, err := wire.DecodeThunk(x.Thunk)
	if err != nil {
		n.w.t.Fatal(err)
	}
	r, err := th.Resolve(func(_ wire.ThunkID, output string) (wire.Object, bool) {
		i, ok := before.OutputIndex(output)
		return outs[i], ok
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	_, enc := r.Encode()
	n.offered(wire.Offer{Lease: x.Lease, Space: l.offer.Space, Name: x.Name, Thunk: enc, Hints: x.Hints, Root: x.Root, Then: l.offer.Then[1:], Sign: l.offer.Sign})
	n.leases[len(n.leases)-1].after = append(slices.Clone(l.after), l.offer.Lease)
}

// forget ends the continuation of a lease at one of its thunks.
func (l *simLease) forget(id wire.LeaseID) {
	if i := slices.IndexFunc(l.offer.Then, func(x wire.Next) bool { return x.Lease == id }); i >= 0 {
		l.offer.Then = l.offer.Then[:i]
	}
}
