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
	t      testing.TB
	s      *State
	cfg    Config
	rng    *rand.Rand
	now    time.Duration
	queue  eventHeap
	seq    int
	nodes  []*simNode
	rows   []Row // what a coordinator would find after a restart
	epoch  uint32
	done   map[wire.JobID]*wire.Done
	accept map[wire.JobID]bool
	pinned map[string][]wire.Object // values by job and task
	ran    map[wire.ThunkID]int     // resolved
	log    bytes.Buffer             // of all actions
	delay  func() time.Duration     // of a message
	runs   func(name string) time.Duration
	bad    func(th *wire.Thunk) *wire.Failure // makes some thunks fail
	value  func(w *world, th *wire.Thunk) []wire.Object
	notes  []wire.Notice
	offers map[wire.PeerID]int
	calm   bool // no check after each Step
	events []Event
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

// A simNode runs what it is offered. Everything it has is in lists, so that nothing depends on the
// order of a map.
type simNode struct {
	w       *world
	peer    wire.PeerID
	hello   wire.Hello
	up      bool // connected
	life    int  // counts connections, so that what was sent over an old one is lost
	holds   map[wire.Digest]wire.Object
	order   []wire.Digest // of holds
	durable map[wire.Digest]bool
	leases  []*simLease
	unacked []simOutcome
	rate    float64       // bytes per second to fetch
	sent    time.Duration // when the last message to the coordinator arrives
	got     time.Duration // and the last from it
}

type simLease struct {
	offer   wire.Offer
	fetched bool
	started bool
	dead    bool
}

