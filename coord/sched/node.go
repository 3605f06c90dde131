package sched

import (
	"cmp"
	"slices"
	"time"

	"gaggle/wire"
)

type nodeState uint8

// A node that is silent is suspect for a while before it counts as lost.
const (
	nodeUp nodeState = iota
	nodeSuspect
	nodeLost
)

// A node is a member of the mesh, connected or not; one without slots only holds objects.
type node struct {
	ref       nodeRef
	peer      wire.PeerID
	hello     wire.Hello
	owner     string
	state     nodeState
	connected bool
	draining  bool
	paused    bool
	seen      time.Duration // when it was last heard of
	upSince   time.Duration
	storeUsed int64

	life  uint8 // counts its connections
	told  int   // objects it reported in this one
	whole bool  // it has reported all it holds

	leases   []*lease
	mem      int64         // that they may take together
	est      time.Duration // that they are expected to run
	fetch    time.Duration // and to fetch still
	serve    time.Duration // others' fetches from it
	running  int           // of the leases, begun
	beganSum time.Duration // of the times at which they began

	parked    []runRef // runs that are to wait for it, in order
	parkedEst time.Duration

	load   uint64 // leases per slot, in 2^-20
	listed bool   // stands in State.byLoad
	stamp  uint64 // of the last placement it was a candidate of

	ran          int
	fetchedBytes int64
}

const (
	// suspectAfter is how long a node may be silent before it gets no more offers. QUIC notices an
	// asymmetric cut only after its 30 s idle timeout, too long for thunks that live seconds.
	suspectAfter = 3 * time.Second
	// lostAfter is when what a silent node runs and holds counts as gone. lostAfterLaptop is for
	// machines that people close: those without slots, and those labelled laptop=true.
	lostAfter       = 10 * time.Second
	lostAfterLaptop = 60 * time.Second
	// forgetAfter is when a node that is gone is not remembered any more.
	forgetAfter = 24 * time.Hour
	// inventoryWait bounds the wait for a node to report what it holds after it connected.
	inventoryWait = 30 * time.Second
)

// live reports whether what the node holds counts as held.
func (n *node) live() bool { return n.state != nodeLost }

// offerable reports whether the node takes offers.
func (n *node) offerable() bool {
	return n.hello.Slots > 0 && n.connected && n.state == nodeUp && !n.draining && !n.paused
}

// room reports whether the node takes one more offer: as many run ahead of its slots as it has.
func (n *node) room() bool { return len(n.leases) < 2*n.hello.Slots }

func (n *node) lostAfter() time.Duration {
	if n.hello.Slots == 0 || n.hello.Labels["laptop"] == "true" {
		return lostAfterLaptop
	}
	return lostAfter
}

// seen notes that a node was heard of, and returns it; nil if it is not known.
func (s *State) seen(p wire.PeerID) *node {
	r := s.nodeOf[p]
	if r == 0 {
		return nil
	}
	n := s.nodes[r]
	n.seen = s.now
	if n.state != nodeUp && n.connected {
		n.state = nodeUp
		s.reload(n)
		s.moved = true
		s.feedAll()
	}
	return n
}

func (s *State) nodeUp(e *NodeUp) {
	r := s.nodeOf[e.Peer]
	if r == 0 {
		r = nodeRef(len(s.nodes))
		s.nodes = append(s.nodes, &node{ref: r, peer: e.Peer})
		s.nodeOf[e.Peer] = r
	}
	n := s.nodes[r]
	n.hello, n.owner, n.connected = e.Hello, e.Owner, true
	n.hello.Running, n.hello.Working = nil, nil
	n.draining, n.paused = false, false
	n.seen, n.upSince = s.now, s.now
	n.life++
	n.told, n.whole = 0, false
	n.state = nodeUp
	s.reload(n)
	s.classNode(n)
	s.reconcile(n, e.Hello.Running, e.Hello.Working)
	s.inventoried(n)
	s.moved = true
	s.feedAll()
}

