package sched

import (
	"slices"

	"gaggle/wire"
)

// An object is a blob or tree that somebody holds or something needs.
type object struct {
	key     // of a space
	kind    wire.Kind
	size    uint64
	refs    uint32   // runs and leases that need it, jobs that keep it
	kept    uint32   // of those, jobs that keep it: its loss is looked into at once
	lost    bool     // stands in State.lostObjs
	near    nodeRef  // had it when last looked at; see anyUp
	holders []holder // ascending by node
	hungry  []runRef // that wait for somebody to hold it
}

// A holder is a node with an object. Those of a node that is lost stay, so that people can be told
// whom to wake.
type holder struct {
	node    nodeRef
	durable bool
	have    bool   // false if it is only on its way there
	life    uint8  // the connection in which it was reported
	coming  uint16 // leases of the node that will fetch it
}

func (s *State) object(space uint32, d wire.Digest) *object {
	k := key{space, d}
	if r := s.objectOf.find(&k); r != 0 {
		return s.objects.at(r)
	}
	return nil
}

// objectRef returns the ref of an object, made if it is new.
func (s *State) objectRef(space uint32, o wire.Object) objRef {
	k := key{space, o.Digest}
	r := s.objectOf.find(&k)
	if r == 0 {
		r = s.objects.add()
		*s.objects.at(r) = object{key: k, kind: o.Kind, size: o.Size}
		s.objectOf.put(r)
	}
	return r
}

// dropRef ends one need for an object.
func (s *State) dropRef(r objRef) {
	o := s.objects.at(r)
	o.refs--
	s.tidy(r, o)
}

// tidy forgets an object that nobody holds or needs.
func (s *State) tidy(r objRef, o *object) {
	if o.refs == 0 && len(o.holders) == 0 {
		s.objectOf.del(r)
		s.objects.drop(r)
	}
}

// asObject returns what names the object on the wire.
func (o *object) asObject() wire.Object { return wire.Object{Kind: o.kind, Digest: o.id, Size: o.size} }

// holder returns what is known of the node as a holder, nil if nothing.
func (o *object) holder(n nodeRef) *holder {
	if i, ok := o.find(n); ok {
		return &o.holders[i]
	}
	return nil
}

// has reports whether the node, live or not, is known to hold the object.
func (o *object) has(n nodeRef) bool {
	h := o.holder(n)
	return h != nil && h.have
}

// find returns where the node stands among the holders, or would, and whether it does. Written out
// it takes a third of slices.BinarySearchFunc, and a tenth of all placing was that.
func (o *object) find(n nodeRef) (int, bool) {
	lo, hi := 0, len(o.holders)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); o.holders[mid].node < n {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(o.holders) && o.holders[lo].node == n
}

// mayHold returns the node among the holders, added if it is new.
func (o *object) mayHold(n nodeRef) *holder {
	i, ok := o.find(n)
	if !ok {
		o.holders = slices.Insert(o.holders, i, holder{node: n})
	}
	return &o.holders[i]
}

// held reports whether a live node holds the object.
func (s *State) held(space uint32, d wire.Digest) bool {
	o := s.object(space, d)
	return o != nil && s.heldLive(o)
}

func (s *State) heldLive(o *object) bool {
	for i := range o.holders {
		if h := &o.holders[i]; h.have && s.nodes[h.node].live() {
			return true
		}
	}
	return false
}

// atHand reports whether a node that was heard of lately holds the object.
func (s *State) atHand(o *object) bool { return s.anyUp(o) != nil }

// anyUp returns a node that has the object and is up, nil if there is none. It looks first at the
// one it returned last: of a root's holders all but one may be fetching it, a thousand of them.
func (s *State) anyUp(o *object) *node {
	if h := o.holder(o.near); h != nil && h.have && s.nodes[h.node].state == nodeUp {
		return s.nodes[h.node]
	}
	for i := range o.holders {
		if h := &o.holders[i]; h.have && s.nodes[h.node].state == nodeUp {
			o.near = h.node
			return s.nodes[h.node]
		}
	}
	return nil
}

// everHeld reports whether any node, gone or not, is known to hold it.
func everHeld(o *object) bool {
	return slices.ContainsFunc(o.holders, func(h holder) bool { return h.have })
}

