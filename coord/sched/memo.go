package sched

import (
	"slices"
	"time"

	"gaggle/wire"
)

type memoRef uint32

// A memo is what is known of a resolved thunk.
type memo struct {
	key                  // of a space
	outs   []wire.Object // the raw value claimed first, or the last one if the first was lost
	final  []wire.Object // what it came to after expansion; nil if unknown or the same
	signer wire.PeerID
	owner  uint32 // of the signer
	gone   bool   // withdrawn; the entry is used again when its turn in memoAge comes
	run    time.Duration
	others []claim // of other values, and of this one by nodes of other owners
}

// A claim is a value that somebody signed.
type claim struct {
	outs   []wire.Object
	signer wire.PeerID
	owner  uint32 // of the signer when it claimed it; 0 is not known
}

// knownClaims takes in what the tables have of a thunk.
func (s *State) knownClaims(e *Known) {
	space := s.space(e.Space)
	s.remember(space, e.Thunk, e.Value.Outputs, Voucher{e.Signer, e.Owner}, e.Run)
	for _, v := range e.Also {
		s.remember(space, e.Thunk, e.Value.Outputs, v, e.Run)
	}
}

// remember adds a claim to the memo. It reports whether that is something for the tables: they keep
// the value that was claimed first, with a signer of each owner.
func (s *State) remember(space uint32, id wire.ThunkID, outs []wire.Object, by Voucher, run time.Duration) bool {
	if !s.believed(by.Signer) {
		return false
	}
	k, owner := key{space, wire.Digest(id)}, s.owner(by.Owner)
	if r := s.memoOf.find(&k); r != 0 {
		return s.memos.at(r).add(claim{outs, by.Signer, owner})
	}
	s.forgetMemo()
	r := s.memos.add()
	*s.memos.at(r) = memo{key: k, outs: outs, signer: by.Signer, owner: owner, run: run}
	s.memoOf.put(r)
	s.memoAge = append(s.memoAge, r)
	return true
}

// add adds a claim to those that are there, as remember does.
func (m *memo) add(c claim) bool {
	first := slices.Equal(m.outs, c.outs)
	same := func(signer wire.PeerID, owner uint32) bool { // one who changes hands does not count twice
		return c.signer == signer || c.owner == owner || c.owner == 0
	}
	switch {
	case first && c.signer == m.signer && m.owner == 0 && c.owner != 0: // of a row without owners
		m.owner = c.owner
		return true
	case first && same(m.signer, m.owner):
		return false
	}
	for _, o := range m.others {
		if slices.Equal(o.outs, c.outs) && same(o.signer, o.owner) {
			return false
		}
	}
	if len(m.others) >= wire.MaxClaims-1 {
		return false
	}
	m.others = append(m.others, c)
	return first
}

// row is what the tables are to have of a memo.
func (s *State) row(m *memo) RowValue {
	r := RowValue{Space: s.spaces[m.of], Thunk: wire.ThunkID(m.id), Value: wire.NewValue(m.outs), Signer: m.signer, Owner: s.owners[m.owner], Run: m.run}
	for _, c := range m.others {
		if slices.Equal(c.outs, m.outs) {
			r.Also = append(r.Also, Voucher{c.signer, s.owners[c.owner]})
		}
	}
	return r
}

// forgetMemo makes room for one more value if the memo is full.
func (s *State) forgetMemo() {
	if s.memos.n < s.cfg.MaxMemo {
		return
	}
	r := s.memoAge[s.memoAt]
	s.memoAt++
	if !s.memos.at(r).gone {
		s.memoOf.del(r)
	}
	s.memos.drop(r)
	if 2*s.memoAt > len(s.memoAge) {
		s.memoAge = append([]memoRef(nil), s.memoAge[s.memoAt:]...)
		s.memoAt = 0
	}
}

func (s *State) memo(k *key) *memo {
	if r := s.memoOf.find(k); r != 0 {
		return s.memos.at(r)
	}
	return nil
}

