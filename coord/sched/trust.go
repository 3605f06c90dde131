package sched

import (
	"slices"

	"gaggle/wire"
)

// A job may say whose claims it believes (Submitted.Trust): any member's; those of nodes that belong
// to the submitter's owner; or a value that nodes of so many owners claim.
//
// With TrustOwn the class of its runs has the owner among what it asks of a node, so that nothing of
// the job is placed elsewhere. Such a run is shared with jobs of the same policy and owner alone, but
// whatever an own node gives serves it, too, by whatever lease; and of the memo it takes what an own
// node claimed.

// An ownKey is what finds a run that only nodes of one owner may have.
type ownKey struct {
	key
	owner string
}

// ownOnly returns whose nodes alone may run the job's tasks; "" if anybody's may.
func (j *job) ownOnly() string {
	if j.trust == wire.TrustOwn {
		return j.owner
	}
	return ""
}

// findRun returns the run in flight of a resolved thunk at nodes of the owner, at anybody's if that
// is empty; 0 if there is none.
func (s *State) findRun(k *key, owner string) runRef {
	if owner != "" {
		return s.ownRuns[ownKey{*k, owner}]
	}
	return s.runOf.find(k)
}

func (s *State) putRun(r runRef) {
	if run := s.runs.at(r); run.class.owner != "" {
		s.ownRuns[ownKey{run.key, run.class.owner}] = r
		return
	}
	s.runOf.put(r)
}

func (s *State) delRun(r runRef) {
	if run := s.runs.at(r); run.class.owner != "" {
		delete(s.ownRuns, ownKey{run.key, run.class.owner})
		return
	}
	s.runOf.del(r)
}

// ownRun returns the run of a thunk that a value of the node serves beside the one that any node's
// does.
func (s *State) ownRun(k *key, n *node) runRef {
	if len(s.ownRuns) == 0 || n.owner == "" {
		return 0
	}
	return s.findRun(k, n.owner)
}

// claimed returns a value of the memo that counts for the job and can be had, with a signer; nil if
// there is none. fits says of a value whether it can be the thunk's.
func (s *State) claimed(j *job, k *key, m *memo, fits func([]wire.Object) bool) ([]wire.Object, wire.PeerID) {
	if j.trust == wire.TrustAny {
		return s.retrievable(k, m, fits)
	}
	if c := s.believes(j, k, m, fits); c != nil {
		return c[0].outs, c[0].signer
	}
	return nil, wire.PeerID{}
}

// believes returns the claims of a memo that count for the job and whose values may be the thunk's,
// as fits says, and can be had: those of one value, the one that most owners claim. It is nil if
// there is none.
func (s *State) believes(j *job, k *key, m *memo, fits func([]wire.Object) bool) (best []claim) {
	all := append([]claim{{m.outs, m.signer, m.owner}}, m.others...)
	for i, c := range all {
		if slices.ContainsFunc(all[:i], func(o claim) bool { return slices.Equal(o.outs, c.outs) }) || !fits(c.outs) || !s.canHave(k, c.outs) {
			continue
		}
		var same []claim
		for _, o := range all[i:] {
			if slices.Equal(o.outs, c.outs) && (j.trust != wire.TrustOwn || s.ownerOf(&o) == j.owner) {
				same = append(same, o)
			}
		}
		if len(same) > len(best) {
			best = same
		}
	}
	return best
}

// ownerOf returns to whom the signer of a claim belonged, or belongs if that was not noted; "" if it
// is not known.
func (s *State) ownerOf(c *claim) string {
	if r := s.nodeOf[c.signer]; c.owner == 0 && r != 0 {
		return s.nodes[r].owner
	}
	return s.owners[c.owner]
}

// owner returns the number of an owner's name; 0 is none.
func (s *State) owner(name string) uint32 {
	n, ok := s.ownerNo[name]
	if !ok {
		n = uint32(len(s.owners))
		s.owners = append(s.owners, name)
		s.ownerNo[name] = n
	}
	return n
}

// reowned ends what a node runs that is for the nodes of its last owner only.
func (s *State) reowned(n *node) {
	for _, l := range slices.Clone(n.leases) {
		if c := s.runs.at(l.run).class; s.leases[l.id] == l && c.owner != "" && c.owner != n.owner {
			s.emit(Cancel{n.peer, l.id})
			s.leaseLost(l, wire.Failure{}, 0)
		}
	}
}
