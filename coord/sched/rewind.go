package sched

import (
	"fmt"
	"slices"

	"gaggle/wire"
)

// maxGenerations bounds how often a task is made again: stores that lose things faster than they
// are used would keep a job running for ever.
const maxGenerations = 50

// maker returns the done or running task of the same job whose pinned value has the object: one
// that r waited for, or that the task whose sub-graph r came with did.
func (s *State) maker(r taskRef, d wire.Digest) taskRef {
	for ; r != 0; r = s.tasks.at(r).parent {
		for e := s.tasks.at(r).deps; e != 0; e = s.edges.at(e).next {
			if dep := s.edges.at(e).to; s.holds(dep, d) {
				return dep
			}
		}
	}
	return 0
}

func (s *State) holds(r taskRef, d wire.Digest) bool {
	return slices.ContainsFunc(s.tasks.at(r).outs(), func(o wire.Object) bool { return o.Digest == d })
}

// rewind makes a done task that had the lost object run again, or only the task of its sub-graph
// that made it. Its pinned value stays; its own inputs are looked after when it is placed, so that
// no more is run than is needed.
func (s *State) rewind(r taskRef, lost wire.Digest) {
	t := s.tasks.at(r)
	if t.state != wire.StateDone {
		return
	}
	if t.gen++; t.gen > maxGenerations {
		s.fail(r, failure(wire.CauseInputsGone, "the nodes' stores are too small for the job; raise --store-max",
			"its value was lost %d times", maxGenerations), nil)
		return
	}
	for e := t.users; e != 0; e = s.edges.at(e).next {
		s.tasks.at(s.edges.at(e).to).missing++
	}
	if t.more != nil {
		for _, sub := range t.more.subs {
			if t.outs()[sub.output].Digest == lost {
				s.enter(r, wire.StateExpanding, wire.Notice{})
				s.rewind(sub.target, lost)
				if t.missing == 0 {
					s.work = append(s.work, r)
				}
				return
			}
		}
	}
	s.enter(r, wire.StateBlocked, wire.Notice{})
	if t.missing == 0 {
		s.work = append(s.work, r)
	}
	// What it needs may have failed since, when it was made again.
	for e := t.deps; e != 0; e = s.edges.at(e).next {
		if d := s.tasks.at(s.edges.at(e).to); over(d.state) && d.state != wire.StateDone {
			s.giveUpFor(r, d.name)
			return
		}
	}
}

// diverged deals with a re-run that gave another value than the one the job has pinned. The first
// time what was made of the old value is invalidated and the new one pinned; the second time, or
// if a sub-graph was made of the old one, the task fails.
func (s *State) diverged(r taskRef, outs []wire.Object, resolved wire.Digest, how wire.How, by ran) {
	t := s.tasks.at(r)
	old := t.outs()
	below, ok := s.descendants(r)
	if !ok || t.more != nil && (t.more.diverged || len(t.more.subs) > 0) {
		s.fail(r, s.nondeterministic(t, old, outs, by), nil)
		return
	}
	t.rare().diverged = true
	for _, d := range below {
		s.invalidate(d)
	}
	s.unkeep(r)
	s.done(r, outs, resolved, how, by)
}

func (s *State) nondeterministic(t *task, old, outs []wire.Object, by ran) wire.Failure {
	s.view.read(t.enc)
	name := "its value"
	for i := range min(len(old), len(outs), len(s.view.outputs)) {
		if old[i] != outs[i] {
			name = fmt.Sprintf("output %q", s.view.outputs[i].path)
			break
		}
	}
	f := failure(wire.CauseNondeterministic, hintNondeterministic,
		"task %q gave another %s when it ran again", t.name, name)
	if by.node != 0 {
		f.Node, f.NodeName = s.nodes[by.node].peer, s.nodes[by.node].hello.Name
	}
	return f
}

// descendants returns what was or is being made of a task's value. It reports false if a sub-graph
// is among it: its tasks cannot be told from those that others need.
func (s *State) descendants(r taskRef) (below []taskRef, ok bool) {
	seen := map[taskRef]bool{r: true}
	for queue := []taskRef{r}; len(queue) > 0; queue = queue[1:] {
		for e := s.tasks.at(queue[0]).users; e != 0; e = s.edges.at(e).next {
			u := s.edges.at(e).to
			t := s.tasks.at(u)
			if seen[u] || t.outs() == nil && t.run == 0 && t.state != wire.StateExpanding {
				continue
			}
			if t.more != nil && (len(t.more.subs) > 0 || t.more.waits > 0) {
				return nil, false
			}
			seen[u] = true
			below = append(below, u)
			queue = append(queue, u)
		}
	}
	return below, true
}

// invalidate takes a value, or a run for one, off a task.
func (s *State) invalidate(r taskRef) {
	t := s.tasks.at(r)
	s.unkeep(r)
	s.unsettle(r)
	t.value, t.sure, t.vouched = nil, false, false
	if t.state == wire.StateDone || !over(t.state) {
		s.enter(r, wire.StateBlocked, wire.Notice{})
		if t.missing == 0 {
			s.work = append(s.work, r)
		}
	}
}

// checkLost has targets made again of which the last holder is gone.
func (s *State) checkLost() {
	lost := s.lostObjs
	if len(lost) == 0 {
		return
	}
	s.lostObjs = nil
	for _, r := range slices.Clone(s.live) {
		s.keepsLost(s.jobs.at(r), lost)
	}
	for _, ref := range lost {
		if ref < s.objects.next { // otherwise all objects were dropped
			s.objects.at(ref).lost = false
		}
	}
}