// retrievable returns a claimed value whose objects can all be had, with its signer; nil if there is none. A graph in
// it can be had if its expansion is known. fits says of a value whether it can be the thunk's.
func (s *State) retrievable(k *key, m *memo, fits func([]wire.Object) bool) ([]wire.Object, wire.PeerID) {
	if fits(m.outs) && s.canHave(k, m.outs) {
		return m.outs, m.signer
	}
	for _, c := range m.others {
		if fits(c.outs) && s.canHave(k, c.outs) {
			return c.outs, c.signer
		}
	}
	return nil, wire.PeerID{}
}

func (s *State) canHave(k *key, outs []wire.Object) bool {
	for i, o := range outs {
		if o.Kind == wire.Graph && s.expansionKnown(k, i, o) {
			continue
		}
		if !s.held(k.of, o.Digest) {
			return false
		}
	}
	return true
}

// Value returns a value that is known for a resolved thunk and can be had, after expansion if it
// wrote sub-graphs, and that jobs of such trust, submitted by owner, believe. It reports whether there
// is one.
func (s *State) Value(space wire.Space, id wire.ThunkID, trust wire.Trust, owner string) (*wire.Value, bool) {
	k := key{s.spaceOf[space], wire.Digest(id)}
	m := s.memo(&k)
	switch {
	case m == nil:
		return nil, false
	case trust != wire.TrustAny:
		c := s.believes(&job{trust: trust, owner: owner}, &k, m, final)
		if len(c) == 0 || len(c) < trust.Owners() {
			return nil, false
		}
		return wire.NewValue(slices.Clone(c[0].outs)), true
	case m.final != nil && s.canHave(&k, m.final):
		return wire.NewValue(slices.Clone(m.final)), true
	}
	outs, _ := s.retrievable(&k, m, final)
	if outs == nil {
		return nil, false
	}
	return wire.NewValue(slices.Clone(outs)), true
}

// withdraw takes back what is known of a thunk that was found to give more than the value outs. The
// memo forgets it, durably, and the nodes that signed it or hold it withdraw their claims; those that
// are away do when they return, if they are remembered until then.
func (s *State) withdraw(k *key, outs []wire.Object) {
	var signers []wire.PeerID
	if r := s.memoOf.find(k); r != 0 {
		m := s.memos.at(r)
		signers = append(signers, m.signer)
		for _, c := range m.others {
			signers = append(signers, c.signer)
		}
		s.forget(r)
		s.emit(Record{RowWithdrawn{s.spaces[k.of], wire.ThunkID(k.id)}})
	}
	for _, n := range s.nodes[1:] {
		if n.hello.Slots == 0 || !slices.Contains(signers, n.peer) && !s.holdsAll(n.ref, k.of, outs) {
			continue
		}
		if n.connected {
			s.emit(Withdraw{n.peer, s.spaces[k.of], wire.ThunkID(k.id)})
		}
		if n.state != nodeUp && len(n.owed) < maxOwed { // the connection may be dead: told again on the next
			n.owed = append(n.owed, *k)
		}
	}
}

// forget takes an entry out of the memo.
func (s *State) forget(r memoRef) {
	s.memoOf.del(r)
	*s.memos.at(r) = memo{gone: true}
}

// maxOwed bounds the withdrawals kept for a node that is away. One that misses any answers with its
// own value once more, as it would had nobody looked.
const maxOwed = 1024

func (s *State) holdsAll(n nodeRef, space uint32, outs []wire.Object) bool {
	return !slices.ContainsFunc(outs, func(o wire.Object) bool {
		obj := s.object(space, o.Digest)
		return obj == nil || !obj.has(n)
	})
}

// payOwed tells a node that has come back what it is to withdraw.
func (s *State) payOwed(n *node) {
	for _, k := range n.owed {
		s.emit(Withdraw{n.peer, s.spaces[k.of], wire.ThunkID(k.id)})
	}
	n.owed = nil
}
