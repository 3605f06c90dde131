package sched

import (
	"slices"
	"time"

	"gaggle/wire"
)

// A keep is an object a job wants durable: a target, or a leaf of a detached job.
type keep struct {
	obj     objRef
	leaf    bool
	done    bool
	ordered []nodeRef // to copy it
	at      time.Duration
}

const (
	// orderAgain is when a copy that was ordered and not reported is ordered anew.
	orderAgain = 10 * time.Second
	// membersAfter is how long a detached job waits for a member that can take copies of its inputs.
	membersAfter = 10 * time.Second
)

// keepObject has an object of the job made durable.
func (s *State) keepObject(j *job, o wire.Object, leaf bool) {
	ref := s.objectRef(j.space, o)
	if i, ok := j.keepOf[ref]; ok {
		j.keeps[i].leaf = j.keeps[i].leaf || leaf
		return
	}
	if j.keepOf == nil {
		j.keepOf = map[objRef]int{}
	}
	obj := s.objects.at(ref)
	obj.refs++
	obj.kept++
	j.keepOf[ref] = len(j.keeps)
	j.keeps = append(j.keeps, &keep{obj: ref, leaf: leaf})
	j.unkept++
	s.checkKeep(j, j.keeps[len(j.keeps)-1])
}

// keepLeaves has all that no task of a detached job makes copied to other members.
func (s *State) keepLeaves(j *job) {
	for _, r := range j.tasks {
		var v view
		v.read(s.tasks.at(r).enc)
		if !v.builtin {
			s.keepObject(j, wire.Object{Kind: wire.Dir, Digest: v.root, Size: j.roots[v.root]}, true)
		}
		for _, in := range v.inputs {
			if in.object.Final() {
				s.keepObject(j, in.object, true)
			}
		}
	}
	if j.unkept == 0 {
		s.accept(j)
	}
}

// keepTargets has the targets that a done task makes kept.
func (s *State) keepTargets(j *job, r taskRef) {
	for _, t := range j.aims[r] {
		s.keepObject(j, s.tasks.at(r).outs()[t.output], false)
	}
}

// member reports whether copies for the job may go to the node: it has a store, on a link that nobody
// pays for, and is not the machine that submitted.
func (n *node) member(j *job) bool {
	return n.hello.Slots > 0 && !n.hello.Metered && n.peer != j.client && n.live() && !n.draining
}

// wanted returns on how many nodes the job wants an object durable.
func (s *State) wanted(j *job) int {
	if !j.detach {
		return 1
	}
	members := 0
	for _, n := range s.nodes[1:] {
		if n.member(j) {
			members++
		}
	}
	return max(1, min(2, members))
}

// counts reports whether a holder counts for a keep.
func (s *State) keeperCounts(j *job, k *keep, n *node) bool {
	if k.leaf || j.detach {
		return n.hello.Slots > 0 && n.peer != j.client && n.live()
	}
	return n.live()
}

// checkKeep looks whether an object is durable on as many nodes as the job wants, pins it there,
// and orders copies if it is not.
func (s *State) checkKeep(j *job, k *keep) {
	o := s.objects.at(k.obj)
	want := s.wanted(j)
	for i := range o.holders {
		if h := o.holders[i]; want > 0 && h.have && h.durable && s.keeperCounts(j, k, s.nodes[h.node]) {
			s.pin(j, h.node, k)
			want--
		}
	}
	if done := want == 0; done != k.done {
		k.done = done
		if done {
			j.unkept--
		} else {
			j.unkept++
		}
		if j.unkept == 0 {
			s.accept(j)
			s.check = append(s.check, j.ref)
		}
	}
	if !k.done {
		s.order(j, k, o, want)
	}
}

// order has up to want more nodes copy an object: first those that have it but not durably.
func (s *State) order(j *job, k *keep, o *object, want int) {
	if s.now-k.at >= orderAgain {
		k.ordered = nil
	}
	k.ordered = slices.DeleteFunc(k.ordered, func(r nodeRef) bool {
		return !s.nodes[r].live() || !s.nodes[r].connected
	})
	want -= len(k.ordered)
	if want <= 0 || !s.heldLive(o) {
		return
	}
	give := func(n *node) {
		h := o.holder(n.ref)
		if want <= 0 || !n.connected || h != nil && h.durable || n.hello.Metered && (h == nil || !h.have) || slices.Contains(k.ordered, n.ref) ||
			!s.keeperCounts(j, k, n) {
			return
		}
		want--
		k.at = s.now
		k.ordered = append(k.ordered, n.ref)
		s.pin(j, n.ref, k)
		held := wire.Held{Object: o.asObject(), Peers: s.peersOf(o, 0, wire.MaxHolders, 0)}
		s.emit(Copy{n.peer, wire.CopyOrder{Space: s.spaces[o.of], Held: held}})
	}
	for _, h := range slices.Clone(o.holders) {
		if h.have {
			give(s.nodes[h.node])
		}
	}
	for _, l := range s.byLoad {
		give(s.nodes[l.ref])
	}
	for _, n := range s.nodes[1:] {
		if n.member(j) {
			give(n)
		}
	}
}

