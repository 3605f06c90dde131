package sched

import (
	"slices"
	"testing"
	"time"

	"gaggle/wire"
)

// bare gives events to a State that nothing answers.
type bare struct {
	t   *testing.T
	s   *State
	now time.Duration
}

func newBare(t *testing.T) *bare {
	b := &bare{t: t, s: New(Config{})}
	b.step(EpochBegan{Epoch: 2})
	return b
}

func (b *bare) step(events ...Event) []Action {
	b.t.Helper()
	b.now += 10 * time.Millisecond
	actions := b.s.Step(b.now, time.Unix(0, 0).Add(b.now), events)
	if err := checkState(b.s, actions); err != nil {
		b.t.Fatal(err)
	}
	return actions
}

func up(p wire.PeerID, slots int) NodeUp {
	return NodeUp{Peer: p, Hello: wire.Hello{Name: p.Short(), Slots: slots, MemBytes: 64 << 30,
		Versions: wire.Versions{Platforms: []string{"linux/amd64"}, ABIs: []uint64{1}}}}
}

func holds(p wire.PeerID, durable bool, objects ...wire.Object) Have {
	return Have{Peer: p, Set: wire.SpaceSet{Space: "t", Objects: objects}, Durable: durable}
}

// result is the value that a node sends for the thunk of a lease.
func result(p wire.PeerID, id wire.LeaseID, th wire.ThunkID, outs ...wire.Object) Resulted {
	return Resulted{Peer: p, Result: wire.Result{Lease: id, Space: "t", Thunk: th}, Value: wire.NewValue(outs)}
}

// pick returns the actions of one type.
func pick[A Action](actions []Action) (list []A) {
	for _, a := range actions {
		if a, ok := a.(A); ok {
			list = append(list, a)
		}
	}
	return list
}

// manyTargets returns a job of n builtin tasks, all of them targets, and their values.
func manyTargets(t *testing.T, client wire.PeerID, n int) (e Submitted, p *plan, outs []wire.Object) {
	p = &plan{ids: map[string]wire.ThunkID{}}
	var names []string
	for i := range n {
		name := "t" + wire.Sum([]byte{byte(i), byte(i >> 8)}).Short()
		p.ids[name] = p.add(t, name, wire.Thunk{Command: []string{name}, Root: wire.TreeID(testRoot.Digest), Platform: "linux/amd64", ABI: 1,
			Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}, wire.Hints{})
		names = append(names, name)
		outs = append(outs, wire.Object{Kind: wire.File, Digest: wire.Sum([]byte(name)), Size: 1})
	}
	return Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t", Client: client, Tasks: p.tasks, Targets: p.target(names...)}, p, outs
}

var (
	laptop = wire.PeerID{1}
	first  = wire.PeerID{2}
	second = wire.PeerID{3}
)

// kept returns a State in which a node made the n targets of a job and holds them durably, at the
// moment at which one more task is still to be done. Nothing else has a copy.
func kept(t *testing.T, n int) (b *bare, outs []wire.Object) {
	b = newBare(t)
	e, p, outs := manyTargets(t, laptop, n+1)
	known := []Event{up(laptop, 0), holds(laptop, true, testRoot), up(first, 2)}
	for i := range n {
		th := wire.ThunkID(wire.Sum(p.tasks[i].Thunk))
		known = append(known, Known{Space: "t", Thunk: th, Value: wire.NewValue(outs[i : i+1]), By: Voucher{Signer: first}})
	}
	b.step(append(known, holds(first, true, outs[:n]...))...)
	actions := b.step(e)
	if pins := pick[Pin](actions); len(pins) != n {
		t.Fatalf("%d pins, want %d", len(pins), n)
	}
	return b, outs[:n]
}

func TestLosingANodeLooksAtAllItKept(t *testing.T) {
	const n = 4000
	for _, c := range []struct {
		name string
		lose func(b *bare, outs []wire.Object) []Action
		pins int // that are left
	}{
		{"that went away", func(b *bare, _ []wire.Object) []Action {
			b.step(NodeGone{Peer: first})
			var actions []Action
			for range lostAfter / time.Second {
				b.now += time.Second
				actions = append(actions, b.step(Beat{Peer: laptop})...)
			}
			return actions
		}, n},
		{"that lost its store", func(b *bare, outs []wire.Object) []Action {
			e := Lost{Peer: first, Space: "t"}
			for _, o := range outs {
				e.Digests = append(e.Digests, o.Digest)
			}
			return b.step(e)
		}, 0},
		{"that came back with nothing", func(b *bare, _ []wire.Object) []Action { return b.step(up(first, 2)) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, outs := kept(t, n)
			actions := c.lose(b, outs)
			j := b.s.jobs.at(b.s.jobOf[wire.JobID{1}])
			if j.counts.Memo != 0 || j.open != n+1 || j.unkept != n {
				t.Errorf("%d of the tasks known, %d open and %d targets not kept; want all made again", j.counts.Memo, j.open, j.unkept)
			}
			if unpins := len(pick[Unpin](actions)); len(j.pins) != c.pins || unpins != n-c.pins {
				t.Errorf("%d pins are left and %d ended, want %d and %d", len(j.pins), unpins, c.pins, n-c.pins)
			}
			if len(b.s.lostObjs) > 0 || slices.ContainsFunc(outs, func(o wire.Object) bool { return b.s.object(1, o.Digest).lost }) {
				t.Error("objects are still marked as lost")
			}
		})
	}
}

