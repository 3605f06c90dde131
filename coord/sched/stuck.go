package sched

import (
	"cmp"
	"slices"
	"time"

	"gaggle/wire"
)

// stick has a run wait for a node that could run it.
func (s *State) stick(r runRef) {
	run := s.runs.at(r)
	run.place = placeStuck
	if tr := run.troubled(); tr.unfit == 0 {
		tr.unfit = s.now
	}
	s.stuck = append(s.stuck, s.waiter(r))
	why := s.whyStuck(run)
	for tr := range s.waiters(run) {
		s.taskWaits(tr, why)
	}
}

// whyStuck says what a run that fits no node waits for.
func (s *State) whyStuck(run *run) string {
	switch {
	case s.foreign(run.class):
		return "waiting for a node of " + run.class.owner + ": the job believes no other"
	case len(run.class.nodes) == 0 && run.class.platform == "":
		return "waiting for a node"
	case run.repeat != nil && run.repeat.want > 0 && len(run.repeat.votes) == 0 && s.memoryFits(run, run.hints.MemBytes):
		return run.repeat.waitsForOwners()
	case run.repeat != nil && run.repeat.blind && !s.judgeable(run):
		return "waiting for another node, to verify it"
	case s.shy(run.class):
		return "waiting for a node that can bound the memory of tasks, or belongs to " + string(run.class.space)
	case !slices.ContainsFunc(run.class.nodes, func(r nodeRef) bool { return s.nodes[r].hoped() }):
		if !slices.ContainsFunc(s.nodes[1:], func(n *node) bool { return n.live() && n.hello.Slots > 0 }) {
			return "waiting for a node: none is up (coord ticket prints what one joins with)"
		}
		return "waiting for a node with " + run.class.String()
	case !s.memoryFits(run, run.hints.MemBytes):
		return "waiting for a node with " + bytesText(run.hints.MemBytes) + " of memory"
	}
	for _, r := range run.class.nodes {
		if n := s.nodes[r]; n.live() && n.quarantine != nil {
			return "waiting for a node that takes work: " + n.hello.Name + " is quarantined"
		}
	}
	return "waiting for a node that takes work"
}

// taskWaits says why a task does not go on; "" if it does.
func (s *State) taskWaits(tr taskRef, why string) {
	t := s.tasks.at(tr)
	if t.more == nil && why == "" || t.more != nil && t.more.waiting == why {
		return
	}
	t.rare().waiting = why
	s.tell(s.jobOfTask(t), wire.Notice{Task: t.name, Thunk: wire.ThunkID(t.id), State: t.state, Waiting: why})
}

// unstick makes the runs that no node could run ready again, because that may have changed.
func (s *State) unstick() {
	stuck := s.stuck
	s.stuck = nil
	for _, w := range stuck {
		if run := s.runAt(w, placeStuck); run != nil {
			for tr := range s.waiters(run) {
				s.taskWaits(tr, "")
			}
			s.enqueue(w.run)
		}
	}
}

// impossibleAfter is how long a run waits for a node that could run it before it fails: nodes join
// and reconnect in that time. It begins when no node fits, not when the run came: the one that it was
// queued for may be away.
const impossibleAfter = 30 * time.Second

// failStuck fails runs that no node can run, once nodes are there and time has been given to others
// to come.
func (s *State) failStuck() {
	anyUp := s.manned()
	stuck := s.stuck
	s.stuck = nil
	for _, w := range stuck {
		run := s.runAt(w, placeStuck)
		if run == nil {
			continue
		}
		s.stuck = append(s.stuck, w)
		late := s.now-run.unfit >= impossibleAfter
		if run.repeat != nil && run.repeat.blind && late && !s.judgeable(run) {
			s.unjudged(w.run)
			continue
		}
		if !anyUp || s.uptime() < impossibleAfter {
			continue
		}
		live := func(r nodeRef) bool { return s.nodes[r].hoped() }
		switch {
		case s.foreign(run.class):
			if late {
				s.failWaiters(w.run, foreignFailure(run.class), nobody)
			}
		case s.shy(run.class) && late:
			s.failWaiters(w.run, failure(wire.CauseNoPlatform,
				"node doctor tells there what is missing; node --unbounded takes tasks of all tenants without bounds",
				"no node both bounds the memory of tasks and has %s, and those that do not bound it take no tasks of %s",
				cmp.Or(run.class.String(), "slots"), run.class.space), nobody)
		case !slices.ContainsFunc(run.class.nodes, live):
			if late {
				s.failWaiters(w.run, failure(wire.CauseNoPlatform,
					"join one (coord ticket), or change the platform or labels; coord nodes lists what there is",
					"no node has %s", cmp.Or(run.class.String(), "slots")), nobody)
			}
		case !s.memoryFits(run, run.hints.MemBytes):
			s.failWaiters(w.run, failure(wire.CauseTooLarge,
				"ask for less, or join a larger node; coord nodes lists what there is",
				"no node gives %s of memory to tasks", bytesText(run.hints.MemBytes)), nobody)
		}
	}
}

// manned reports whether a node that runs tasks has been there for a moment.
func (s *State) manned() bool {
	return slices.ContainsFunc(s.nodes[1:], func(n *node) bool {
		return n.hello.Slots > 0 && n.live() && s.now-n.upSince >= time.Second
	})
}

func foreignFailure(c *class) wire.Failure {
	return failure(wire.CauseNoPlatform, "join one (coord ticket --owner), or submit with another --trust; coord nodes lists what there is",
		"the job believes nodes of %s only, and none of them has %s", c.owner, cmp.Or(c.String(), "slots"))
}

// foreign reports whether a class lacks nodes of its owner.
func (s *State) foreign(c *class) bool {
	return c.owner != "" && !slices.ContainsFunc(c.nodes, func(r nodeRef) bool { return s.nodes[r].hoped() })
}

// shy reports whether nodes could run what a class asks for if only they took other tenants' tasks.
func (s *State) shy(c *class) bool {
	could := func(n *node) bool { return n.live() && c.equipped(n) }
	able := func(r nodeRef) bool { return s.nodes[r].live() }
	return !slices.ContainsFunc(c.nodes, able) && slices.ContainsFunc(s.nodes[1:], could)
}

func nobody(wire.Hints) bool { return false }
