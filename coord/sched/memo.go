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
	claim                // of the raw value claimed first, or the last one if the first was lost
	final  []wire.Object // what it came to after expansion; nil if unknown or the same
	gone   bool          // withdrawn; the entry is used again when its turn in memoAge comes
	run    time.Duration
	others []claim // of other values, and of this one by nodes of other owners
}

// all returns the claims, the first one first.
func (m *memo) all() []claim { return append([]claim{m.claim}, m.others...) }

// A claim is a value that somebody signed.
type claim struct {
	outs   []wire.Object
	signer wire.PeerID
	owner  uint32 // of the signer when it claimed it; 0 is not known
	sig    string // as in Voucher
}

// knownClaims takes in what the tables have of a thunk.
func (s *State) knownClaims(e *Known) {
	k := key{s.space(e.Space), wire.Digest(e.Thunk)}
	for _, v := range append([]Voucher{e.By}, e.Also...) {
		s.remember(&k, e.Value.Outputs, v, e.Run, asked)
		s.signs = s.signs || v.Signature != "" // an earlier job wanted that
	}
}

// A claim is asked for if its signer is known to have been given the thunk. Others are kept while there is
// room, and take no other signer's: who was given any lease once may claim anything.
const (
	asked   = true
	unasked = false
)

// remember adds a claim to the memo, and says whether that is something for the tables: they keep the
// value that was claimed first, with a signer of each owner, the last one whose signature is known. It
// returns the entry then.
func (s *State) remember(k *key, outs []wire.Object, by Voucher, run time.Duration, asked bool) *memo {
	if !s.believed(by.Signer) {
		return nil
	}
	c := claim{outs, by.Signer, s.owner(by.Owner), by.Signature}
	if m := s.memo(k); m != nil {
		if !m.add(c, asked) {
			return nil
		}
		return m
	}
	s.forgetMemo()
	r := s.memos.add()
	m := s.memos.at(r)
	*m = memo{key: *k, claim: c, run: run}
	s.memoOf.put(r)
	s.memoAge = append(s.memoAge, r)
	return m
}

// add adds a claim to those that are there, as remember does.
func (m *memo) add(c claim, asked bool) bool {
	first := slices.Equal(m.outs, c.outs)
	if first {
		if known, changed := m.claim.merge(&c); known {
			return changed
		}
	}
	for i := range m.others {
		if o := &m.others[i]; slices.Equal(o.outs, c.outs) {
			if known, changed := o.merge(&c); known {
				return changed && first
			}
		}
	}
	switch i := m.placeOf(&c, asked); {
	case i < 0:
		return false
	case i == len(m.others):
		m.others = append(m.others, c)
	default:
		m.others[i] = c
	}
	return first
}

// placeOf returns where among the others a claim goes, -1 if nowhere. A signer has one of them beside one of
// the first value, which may be lost: the one before gives way. If there is no more room so does, for a
// signed claim that was asked for, one of the same owner, else one without a signature, of which who asks
// for a proof has nothing, else the oldest of another value. What is claimed of the first value stays.
func (m *memo) placeOf(c *claim, asked bool) int {
	find := func(gives func(*claim) bool) int {
		return slices.IndexFunc(m.others, func(o claim) bool { return !slices.Equal(o.outs, m.outs) && gives(&o) })
	}
	if i := find(func(o *claim) bool { return o.signer == c.signer }); i >= 0 {
		return i
	}
	if len(m.others) < wire.MaxClaims-1 {
		return len(m.others)
	}
	if !asked || c.sig == "" {
		return -1
	}
	for _, gives := range []func(*claim) bool{
		func(o *claim) bool { return o.owner == c.owner && c.owner != 0 },
		func(o *claim) bool { return o.sig == "" },
		func(o *claim) bool { return !slices.Equal(o.outs, c.outs) },
	} {
		if i := find(gives); i >= 0 {
			return i
		}
	}
	return -1
}

// merge takes in a later claim of the same value, if it is by the same signer or for the same owner:
// one who changes hands does not count twice. A signed one takes the place of the other.
func (c *claim) merge(later *claim) (known, changed bool) {
	switch {
	case later.signer != c.signer && later.owner != c.owner && later.owner != 0:
		return false, false
	case later.sig != "" && later.owner != 0:
		changed = c.signer != later.signer || c.owner != later.owner || c.sig != later.sig
		c.signer, c.owner, c.sig = later.signer, later.owner, later.sig
	case later.signer == c.signer && c.owner == 0 && later.owner != 0: // of a row without owners
		changed, c.owner = true, later.owner
	}
	return true, changed
}

// row is what the tables are to have of a memo.
func (s *State) row(m *memo) RowValue {
	r := RowValue{Space: s.spaces[m.of], Thunk: wire.ThunkID(m.id), Value: wire.NewValue(m.outs), By: s.voucher(&m.claim), Run: m.run}
	for i := range m.others {
		if c := &m.others[i]; slices.Equal(c.outs, m.outs) {
			r.Also = append(r.Also, s.voucher(c))
		}
	}
	return r
}

func (s *State) voucher(c *claim) Voucher { return Voucher{c.signer, s.owners[c.owner], c.sig} }

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
	for _, c := range m.all() {
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
		c := s.believes(&job{trust: trust, owner: owner}, &k, m, final, s.vouches)
		if len(c) == 0 || len(s.vouchers(&k, c[0].outs)) < trust.Owners() {
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
		for _, c := range s.memos.at(r).all() {
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
