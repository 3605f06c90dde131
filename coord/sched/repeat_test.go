package sched

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

func twice(e *Submitted) { e.Twice = true }

func TestTwiceRunsEveryThunkElsewhereToo(t *testing.T) {
	w, client := small(t, 3)
	p := makePlan(t, "a -> src; b -> a; fib:4 -> src; c -> a b fib")
	id := w.submit(1, client, p, twice, "c")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "c")
	if len(w.first) == 0 || len(w.first) != len(w.repeated) {
		t.Errorf("%d thunks ran and %d ran again", len(w.first), len(w.repeated))
	}
	for th, first := range w.first {
		if again := w.repeated[th]; len(first) != 1 || len(again) != 1 || first[0] == again[0] {
			t.Errorf("thunk %s ran on %v and again on %v, want once on each of two nodes", th, first, again)
		}
	}
	if c := w.done[id].Counts; c.Ran != c.Tasks {
		t.Errorf("counts = %+v, want each task to have run", c)
	}
	// What it found is known to others, and a second look bypasses it.
	two := w.submit(2, client, p, nil, "c")
	if d := w.done[two]; d == nil || d.Counts.Memo != d.Counts.Tasks {
		t.Errorf("another job: %+v, want it done from the memo", d)
	}
	three := w.submit(3, client, p, twice, "c")
	w.run(time.Minute, w.ended(three))
	w.wantValues(three, p, "c")
	for th, again := range w.repeated {
		if len(w.first[th]) != 1 || len(again) != 2 {
			t.Errorf("thunk %s: %v, then %v, want a third run alone", th, w.first[th], again)
		}
	}
	w.wantIdle()
}

func TestTwiceOnOneNode(t *testing.T) {
	w, client := small(t, 1)
	p := makePlan(t, "a -> src; b -> a")
	id := w.submit(1, client, p, twice, "b")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "b")
	for th, first := range w.first {
		if again := w.repeated[th]; !slices.Equal(first, again) {
			t.Errorf("thunk %s ran on %v and on %v", th, first, again)
		}
	}
}

// A node that is busy is waited for: the one that ran it first would tell less.
func TestTwiceWaitsForAnotherNode(t *testing.T) {
	w, client := small(t, 2)
	w.runs = func(name string) time.Duration {
		if strings.HasPrefix(name, "long") {
			return 30 * time.Second
		}
		return time.Second
	}
	w.node(w.nodes[1].peer).hello.Slots = 1
	busy := makePlan(t, "long1 -> src; long2 -> src; long3 -> src; long4 -> src; all -> long1 long2 long3 long4")
	w.submit(1, client, busy, nil, "all")
	w.run(time.Second, nil)
	p := makePlan(t, "a -> src")
	id := w.submit(2, client, p, func(e *Submitted) { e.Twice = true; e.Tasks[0].Hints.Priority = 9 }, "a")
	w.run(10*time.Minute, w.ended(id))
	for th, again := range w.repeated {
		if first := w.first[th]; slices.Equal(first, again) {
			t.Errorf("thunk %s ran on %v and again on %v", th, first, again)
		}
	}
}

func TestTwiceNamesTheNondeterministic(t *testing.T) {
	for _, retries := range []int{0, 3} {
		t.Run(fmt.Sprint(retries, " retries"), func(t *testing.T) {
			w, client := small(t, 2)
			runs := 0
			w.value = func(_ *world, th *wire.Thunk) []wire.Object {
				outs := compute(th)
				if th.Command[0] == "b" {
					runs++
					outs[0].Digest = wire.Sum(fmt.Appendf(nil, "b%d", runs))
				}
				return outs
			}
			p := makePlan(t, "a -> src; b -> a; c -> b")
			id := w.submit(1, client, p, func(e *Submitted) {
				e.Twice = true
				for i := range e.Tasks {
					e.Tasks[i].Hints.Retries = retries
				}
			}, "c")
			w.run(time.Minute, w.ended(id))
			d := w.done[id]
			if len(d.Failures) != 1 || d.Counts.Ran != 1 || d.Counts.Failed != 1 || runs != 2 {
				t.Fatalf("done: %+v, want task b alone to fail after two runs, after %d", d, runs)
			}
			f := d.Failures[0].Failure
			want := `task "b" gave two values, first on node1, then on node2: output "out" differs`
			if swapped := strings.NewReplacer("node1", "node2", "node2", "node1").Replace(want); f.Message != want && f.Message != swapped {
				t.Errorf("message = %q, want %q", f.Message, want)
			}
			if f.Cause != wire.CauseNondeterministic || f.Hint == "" {
				t.Errorf("failure = %+v", f)
			}
			w.wantIdle()
			// Neither value is left for others: two runs of another job, and a is known.
			two := w.submit(2, client, p, nil, "c")
			w.run(time.Minute, w.ended(two))
			if d := w.done[two]; d.Counts.Memo != 1 || d.Counts.Ran != 2 || runs != 3 {
				t.Errorf("another job: %+v after %d runs, want b to run a third time", d.Counts, runs)
			}
		})
	}
}

func TestTwiceTellsAFailureOfTheSecondRun(t *testing.T) {
	w, client := small(t, 2)
	runs := 0
	w.bad = func(*wire.Thunk) *wire.Failure {
		if runs++; runs == 2 {
			return &wire.Failure{Cause: wire.CauseExit, Exit: 3, Message: "exit code 3"}
		}
		return nil
	}
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, twice, "a")
	w.run(time.Minute, w.ended(id))
	f := w.done[id].Failures[0].Failure
	if f.Cause != wire.CauseExit || !strings.Contains(f.Message, `task "a" gave a value on node`) || !strings.Contains(f.Message, "when it ran again: exit code 3") {
		t.Errorf("failure = %+v", f)
	}
}

