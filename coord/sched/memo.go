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
	run    time.Duration
	others []claim // different values claimed for the same thunk
}

// A claim is a value that somebody signed.
type claim struct {
	outs   []wire.Object
	signer wire.PeerID
}

// void reports whether nothing that is believed is left of it.
func (m *memo) void() bool { return m.signer == wire.PeerID{} }

// remember adds a claim to the memo. It reports whether the thunk was unknown so far.
func (s *State) remember(space uint32, id wire.ThunkID, outs []wire.Object, signer wire.PeerID, run time.Duration) bool {
	if !s.believed(signer) {
		return false
	}
	k := key{space, wire.Digest(id)}
	if r := s.memoOf.find(&k); r != 0 {
		m := s.memos.at(r)
		if m.void() {
			m.outs, m.signer, m.run = outs, signer, run
			return true
		}
		if slices.Equal(m.outs, outs) {
			return false
		}
		for _, c := range m.others {
			if slices.Equal(c.outs, outs) {
				return false
			}
		}
		if len(m.others) < wire.MaxClaims-1 {
			m.others = append(m.others, claim{outs, signer})
		}
		return false
	}
	s.forgetMemo()
	r := s.memos.add()
	*s.memos.at(r) = memo{key: k, outs: outs, signer: signer, run: run}
	s.memoOf.put(r)
	s.memoAge = append(s.memoAge, r)
	return true
}

// forgetMemo makes room for one more value if the memo is full.
func (s *State) forgetMemo() {
	if s.memos.n < s.cfg.MaxMemo {
		return
	}
	r := s.memoAge[s.memoAt]
	s.memoAt++
	s.memoOf.del(r)
	s.memos.drop(r)
	if 2*s.memoAt > len(s.memoAge) {
		s.memoAge = append([]memoRef(nil), s.memoAge[s.memoAt:]...)
		s.memoAt = 0
	}
}

func (s *State) memo(k *key) *memo {
	if r := s.memoOf.find(k); r != 0 && !s.memos.at(r).void() {
		return s.memos.at(r)
	}
	return nil
}

// retrievable returns a claimed value whose objects can all be had, nil if there is none. A graph in
// it can be had if its expansion is known. fits says of a value whether it can be the thunk's.
func (s *State) retrievable(k *key, m *memo, fits func([]wire.Object) bool) []wire.Object {
	if fits(m.outs) && s.canHave(k, m.outs) {
		return m.outs
	}
	for _, c := range m.others {
		if fits(c.outs) && s.canHave(k, c.outs) {
			return c.outs
		}
	}
	return nil
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

// Value returns a value that is known for a resolved thunk and can be had: after expansion if it
// wrote sub-graphs. It reports whether there is one.
func (s *State) Value(space wire.Space, id wire.ThunkID) (*wire.Value, bool) {
	k := key{s.spaceOf[space], wire.Digest(id)}
	m := s.memo(&k)
	switch {
	case m == nil:
		return nil, false
	case m.final != nil && s.canHave(&k, m.final):
		return wire.NewValue(slices.Clone(m.final)), true
	}
	outs := s.retrievable(&k, m, final)
	if outs == nil {
		return nil, false
	}
	return wire.NewValue(slices.Clone(outs)), true
}
