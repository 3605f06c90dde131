package sched

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// dropEverywhere takes an object out of every store.
func (w *world) dropEverywhere(d wire.Digest) {
	for _, n := range w.nodes {
		if _, ok := n.holds[d]; ok {
			n.drop(d)
		}
	}
}

func TestNodeLost(t *testing.T) {
	w, client := small(t, 2)
	w.runs = func(string) time.Duration { return 5 * time.Second }
	p := makePlan(t, "a -> src1; b -> src2; c -> src3; d -> src4; e -> a b c d")
	id := w.submit(1, client, p, nil, "e")
	w.run(2*time.Second, nil)
	w.nodes[1].crash(true)
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "e")
	for _, n := range w.s.Nodes() {
		if n.Info.Name == "node1" && n.State != "lost" {
			t.Errorf("node1 is %s, want lost", n.State)
		}
	}
}

func TestLateResultCounts(t *testing.T) {
	w, client := small(t, 2)
	w.runs = func(string) time.Duration { return 15 * time.Second }
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, nil, "a")
	w.run(time.Second, nil)
	first := w.nodes[1]
	if len(first.leases) == 0 {
		first = w.nodes[2]
	}
	first.disconnect()
	w.after(15*time.Second, first.connect) // lost for 4 s by then, and nearly done
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "a")
	if w.now > 20*time.Second {
		t.Errorf("took %v: the value of the node that came back was not used", w.now)
	}
}

func TestLostIntermediateRunsAgain(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "a -> src; b -> a; c -> a b; d -> c")
	w.runs = func(name string) time.Duration {
		if name == "c" {
			return 10 * time.Second
		}
		return time.Second
	}
	id := w.submit(1, client, p, nil, "b", "d")
	e := newEvaluator()
	e.add(p.tasks)
	w.run(5*time.Second, nil) // c runs
	w.dropEverywhere(e.value(p.ids["a"])[0].Digest)
	w.dropEverywhere(e.value(p.ids["b"])[0].Digest) // a target, which needs a
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "b", "d")
	if n := w.ran[p.ids["a"]]; n != 2 {
		t.Errorf("a ran %d times, want 2", n)
	}
}

func TestTargetLostBeforeItIsFetchedRunsAgain(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "a -> src; b -> a")
	id := w.submit(1, client, p, nil, "b")
	w.run(time.Minute, w.ended(id))
	o := w.done[id].Targets[0].Held.Object
	w.dropEverywhere(o.Digest)
	w.run(10*time.Second, nil)
	if len(w.s.Holders("t", o.Digest)) == 0 {
		t.Error("nobody holds the target again")
	}
	if n := w.ran[p.ids["a"]]; n != 1 {
		t.Errorf("a, which is not lost, ran %d times", n)
	}
	w.wantIdle()
}

func TestLingeringJobIsFreed(t *testing.T) {
	w, client := small(t, 1)
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, nil, "a")
	w.run(time.Minute, w.ended(id))
	w.run(lingerFor+time.Minute, nil)
	if w.s.tasks.n != 0 || len(w.s.live) != 0 {
		t.Errorf("%d tasks are kept of a job that nobody fetches from", w.s.tasks.n)
	}
}

func TestLostSubGraphOutputRunsAgain(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "sub:2 -> src; b -> sub; c -> b sub")
	w.runs = func(name string) time.Duration {
		if name == "b" {
			return 10 * time.Second
		}
		return time.Second
	}
	id := w.submit(1, client, p, nil, "c")
	e := newEvaluator()
	e.add(p.tasks)
	w.run(12*time.Second, nil)
	w.dropEverywhere(e.value(p.ids["sub"])[0].Digest)
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "c")
}