// TestTwiceAmongOthers: a job that shares runs with one that wants certainty is not held up.
func TestTwiceAmongOthers(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "a -> src")
	sure := w.submit(1, client, p, twice, "a")
	plain := w.submit(2, client, p, nil, "a")
	w.run(1500*time.Millisecond, nil)
	if w.done[plain] == nil || w.done[sure] != nil {
		t.Errorf("after one run: %+v is done and %+v is not, want the reverse", w.done[sure], w.done[plain])
	}
	w.run(time.Minute, w.ended(sure))
	w.wantValues(sure, p, "a")
}

// TestWithdrawn: a value that was not given again is answered to nobody, by coordinators that read
// its tables or by nodes that were away.
func TestWithdrawn(t *testing.T) {
	w, client := small(t, 3)
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, nil, "a")
	w.run(time.Minute, w.ended(id))
	var th wire.ThunkID
	var first string
	for th = range w.first {
		first = w.first[th][0]
	}
	i := slices.IndexFunc(w.nodes, func(n *simNode) bool { return n.hello.Name == first })
	maker := w.nodes[i]
	maker.disconnect()
	w.nodes[0].put(compute(decoded(t, p.tasks[0].Thunk))...) // so that the value can be had without it
	w.value = func(_ *world, th *wire.Thunk) []wire.Object {
		outs := compute(th)
		outs[0].Digest = wire.Sum([]byte("another"))
		return outs
	}
	two := w.submit(2, client, p, twice, "a")
	w.run(time.Minute, w.ended(two))
	if d := w.done[two]; len(d.Failures) != 1 || d.Failures[0].Failure.Cause != wire.CauseNondeterministic {
		t.Fatalf("done: %+v, want it to be found out", d)
	}
	withdrawn := func() (n int) {
		for _, p := range w.withdrawn {
			if p == maker.peer {
				n++
			}
		}
		return n
	}
	if withdrawn() != 0 || w.s.memo(&key{w.s.spaceOf["t"], wire.Digest(th)}) != nil {
		t.Errorf("told %v, the memo has %v", w.withdrawn, w.s.memo(&key{w.s.spaceOf["t"], wire.Digest(th)}))
	}
	maker.connect()
	w.run(time.Second, nil)
	maker.disconnect()
	maker.connect()
	w.run(time.Second, nil)
	if withdrawn() != 1 {
		t.Errorf("%s was told %d times to withdraw, want once", first, withdrawn())
	}
	w.begin()
	if w.s.memo(&key{w.s.spaceOf["t"], wire.Digest(th)}) != nil {
		t.Error("another life of the coordinator knows the value")
	}
}

func decoded(t *testing.T, enc []byte) *wire.Thunk {
	t.Helper()
	th, err := wire.DecodeThunk(enc)
	if err != nil {
		t.Fatal(err)
	}
	return th
}

// TestMemoForgetsAroundWithdrawn: an entry that was withdrawn goes when its turn comes, and takes no
// other with it.
func TestMemoForgetsAroundWithdrawn(t *testing.T) {
	s := New(Config{MaxMemo: 4})
	space := s.space("t")
	value := func(i byte) []wire.Object { return []wire.Object{{Kind: wire.File, Digest: wire.Digest{i}, Size: 1}} }
	for i := range byte(40) {
		id := wire.ThunkID{i}
		s.remember(&key{space, wire.Digest(id)}, value(i), Voucher{Signer: wire.PeerID{1}}, 0, asked)
		if i%3 == 0 {
			s.withdraw(&key{space, wire.Digest(id)}, value(i))
			s.remember(&key{space, wire.Digest(id)}, value(100+i), Voucher{Signer: wire.PeerID{1}}, 0, asked)
		}
		if m := s.memo(&key{space, wire.Digest(id)}); m == nil || m.gone {
			t.Fatalf("the memo of %d is %+v", i, m)
		}
		if s.memos.n > 4 {
			t.Fatalf("%d entries", s.memos.n)
		}
	}
}

// TestTwiceForgetsNodes: the ref of a node that ran a thunk first is used again while the second run
// is under way. It says nothing of the newcomer.
func TestTwiceForgetsNodes(t *testing.T) {
	w, client := small(t, 1)
	p := makePlan(t, "a -> src")
	id := w.submit(1, client, p, twice, "a")
	w.runs = func(string) time.Duration { return 5 * time.Minute }
	second := w.addNode("second", 2)
	second.beat()
	w.run(time.Minute, nil)
	first := w.nodes[1]
	if w.first = map[wire.ThunkID][]string{}; len(second.leases) > 0 {
		first, second = second, first
	}
	w.run(6*time.Minute, func() bool { return len(second.leases) > 0 })
	first.crash(false)
	w.run(30*time.Second, nil)
	w.s.forgetNode()
	visitor := w.addNode("visitor", 2)
	visitor.beat()
	if a, b := w.s.nodeOf[visitor.peer], w.s.nodeOf[first.peer]; a == 0 || b != 0 || len(w.s.freeNodes) > 0 {
		t.Fatalf("the visitor has ref %d, the first node %d, and %v are free", a, b, w.s.freeNodes)
	}
	second.crash(false) // so that it runs elsewhere
	w.run(10*time.Minute, w.ended(id))
	if len(w.repeated) != 1 {
		t.Fatalf("run a second time by %v", w.repeated)
	}
	for _, on := range w.repeated {
		if !slices.Equal(on, []string{"visitor"}) {
			t.Errorf("run again by %v, want the visitor, which is another node", on)
		}
	}
	last := w.notes[len(w.notes)-1]
	if last.State != wire.StateDone || last.NodeName == "visitor" {
		t.Errorf("the last notice is %s by %q, want no node that did not give the value", last.State, last.NodeName)
	}
}
