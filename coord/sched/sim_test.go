package sched

import (
	"bytes"
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"gaggle/wire"
)

var seedFlag = flag.Uint64("seed", 0, "run only this seed of the simulations, and print what happens")

// A world is a State with nodes and clients that exist only in the test, in virtual time. All
// chance comes of the seed.
type world struct {
	t        testing.TB
	s        *State
	cfg      Config
	rng      *rand.Rand
	now      time.Duration
	ahead    time.Duration // of the coordinator's wall clock
	queue    eventHeap
	seq      int
	nodes    []*simNode
	rows     []Row // what a coordinator would find after a restart
	epoch    uint32
	done     map[wire.JobID]*wire.Done
	accept   map[wire.JobID]bool
	pinned   map[string][]wire.Object  // values by job and task
	ran      map[wire.ThunkID]int      // resolved
	first    map[wire.ThunkID][]string // nodes that ran it, to compute it and
	repeated map[wire.ThunkID][]string // to compare
	log      bytes.Buffer              // of all actions
	delay    func() time.Duration      // of a message
	runs     func(name string) time.Duration
	bad      func(th *wire.Thunk) *wire.Failure // makes some thunks fail
	value    func(w *world, th *wire.Thunk) []wire.Object
	notes    []wire.Notice
	offers   map[wire.PeerID]int
	given    map[wire.LeaseID]wire.Digest  // thunks, in this epoch
	asked    map[wire.LeaseID]wire.PeerID  // asked back, without an answer so far
	values   map[wire.Digest][]string      // that nodes gave, by resolved thunk, as text
	givers   map[wire.Digest][]string      // whose nodes gave them, in the same order
	twisted  func(*wire.Thunk) *wire.Thunk // whose graph a liar writes in the place of a thunk's
	chancy   bool                          // thunks may give another value each time
	calm     bool                          // no check after each Step

	withdrawn []wire.PeerID // told to drop claims

	networks []*wire.Network                      // told, each once, in the order
	mayStart func(n *simNode, o *wire.Offer) bool // beside slots and inputs; nil is always
}

type simEvent struct {
	at  time.Duration
	seq int
	do  func()
}

type eventHeap []simEvent

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(simEvent)) }
func (h *eventHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 7)), done: map[wire.JobID]*wire.Done{}, accept: map[wire.JobID]bool{},
		pinned: map[string][]wire.Object{}, ran: map[wire.ThunkID]int{},
		first: map[wire.ThunkID][]string{}, repeated: map[wire.ThunkID][]string{}, offers: map[wire.PeerID]int{}, values: map[wire.Digest][]string{}, givers: map[wire.Digest][]string{}}
	w.delay = func() time.Duration { return time.Millisecond }
	w.runs = func(string) time.Duration { return time.Second }
	w.value = func(_ *world, th *wire.Thunk) []wire.Object { return compute(th) }
	w.begin()
	w.after(250*time.Millisecond, w.tick)
	return w
}

// begin starts a coordinator's life, with what its tables hold.
func (w *world) begin() {
	w.s = New(w.cfg)
	w.epoch++
	w.given, w.asked = map[wire.LeaseID]wire.Digest{}, map[wire.LeaseID]wire.PeerID{}
	events := []Event{EpochBegan{w.epoch}}
	var shut []Event
	over := map[wire.JobID]bool{}
	for _, row := range w.rows {
		if r, ok := row.(RowJobState); ok && r.Done != nil {
			over[r.Job] = true
		}
	}
	for pass := range 4 {
		for i, row := range w.rows {
			switch r := row.(type) {
			case RowQuarantine:
				if r.Quarantined.Recorded = true; pass == 0 {
					shut = append(shut, r.Quarantined)
				}
			case RowValue:
				if pass == 0 && !slices.ContainsFunc(w.rows[i:], withdraws(r)) {
					events = append(events, Known(r))
				}
			case RowExpansion:
				if r.Expanded.Recorded = true; pass == 1 {
					events = append(events, r.Expanded)
				}
			case RowJob:
				if r.Submitted.Recorded = true; pass == 2 && !over[r.Submitted.Job] {
					events = append(events, r.Submitted)
				}
			case RowJobState:
				if pass == 3 && r.Cancelled && !over[r.Job] {
					events = append(events, Cancelled{r.Job})
				}
			}
		}
	}
	w.step(slices.Insert(events, 1, shut...)...)
}

