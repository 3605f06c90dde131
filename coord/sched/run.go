package sched

import (
	"iter"
	"slices"
	"time"

	"gaggle/wire"
)

// A place is where a run is.
type place uint8

const (
	placeNone    place = iota
	placeReady         // in a line or the heap of its job
	placeParked        // in the list of the node it waits for
	placeHungry        // waits for an object
	placeStuck         // no node could ever run it
	placeBacking       // waits until it is tried again
	placeLeased
	placeGang // waits for the other members
)

// A run is a resolved thunk in flight and those who wait for it.
type run struct {
	key           // of a space; the resolved thunk
	pos     int32 // in the list that place says
	enc     []byte
	seq     uint64
	*course         // nil before it is looked at for the first time
	lead    taskRef // that it runs for; those that share it follow by task.mate
	job     jobRef  // of lead, with whose it stands ready
	place   place
	prio    int8    // of the one that waits with the highest
	tail    taskRef // the last of those that share it
}

// A waiter names a run in a list from which it is not removed: if seq differs it is another.
type waiter struct {
	run runRef
	seq uint64
}

func (s *State) waiter(r runRef) waiter { return waiter{r, s.runs.at(r).seq} }

// runAt returns the run that w names, nil if it is not there any more or has left the place.
func (s *State) runAt(w waiter, p place) *run {
	if w.run >= s.runs.next {
		return nil
	}
	if run := s.runs.at(w.run); run.seq == w.seq && run.place == p {
		return run
	}
	return nil
}

// waiters ranges over the tasks that wait for a run, lead first. The one that it is at may leave.
func (s *State) waiters(run *run) iter.Seq[taskRef] {
	return func(yield func(taskRef) bool) {
		for tr := run.lead; tr != 0; {
			next := s.tasks.at(tr).mate
			if !yield(tr) {
				return
			}
			tr = next
		}
	}
}

// allWaiters returns them as they are now.
func (s *State) allWaiters(run *run) []taskRef { return slices.Collect(s.waiters(run)) }

// attach has a task wait for a run, and widens the run's limits to its own.
func (s *State) attach(tr taskRef, r runRef) {
	run, t := s.runs.at(r), s.tasks.at(tr)
	t.run = r
	widened := false
	if run.lead == 0 {
		run.lead = tr
	} else {
		s.tasks.at(run.tail).mate = tr
		widened = s.share(r, tr)
	}
	run.tail = tr
	st := wire.StateReady
	n := wire.Notice{Resolved: wire.ThunkID(run.id)}
	if l := run.lease(); l != nil {
		st = wire.StateOffered
		if l.began {
			st = wire.StateRunning
			s.watchDeadline(r, tr)
			if widened {
				s.watchDeadlines(r)
			}
		}
		t.node = l.node.ref
		n.Node, n.NodeName = l.node.peer, l.node.hello.Name
	}
	s.enter(tr, st, n)
	if run.place == placeHungry {
		s.tellHungry(r, tr)
	}
}

// share widens the limits of a run to those of a task that waits for it, too, and says whether they were
// narrower.
func (s *State) share(r runRef, tr taskRef) (widened bool) {
	run, t := s.prepare(r, s.runs.at(r).lead), s.tasks.at(tr)
	old := run.hints
	if wide := old.Widest(s.jobOfTask(t).hints[t.hints]); !sameLimits(&wide, old) {
		run.hints, widened = &wide, true
	}
	if prio := int8(run.hints.Priority); prio != run.prio {
		run.prio = prio
		if run.place == placeReady {
			s.reorder(r)
		}
	}
	return widened
}

func sameLimits(a, b *wire.Hints) bool {
	return a.MilliCPU == b.MilliCPU && a.MemBytes == b.MemBytes && a.Timeout == b.Timeout && a.Priority == b.Priority &&
		a.Retries == b.Retries
}

// detach ends a task's wait for its run. A run nobody waits for is over.
func (s *State) detach(tr taskRef) {
	t := s.tasks.at(tr)
	r := t.run
	run := s.runs.at(r)
	t.run = 0
	if t.more != nil {
		t.more.waiting = ""
	}
	before := &run.lead
	last := taskRef(0) // before tr
	for *before != tr {
		last = *before
		before = &s.tasks.at(last).mate
	}
	*before, t.mate = t.mate, 0
	if run.tail == tr {
		run.tail = last
	}
	if run.lead == 0 {
		s.abandon(r)
		return
	}
	if next := jobRef(s.tasks.at(run.lead).of); next != run.job {
		if run.place == placeReady {
			s.unqueue(r)
			run.job = next
			s.enqueue(r)
		}
		run.job = next
	}
}

// abandon ends a run that nobody waits for.
func (s *State) abandon(r runRef) {
	if run := s.runs.at(r); run.course != nil {
		for _, l := range run.leases {
			if l != nil {
				s.emit(Cancel{l.node.peer, l.id})
				s.endLease(l)
			}
		}
	}
	s.dropRun(r)
}

