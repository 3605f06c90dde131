package sched

import (
	"fmt"
	"slices"
	"time"

	"gaggle/wire"
)

// A node is quarantined, and offered nothing, when it fails tasks that succeed elsewhere, when it
// was caught giving wrong values, or by hand. Tasks that fail now and then wherever they run are
// told from bad nodes by their kind: one that different nodes are blamed for within blameWindow
// says nothing of any of them.
//
// After probation a node that only failed gets one task at a time, whose failure is not counted
// against the task: the first value ends the quarantine, a failure doubles the probation. One
// caught lying, or shut out by hand, is released by hand.

const (
	// maxBlames within blameWindow quarantine a node.
	maxBlames   = 3
	blameWindow = 10 * time.Minute
	// probation is how long a node that failed gets nothing at all, at first and at most.
	probation    = 2 * time.Minute
	maxProbation = time.Hour
	// maxQuarantines bounds how many members that are not there any more stay shut out; a
	// quarantined one costs its owner a certificate to come back under another name anyway.
	maxQuarantines = 10_000
)

// A blame is a task that failed on a node and succeeded elsewhere.
type blame struct {
	at   time.Duration
	kind *kind
}

// A quarantine is why a member is offered nothing, and for how long.
type quarantine struct {
	why   Quarantined
	wait  time.Duration // the present probation; 0 if it is for ever
	until time.Duration // when it may be tried with one task
}

// hoped reports whether the node may take work again by itself, if it does not now.
func (n *node) hoped() bool { return n.live() && (n.quarantine == nil || !n.quarantine.why.Lied) }

// steady reports whether a gang may count on a node that takes offers: not on one on trial.
func (n *node) steady() bool { return n.offerable() && n.quarantine == nil }

// blamable reports whether a failure may be its node's fault: not what the mesh, the disk's size
// or the memory asked for explains.
func blamable(c wire.Cause) bool {
	switch c {
	case wire.CauseNodeLost, wire.CauseDiskFull, wire.CauseFetch, wire.CauseInputsGone, wire.CauseMemory, wire.CauseNondeterministic:
		return false
	}
	return c.Task() || c.Infrastructure()
}

// blame looks at who failed a run before by gave it a value.
func (s *State) blame(run *run, by nodeRef) {
	for i, f := range run.attempts {
		r := s.nodeOf[f.Node]
		again := func(g wire.Failure) bool { return g.Node == f.Node && blamable(g.Cause) }
		if r == 0 || r == by || !blamable(f.Cause) || slices.ContainsFunc(run.attempts[:i], again) {
			continue
		}
		s.blameNode(s.nodes[r], run, f)
	}
}

func (s *State) blameNode(n *node, run *run, f wire.Failure) {
	k := run.kind
	if k.blamed != (wire.PeerID{}) && k.blamed != n.peer && s.now-k.blamedAt < blameWindow {
		k.flaky = s.now + blameWindow
	}
	k.blamed, k.blamedAt = n.peer, s.now
	n.blames = slices.DeleteFunc(n.blames, func(b blame) bool {
		return s.now-b.at > blameWindow || b.kind.flaky > s.now
	})
	if k.flaky > s.now || n.quarantine != nil {
		return
	}
	if len(n.blames) == maxBlames {
		n.blames = n.blames[1:]
	}
	n.blames = append(n.blames, blame{s.now, k})
	if len(n.blames) < maxBlames || !s.sparable(n) {
		return
	}
	name := ""
	if run.lead != 0 {
		name = s.tasks.at(run.lead).name
	}
	s.quarantined(&Quarantined{Peer: n.peer, At: s.wall, Reason: fmt.Sprintf(
		"%d tasks failed on it in %v that succeeded elsewhere, the last %q: %s", len(n.blames), blameWindow, name, f.Message)})
}

// sparable reports whether at least half of the nodes that take offers would be left without n.
func (s *State) sparable(n *node) bool {
	all, shut := 0, 1
	for _, m := range s.nodes[1:] {
		if m.hello.Slots > 0 && m.live() {
			all++
			if m.quarantine != nil && m != n {
				shut++
			}
		}
	}
	return 2*shut <= all
}

