package sched

// Stores trim what was used least lately, and a store that is too small for what a job has under way
// would have the same values made again for ever. So one that was lost twice is reserved: the node
// that made it again keeps it until all that wait for it are over. If even those do not fit, its
// disk is full, which is said and ends the job after some attempts; see also maxGenerations.

// reserveAfter is how often a value is lost before it is reserved: losing it once is what a node
// that leaves does.
const reserveAfter = 2

// reserve has a holder of a task's value keep it for those that wait for it.
func (s *State) reserve(r taskRef) {
	t := s.tasks.at(r)
	if t.gen < reserveAfter || !s.awaited(t) {
		return
	}
	j := s.jobOfTask(t)
	for _, out := range t.outs() {
		ref := s.objectOf.find(&key{j.space, out.Digest})
		if ref == 0 {
			continue
		}
		for _, h := range s.objects.at(ref).holders {
			if n := s.nodes[h.node]; h.have && n.live() && n.connected {
				s.pin(j, h.node, &keep{obj: ref})
				t.rare().reserved = true
				break
			}
		}
	}
}

// awaited reports whether a task waits for t.
func (s *State) awaited(t *task) bool {
	for e := t.users; e != 0; e = s.edges.at(e).next {
		if !over(s.tasks.at(s.edges.at(e).to).state) {
			return true
		}
	}
	return false
}

// release lets go of what was reserved for a task that is over, unless another waits for it.
func (s *State) release(r taskRef) {
	for e := s.tasks.at(r).deps; e != 0; e = s.edges.at(e).next {
		if dep := s.tasks.at(s.edges.at(e).to); dep.more != nil && dep.more.reserved && !s.awaited(dep) {
			s.unreserve(dep)
		}
	}
}

// unreserve ends the reservation of a task's value. What is to become durable stays pinned.
func (s *State) unreserve(t *task) {
	t.more.reserved = false
	j := s.jobOfTask(t)
	for _, out := range t.outs() {
		ref := s.objectOf.find(&key{j.space, out.Digest})
		if _, keeps := j.keepOf[ref]; ref == 0 || keeps {
			continue
		}
		s.unpinIf(j, func(p pin) bool { return p.obj == ref })
		delete(j.pinOf, ref)
	}
}
