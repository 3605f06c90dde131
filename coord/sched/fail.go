package sched

import (
	"fmt"

	"gaggle/wire"
)

// A submitter knows the thunks of its graph, but not those of sub-graphs. To show what failed, it
// is told so many of them, none larger than a long script.
const (
	maxShown      = 20
	maxShownBytes = 64 << 10
)

// fail ends a task for a reason of its own, and all that wait for it with it. If the job is to
// stop at the first failure, the rest of it is cancelled.
func (s *State) fail(r taskRef, f wire.Failure, attempts []wire.Failure) {
	t := s.tasks.at(r)
	if over(t.state) && t.state != wire.StateDone {
		return
	}
	j := s.jobOfTask(t)
	s.unkeep(r)
	s.unsettle(r)
	t.rare().failure, t.more.attempts = &f, attempts
	failed := wire.FailedTask{Task: t.name, Thunk: wire.ThunkID(t.id), Failure: f, Attempts: attempts}
	if t.nesting > 0 && len(j.failures) < maxShown && len(t.enc) <= maxShownBytes {
		failed.Encoded = t.enc
		if enc, err := s.reduced(t); err == "" {
			failed.Encoded = enc
		}
	}
	j.failures = append(j.failures, failed)
	n := wire.Notice{Failure: &f, Node: f.Node, NodeName: f.NodeName}
	s.enter(r, wire.StateFailed, n)
	s.failUsers(r)
	if !j.keepGoing {
		s.cancelOpen(j, failure(wire.CauseCancelled, "", "the job stopped when task %q failed", t.name))
	}
}

// failUsers ends everything that waits for a task that failed, and what is of a gang with it.
func (s *State) failUsers(r taskRef) {
	stack := []taskRef{r}
	for len(stack) > 0 {
		r, stack = stack[len(stack)-1], stack[:len(stack)-1]
		cause := s.tasks.at(r).name
		for e := s.tasks.at(r).users; e != 0; e = s.edges.at(e).next {
			u := s.edges.at(e).to
			if over(s.tasks.at(u).state) {
				continue
			}
			s.giveUp(u, dependency(cause))
			stack = append(stack, u)
		}
		for _, u := range s.disband(r) {
			s.giveUp(u, dependency(cause))
			stack = append(stack, u)
		}
	}
}

// giveUpFor ends a task, and all that wait for it, because one that it needs has failed.
func (s *State) giveUpFor(r taskRef, failed string) {
	s.giveUp(r, dependency(failed))
	s.failUsers(r)
}

func dependency(name string) wire.Failure {
	return failure(wire.CauseDependency, "", "task %q, which it needs, failed", name)
}

func failure(c wire.Cause, hint, format string, args ...any) wire.Failure {
	return wire.Failure{Cause: c, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// giveUp ends a task that is not to blame. Of one that is running the notice says where: what it
// wrote so far can be asked for there.
func (s *State) giveUp(r taskRef, f wire.Failure) {
	n := wire.Notice{Failure: &f}
	t := s.tasks.at(r)
	if t.run != 0 && t.state == wire.StateRunning {
		run := s.runs.at(t.run)
		if l := run.lease(); l != nil {
			n.Resolved, n.Node, n.NodeName = wire.ThunkID(run.id), l.node.peer, l.node.hello.Name
		}
	}
	s.unkeep(r)
	s.unsettle(r)
	t.rare().failure = &f
	s.enter(r, wire.StateCancelled, n)
}

// cancelOpen ends all tasks of a job that are not over.
func (s *State) cancelOpen(j *job, f wire.Failure) { s.cancelFrom(j, 0, f) }

// cancelFrom ends those that came as the from-th or later.
func (s *State) cancelFrom(j *job, from int, f wire.Failure) {
	for _, r := range j.tasks[from:] {
		if !over(s.tasks.at(r).state) {
			s.giveUp(r, f)
		}
	}
}