// quarantined shuts a member out, or ends that.
func (s *State) quarantined(e *Quarantined) {
	if e.Over {
		s.readmitted(e.Peer)
		return
	}
	if old := s.quarantines[e.Peer]; old != nil && old.why.Lied && !e.Lied {
		return // it is shut out for more already
	}
	q := &quarantine{why: *e}
	if !e.ByHand && !e.Lied {
		q.wait, q.until = probation, s.now+probation
	}
	if _, known := s.quarantines[e.Peer]; known || len(s.quarantines) < maxQuarantines {
		s.quarantines[e.Peer] = q
	}
	if e.Lied {
		s.distrust(e.Peer)
	}
	if !e.Recorded {
		s.emit(Record{RowQuarantine{*e}})
	}
	r := s.nodeOf[e.Peer]
	if r == 0 {
		return
	}
	n := s.nodes[r]
	n.quarantine, n.trial, n.blames = q, false, nil
	s.emit(Quarantine{n.peer, n.hello.Name, e.Reason})
	s.recallAll(n)
	s.reload(n)
	s.moved = true
	if e.Lied {
		s.disown(n)
		s.recant(n)
	}
}

// recallAll asks for everything back that a node has not begun.
func (s *State) recallAll(n *node) {
	for _, l := range n.leases {
		if !l.began && !l.recall && s.runs.at(l.run).gang == nil {
			l.recall = true
			s.emit(Recall{n.peer, l.id})
		}
	}
}

// disown ends what a node runs whose values would not be believed.
func (s *State) disown(n *node) {
	for _, l := range slices.Clone(n.leases) {
		if s.leases[l.id] == l {
			s.emit(Cancel{n.peer, l.id})
			s.leaseLost(l, wire.Failure{}, 0)
		}
	}
}

// readmitted ends a quarantine, if there is one.
func (s *State) readmitted(p wire.PeerID) {
	if s.quarantines[p] == nil {
		return
	}
	delete(s.quarantines, p)
	s.emit(Record{RowQuarantine{Quarantined{Peer: p, Over: true, At: s.wall}}})
	if r := s.nodeOf[p]; r != 0 {
		n := s.nodes[r]
		n.quarantine, n.trial, n.blames = nil, false, nil
		s.reload(n)
		s.moved = true
	}
}

// passProbations lets the nodes be tried whose time has come.
func (s *State) passProbations() {
	if len(s.quarantines) == 0 {
		return
	}
	for _, n := range s.nodes[1:] {
		if q := n.quarantine; q != nil && q.wait > 0 && !n.trial && s.now >= q.until {
			n.trial = true
			s.reload(n)
			s.moved = true
		}
	}
}

// proved judges a node on trial by a value it gave.
func (s *State) proved(n *node) {
	if n.trial {
		s.readmitted(n.peer)
	}
}

// excused judges a node in quarantine by a failure, and reports whether that is nothing to count
// against the task: another node could tell.
func (s *State) excused(run *run, n *node, c wire.Cause) bool {
	if n.quarantine == nil || !blamable(c) {
		return false
	}
	if q := n.quarantine; n.trial {
		q.wait = min(2*q.wait, maxProbation)
		q.until, n.trial = s.now+q.wait, false
		s.reload(n)
	}
	return slices.ContainsFunc(run.class.nodes, func(r nodeRef) bool {
		m := s.nodes[r]
		return m.live() && m.quarantine == nil
	})
}

// distrust forgets what a member claimed.
func (s *State) distrust(p wire.PeerID) {
	for r := memoRef(1); r < s.memos.next; r++ {
		m := s.memos.at(r)
		before := len(m.others)
		m.others = slices.DeleteFunc(m.others, func(c claim) bool { return c.signer == p })
		switch {
		case m.outs == nil:
		case m.signer != p && len(m.others) < before:
			s.emit(Record{s.row(m)})
		case m.signer != p:
		case len(m.others) > 0:
			c := m.others[0]
			if !slices.Equal(m.outs, c.outs) {
				m.final = nil
			}
			m.outs, m.signer, m.owner, m.others = c.outs, c.signer, c.owner, m.others[1:]
			s.emit(Record{s.row(m)})
		default:
			s.emit(Record{RowWithdrawn{s.spaces[m.of], wire.ThunkID(m.id)}})
			s.forget(r)
		}
	}
}

// believed reports whether claims of a member count.
func (s *State) believed(p wire.PeerID) bool {
	q := s.quarantines[p]
	return q == nil || !q.why.Lied
}
