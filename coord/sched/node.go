package sched

import (
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
	// What placing looks at, of many nodes for each run.
	ref      nodeRef
	state    nodeState
	listed   bool          // stands in State.byLoad
	spared   bool          // for a gang that waits, see State.spare
	trial    bool          // it may show with one task that it is better than it was
	metered  bool          // hello.Metered
	slots    int           // hello.Slots
	memBytes int64         // hello.MemBytes
	stamp    uint64        // of the last placement it was a candidate of
	taken    int           // slots that leases take
	mem      int64         // that they may take together
	est      time.Duration // that they are expected to run, times their slots
	fetch    time.Duration // for how long they keep its link busy, fetching
	serve    time.Duration // and others' fetches from it do
	running  int           // of taken, by leases that have begun
	beganSum time.Duration // of the times at which they began, times their slots
	parked   lot           // runs that are to wait for it
	pace     pace
	load     uint64 // taken per slot, in 2^-20
	leases   []*lease

	peer      wire.PeerID
	hello     wire.Hello
	owner     string
	tenants   []wire.Space
	until     time.Duration // when its certificate ends, as it was when it connected
	host      uint16        // its number, see network.go; 0 if it gives no networks
	connected bool
	draining  bool
	paused    bool
	deaf      bool          // it says that it hears nothing
	left      bool          // it has said goodbye
	seen      time.Duration // when it was last heard of, and heard us
	upSince   time.Duration
	storeUsed int64

	life  uint8 // counts its connections
	told  int   // objects it reported in this one
	whole bool  // it has reported all it holds

	quarantine *quarantine // nil of one that is trusted
	blames     []blame     // of the last blameWindow

	ran          int
	fetchedBytes int64

	owed []key // thunks whose claims it is to withdraw when it comes back
}

const (
	// suspectAfter is how long a node may be silent before it gets no more offers. QUIC notices an
	// asymmetric cut only after its 30 s idle timeout, too long for thunks that live seconds.
	suspectAfter = 3 * time.Second
	// lostAfter is when what a silent node runs and holds counts as gone. lostAfterLaptop is for
	// machines that people close: those without slots, and those labelled laptop=true.
	lostAfter       = 10 * time.Second
	lostAfterLaptop = 60 * time.Second
	// maxNodes is how many nodes are remembered; beyond it the one that is gone for longest is not.
	maxNodes = 2 * wire.MaxPeers
	// inventoryWait bounds the wait for a node to report what it holds after it connected.
	inventoryWait = 30 * time.Second
)

// live reports whether what the node holds counts as held.
func (n *node) live() bool { return n.state != nodeLost }

// offerable reports whether the node takes offers.
func (n *node) offerable() bool {
	return n.hello.Slots > 0 && n.connected && n.state == nodeUp && !n.draining && !n.paused &&
		(n.quarantine == nil || n.trial && n.taken == 0)
}

// room reports whether the node takes one more offer: about as many run ahead of its slots as it
// has. One that takes several slots may exceed that, or narrow ones would keep it out for ever.
func (n *node) room() bool { return !n.spared && n.taken < 2*n.slots }

// idle reports whether a slot is free, and for anybody.
func (n *node) idle() bool { return !n.spared && n.taken < n.slots }

func (n *node) lostAfter() time.Duration {
	if n.hello.Slots == 0 || n.hello.Labels["laptop"] == "true" {
		return lostAfterLaptop
	}
	return lostAfter
}

// seen notes that a node was heard of, and returns it; nil if it is not known. Who is heard of is
// connected: the end of an older connection may be told after a newer one began. One that hears
// nothing is as good as silent, since nothing can be offered to it.
func (s *State) seen(p wire.PeerID) *node {
	r := s.nodeOf[p]
	if r == 0 {
		return nil
	}
	n := s.nodes[r]
	if n.deaf {
		return n
	}
	n.seen = s.now
	if n.state != nodeUp || !n.connected {
		n.state, n.connected = nodeUp, true
		s.reload(n)
		s.moved = true
		s.feedAll()
	}
	return n
}