// endKeeps ends a job's wish for durable objects. Its targets stay pinned until they are released.
func (s *State) endKeeps(j *job) {
	targets := map[objRef]bool{}
	for _, t := range j.targets {
		if outs := s.tasks.at(t.task).outs(); !j.cancelled && s.tasks.at(t.task).state == wire.StateDone {
			targets[s.objectRef(j.space, outs[t.output])] = true
		}
	}
	for _, k := range j.keeps {
		o := s.objects.at(k.obj)
		o.kept--
		s.dropRef(k.obj)
	}
	j.keeps, j.keepOf, j.unkept = nil, nil, 0
	s.unpinIf(j, func(p pin) bool { return !targets[p.obj] })
	j.pinOf = nil
}

// unkeep ends the wish for a task's outputs, which are not its value any more.
func (s *State) unkeep(r taskRef) {
	t := s.tasks.at(r)
	if t.more != nil && t.more.reserved {
		s.unreserve(t)
	}
	if !t.target || t.outs() == nil {
		return
	}
	j := s.jobOfTask(t)
	for _, g := range j.aims[r] {
		ref := s.objectOf.find(&key{j.space, t.outs()[g.output].Digest})
		i, ok := j.keepOf[ref]
		if ref == 0 || !ok || j.keeps[i].leaf || s.targetElsewhere(j, r, t.outs()[g.output].Digest) {
			continue
		}
		if !j.keeps[i].done {
			j.unkept--
		}
		last := len(j.keeps) - 1
		j.keeps[i] = j.keeps[last]
		j.keepOf[j.keeps[i].obj] = i
		j.keeps = j.keeps[:last]
		delete(j.keepOf, ref)
		s.unpinIf(j, func(p pin) bool { return p.obj == ref })
		delete(j.pinOf, ref)
		s.objects.at(ref).kept--
		s.dropRef(ref)
	}
}

// targetElsewhere reports whether the object is also the target of another done task.
func (s *State) targetElsewhere(j *job, r taskRef, d wire.Digest) bool {
	return slices.ContainsFunc(j.targets, func(g target) bool {
		t := s.tasks.at(g.task)
		return g.task != r && t.state == wire.StateDone && t.outs()[g.output].Digest == d
	})
}

// keepGained looks at the keeps of an object that a node holds now.
func (s *State) keepGained(ref objRef) {
	for _, r := range s.live {
		j := s.jobs.at(r)
		if i, ok := j.keepOf[ref]; ok && !j.keeps[i].done {
			s.checkKeep(j, j.keeps[i])
		}
	}
}

// keepsLost looks at the keeps of the objects, which are marked as lost, that a node lost. Targets
// nobody holds are made again.
func (s *State) keepsLost(j *job, lost []objRef) {
	s.unpinLost(j, lost)
	unheld := map[objRef]bool{}
	for _, ref := range lost {
		i, ok := j.keepOf[ref]
		if !ok {
			continue
		}
		j.keeps[i].ordered = nil
		s.checkKeep(j, j.keeps[i])
		if !s.heldLive(s.objects.at(ref)) {
			unheld[ref] = true
		}
	}
	if len(unheld) == 0 {
		return
	}
	for _, g := range j.targets {
		t := s.tasks.at(g.task)
		if t.state != wire.StateDone {
			continue
		}
		d := t.outs()[g.output].Digest
		if unheld[s.objectOf.find(&key{j.space, d})] {
			s.rewind(g.task, d)
		}
	}
}

// lostHolder looks at all keeps that a node held after it was lost.
func (s *State) lostHolder(n *node) {
	for _, r := range s.live {
		for _, k := range s.jobs.at(r).keeps {
			if o := s.objects.at(k.obj); o.has(n.ref) {
				s.markLost(k.obj, o)
			}
		}
	}
}

// allKept reports whether all that the job wants durable is.
func (s *State) allKept(j *job) bool { return j.unkept == 0 }

// watchKeeps orders copies again that were lost with a connection, and refuses detached jobs for
// which there is no other member.
func (s *State) watchKeeps() {
	for _, r := range slices.Clone(s.live) {
		j := s.jobs.at(r)
		if j.unkept == 0 {
			continue
		}
		for _, k := range slices.Clone(j.keeps) {
			if !k.done {
				s.checkKeep(j, k)
			}
		}
		if j.detach && !j.accepted && j.coming == nil && s.now-j.since >= membersAfter && !s.memberExpected(j) {
			s.refuse(j, wire.Errorf(wire.CauseInvalid, "submit without --detach, or start gaggle-node on another machine, without --metered",
				"a detached job needs another machine to keep its inputs, and there is none"), true)
		}
	}
}

// memberExpected reports whether there is, or lately was, a member that may take copies for the job, or one may
// not have come back since the coordinator began.
func (s *State) memberExpected(j *job) bool {
	return s.uptime() < lostAfterLaptop && !s.cfg.Alone || slices.ContainsFunc(s.nodes[1:], func(n *node) bool {
		return n.member(j) || n.hello.Slots > 0 && !n.hello.Metered && n.peer != j.client && s.now-n.seen < lostAfterLaptop
	})
}
