package sched

import (
	"fmt"
	"slices"
	"time"

	"gaggle/wire"
)

// A simNode runs what it is offered. Everything it has is in lists, so that nothing depends on the
// order of a map.
type simNode struct {
	w           *world
	peer        wire.PeerID
	hello       wire.Hello
	tenants     []wire.Space
	up          bool // connected
	life        int  // counts connections, so that what was sent over an old one is lost
	holds       map[wire.Digest]wire.Object
	order       []wire.Digest // of holds
	durable     map[wire.Digest]bool
	leases      []*simLease
	unacked     []simOutcome
	bad         func(*wire.Thunk) *wire.Failure // makes it fail thunks, or nil
	old         bool                            // of a version that signs no single values
	lies        bool                            // it gives values that are not those of a serial run
	owner       string
	lieAs       string
	liesBuiltin bool
	rate        float64                           // bytes per second to fetch
	slow        time.Duration                     // how many times as long as another one it takes; 0 is once
	hung        bool                              // it begins nothing, and is alive
	says        func(time.Duration) time.Duration // what it says that its runs took, if not the truth
	nets        map[uint32]*wire.Network          // that it was told of
	host        uint16                            // the last that it was told
	sent        time.Duration                     // when the last message to the coordinator arrives
	got         time.Duration                     // and the last from it
}

type simLease struct {
	offer   wire.Offer
	fetched bool
	started bool
	dead    bool
	after   []wire.LeaseID // those before it of its continuation
}

type simOutcome struct {
	lease wire.LeaseID
	work  wire.Work
	event Event
}

// addNode adds a member and connects it. Without slots it is a client's machine.
func (w *world) addNode(name string, slots int) *simNode {
	n := &simNode{w: w, peer: wire.PeerID(wire.Sum([]byte(name))), holds: map[wire.Digest]wire.Object{}, durable: map[wire.Digest]bool{}, owner: "owner", rate: 100 << 20, nets: map[uint32]*wire.Network{}}
	n.hello = wire.Hello{Name: name, Slots: slots, MemBytes: 64 << 30, Versions: wire.Versions{Platforms: []string{"linux/amd64"}, ABIs: []uint64{1}}}
	w.nodes = append(w.nodes, n)
	n.connect()
	return n
}

func (n *simNode) connect() {
	n.up = true
	n.life++
	h := n.hello
	h.Host = n.host
	for _, l := range n.leases {
		h.Running = append(h.Running, l.offer.Lease)
		h.Working = append(h.Working, wire.Work{Space: l.offer.Space, Thunk: wire.ThunkID(wire.Sum(l.offer.Thunk)), Started: l.started, Fresh: l.offer.Fresh})
	}
	for _, o := range n.unacked {
		h.Running = append(h.Running, o.lease)
		h.Working = append(h.Working, o.work)
	}
	h.Inventory = len(n.order)
	events := []Event{NodeUp{n.peer, h, n.owner, n.tenants, n.w.wall().Add(wire.CertLife)}}
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
		if r, ok := o.event.(Resulted); ok { // as a worker does, which looks again at what it tells anew
			for _, out := range r.Value.Outputs {
				if _, have := n.holds[out.Digest]; !have {
					events = append(events, Lost{Peer: n.peer, Space: "t", Digests: []wire.Digest{out.Digest}})
				}
			}
		}
	}
	n.w.step(events...)
}

func (n *simNode) disconnect() {
	n.up = false
	n.life++
	n.w.step(NodeGone{Peer: n.peer})
}

// suspend has the machine sleep: nothing comes of it, and nobody says that its connection has ended,
// before QUIC notices.
func (n *simNode) suspend(long time.Duration) {
	n.up = false
	n.life++
	life := n.life
	n.w.after(quicIdle, func() {
		if n.life == life {
			n.w.step(NodeGone{Peer: n.peer})
		}
	})
	n.w.after(long, func() {
		if n.life == life {
			n.connect()
		}
	})
}

const quicIdle = 30 * time.Second