func (s *State) nodeUp(e *NodeUp) {
	r := s.nodeOf[e.Peer]
	if r == 0 {
		if len(s.nodes) > maxNodes {
			s.forgetNode()
		}
		if k := len(s.freeNodes); k > 0 {
			r, s.freeNodes = s.freeNodes[k-1], s.freeNodes[:k-1]
		} else {
			r = nodeRef(len(s.nodes))
			s.nodes = append(s.nodes, nil)
		}
		s.nodes[r] = &node{ref: r, peer: e.Peer}
		s.nodeOf[e.Peer] = r
	}
	n := s.nodes[r]
	moved := n.owner != e.Owner && n.owner != ""
	n.hello, n.owner, n.tenants, n.until, n.connected = e.Hello, e.Owner, e.Tenants, s.now+e.Until.Sub(s.wall), true
	n.hello.Running, n.hello.Working = nil, nil
	n.slots, n.memBytes, n.metered = n.hello.Slots, n.hello.MemBytes, n.hello.Metered
	n.quarantine = s.quarantines[e.Peer]
	n.draining, n.paused, n.deaf, n.left = false, false, false, false
	n.seen, n.upSince = s.now, s.now
	n.life++
	n.told, n.whole = 0, false
	n.state = nodeUp
	s.giveHost(n)
	s.reload(n)
	s.classNode(n)
	s.payOwed(n)
	if moved {
		s.reowned(n)
	}
	s.reconcile(n, e.Hello.Running, e.Hello.Working)
	s.pinAgain(n)
	s.inventoried(n)
	s.moved = true
	s.feedAll()
}

func (s *State) nodeGone(e *NodeGone) {
	if r := s.nodeOf[e.Peer]; r != 0 {
		n := s.nodes[r]
		n.connected, n.left = false, e.Left
		if e.Revoked {
			n.until = 0
		}
		if n.state == nodeUp {
			n.state = nodeSuspect
		}
		s.reload(n)
	}
}

func (s *State) beat(p wire.PeerID, b *wire.Beat) {
	if r := s.nodeOf[p]; r != 0 && b != nil {
		s.deafened(s.nodes[r], b.Deaf)
	}
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

// deafened takes note whether a node hears us. From where it says so it is as suspect as a silent one.
func (s *State) deafened(n *node, deaf bool) {
	n.deaf = deaf
	if deaf && n.state == nodeUp {
		n.state = nodeSuspect
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

// settled reports whether all who may hold what an earlier life knew of have said so, or had the
// time to.
func (s *State) settled() bool {
	there := s.uptime() > recoveryWait
	if s.cfg.Alone {
		there = slices.ContainsFunc(s.nodes[1:], func(n *node) bool { return n.connected })
	}
	return there && !s.inventories()
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
	s.tellAgain(s.alone(n.leases), n.hello.Name+" is lost", "again")
	for _, l := range slices.Clone(n.leases) {
		if s.leases[l.id] == l {
			silent := (s.now - n.seen).Round(time.Second).String()
			f := l.failure(wire.CauseNodeLost, n.hello.Name+" has not been heard of for "+silent)
			s.leaseLost(l, f, s.now-l.since)
		}
	}
	s.lostHolder(n)
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
	if l.began { // and was cut short there: one that comes and goes would do it again
		s.elsewhere(r, l.node, 0)
	} else if s.runs.at(r).lease() == nil {
		s.requeue(r, 0)
	}
}

// A loaded is a node's place in State.byLoad, so that to find one looks at no other node.
type loaded struct {
	load uint64
	ref  nodeRef
}

func (a loaded) before(b loaded) bool { return a.load < b.load || a.load == b.load && a.ref < b.ref }

// placeByLoad returns where a place is in State.byLoad, or would be. Written out it takes a third of
// slices.BinarySearchFunc.
func (s *State) placeByLoad(l loaded) int {
	lo, hi := 0, len(s.byLoad)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); s.byLoad[mid].before(l) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// reload puts a node where it belongs in State.byLoad.
func (s *State) reload(n *node) {
	was, from := n.listed, loaded{n.load, n.ref}
	n.listed = n.offerable()
	if n.listed {
		n.load = uint64(n.taken) << 20 / uint64(n.slots)
		if n.spared { // after all that are not
			n.load |= 1 << 63
		}
	}
	to := loaded{n.load, n.ref}
	i, j := s.placeByLoad(from), s.placeByLoad(to)
	switch {
	case was && n.listed && i < j:
		copy(s.byLoad[i:j-1], s.byLoad[i+1:j])
		s.byLoad[j-1] = to
	case was && n.listed:
		copy(s.byLoad[j+1:i+1], s.byLoad[j:i])
		s.byLoad[j] = to
	case was:
		s.byLoad = slices.Delete(s.byLoad, i, i+1)
	case n.listed:
		s.unstick() // it may be the one that they wait for
		s.byLoad = slices.Insert(s.byLoad, j, to)
	}
	s.hungrier = s.hungrier || was != n.listed && len(s.byLoad) < 2
	if !n.listed {
		s.unparkAll(n)
	}
}