func TestPinsAreToldAgainToANodeThatConnects(t *testing.T) {
	b, outs := kept(t, 3)
	b.step(NodeGone{Peer: first})
	back := up(first, 2)
	back.Hello.Inventory = len(outs)
	actions := b.step(back, up(second, 2), holds(first, true, outs...))
	pins := pick[Pin](actions)
	if len(pins) != len(outs) {
		t.Fatalf("%d pins, want %d", len(pins), len(outs))
	}
	for i, p := range pins {
		if p.Node != first || p.Pin.Object != outs[i] || p.Pin.Owner != (wire.JobID{1}).String() {
			t.Errorf("pin %d: %+v", i, p)
		}
	}
	if unpins := pick[Unpin](actions); len(unpins) > 0 {
		t.Errorf("what it reported anew is not kept: %v", unpins)
	}
}

func TestEndOfAnOlderSessionStrandsNobody(t *testing.T) {
	for _, c := range []struct {
		name  string
		event Event
	}{
		{"a beat", Beat{Peer: first}},
		{"a report of what it holds", holds(first, false, testRoot)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBare(t)
			b.step(up(laptop, 0), holds(laptop, true, testRoot), up(first, 2))
			b.step(up(first, 2), NodeGone{Peer: first}) // of the session before
			b.step(c.event)
			e, _, _ := manyTargets(t, laptop, 1)
			if offers := pick[Offer](b.step(e)); len(offers) != 1 || offers[0].Node != first {
				t.Errorf("offers %v, want one to the node that is heard", offers)
			}
		})
	}
}

func TestResultsNobodyWaitsFor(t *testing.T) {
	file := wire.Object{Kind: wire.File, Digest: wire.Sum([]byte("file")), Size: 1}
	dir := wire.Object{Kind: wire.Dir, Digest: wire.Sum([]byte("dir")), Size: 1}
	const given = wire.LeaseID(2<<32 | 1)
	for _, c := range []struct {
		name  string
		from  wire.PeerID
		lease wire.LeaseID
		keeps bool
	}{
		{"of a lease that is over", first, given, true},
		{"of an earlier epoch", first, 1<<32 | 77, true},
		{"of a lease not given so far", first, given + 1, false},
		{"of a later epoch", first, 3<<32 | 1, false},
		{"of no lease", first, 0, false},
		{"of a member without slots", laptop, given, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBare(t)
			b.step(up(laptop, 0), holds(laptop, true, testRoot), up(first, 2))
			e, _, _ := manyTargets(t, laptop, 1)
			b.step(e)
			b.step(Cancelled{e.Job})
			actions := b.step(result(c.from, c.lease, wire.ThunkID{9}, file))
			if rows := pick[Record](actions); (len(rows) == 1) != c.keeps {
				t.Errorf("recorded %v", rows)
			}
			if acks := pick[Ack](actions); len(acks) != 1 {
				t.Errorf("acknowledged %d times, want once", len(acks))
			}
		})
	}
	t.Run("of a live lease for another thunk", func(t *testing.T) {
		b := newBare(t)
		b.step(up(laptop, 0), holds(laptop, true, testRoot), up(first, 2))
		e, _, _ := manyTargets(t, laptop, 1)
		b.step(e)
		if rows := pick[Record](b.step(result(first, given, wire.ThunkID{9}, file))); len(rows) > 0 {
			t.Errorf("recorded %v", rows)
		}
	})
	t.Run("of another shape hide no value", func(t *testing.T) {
		b := newBare(t)
		b.step(up(laptop, 0), holds(laptop, true, testRoot), up(first, 2))
		e, p, _ := manyTargets(t, laptop, 1)
		th := wire.ThunkID(wire.Sum(p.tasks[0].Thunk))
		b.step(result(first, 1<<32|7, th, dir), result(first, 1<<32|8, th, file), holds(first, true, dir, file))
		ends := pick[End](b.step(e))
		if len(ends) != 1 || len(ends[0].Done.Targets) != 1 || ends[0].Done.Targets[0].Held.Object != file {
			t.Errorf("the job: %+v, want it to end with the file", ends)
		}
	})
}

func TestSubmittedAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*Submitted)
		answers int
	}{
		{"by the same client", func(*Submitted) {}, 1},
		{"by another client", func(e *Submitted) { e.Client = second }, 0},
		{"in another space", func(e *Submitted) { e.Space = "other" }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBare(t)
			b.step(up(laptop, 0), holds(laptop, true, testRoot), up(first, 2))
			e, _, _ := manyTargets(t, laptop, 1)
			b.step(e)
			c.change(&e)
			if actions := b.step(e); len(actions) != c.answers {
				t.Errorf("answers %v, want %d", actions, c.answers)
			}
			if n := len(b.s.live); n != 1 {
				t.Errorf("%d jobs, want 1", n)
			}
		})
	}
}
