package sched

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

var seeds = flag.Uint64("seeds", 150, "how many worlds TestSeeds goes through")

var inOrder = flag.Bool("inorder", false, "go through the worlds one by one")

// randomGraph is a graph of up to 25 tasks over some leaves, as text, with the names of its tasks.
func randomGraph(rng *rand.Rand) (text string, names []string) {
	n := 1 + rng.IntN(25)
	pool := rng.IntN(3) // graphs of one pool have tasks in common
	for i := range n {
		name := fmt.Sprintf("p%dt%d", pool, i)
		line := name
		switch rng.IntN(12) {
		case 0:
			name = "sub"
			line = fmt.Sprintf("sub:%d", 1+rng.IntN(3))
		case 1:
			name = "fib"
			line = fmt.Sprintf("fib:%d", 3+rng.IntN(6))
		}
		if slices.Contains(names, name) {
			name = fmt.Sprintf("p%dt%d", pool, i)
			line = name
		}
		line += " ->"
		for range rng.IntN(4) {
			if len(names) > 0 && rng.IntN(4) > 0 {
				d := names[rng.IntN(len(names))]
				if !bytes.Contains([]byte(line+" "), []byte(" "+d+" ")) {
					line += " " + d
				}
			} else if src := fmt.Sprintf("src%d", rng.IntN(5)); !bytes.Contains([]byte(line+" "), []byte(" "+src+" ")) {
				line += " " + src
			}
		}
		if text != "" {
			text += "; "
		}
		text += line
		names = append(names, name)
	}
	return text, names
}

// faulty lets a world run with all that goes wrong in a mesh, until it stops going wrong.
func faulty(t *testing.T, seed uint64) *world {
	w := newWorld(t, seed)
	rng := w.rng
	w.delay = func() time.Duration {
		if rng.IntN(50) == 0 {
			return time.Duration(rng.IntN(2000)) * time.Millisecond
		}
		return time.Duration(1+rng.IntN(40)) * time.Millisecond
	}
	w.runs = func(string) time.Duration {
		if rng.IntN(20) == 0 {
			return time.Duration(rng.IntN(20000)) * time.Millisecond
		}
		return time.Duration(1+rng.IntN(1500)) * time.Millisecond
	}
	clients := []*simNode{w.addNode("client1", 0), w.addNode("client2", 0)}
	for _, c := range clients {
		c.beat()
	}
	for i := range 2 + rng.IntN(4) {
		n := w.addNode(fmt.Sprint("node", i+1), 1+rng.IntN(3))
		if i > 1 && rng.IntN(4) == 0 { // two that run all are there, or a job would be given up in bad times
			n.hello.OwnOnly, n.tenants = true, [][]wire.Space{nil, {"t"}, {"u"}}[rng.IntN(3)]
			n.disconnect()
			n.connect()
		}
		if i > 1 && rng.IntN(5) == 0 {
			n.hello.Metered = true
			n.disconnect()
			n.connect()
		}
		if rng.IntN(4) == 0 {
			n.hello.MemBytes = 1 << 30
			n.disconnect()
			n.connect()
		}
		if i > 1 && rng.IntN(6) == 0 {
			n.bad = func(*wire.Thunk) *wire.Failure {
				if rng.IntN(3) > 0 {
					return nil
				}
				return &wire.Failure{Cause: wire.CauseSandbox, Message: "no space left on /tmp"}
			}
		}
		n.owner, n.hello.Overlay = string(rune('a'+rng.IntN(3))), true
		n.disconnect()
		n.connect()
		n.beat()
	}
	for _, c := range clients { // of an owner with a node that is well, or with none
		if c.owner = w.nodes[2+rng.IntN(2)].owner; rng.IntN(6) == 0 {
			c.owner = "nobody"
		}
		c.disconnect()
		c.connect()
	}
	if i := 4 + rng.IntN(6); i < len(w.nodes) { // three at least do not
		w.nodes[i].lies = rng.IntN(2) == 0
	}
	if w.lying() == 0 && rng.IntN(6) == 0 {
		w.chancy = true
		w.value = func(w *world, th *wire.Thunk) []wire.Object {
			outs := compute(th)
			if final(outs) && rng.IntN(3) == 0 {
				outs[0].Digest = wire.Sum(append(outs[0].Digest[:], byte(rng.IntN(2))))
			}
			return outs
		}
	}
	const calmAt = 60 * time.Second
	faults := rng.IntN(4) // none, some or many
	for range faults * 8 {
		w.after(time.Duration(rng.IntN(int(calmAt))), func() { w.fault(clients) })
	}
	w.after(calmAt, func() {
		w.delay = func() time.Duration { return 2 * time.Millisecond }
		for _, n := range w.nodes {
			if !n.up {
				n.connect()
			}
		}
	})
	return w
}

