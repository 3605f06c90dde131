package sched

import (
	"slices"
	"time"

	"gaggle/wire"
)

// attemptEnded ends a lease that gave no value, and decides whether the run is tried again.
// Failures of the infrastructure are retried elsewhere, up to maxInfra times; the task's own only
// for those who asked for it.
func (s *State) attemptEnded(l *lease, f wire.Failure, ran time.Duration) {
	r := l.run
	run := s.runs.at(r)
	s.endLease(l)
	if tr := run.troubled(); f.Cause != 0 && len(tr.attempts) < 2*maxInfra+10 {
		tr.attempts = append(tr.attempts, f)
	}
	if run.gang != nil {
		s.gangFailed(r, f)
		return
	}
	if s.excused(run, l.node, f.Cause) {
		s.elsewhere(r, l.node, 0)
		return
	}
	// Only a second run can differ. This one is of an earlier epoch, taken over as a first one, or
	// its node is not to be believed.
	if !f.Cause.Task() || f.Cause == wire.CauseNondeterministic && run.repeat == nil {
		s.infraFailed(r, l, f)
		return
	}
	run.troubled().failures++
	if f.Cause == wire.CauseMemory && !run.doubled && s.memoryFits(run, 2*l.hints.MemBytes) {
		run.troubled().doubled = true
		wide := *run.hints
		wide.MemBytes = max(wide.MemBytes, 2*l.hints.MemBytes)
		run.hints = &wide
		run.troubled().failures--
		if run.lease() == nil {
			s.requeue(r, 0)
		}
		return
	}
	if run.repeat != nil && run.repeat.blind { // it was done once, so the node may be the matter
		s.infraFailed(r, l, f)
		return
	}
	if f.Cause == wire.CauseMemory && run.doubled {
		f.Message += "; the limit was doubled for this attempt"
	}
	failures := int(run.failures)
	if run.repeat != nil {
		if f.Cause == wire.CauseNondeterministic {
			s.withdraw(&run.key, run.repeat.outs)
		}
		f = s.repeatFailure(run, f)
	}
	left := s.failWaiters(r, f, func(h wire.Hints) bool {
		wider := f.Cause == wire.CauseTimeout && h.Deadline() > l.hints.Timeout ||
			f.Cause == wire.CauseMemory && h.Memory() > l.hints.MemBytes
		return f.Cause != wire.CauseNondeterministic && (wider || failures <= h.Retries)
	})
	if left {
		s.elsewhere(r, l.node, 0)
	}
}

// elsewhere has a run tried again, after a while, if it can be on another node than before. A
// second lease it may have just goes on.
func (s *State) elsewhere(r runRef, n *node, wait time.Duration) {
	run := s.runs.at(r)
	if !slices.Contains(run.avoid, n.ref) {
		run.troubled().avoid = append(run.avoid, n.ref)
	}
	if run.lease() == nil {
		s.requeue(r, wait)
	}
}

// infraFailed retries elsewhere, later each time.
func (s *State) infraFailed(r runRef, l *lease, f wire.Failure) {
	run := s.runs.at(r)
	if run.lease() != nil {
		return // the other one goes on
	}
	if f.Cause == wire.CauseFetch && s.starving(run) {
		s.requeue(r, 0) // its inputs are the matter, not the node
		return
	}
	run.troubled().infra++
	if run.infra >= maxInfra {
		s.failWaiters(r, f, func(wire.Hints) bool { return false })
		return
	}
	s.elsewhere(r, l.node, firstBackoff<<(run.infra-1))
}

// starving reports whether something the run needs is not at hand.
func (s *State) starving(run *run) bool {
	return slices.ContainsFunc(run.need, func(o objRef) bool { return !s.atHand(s.objects.at(o)) })
}

// watchDeadlines notes a run whose waiters allow it different times: each keeps its own.
func (s *State) watchDeadlines(r runRef) {
	for tr := range s.waiters(s.runs.at(r)) {
		s.watchDeadline(r, tr)
	}
}

// watchDeadline is watchDeadlines for one of those that wait.
func (s *State) watchDeadline(r runRef, tr taskRef) {
	if run := s.runs.at(r); !run.deadline && s.deadlineOf(tr) < run.hints.Timeout {
		run.deadline = true
		s.timed = append(s.timed, s.waiter(r))
	}
}

func (s *State) deadlineOf(tr taskRef) time.Duration {
	t := s.tasks.at(tr)
	return s.jobOfTask(t).hints[t.hints].Deadline()
}

// passDeadlines fails the tasks whose time is over while others let the run go on.
func (s *State) passDeadlines() {
	timed := s.timed
	s.timed = nil
	for _, w := range timed {
		run := s.runAt(w, placeLeased)
		if run == nil {
			continue
		}
		run.deadline = false
		l := run.lease()
		if !l.began {
			continue // noted again when it begins
		}
		ran := s.now - l.since
		f := l.failure(wire.CauseTimeout, "it ran longer than its timeout; the run goes on for other jobs")
		f.Hint = "give it a longer timeout"
		widest := run.hints.Timeout
		stays := func(h wire.Hints) bool { return h.Deadline() > ran || h.Deadline() >= widest }
		if s.failWaiters(w.run, f, stays) {
			s.watchDeadlines(w.run)
		}
	}
}

// passBackoffs puts the runs whose time has come back in their queues.
func (s *State) passBackoffs() {
	backing := s.backing
	s.backing = nil
	for _, w := range backing {
		run := s.runAt(w, placeBacking)
		switch {
		case run == nil:
		case run.until > s.now:
			s.backing = append(s.backing, w)
		default:
			s.requeue(w.run, 0)
		}
	}
}