func TestNondeterministicTask(t *testing.T) {
	for _, c := range []struct {
		name  string
		other int // values after the first
		cause wire.Cause
	}{
		{"that differs once is followed", 1, 0},
		{"that differs again fails", 2, wire.CauseNondeterministic},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, client := small(t, 2)
			p := makePlan(t, "a -> src; b -> a; c -> b a; d -> c a")
			runs := 0
			w.bad = func(*wire.Thunk) *wire.Failure { return nil } // values may change
			w.value = func(_ *world, th *wire.Thunk) []wire.Object {
				outs := compute(th)
				if th.Command[0] == "a" {
					outs[0].Digest = wire.Sum([]byte{byte(min(runs, c.other))})
					runs++
				}
				return outs
			}
			w.runs = func(name string) time.Duration {
				if name == "b" || name == "c" {
					return 5 * time.Second
				}
				return time.Second
			}
			id := w.submit(1, client, p, nil, "d")
			for _, at := range []time.Duration{4 * time.Second, 7 * time.Second} {
				w.run(at-w.now, nil) // b runs; a is needed by c
				for k := range runs {
					w.dropEverywhere(wire.Sum([]byte{byte(k)}))
				}
				w.run(12*time.Second, w.ended(id))
			}
			w.run(5*time.Minute, w.ended(id))
			done := w.done[id]
			switch {
			case done == nil:
				t.Fatalf("not ended: %+v", w.s.Tasks(id, ""))
			case c.cause == 0 && (len(done.Failures) > 0 || len(done.Targets) != 1):
				t.Errorf("job: %+v, want it done", done)
			case c.cause != 0 && (len(done.Failures) != 1 || done.Failures[0].Failure.Cause != c.cause ||
				!strings.Contains(done.Failures[0].Failure.Message, `output "out"`)):
				t.Errorf("job: %+v, want %s", done, c.cause)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	exit := &wire.Failure{Cause: wire.CauseExit, Exit: 1, Message: "exit 1"}
	for _, c := range []struct {
		name      string
		fails     int // attempts of b that fail
		failure   *wire.Failure
		hints     wire.Hints
		keepGoing bool
		cause     wire.Cause
		attempts  int // of b
		counts    wire.Counts
	}{
		{"stops at the first", 1, exit, wire.Hints{}, false, wire.CauseExit, 1, wire.Counts{Tasks: 4, Ran: 1, Failed: 1, Cancelled: 2}},
		{"keeps going", 1, exit, wire.Hints{}, true, wire.CauseExit, 1, wire.Counts{Tasks: 4, Ran: 2, Failed: 1, Cancelled: 1}},
		{"retries when asked", 2, exit, wire.Hints{Retries: 2}, false, 0, 3, wire.Counts{Tasks: 4, Ran: 4}},
		{"retries only so often", 3, exit, wire.Hints{Retries: 2}, true, wire.CauseExit, 3, wire.Counts{Tasks: 4, Ran: 2, Failed: 1, Cancelled: 1}},
		{"doubles memory once", 1, &wire.Failure{Cause: wire.CauseMemory}, wire.Hints{}, false, 0, 2, wire.Counts{Tasks: 4, Ran: 4}},
		{"doubles memory only once", 2, &wire.Failure{Cause: wire.CauseMemory}, wire.Hints{}, true, wire.CauseMemory, 2, wire.Counts{Tasks: 4, Ran: 2, Failed: 1, Cancelled: 1}},
		{"tries elsewhere when a disk is full", 3, &wire.Failure{Cause: wire.CauseDiskFull}, wire.Hints{}, false, 0, 4, wire.Counts{Tasks: 4, Ran: 4}},
		{"does not believe that a first run differs", 9, &wire.Failure{Cause: wire.CauseNondeterministic}, wire.Hints{}, true, wire.CauseNondeterministic, 5, wire.Counts{Tasks: 4, Ran: 2, Failed: 1, Cancelled: 1}},
		{"gives up on the infrastructure", 9, &wire.Failure{Cause: wire.CauseSandbox}, wire.Hints{}, true, wire.CauseSandbox, 5, wire.Counts{Tasks: 4, Ran: 2, Failed: 1, Cancelled: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, client := small(t, 3)
			p := makePlan(t, "a -> src; b -> a; c -> b; d -> a")
			attempts := 0
			w.bad = func(th *wire.Thunk) *wire.Failure {
				if th.Command[0] != "b" {
					return nil
				}
				if attempts++; attempts <= c.fails {
					return c.failure
				}
				return nil
			}
			w.runs = func(name string) time.Duration {
				if name == "d" {
					return 3 * time.Second
				}
				return time.Second
			}
			id := w.submit(1, client, p, func(e *Submitted) {
				e.KeepGoing = c.keepGoing
				e.Tasks[1].Hints = c.hints
			}, "c", "d")
			w.run(time.Minute, w.ended(id))
			done := w.done[id]
			if done == nil {
				t.Fatalf("not ended: %+v", w.s.Tasks(id, ""))
			}
			if attempts != c.attempts || done.Counts != c.counts {
				t.Errorf("%d attempts and %+v, want %d and %+v", attempts, done.Counts, c.attempts, c.counts)
			}
			if c.cause == 0 {
				w.wantValues(id, p, "c", "d")
				return
			}
			if len(done.Failures) != 1 || done.Failures[0].Task != "b" || done.Failures[0].Failure.Cause != c.cause ||
				len(done.Failures[0].Attempts) != c.attempts-1 {
				t.Errorf("failures %+v, want one of b with %s and %d attempts before", done.Failures, c.cause, c.attempts-1)
			}
			w.wantIdle()
		})
	}
}

func TestFailuresAreNotRemembered(t *testing.T) {
	w, client := small(t, 1)
	p := makePlan(t, "a -> src")
	broken := true
	w.bad = func(*wire.Thunk) *wire.Failure {
		if broken {
			return &wire.Failure{Cause: wire.CauseExit, Exit: 1}
		}
		return nil
	}
	one := w.submit(1, client, p, nil, "a")
	w.run(time.Minute, w.ended(one))
	broken = false
	two := w.submit(2, client, p, nil, "a")
	w.run(time.Minute, w.ended(two))
	w.wantValues(two, p, "a")
}

func TestSubGraphsThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		name, text string
		cause      wire.Cause
		message    string
	}{
		{"waits for itself", "loop", wire.CauseCycle, "loop -> loop/value -> loop"},
		{"nests without end", "deep:1", wire.CauseGraph, "nested deeper than 1000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, client := small(t, 1)
			w.calm = true
			w.runs = func(string) time.Duration { return time.Millisecond }
			p := makePlan(t, c.text)
			name, _, _ := strings.Cut(c.text, ":")
			id := w.submit(1, client, p, nil, name)
			w.run(5*time.Minute, w.ended(id))
			done := w.done[id]
			if done == nil || len(done.Failures) != 1 || done.Failures[0].Failure.Cause != c.cause ||
				!strings.Contains(done.Failures[0].Failure.Message, c.message) {
				t.Errorf("job: %.500v, want %s: %s", done, c.cause, c.message)
			}
		})
	}
}