// fault makes one thing go wrong.
func (w *world) fault(clients []*simNode) {
	rng := w.rng
	n := w.nodes[2+rng.IntN(len(w.nodes)-2)]
	back := func(n *simNode, d time.Duration) {
		w.after(d, func() {
			if !n.up {
				n.connect()
			}
		})
	}
	switch rng.IntN(11) {
	case 8: // a machine sleeps
		if n.up {
			n.suspend(time.Duration(rng.IntN(90_000)) * time.Millisecond)
		}
	case 9: // the coordinator's wall clock is set
		w.ahead = time.Duration(rng.IntN(12*3600)-6*3600) * time.Second
	case 10: // a machine is copied with its key
		if n.up {
			n.copied()
			back(n, 15*time.Second)
		}
	case 0: // a node loses power, and perhaps its disk
		n.crash(rng.IntN(2) == 0)
		back(n, time.Duration(rng.IntN(20000))*time.Millisecond)
	case 1: // a connection breaks
		if n.up {
			n.disconnect()
		}
		back(n, time.Duration(rng.IntN(15000))*time.Millisecond)
	case 2: // a client goes and comes back
		c := clients[rng.IntN(2)]
		if c.up {
			c.disconnect()
		}
		back(c, time.Duration(rng.IntN(30000))*time.Millisecond)
	case 3, 4: // a store loses something
		if len(n.order) > 0 {
			n.drop(n.order[rng.IntN(len(n.order))])
		}
	case 5: // what was lately made is lost everywhere, though clients keep what they submitted
		if len(n.order) > 0 {
			d := n.order[len(n.order)-1]
			for _, m := range w.nodes[2:] {
				if _, ok := m.holds[d]; ok {
					m.drop(d)
				}
			}
		}
	case 6: // the coordinator starts anew
		w.restart()
	case 7: // somebody wants something to stop
		if len(w.s.live) > 0 && rng.IntN(3) == 0 {
			w.step(Cancelled{w.s.jobs.at(w.s.live[rng.IntN(len(w.s.live))]).id})
		}
	}
}

// tooSmall reports whether a job failed because too few nodes were there for too long: to confirm a
// value, or for a gang. The only node of another owner, or the only one awake, may be one that fails
// now and then.
func tooSmall(done *wire.Done, trust wire.Trust) bool {
	return slices.ContainsFunc(done.Failures, func(f wire.FailedTask) bool {
		return strings.Contains(f.Failure.Message, "there is no second node") || strings.Contains(f.Failure.Message, "there is no third node") ||
			strings.Contains(f.Failure.Message, "slots at once, and memory") || strings.Contains(f.Failure.Message, "the job believes") ||
			f.Failure.Cause == wire.CauseSandbox && (trust.Owners() > 0 || aloneBad(&f))
	})
}

// aloneBad reports whether a task was tried on one node only that fails now and then, and where else it
// was given the node went away: the others sleep.
func aloneBad(f *wire.FailedTask) bool {
	return !slices.ContainsFunc(f.Attempts, func(a wire.Failure) bool { return a.Cause != wire.CauseNodeLost && a.Node != f.Failure.Node })
}

// pair makes a gang of the first two tasks that need no other and make no sub-graph, on a network if
// networks is set, or not. Their thunks stay those of the plan, so that their profile does not say so.
func pair(rng *rand.Rand, networks bool, tasks []wire.TaskSpec) {
	var free []int
	for i := range tasks {
		th, err := wire.DecodeThunk(tasks[i].Thunk)
		if err == nil && th.Resolved() && strings.HasPrefix(tasks[i].Name, "p") && len(free) < 2 {
			free = append(free, i)
		}
	}
	if len(free) < 2 {
		return
	}
	g := wire.Gang{Name: "pair", Size: 2, Network: networks && rng.IntN(2) == 0, Task: "p", Count: 2, Deterministic: rng.IntN(2) == 0}
	for k, i := range free {
		tasks[i].Gang = new(g)
		tasks[i].Gang.Index = k
	}
}

// lying returns how many percent of the thunks are to be verified so that no lie gets through.
func (w *world) lying() int {
	if slices.ContainsFunc(w.nodes, func(n *simNode) bool { return n.lies }) {
		return 100
	}
	return 0
}

// restart ends the coordinator's life and begins the next; nodes reconnect one after the other.
func (w *world) restart() {
	for _, n := range w.nodes {
		n.up = false
		n.life++
	}
	w.begin()
	for _, n := range w.nodes {
		w.after(time.Duration(w.rng.IntN(3000))*time.Millisecond, func() {
			if !n.up {
				n.connect()
			}
		})
	}
}