// gain notes that a node holds an object.
func (s *State) gain(n *node, r objRef, durable bool) {
	o := s.objects.at(r)
	h := o.mayHold(n.ref)
	fresh := !h.have
	durable = durable && !h.durable
	h.have, h.durable, h.life = true, h.durable || durable, n.life
	if fresh && len(o.hungry) > 0 {
		s.feed(o)
	}
	if o.kept > 0 && (fresh || durable) {
		s.keepGained(r)
	}
}

// lose notes that a node does not hold an object.
func (s *State) lose(n *node, r objRef) {
	o := s.objects.at(r)
	i, ok := o.find(n.ref)
	if !ok {
		return
	}
	if h := &o.holders[i]; h.coming > 0 {
		h.have, h.durable = false, false
	} else {
		o.holders = slices.Delete(o.holders, i, i+1)
	}
	if o.kept > 0 {
		s.markLost(r, o)
	}
	s.tidy(r, o)
}

// markLost has the loss of a holder of an object looked into at the end of the Step.
func (s *State) markLost(r objRef, o *object) {
	if !o.lost {
		o.lost = true
		s.lostObjs = append(s.lostObjs, r)
	}
}

func (s *State) have(e *Have) {
	n := s.seen(e.Peer)
	if n == nil {
		return
	}
	space := s.space(e.Set.Space)
	for _, o := range e.Set.Objects {
		s.gain(n, s.objectRef(space, o), e.Durable)
	}
	if !e.Durable {
		n.told += len(e.Set.Objects) // the inventory comes before anything new
	}
	s.inventoried(n)
	s.moved = true
}

func (s *State) lost(e *Lost) {
	r := s.nodeOf[e.Peer]
	if r == 0 {
		return
	}
	space := s.space(e.Space)
	for _, d := range e.Digests {
		k := key{space, d}
		if o := s.objectOf.find(&k); o != 0 {
			s.lose(s.nodes[r], o)
		}
	}
	s.moved = true
}

// Holders returns the live members that hold an object, best first: those that were heard of
// lately, and of them those that hold it durably.
func (s *State) Holders(space wire.Space, d wire.Digest) []wire.PeerID {
	o := s.object(s.spaceOf[space], d)
	if o == nil {
		return nil
	}
	return s.peersOf(o, 0, len(o.holders), 0)
}

// peersOf returns up to limit live holders but for the node except. turn rotates the list, so that
// equal ones take turns. Metered ones are no holders while another one is up.
func (s *State) peersOf(o *object, except nodeRef, limit int, turn uint64) []wire.PeerID {
	type ranked struct {
		n    *node
		rank int
	}
	var room [4 * wire.MaxHolders]ranked
	live := room[:0]
	k, up := len(o.holders), false
	for i, at := 0, int(turn%uint64(max(1, k))); i < k && len(live) < 4*limit && !(up && i >= max(limit, holdersListed)); i++ {
		h := &o.holders[at]
		if at++; at == k {
			at = 0
		}
		if !h.have || h.node == except || !s.nodes[h.node].live() {
			continue
		}
		n, rank := s.nodes[h.node], 0
		if n.state == nodeUp {
			up = up || !n.hello.Metered
		} else {
			rank += 2
		}
		if !h.durable {
			rank++
		}
		live = append(live, ranked{n, rank})
	}
	if up {
		live = slices.DeleteFunc(live, func(c ranked) bool { return c.n.hello.Metered })
	}
	if len(live) == 0 {
		return nil
	}
	peers := make([]wire.PeerID, 0, min(limit, len(live)))
	for rank := range 4 {
		for _, c := range live {
			if c.rank == rank && len(peers) < limit {
				peers = append(peers, c.n.peer)
			}
		}
	}
	return peers
}

// sharedFrom is the size from which those who fetch an object also fetch from each other.
const sharedFrom = 2 * wire.PieceSize

// comingTo returns nodes, but for except, to which an object is on its way, at most wire.MaxHolders:
// they give others what they have of it. turn rotates the list.
func (s *State) comingTo(o *object, except nodeRef, turn uint64) (peers []wire.PeerID) {
	k := len(o.holders)
	for i := range min(k, holdersListed) {
		h := &o.holders[(i+int(turn%uint64(k)))%k]
		n := s.nodes[h.node]
		if h.have || h.coming == 0 || h.node == except || n.state != nodeUp || n.hello.Metered {
			continue
		}
		if peers = append(peers, n.peer); len(peers) == wire.MaxHolders {
			break
		}
	}
	return peers
}

// holdersListed is how many holders are passed over to find more than one: of a root that a thousand
// nodes are fetching few have it.
const holdersListed = 128