// notes are what jobs are told beside their tasks.
func notes(actions []Action) (list []string) {
	for _, tell := range pick[Tell](actions) {
		if tell.Notice.Note != "" {
			list = append(list, tell.Notice.Note)
		}
	}
	return list
}

// silence lets seconds pass in which only some are heard of.
func (b *bare) silence(seconds int, heard ...wire.PeerID) (actions []Action) {
	for range seconds {
		b.now += time.Second
		events := []Event{Tick{}}
		for _, p := range heard {
			events = append(events, Beat{Peer: p})
		}
		actions = append(actions, b.step(events...)...)
	}
	return actions
}

// With a member of a gang the others begin again, on nodes that are well.
func TestGangOfALostNodeIsTold(t *testing.T) {
	b := newBare(t)
	client, one, two := wire.PeerID{1}, wire.PeerID{2}, wire.PeerID{3}
	p := makePlan(t, "a -> src; b -> src; c -> src")
	for i := range p.tasks {
		p.tasks[i].Gang = &wire.Gang{Name: "g", Size: 3}
	}
	b.step(up(client, 0), up(one, 1), up(two, 2), holds(client, true, leaf("src"), testRoot))
	b.step(Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t", Client: client, Tasks: p.tasks, Targets: p.target("a", "b", "c")})
	want := []string{one.Short() + " is lost; 3 tasks start again"}
	if got := notes(b.silence(11, client, two)); !slices.Equal(got, want) {
		t.Errorf("notes %q, want %q", got, want)
	}
}

// Who waits for a job is told why some of it takes longer.
func TestNodeLostIsTold(t *testing.T) {
	b := newBare(t)
	client, one := wire.PeerID{1}, wire.PeerID{2}
	p := makePlan(t, "a -> src; b -> src; c -> src")
	b.step(up(client, 0), up(one, 2), holds(client, true, leaf("src"), testRoot))
	b.step(Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t", Client: client, Tasks: p.tasks, Targets: p.target("a", "b", "c")})
	got := notes(b.silence(11, client))
	want := []string{one.Short() + " is lost; 3 tasks start again"}
	if !slices.Equal(got, want) {
		t.Errorf("after 11 s of silence: notes %q, want %q", got, want)
	}
	if offers := pick[Offer](b.step(up(one, 2))); len(offers) != 3 {
		t.Fatalf("%d offers to the node that is back, want 3", len(offers))
	}
	got = notes(b.step(up(one, 2)))
	want = []string{one.Short() + " connected again without what it was given; 3 tasks start again"}
	if !slices.Equal(got, want) {
		t.Errorf("after a restart: notes %q, want %q", got, want)
	}
}

// A run that a node had begun and lost in a restart goes to another one, though the first is as free.
func TestRunLostInARestartGoesElsewhere(t *testing.T) {
	b := newBare(t)
	client, one, two := wire.PeerID{1}, wire.PeerID{2}, wire.PeerID{3}
	p := makePlan(t, "a -> src")
	b.step(up(client, 0), holds(client, true, leaf("src"), testRoot), up(one, 1), up(two, 1))
	b.step(holds(one, true, leaf("src"), testRoot)) // nothing to fetch there
	first := pick[Offer](b.step(Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t", Client: client, Tasks: p.tasks, Targets: p.target("a")}))
	if len(first) != 1 || first[0].Node != one {
		t.Fatalf("offers %+v, want one to the node that has the input", first)
	}
	b.step(Started{Peer: one, Lease: first[0].Offer.Lease})
	again := pick[Offer](b.step(up(one, 1)))
	if len(again) != 1 || again[0].Node != two {
		t.Errorf("offers after a restart %+v, want one to the other node", again)
	}
}

// What cannot get its inputs where a slot is free for it is run elsewhere, too.
func TestStuckFetchIsCopied(t *testing.T) {
	b := newBare(t)
	client, one, two := wire.PeerID{1}, wire.PeerID{2}, wire.PeerID{3}
	p := makePlan(t, "a -> src")
	b.step(up(client, 0), holds(client, true, leaf("src"), testRoot), up(one, 1), up(two, 1))
	first := pick[Offer](b.step(Submitted{Job: wire.JobID{1}, Space: "t", Tenant: "t", Client: client, Tasks: p.tasks, Targets: p.target("a")}))
	if len(first) != 1 {
		t.Fatalf("offers %+v, want one", first)
	}
	var copies []Offer
	for range 10 {
		b.now += time.Second
		copies = append(copies, pick[Offer](b.step(Beat{Peer: client}, Beat{Peer: one}, Beat{Peer: two}, Tick{}))...)
	}
	if len(copies) != 1 || copies[0].Node == first[0].Node || b.now < suspectAfter {
		t.Errorf("after %v: %d copies %+v, want one on the other node", b.now, len(copies), copies)
	}
}