type simOutcome struct {
	lease wire.LeaseID
	work  wire.Work
	event Event
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 7)), done: map[wire.JobID]*wire.Done{}, accept: map[wire.JobID]bool{},
		pinned: map[string][]wire.Object{}, ran: map[wire.ThunkID]int{}, offers: map[wire.PeerID]int{}}
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
	events := []Event{EpochBegan{w.epoch}}
	over := map[wire.JobID]bool{}
	for _, row := range w.rows {
		if r, ok := row.(RowJobState); ok && r.Done != nil {
			over[r.Job] = true
		}
	}
	for pass := range 4 {
		for _, row := range w.rows {
			switch r := row.(type) {
			case RowValue:
				if pass == 0 {
					events = append(events, Known{r.Space, r.Thunk, r.Value, r.Signer, r.Run})
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
	base := w.now
	w.step0(base, events...)
}

func (w *world) step0(_ time.Duration, events ...Event) { w.step(events...) }

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, simEvent{w.now + d, w.seq, do})
}

func (w *world) tick() {
	w.step(Tick{})
	w.after(250*time.Millisecond, w.tick)
}

// step gives events to the State, checks it and carries out what it wants.
func (w *world) step(events ...Event) {
	actions := w.s.Step(w.now, time.Unix(1_700_000_000, 0).Add(w.now), events)
	if !w.calm {
		if err := checkState(w.s, actions); err != nil {
			w.t.Fatalf("at %v after %s: %v", w.now, eventText(events), err)
		}
		w.checkPins()
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

// checkPins: a pinned value changes only if a re-run diverged.
func (w *world) checkPins() {
	for _, jr := range w.s.live {
		j := w.s.jobs.at(jr)
		for _, r := range j.tasks {
			t := w.s.tasks.at(r)
			if t.outs == nil {
				continue
			}
			k := fmt.Sprint(w.epoch, j.id, t.seq)
			if old := w.pinned[k]; old != nil && !slices.Equal(old, t.outs) && !w.mayDiverge(t) {
				w.t.Fatalf("at %v the pinned value of %s changed", w.now, t.name)
			}
			w.pinned[k] = t.outs
		}
	}
}

// mayDiverge: only in worlds where thunks may give another value.
func (w *world) mayDiverge(*task) bool { return w.bad != nil }

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

// addNode adds a member and connects it. Without slots it is a client's machine.
func (w *world) addNode(name string, slots int) *simNode {
	n := &simNode{w: w, peer: wire.PeerID(wire.Sum([]byte(name))), holds: map[wire.Digest]wire.Object{}, durable: map[wire.Digest]bool{}, rate: 100 << 20}
	n.hello = wire.Hello{Name: name, Slots: slots, MemBytes: 64 << 30, Versions: wire.Versions{Platforms: []string{"linux/amd64"}, ABIs: []uint64{1}}}
	w.nodes = append(w.nodes, n)
	n.connect()
	return n
}

func (n *simNode) connect() {
	n.up = true
	n.life++
	h := n.hello
	for _, l := range n.leases {
		h.Running = append(h.Running, l.offer.Lease)
		h.Working = append(h.Working, wire.Work{Space: l.offer.Space, Thunk: wire.ThunkID(wire.Sum(l.offer.Thunk)), Started: l.started})
	}
	for _, o := range n.unacked {
		h.Running = append(h.Running, o.lease)
		h.Working = append(h.Working, o.work)
	}
	h.Inventory = len(n.order)
	events := []Event{NodeUp{n.peer, h, "owner"}}
	var all, durable []wire.Object
	for _, d := range n.order {
		all = append(all, n.holds[d])
		if n.durable[d] {
			durable = append(durable, n.holds[d])
		}
	}
	events = append(events, Have{n.peer, wire.SpaceSet{Space: "t", Objects: all}, false}, Have{n.peer, wire.SpaceSet{Space: "t", Objects: durable}, true})
	for _, o := range n.unacked {
		events = append(events, o.event)
	}
	n.w.step(events...)
}

func (n *simNode) disconnect() {
	n.up = false
	n.life++
	n.w.step(NodeGone{n.peer})
}

// crash ends the node with all it runs; if wipe is set it loses its store too.
func (n *simNode) crash(wipe bool) {
	for _, l := range n.leases {
		l.dead = true
	}
	n.leases, n.unacked = nil, nil
	if wipe {
		n.holds, n.durable, n.order = map[wire.Digest]wire.Object{}, map[wire.Digest]bool{}, nil
	}
	if n.up {
		n.disconnect()
	}
}

// send tells the coordinator something, unless the connection breaks before it arrives.
func (n *simNode) send(events ...Event) {
	life := n.life
	n.sent = max(n.sent, n.w.now+n.w.delay()) // a stream keeps the order
	n.w.after(n.sent-n.w.now, func() {
		if n.up && n.life == life {
			n.w.step(append([]Event{Beat{Peer: n.peer}}, events...)...)
		}
	})
}

func (n *simNode) beat() {
	if n.up {
		n.send()
	}
	n.w.after(time.Second, n.beat)
}

// put adds objects to the store, durable after a moment.
func (n *simNode) put(objects ...wire.Object) {
	for _, o := range objects {
		if _, ok := n.holds[o.Digest]; !ok {
			n.holds[o.Digest] = o
			n.order = append(n.order, o.Digest)
		}
	}
	n.send(Have{n.peer, wire.SpaceSet{Space: "t", Objects: objects}, false})
	n.w.after(20*time.Millisecond, func() {
		var stored []wire.Object
		for _, o := range objects {
			if _, ok := n.holds[o.Digest]; ok {
				n.durable[o.Digest] = true
				stored = append(stored, o)
			}
		}
		n.send(Have{n.peer, wire.SpaceSet{Space: "t", Objects: stored}, true})
	})
}

// drop loses an object, and says so.
func (n *simNode) drop(d wire.Digest) {
	delete(n.holds, d)
	delete(n.durable, d)
	n.order = slices.DeleteFunc(n.order, func(o wire.Digest) bool { return o == d })
	n.send(Lost{Peer: n.peer, Space: "t", Digests: []wire.Digest{d}})
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
	case Tell:
		w.notes = append(w.notes, a.Notice)
	case Expand:
		w.expand(a)
	case Offer:
		w.offers[a.Node]++
		w.to(a.Node, func(n *simNode) { n.offered(a.Offer) })
	case Recall:
		w.to(a.Node, func(n *simNode) { n.recall(a.Lease) })
	case Cancel:
		w.to(a.Node, func(n *simNode) { n.cancel(a.Lease) })
	case Ack:
		w.to(a.Node, func(n *simNode) {
			n.unacked = slices.DeleteFunc(n.unacked, func(o simOutcome) bool { return o.lease == a.Lease })
		})
	case Copy:
		w.to(a.Node, func(n *simNode) { n.copy(a.Copy) })
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
			w.step(ExpandFailed{a.Space, a.Thunk, a.Output, wire.Failure{Cause: wire.CauseFetch, Message: "no holder"}})
			return
		}
		tasks, target := expandGraph(a.Parent, a.Name)
		w.step(Expanded{Space: a.Space, Thunk: a.Thunk, Output: a.Output, Tasks: tasks, Target: target})
	})
}

// find looks for an object at the peers, and says who of them does not have it.
func (n *simNode) find(h wire.Held) (ok bool, gone []Event) {
	if _, ok := n.holds[h.Object.Digest]; ok {
		return true, nil
	}
	for _, p := range h.Peers {
		if m := n.w.node(p); m.up {
			if _, ok := m.holds[h.Object.Digest]; ok {
				return true, gone
			}
			gone = append(gone, Lost{Peer: p, Space: "t", Digests: []wire.Digest{h.Object.Digest}})
		}
	}
	return false, gone
}

func (n *simNode) copy(c wire.CopyOrder) {
	ok, gone := n.find(c.Held)
	if !ok {
		n.send(gone...)
		return
	}
	n.put(c.Held.Object)
}