// reconcile compares the leases a node says it has with those it was given: an offer may have been
// lost with the connection, a lease may be of an earlier epoch or long over.
func (s *State) reconcile(n *node, running []wire.LeaseID, working []wire.Work) {
	s.orphans = slices.DeleteFunc(s.orphans, func(o orphan) bool { return o.node == n.ref })
	for _, l := range slices.Clone(n.leases) {
		if s.leases[l.id] == l && !slices.Contains(running, l.id) {
			s.emit(Cancel{n.peer, l.id}) // it may be under way to it
			s.leaseLost(l, wire.Failure{}, 0)
		}
	}
	for i, id := range running {
		if s.leases[id] != nil {
			continue
		}
		if uint32(id>>32) == s.epoch || i >= len(working) {
			if uint32(id>>32) == s.epoch {
				s.emit(Cancel{n.peer, id})
			}
			continue
		}
		w := working[i]
		o := orphan{lease: id, node: n.ref, key: key{s.space(w.Space), wire.Digest(w.Thunk)}, began: w.Started, since: s.now}
		if run := s.runOf.find(&o.key); run != 0 && s.runs.at(run).place != placeLeased {
			s.adopt(run, o)
		} else {
			s.orphans = append(s.orphans, o)
		}
	}
}

func (s *State) nodeGone(p wire.PeerID) {
	if r := s.nodeOf[p]; r != 0 {
		n := s.nodes[r]
		n.connected = false
		if n.state == nodeUp {
			n.state = nodeSuspect
		}
		s.reload(n)
	}
}

func (s *State) beat(p wire.PeerID, b *wire.Beat) {
	n := s.seen(p)
	if n == nil || b == nil {
		return
	}
	n.storeUsed = b.StoreUsed
	if n.draining != b.Draining || n.paused != b.Paused {
		n.draining, n.paused = b.Draining, b.Paused
		s.reload(n)
		s.moved = true
	}
}

// inventoried drops what a node held before it connected anew and did not report again, once it
// has reported as much as it announced.
func (s *State) inventoried(n *node) {
	if n.whole || n.told < n.hello.Inventory {
		return
	}
	n.whole = true
	if n.life == 1 {
		return
	}
	s.sweep(n, func(h *holder) bool { return h.have && h.life != n.life })
}

// sweep takes the node off the objects of which drop says so.
func (s *State) sweep(n *node, drop func(*holder) bool) {
	for r := objRef(1); r < s.objects.next; r++ {
		if o := s.objects.at(r); o.of != 0 {
			if h := o.holder(n.ref); h != nil && drop(h) {
				s.lose(n, r)
			}
		}
	}
}

// inventories reports whether nodes are still reporting what they hold.
func (s *State) inventories() bool {
	return slices.ContainsFunc(s.nodes[1:], func(n *node) bool {
		return n.connected && !n.whole && s.now-n.upSince < inventoryWait
	})
}

// sleptUntil forgives all nodes a silence in which nobody listened: the coordinator itself was
// stopped.
func (s *State) sleptUntil(now time.Duration) {
	gap := now - s.now
	if gap < suspectAfter {
		return
	}
	for _, n := range s.nodes[1:] {
		n.seen += gap
	}
}

// watchNodes looks for nodes that are silent for too long.
func (s *State) watchNodes() {
	for _, n := range s.nodes[1:] {
		silent := s.now - n.seen
		if n.state == nodeUp && silent >= suspectAfter {
			n.state = nodeSuspect
			s.reload(n)
			s.moved = true
		}
		if n.state == nodeSuspect && silent >= n.lostAfter() {
			s.nodeLost(n)
		}
	}
}

