package sched

import (
	"cmp"
	"slices"
	"time"

	"gaggle/wire"
)

// reconcile compares the leases a node says it has with those it was given: an offer may have been
// lost with the connection, a lease may be of an earlier epoch or long over.
func (s *State) reconcile(n *node, running []wire.LeaseID, working []wire.Work) {
	s.orphans = slices.DeleteFunc(s.orphans, func(o orphan) bool { return o.node == n.ref })
	var missing []*lease
	for _, l := range n.leases {
		if !slices.Contains(running, l.id) {
			missing = append(missing, l)
		}
	}
	s.tellAgain(s.alone(missing), n.hello.Name+" connected again without what it was given", "again")
	for _, l := range missing {
		if s.leases[l.id] == l {
			s.emit(Cancel{n.peer, l.id}) // it may be under way to it
			s.leaseLost(l, wire.Failure{}, 0)
		}
	}
	for i, id := range running {
		if s.leases[id] != nil {
			continue
		}
		if uint32(id>>32) == s.epoch || i >= len(working) {
			if uint32(id>>32) == s.epoch && !n.follows(id) {
				s.emit(Cancel{n.peer, id})
			}
			continue
		}
		w := working[i]
		if w.Fresh { // of a gang that begins anew, or it was to verify another's
			s.emit(Cancel{n.peer, id})
			continue
		}
		o := orphan{lease: id, node: n.ref, key: key{s.space(w.Space), wire.Digest(w.Thunk)}, began: w.Started, since: s.now}
		if run := cmp.Or(s.ownRun(&o.key, n), s.runOf.find(&o.key)); run != 0 && s.runs.at(run).place != placeLeased {
			s.adopt(run, o)
		} else {
			s.orphans = append(s.orphans, o)
		}
	}
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
	run := s.prepare(r, s.runs.at(r).lead)
	n := s.nodes[o.node]
	l := &lease{id: o.lease, run: r, node: n, hints: *run.hints, given: s.now, est: s.estimate(run, n), adopted: true}
	s.addLease(l)
	if o.began {
		s.begin(l)
	}
	st := wire.StateOffered
	if l.began {
		st = wire.StateRunning
	}
	for tr := range s.waiters(run) {
		s.tasks.at(tr).node = n.ref
		s.enter(tr, st, l.notice(run))
	}
}

// adoptOrphan gives a new run the lease of an earlier epoch that computes it, if there is one.
func (s *State) adoptOrphan(r runRef) bool {
	run := s.runs.at(r)
	i := slices.IndexFunc(s.orphans, func(o orphan) bool {
		n := s.nodes[o.node]
		return o.key == run.key && n.live() && (run.class.owner == "" || run.class.owner == n.owner)
	})
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

// forgetNode gives up the ref of the node that is gone for longest, and all that names it.
func (s *State) forgetNode() {
	var old *node
	for _, n := range s.nodes[1:] {
		if n.state == nodeLost && !n.connected && n.peer != (wire.PeerID{}) && (old == nil || n.seen < old.seen) {
			old = n
		}
	}
	if old == nil {
		return
	}
	s.sweep(old, func(*holder) bool { return true })
	for _, r := range slices.Concat(s.live, s.over) {
		j := s.jobs.at(r)
		s.unpinIf(j, func(p pin) bool { return p.node == old.ref })
		for _, k := range j.keeps {
			if nodes := j.pinOf[k.obj]; len(nodes) > 0 {
				j.pinOf[k.obj] = slices.DeleteFunc(nodes, func(r nodeRef) bool { return r == old.ref })
			}
			k.ordered = slices.DeleteFunc(k.ordered, func(r nodeRef) bool { return r == old.ref })
		}
		for _, t := range j.tasks {
			s.forgetIn(s.tasks.at(t), old.ref)
		}
	}
	for r := range s.nodes {
		delete(s.links, [2]nodeRef{old.ref, nodeRef(r)})
		delete(s.links, [2]nodeRef{nodeRef(r), old.ref})
	}
	for _, c := range s.classes {
		c.nodes = slices.DeleteFunc(c.nodes, func(r nodeRef) bool { return r == old.ref })
	}
	s.freeHost(old)
	delete(s.nodeOf, old.peer)
	s.nodes[old.ref] = &node{ref: old.ref, state: nodeLost, whole: true}
	s.freeNodes = append(s.freeNodes, old.ref)
}

// forgetIn has a task, and the run it waits for, name the node no more.
func (s *State) forgetIn(t *task, old nodeRef) {
	forget := func(r *nodeRef) {
		if *r == old {
			*r = 0
		}
	}
	forget(&t.node)
	forget(&t.signer)
	if t.more != nil {
		forget(&t.more.ran.node)
		forget(&t.more.ran.signer)
	}
	if t.run == 0 {
		return
	}
	run := s.runs.at(t.run)
	if run.course == nil {
		return
	}
	forget(&run.node)
	if run.avoid != nil {
		run.avoid = slices.DeleteFunc(run.avoid, func(r nodeRef) bool { return r == old })
	}
	if run.repeat != nil {
		forget(&run.repeat.by.node)
		for i := range run.repeat.votes {
			forget(&run.repeat.votes[i].run.node)
		}
	}
	if run.gang != nil {
		forget(&run.gang.member(t.run).by.node)
	}
}