func withdraws(v RowValue) func(Row) bool {
	return func(r Row) bool {
		w, ok := r.(RowWithdrawn)
		return ok && w.Space == v.Space && w.Thunk == v.Thunk
	}
}

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, simEvent{w.now + d, w.seq, do})
}

func (w *world) tick() {
	w.step(Tick{})
	w.after(250*time.Millisecond, w.tick)
}

// step gives events to the State, checks it and carries out what it wants.
// wall is the coordinator's wall clock.
func (w *world) wall() time.Time { return time.Unix(1_700_000_000, 0).Add(w.now + w.ahead) }

func (w *world) step(events ...Event) {
	w.answered(events)
	actions := w.s.Step(w.now, w.wall(), events)
	if !w.calm {
		if err := checkState(w.s, actions); err != nil {
			w.t.Fatalf("at %v after %s: %v", w.now, eventText(events), err)
		}
		w.checkPins()
		w.checkTrust(actions)
	}
	if *seedFlag != 0 && w.rng != nil {
		if text := eventText(events); text != "[Tick]" || len(actions) > 0 {
			w.t.Logf("%v %s", w.now, text)
		}
	}
	for _, a := range actions {
		w.note(a)
		w.carryOut(a)
	}
}

func eventText(events []Event) string {
	var names []string
	for _, e := range events {
		text := fmt.Sprintf("%T", e)[6:]
		switch e := e.(type) {
		case Resulted:
			text += fmt.Sprintf(" %x %x by %s", e.Result.Lease, e.Result.Thunk[:4], e.Peer.Short())
		case AttemptFailed:
			text += fmt.Sprintf(" %x %s by %s", e.Attempt.Lease, e.Attempt.Failure.Message, e.Peer.Short())
		case Started:
			text += fmt.Sprintf(" %x", e.Lease)
		case NodeUp:
			text += " " + e.Hello.Name
		case NodeGone:
			text += " " + e.Peer.Short()
		}
		names = append(names, text)
	}
	return fmt.Sprint(names)
}

func (w *world) note(a Action) {
	b, err := wire.Marshal(a)
	if err != nil {
		w.t.Fatalf("encoding %T: %v", a, err)
	}
	fmt.Fprintf(&w.log, "%v %T ", w.now, a)
	w.log.Write(b)
	if *seedFlag != 0 {
		switch a := a.(type) {
		case Tell:
			w.t.Logf("    %s %s %s %s %v", a.Notice.Task, a.Notice.State, a.Notice.NodeName, a.Notice.Waiting, a.Notice.Failure)
		case Offer:
			w.t.Logf("    offer %x %s to %s", a.Offer.Lease, a.Offer.Name, w.node(a.Node).hello.Name)
		case Record:
			w.t.Logf("    record %T", a.Row)
		default:
			w.t.Logf("    %T", a)
		}
	}
}

// run lets time pass until cond holds, at most for d.
func (w *world) run(d time.Duration, cond func() bool) bool {
	end := w.now + d
	for len(w.queue) > 0 && w.queue[0].at <= end {
		if cond != nil && cond() {
			return true
		}
		e := heap.Pop(&w.queue).(simEvent)
		w.now = e.at
		e.do()
	}
	if cond != nil && cond() {
		return true
	}
	w.now = max(w.now, end)
	return false
}

func (w *world) node(p wire.PeerID) *simNode {
	for _, n := range w.nodes {
		if n.peer == p {
			return n
		}
	}
	w.t.Fatalf("no node %s", p)
	return nil
}