// TestSeeds runs jobs in faulty worlds. When the faults have stopped every job ends, with the values
// of a serial run unless it was cancelled. Each world is run twice, and must want the same.
func TestSeeds(t *testing.T) {
	first, last := uint64(1), *seeds
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if !*inOrder {
				t.Parallel()
			}
			a := simulate(t, seed)
			if *seedFlag == 0 && seed%4 == 0 {
				if b := simulate(t, seed); !bytes.Equal(a.log.Bytes(), b.log.Bytes()) {
					t.Error("equal events gave different actions")
				}
			}
		})
	}
}

func simulate(t *testing.T, seed uint64) *world {
	w := faulty(t, seed)
	plans := map[wire.JobID]*plan{}
	wants := map[wire.JobID][]string{}
	trust := map[wire.JobID]wire.Trust{}
	var ids []wire.JobID
	for i := range 1 + w.rng.IntN(4) {
		w.after(time.Duration(w.rng.IntN(20000))*time.Millisecond, func() {
			text, names := randomGraph(w.rng)
			p := makePlan(t, text)
			targets := []string{names[len(names)-1], names[w.rng.IntN(len(names))]}
			client := w.nodes[w.rng.IntN(2)]
			id := w.submit(byte(i+1), client, p, func(s *Submitted) {
				s.Detach = w.rng.IntN(4) == 0
				s.KeepGoing = w.rng.IntN(2) == 0
				s.Twice = w.rng.IntN(3) == 0
				if s.Verify = w.lying(); !s.Twice && s.Verify == 0 {
					s.Verify = []int{0, 0, 30, 100}[w.rng.IntN(4)]
				}
				s.Twice = s.Twice && s.Verify == 0
				s.Trust = []wire.Trust{wire.TrustAny, wire.TrustAny, wire.TrustOwn, 2, 2, 3}[w.rng.IntN(6)]
				if w.chancy && w.rng.IntN(8) > 0 { // whoever asks others does not go far with chance
					s.Trust, s.Twice, s.Verify = wire.TrustAny, false, 0
				}
				if w.lying() == 0 && w.rng.IntN(4) == 0 && s.Trust.Owners() == 0 {
					pair(w.rng, true, s.Tasks)
				}
				trust[s.Job] = s.Trust
				if !slices.ContainsFunc(s.Tasks, func(t wire.TaskSpec) bool { return t.Gang != nil }) {
					s.Stream = w.rng.Uint64N(3) // 0 in a third of the worlds: in one piece
				}
				for k := range s.Tasks {
					s.Tasks[k].Hints = wire.Hints{Priority: w.rng.IntN(3), MemBytes: 1 << (26 + w.rng.IntN(4)), MilliCPU: 700 * w.rng.Int64N(6), Timeout: time.Duration(30+w.rng.IntN(3)) * time.Second}
				}
			}, targets...)
			plans[id], wants[id] = p, targets
			ids = append(ids, id)
		})
	}
	w.run(20*time.Second, nil)
	if !w.run(20*time.Minute, func() bool { return w.now > 61*time.Second && w.ended(ids...)() }) {
		for _, j := range w.s.Jobs() {
			for _, task := range w.s.Tasks(j.Job, "") {
				if task.State != wire.StateDone {
					t.Logf("%s %s %s %s", j.Name, task.Name, task.State, task.Waiting)
				}
			}
		}
		t.Fatalf("at %v not all jobs have ended: %+v", w.now, w.s.Jobs())
	}
	for _, id := range ids {
		done := w.done[id]
		if done.Error != nil && done.Error.Cause == wire.CauseCancelled {
			continue
		}
		if w.chancy || tooSmall(done, trust[id]) {
			continue
		}
		w.wantValues(id, plans[id], wants[id]...)
	}
	w.wantIdle()
	return w
}

// wantIdle fails the test if anything is kept of jobs that are over.
func (w *world) wantIdle() {
	w.t.Helper()
	s := w.s
	for _, r := range slices.Clone(s.live) {
		w.step(Released{s.jobs.at(r).id})
	}
	if len(s.live) != 0 || s.tasks.n != 0 || s.runs.n != 0 || s.edges.n != 0 || len(s.leases) != 0 || len(s.ready) != 0 {
		w.t.Fatalf("left over: %d jobs, %d tasks, %d runs, %d edges, %d leases", len(s.live), s.tasks.n, s.runs.n, s.edges.n, len(s.leases))
	}
}