func (s *State) nodeLost(n *node) {
	n.state = nodeLost
	s.reload(n)
	for _, l := range slices.Clone(n.leases) {
		if s.leases[l.id] == l {
			s.leaseLost(l, wire.Failure{Cause: wire.CauseNodeLost, Node: n.peer, NodeName: n.hello.Name,
				Message: n.hello.Name + " has not been heard of for " + (s.now - n.seen).Round(time.Second).String()}, s.now-l.since)
		}
	}
	s.lostHolder()
	s.moved = true
}

// leaseLost ends a lease whose node does not have it any more. A failure without a cause is nobody's
// fault and not counted.
func (s *State) leaseLost(l *lease, f wire.Failure, ran time.Duration) {
	if f.Cause != 0 || s.runs.at(l.run).gang != nil {
		s.attemptEnded(l, f, ran)
		return
	}
	r := l.run
	s.endLease(l)
	if s.runs.at(r).lease() == nil {
		s.requeue(r, 0)
	}
}

// reload puts a node where it belongs in State.byLoad.
func (s *State) reload(n *node) {
	if n.listed {
		i, _ := slices.BinarySearchFunc(s.byLoad, n, s.byLoadCmp)
		s.byLoad = slices.Delete(s.byLoad, i, i+1)
	}
	n.listed = n.offerable()
	s.hungrier = s.hungrier || len(s.byLoad) == 0
	if !n.listed {
		s.unparkAll(n)
		return
	}
	n.load = uint64(len(n.leases)) << 20 / uint64(n.hello.Slots)
	i, _ := slices.BinarySearchFunc(s.byLoad, n, s.byLoadCmp)
	s.byLoad = slices.Insert(s.byLoad, i, n.ref)
}

func (s *State) byLoadCmp(r nodeRef, n *node) int {
	if c := cmp.Compare(s.nodes[r].load, n.load); c != 0 {
		return c
	}
	return cmp.Compare(r, n.ref)
}

// An orphan is a lease of an earlier epoch that nothing needs so far: the job that does may not have
// come to it yet.
type orphan struct {
	key
	lease wire.LeaseID
	node  nodeRef
	began bool
	since time.Duration
}

// orphanLife is how long a node may go on with what nothing needs.
const orphanLife = time.Minute

// adopt takes over a lease of an earlier epoch.
func (s *State) adopt(r runRef, o orphan) {
	s.leavePlace(r)
	run := s.runs.at(r)
	n := s.nodes[o.node]
	l := &lease{id: o.lease, run: r, node: n, hints: run.hints, given: s.now, est: run.kind.estimate(run.builtin), adopted: true}
	s.addLease(l)
	if o.began {
		s.begin(l)
	}
	st := wire.StateOffered
	if l.began {
		st = wire.StateRunning
	}
	for _, tr := range run.waiters {
		s.tasks.at(tr).node = n.ref
		s.enter(tr, st, wire.Notice{Resolved: wire.ThunkID(run.id), Node: n.peer, NodeName: n.hello.Name})
	}
}

// adoptOrphan gives a new run the lease of an earlier epoch that computes it, if there is one.
func (s *State) adoptOrphan(r runRef) bool {
	k := s.runs.at(r).key
	i := slices.IndexFunc(s.orphans, func(o orphan) bool { return o.key == k && s.nodes[o.node].live() })
	if i < 0 {
		return false
	}
	o := s.orphans[i]
	s.orphans = slices.Delete(s.orphans, i, i+1)
	s.adopt(r, o)
	return true
}

// forgetOrphan drops a lease of an earlier epoch whose outcome came.
func (s *State) forgetOrphan(n *node, id wire.LeaseID) {
	s.orphans = slices.DeleteFunc(s.orphans, func(o orphan) bool { return o.lease == id && o.node == n.ref })
}

// dropOrphans ends leases that nothing came to need.
func (s *State) dropOrphans() {
	s.orphans = slices.DeleteFunc(s.orphans, func(o orphan) bool {
		old := s.now-o.since > orphanLife
		if old {
			s.emit(Cancel{s.nodes[o.node].peer, o.lease})
		}
		return old || !s.nodes[o.node].live()
	})
}