func (n *simNode) offered(o wire.Offer) {
	l := &simLease{offer: o}
	n.leases = append(n.leases, l)
	var bytes uint64
	for _, h := range o.Holders {
		if _, have := n.holds[h.Object.Digest]; !have {
			bytes += h.Object.Size
		}
	}
	n.w.after(2*n.w.delay()+time.Duration(float64(bytes)/n.rate*float64(time.Second)), func() {
		if l.dead {
			return
		}
		th, err := wire.DecodeThunk(o.Thunk)
		if err != nil {
			n.w.t.Fatalf("offer %s: %v", o.Name, err)
		}
		var fetched []wire.Object
		for _, need := range needs(th, o.Root) {
			i := slices.IndexFunc(o.Holders, func(h wire.Held) bool { return h.Object.Digest == need.Digest })
			h := wire.Held{Object: need}
			if i >= 0 {
				h = o.Holders[i]
			}
			ok, gone := n.find(h)
			if !ok {
				n.end(l, AttemptFailed{n.peer, wire.Attempt{Lease: o.Lease, Space: o.Space, Thunk: wire.ThunkID(wire.Sum(o.Thunk)),
					Failure: wire.Failure{Cause: wire.CauseFetch, Message: "no holder of " + need.Digest.Short()}}}, gone...)
				return
			}
			if _, have := n.holds[need.Digest]; !have {
				fetched = append(fetched, need)
			}
		}
		if len(fetched) > 0 {
			n.put(fetched...)
		}
		l.fetched = true
		n.startSome()
	})
}

func needs(th *wire.Thunk, root *wire.Object) (objects []wire.Object) {
	if root != nil {
		objects = append(objects, *root)
	}
	for _, in := range th.Inputs {
		objects = append(objects, in.Object)
	}
	return objects
}

// startSome starts what is ready while there are slots.
func (n *simNode) startSome() {
	busy := 0
	for _, l := range n.leases {
		if l.started {
			busy++
		}
	}
	for _, l := range n.leases {
		if !l.fetched || l.started || busy >= n.hello.Slots {
			continue
		}
		busy++
		l.started = true
		n.send(Started{n.peer, l.offer.Lease})
		took := n.w.runs(l.offer.Name)
		n.w.after(took, func() { n.finished(l, took) })
	}
}

func (n *simNode) finished(l *simLease, took time.Duration) {
	if l.dead {
		return
	}
	o := l.offer
	th, err := wire.DecodeThunk(o.Thunk)
	if err != nil {
		n.w.t.Fatal(err)
	}
	id, _ := th.Encode()
	n.w.ran[id]++
	if n.w.bad != nil {
		if f := n.w.bad(th); f != nil {
			n.end(l, AttemptFailed{n.peer, wire.Attempt{Lease: o.Lease, Space: o.Space, Thunk: id, Failure: *f, Run: took}})
			return
		}
	}
	if limit := o.Hints.Timeout; limit > 0 && took > limit {
		n.end(l, AttemptFailed{n.peer, wire.Attempt{Lease: o.Lease, Space: o.Space, Thunk: id, Run: limit,
			Failure: wire.Failure{Cause: wire.CauseTimeout, Message: "timeout"}}})
		return
	}
	outs := n.w.value(n.w, th)
	n.put(outs...)
	v := wire.NewValue(outs)
	_, enc := v.Encode()
	n.end(l, Resulted{n.peer, wire.Result{Lease: o.Lease, Space: o.Space, Thunk: id, Value: enc, Run: took}, v})
}

// end tells the outcome of a lease, again and again over new connections until it is acknowledged.
func (n *simNode) end(l *simLease, e Event, also ...Event) {
	n.remove(l)
	n.unacked = append(n.unacked, simOutcome{l.offer.Lease, wire.Work{Space: l.offer.Space, Thunk: wire.ThunkID(wire.Sum(l.offer.Thunk)), Started: true}, e})
	n.send(append(also, e)...)
	n.startSome()
}

func (n *simNode) remove(l *simLease) {
	l.dead = true
	n.leases = slices.DeleteFunc(n.leases, func(o *simLease) bool { return o == l })
}

func (n *simNode) recall(id wire.LeaseID) {
	for _, l := range n.leases {
		if l.offer.Lease == id && !l.started {
			n.remove(l)
			n.send(Recalled{n.peer, id})
			return
		}
	}
}

func (n *simNode) cancel(id wire.LeaseID) {
	for _, l := range n.leases {
		if l.offer.Lease == id {
			n.remove(l)
			n.startSome()
			return
		}
	}
}

// submit submits a plan from a client's machine, which puts the leaves in its store.
func (w *world) submit(job byte, client *simNode, p *plan, change func(*Submitted), targets ...string) wire.JobID {
	client.put(p.leaves...)
	e := Submitted{Job: wire.JobID{job}, Space: "t", Tenant: "t", Name: fmt.Sprint("job", job), Client: client.peer, Tasks: slices.Clone(p.tasks),
		Targets: p.target(targets...), At: time.Unix(1_700_000_000, 0)}
	if change != nil {
		change(&e)
	}
	w.step(e)
	return e.Job
}