// carryOut does what an action says, after a while.
func (w *world) carryOut(a Action) {
	switch a := a.(type) {
	case Record:
		w.rows = append(w.rows, a.Row)
	case Accept:
		w.accept[a.Job] = true
	case End:
		w.done[a.Job] = &a.Done
		w.checkMade(a.Job)
	case Tell:
		w.notes = append(w.notes, a.Notice)
	case Expand:
		w.expand(a)
	case Offer:
		w.offers[a.Node] += 1 + len(a.Offer.Then)
		w.checkRace(a)
		w.checkPlace(a)
		w.to(a.Node, func(n *simNode) { n.offered(a.Offer) })
	case Network:
		w.toldNetwork(a)
	case Host:
		w.node(a.Node).host = a.Host
	case Recall:
		w.asked[a.Lease] = a.Node
		w.to(a.Node, func(n *simNode) { n.recall(a.Lease) })
	case Cancel:
		delete(w.asked, a.Lease)
		w.to(a.Node, func(n *simNode) { n.cancel(a.Lease) })
	case Ack:
		w.to(a.Node, func(n *simNode) {
			n.unacked = slices.DeleteFunc(n.unacked, func(o simOutcome) bool { return o.lease == a.Lease })
		})
	case Copy:
		w.to(a.Node, func(n *simNode) { n.copy(a.Copy) })
	case Withdraw:
		w.withdrawn = append(w.withdrawn, a.Node)
	case Probe:
		n := w.node(a.Node)
		w.to(a.Node, func(*simNode) { n.send(LinkRate{From: a.From, To: a.Node, BytesPerSec: n.rate}) })
	}
}

func (w *world) to(p wire.PeerID, do func(*simNode)) {
	n := w.node(p)
	life := n.life
	n.got = max(n.got, w.now+w.delay())
	w.after(n.got-w.now, func() {
		if n.up && n.life == life {
			do(n)
		}
	})
}

func (w *world) expand(a Expand) {
	epoch := w.epoch
	w.after(w.delay(), func() {
		if w.epoch != epoch {
			return
		}
		held := slices.ContainsFunc(a.Graph.Peers, func(p wire.PeerID) bool {
			n := w.node(p)
			_, ok := n.holds[a.Graph.Object.Digest]
			return ok && n.up
		})
		if !held {
			w.step(ExpandFailed{a.Space, a.Thunk, a.Output, a.Graph.Object, wire.Failure{Cause: wire.CauseFetch, Message: "no holder"}})
			return
		}
		parent := a.Parent
		if w.twisted != nil && a.Graph.Object != compute(parent)[a.Output] {
			parent = w.twisted(parent)
		}
		tasks, target := expandGraph(parent, a.Name)
		w.step(Expanded{Space: a.Space, Thunk: a.Thunk, Output: a.Output, Graph: a.Graph.Object, Tasks: tasks, Target: target})
	})
}

// submit submits a plan from a client's machine, which puts the leaves in its store.
func (w *world) submit(job byte, client *simNode, p *plan, change func(*Submitted), targets ...string) wire.JobID {
	client.put(p.leaves...)
	e := Submitted{Job: wire.JobID{job}, Space: "t", Tenant: "t", Name: fmt.Sprint("job", job), Client: client.peer, Owner: client.owner, Tasks: slices.Clone(p.tasks),
		Targets: p.target(targets...), At: time.Unix(1_700_000_000, 0)}
	if change != nil {
		change(&e)
	}
	w.send(e)
	return e.Job
}

// send gives a job to the coordinator, in parts if it has a stream; if that breaks off, or the
// coordinator starts anew, it is sent again, as a client does that was told of no acceptance.
func (w *world) send(e Submitted) {
	if e.Stream == 0 {
		w.step(e)
		return
	}
	epoch, all := w.epoch, e.Tasks
	n := w.cut(len(all))
	e.Tasks, e.Total = all[:n:n], len(all)
	w.step(e)
	var next func(rest []wire.TaskSpec)
	next = func(rest []wire.TaskSpec) {
		again := e
		again.Stream, again.Tasks = e.Stream+1, all
		switch broken := w.rng.IntN(10); {
		case w.done[e.Job] != nil:
			return // cancelled while it came
		case w.epoch != epoch || broken == 0: // nobody noticed that the older stream broke
			w.send(again)
			return
		case broken == 1:
			w.step(BrokeOff{e.Job, e.Stream})
			w.send(again)
			return
		}
		n := w.cut(len(rest))
		w.step(Extended{e.Job, e.Stream, rest[:n:n], n == len(rest)})
		if n < len(rest) {
			w.after(w.pause(), func() { next(rest[n:]) })
		}
	}
	w.after(w.pause(), func() { next(all[n:]) })
}

// cut is where to end a part if n tasks are left; the last may have none.
func (w *world) cut(n int) int { return min(n, 1+w.rng.IntN(n+1)) }

func (w *world) pause() time.Duration { return time.Duration(w.rng.IntN(3000)) * time.Millisecond }