// dropRun frees a run without leases and waiters.
func (s *State) dropRun(r runRef) {
	run := s.runs.at(r)
	s.leavePlace(r)
	switch {
	case run.course != nil && run.gang != nil:
		s.leaveGang(r)
	case run.course == nil || run.repeat == nil:
		s.delRun(r)
	}
	if run.course != nil {
		s.endCourse(run)
	}
	s.runs.drop(r)
}

// leavePlace takes a run out of the list it stands in. Lists of waiters notice by themselves.
func (s *State) leavePlace(r runRef) {
	run := s.runs.at(r)
	switch run.place {
	case placeReady:
		s.unqueue(r)
	case placeParked:
		s.unpark(r)
	case placeHungry:
		s.unhunger(r)
	}
	run.place = placeNone
	if run.course != nil {
		run.node, run.first = 0, false
	}
}

// lease returns the run's lease that is furthest, nil if it has none.
func (run *run) lease() *lease {
	if run.course == nil {
		return nil
	}
	a, b := run.leases[0], run.leases[1]
	if a == nil || b != nil && b.began && !a.began {
		return b
	}
	return a
}

// requeue puts a run that lost its last lease where it waits for the next: tasks whose inputs are
// being made again leave it.
func (s *State) requeue(r runRef, wait time.Duration) {
	run := s.runs.at(r)
	for tr := range s.waiters(run) {
		if t := s.tasks.at(tr); t.missing > 0 {
			last := run.lead == tr && t.mate == 0
			s.detach(tr)
			t.node = 0
			s.enter(tr, wire.StateBlocked, wire.Notice{})
			if last {
				return
			}
			continue
		}
		s.tasks.at(tr).node = 0
		if s.tasks.at(tr).state != wire.StateReady {
			s.enter(tr, wire.StateReady, wire.Notice{Resolved: wire.ThunkID(run.id)})
		}
	}
	s.leavePlace(r)
	run.since = s.now
	if wait > 0 {
		run.place = placeBacking
		run.troubled().until = s.now + wait
		s.backing = append(s.backing, s.waiter(r))
		return
	}
	s.enqueue(r)
}

// succeed gives all who wait for a run its value.
func (s *State) succeed(r runRef, outs []wire.Object, by ran) {
	s.succeedHow(r, outs, wire.HowRan, by)
}

// succeedHow is succeed for a value that may have been known.
func (s *State) succeedHow(r runRef, outs []wire.Object, how wire.How, by ran) {
	run := s.runs.at(r)
	k, enc := run.key, run.enc
	var room [8]taskRef
	waiters := room[:0]
	for tr := range s.waiters(run) {
		waiters = append(waiters, tr)
		s.tasks.at(tr).run, s.tasks.at(tr).mate = 0, 0
	}
	for _, l := range run.leases {
		if l != nil {
			s.outrun(l, by)
			s.emit(Cancel{l.node.peer, l.id})
			s.endLease(l)
		}
	}
	run.lead = 0
	s.dropRun(r)
	for _, tr := range waiters {
		s.take(tr, &k, enc, outs, how, by)
		how, by = wire.HowShared, ran{node: by.node}
	}
}

// take gives one task the raw value of its resolved thunk, if it still wants one.
func (s *State) take(tr taskRef, k *key, enc []byte, outs []wire.Object, how wire.How, by ran) {
	t := s.tasks.at(tr)
	if over(t.state) || t.of == 0 {
		return // it ended while others were told, for instance because the job stopped
	}
	s.jobOfTask(t).counts.Moved += by.fetched
	var signer wire.PeerID
	if by.node != 0 {
		signer = s.nodes[by.node].peer
	}
	if !s.doubt(tr, k, enc, outs, how, by, signer) {
		s.conclude(tr, k, enc, outs, how, by)
	}
}

// conclude gives one task a raw value that nobody doubts.
func (s *State) conclude(tr taskRef, k *key, enc []byte, outs []wire.Object, how wire.How, by ran) {
	t := s.tasks.at(tr)
	switch {
	case !final(outs):
		s.expand(tr, k, enc, outs, how, by)
	case t.outs() != nil && !slices.Equal(t.outs(), outs):
		s.diverged(tr, outs, k.id, how, by)
	default:
		s.done(tr, outs, k.id, how, by)
	}
}

// failWaiters fails those who wait for the run and for whom stays reports false; the run goes on
// for the others, if there are any.
func (s *State) failWaiters(r runRef, f wire.Failure, stays func(wire.Hints) bool) (left bool) {
	run := s.runs.at(r)
	seq := run.seq
	attempts := slices.Clone(run.attempts)
	if k := len(attempts); k > 0 {
		attempts = attempts[:k-1] // the last is f
	}
	for _, tr := range s.allWaiters(run) {
		t := s.tasks.at(tr)
		if t.run == r && !stays(s.jobOfTask(t).hints[t.hints]) {
			s.fail(tr, f, attempts)
			if r >= s.runs.next || s.runs.at(r).seq != seq {
				return false
			}
		}
	}
	return true
}