// copied has a copy of the machine connect in its place, which holds nothing and runs nothing; both
// are refused when the machine comes back, until the copy is gone.
func (n *simNode) copied() {
	h := n.hello
	h.Running, h.Working, h.Inventory = nil, nil, 0
	n.up = false
	n.life++
	n.w.step(NodeUp{n.peer, h, n.owner, n.tenants, n.w.wall().Add(wire.CertLife)})
	n.w.after(time.Duration(100+n.w.rng.IntN(3000))*time.Millisecond, func() { n.w.step(NodeGone{Peer: n.peer}) })
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
	fetch := 2*n.w.delay() + time.Duration(float64(bytes)/n.rate*float64(time.Second))
	if bytes == 0 {
		fetch = 0
	}
	n.w.after(fetch, func() {
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
			busy += l.offer.Hints.Slots(n.hello.Slots)
		}
	}
	for _, l := range n.leases {
		wide := l.offer.Hints.Slots(n.hello.Slots)
		if n.hung || !l.fetched || l.started || busy+wide > n.hello.Slots || n.w.mayStart != nil && !n.w.mayStart(n, &l.offer) {
			continue
		}
		busy += wide
		l.started = true
		n.send(Started{n.peer, l.offer.Lease})
		took := n.w.runs(l.offer.Name) * max(1, n.slow)
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
	for _, bad := range []func(*wire.Thunk) *wire.Failure{n.w.bad, n.bad} {
		if bad == nil {
			continue
		}
		if f := bad(th); f != nil {
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
	if n.lies || n.liesBuiltin && th.Builtin() {
		for i := range outs {
			if n.lieAs != "" {
				outs[i].Digest = wire.Sum(append(outs[i].Digest[:], n.lieAs...))
				continue
			}
			outs[i].Digest = wire.Sum(append(outs[i].Digest[:], n.peer[:]...))
		}
	}
	n.w.values[wire.Digest(id)] = append(n.w.values[wire.Digest(id)], fmt.Sprint(outs))
	n.w.givers[wire.Digest(id)] = append(n.w.givers[wire.Digest(id)], n.owner)
	if len(o.Expect) > 0 {
		n.w.repeated[id] = append(n.w.repeated[id], n.hello.Name)
		if !slices.EqualFunc(o.Expect, outs, func(h wire.Held, got wire.Object) bool { return h.Object == got }) {
			n.end(l, AttemptFailed{n.peer, wire.Attempt{Lease: o.Lease, Space: o.Space, Thunk: id, Run: took,
				Failure: wire.Failure{Cause: wire.CauseNondeterministic, Message: "output \"out\" differs", NodeName: n.hello.Name}}})
			return
		}
	} else if o.Fresh {
		n.w.repeated[id] = append(n.w.repeated[id], n.hello.Name)
	} else {
		n.w.first[id] = append(n.w.first[id], n.hello.Name)
	}
	n.put(outs...)
	v := wire.NewValue(outs)
	_, enc := v.Encode()
	if n.says != nil {
		took = n.says(took)
	}
	defer n.goOn(l, th, outs)
	r := wire.Result{Lease: o.Lease, Space: o.Space, Thunk: id, Value: enc, Run: took, Fresh: o.Fresh}
	if o.Sign && !n.old {
		r.Signature = slices.Concat(n.peer[:], id[:]) // the scheduler only keeps it
	}
	n.end(l, Resulted{n.peer, r, v})
}

// end tells the outcome of a lease, again and again over new connections until it is acknowledged.
func (n *simNode) end(l *simLease, e Event, also ...Event) {
	n.remove(l)
	n.unacked = append(n.unacked, simOutcome{l.offer.Lease, wire.Work{Space: l.offer.Space, Thunk: wire.ThunkID(wire.Sum(l.offer.Thunk)), Started: true, Fresh: l.offer.Fresh}, e})
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
		if l.offer.Lease == id || slices.Contains(l.after, id) {
			n.remove(l)
			n.startSome()
			return
		}
		l.forget(id)
	}
}
