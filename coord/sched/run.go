package sched

import (
	"slices"
	"time"

	"gaggle/wire"
)

// A place is where a run is.
type place uint8

const (
	placeNone    place = iota
	placeReady         // in its job's heap
	placeParked        // in the list of the node it waits for
	placeHungry        // waits for an object
	placeStuck         // no node could ever run it
	placeBacking       // waits until it is tried again
	placeLeased
	placeGang // waits for the other members
)

// A run is a resolved thunk in flight and those who wait for it.
type run struct {
	key     // of a space; the resolved thunk
	enc     []byte
	seq     uint64
	waiters []taskRef   // the first is the one it runs for, the others share it
	need    []objRef    // its inputs and, last, its root
	hints   *wire.Hints // widest of those who wait; shared, never changed
	class   *class
	kind    *kind
	gang    *gang
	leases  [2]*lease

	*trouble               // noTrouble while nothing went wrong
	since    time.Duration // when it came to its place
	job      jobRef        // whose heap it stands in
	pos      int32         // there
	node     nodeRef       // where it is parked, or was until it became ready again
	est      time.Duration // how long it is expected to run there
	want     objRef        // that it is hungry for
	place    place
	recalls  uint8
	builtin  bool
	root     bool // the last of need is its root
	forMemo  bool // it is hungry for a value that was known
	first    bool // it was the first to wait for node, which has room by now
	deadline bool // stands in State.timed
}

// A trouble is what went wrong with a run so far, and what else few runs have.
type trouble struct {
	attempts []wire.Failure
	avoid    []nodeRef     // where it failed, and need not be tried next
	until    time.Duration // when it leaves placeBacking
	unfit    time.Duration // since when no node fits it; 0 if one did when it was looked at last
	infra    uint8         // attempts that failed for reasons of the infrastructure
	failures uint8         // attempts that failed for its own
	doubled  bool          // its memory was
	repeat   *repeat       // what it is to give again; nil of all but a second run
}

// noTrouble is what runs have that had none.
var noTrouble = new(trouble)

// troubled returns the run's trouble, to be changed.
func (run *run) troubled() *trouble {
	if run.trouble == noTrouble {
		run.trouble = new(trouble)
	}
	return run.trouble
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

// attach has a task wait for a run, and widens the run's limits to its own.
func (s *State) attach(tr taskRef, r runRef) {
	run, t := s.runs.at(r), s.tasks.at(tr)
	h := s.jobOfTask(t).hints[t.hints]
	run.waiters = append(run.waiters, tr)
	t.run = r
	if len(run.waiters) > 1 {
		old := run.hints
		if wide := old.Widest(h); !sameLimits(&wide, old) {
			run.hints = &wide
		}
		if run.place == placeReady && run.hints.Priority != old.Priority {
			s.reorder(r)
		}
	}
	st := wire.StateReady
	n := wire.Notice{Resolved: wire.ThunkID(run.id)}
	if l := run.lease(); l != nil {
		st = wire.StateOffered
		if l.began {
			st = wire.StateRunning
			s.watchDeadlines(r)
		}
		t.node = l.node.ref
		n.Node, n.NodeName = l.node.peer, l.node.hello.Name
	}
	s.enter(tr, st, n)
	if run.place == placeHungry {
		s.tellHungry(r, tr)
	}
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
	i := slices.Index(run.waiters, tr)
	run.waiters = slices.Delete(run.waiters, i, i+1)
	if len(run.waiters) == 0 {
		s.abandon(r)
		return
	}
	if next := jobRef(s.tasks.at(run.waiters[0]).of); i == 0 && next != run.job {
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
	for _, l := range s.runs.at(r).leases {
		if l != nil {
			s.emit(Cancel{l.node.peer, l.id})
			s.endLease(l)
		}
	}
	s.dropRun(r)
}

// dropRun frees a run without leases and waiters.
func (s *State) dropRun(r runRef) {
	run := s.runs.at(r)
	s.leavePlace(r)
	for _, o := range run.need {
		s.dropRef(o)
	}
	s.leaveClass(run.class)
	switch {
	case run.gang != nil:
		s.leaveGang(r)
	case run.repeat == nil:
		s.delRun(r)
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
	run.place, run.node, run.first = placeNone, 0, false
}

// lease returns the run's lease that is furthest, nil if it has none.
func (run *run) lease() *lease {
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
	for _, tr := range slices.Clone(run.waiters) {
		if t := s.tasks.at(tr); t.missing > 0 {
			last := len(run.waiters) == 1
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
	k, enc, waiters := run.key, run.enc, run.waiters
	for _, l := range run.leases {
		if l != nil {
			s.outrun(l, by)
			s.emit(Cancel{l.node.peer, l.id})
			s.endLease(l)
		}
	}
	for _, tr := range waiters {
		s.tasks.at(tr).run = 0
	}
	run.waiters = nil
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
	case t.outs != nil && !slices.Equal(t.outs, outs):
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
	for _, tr := range slices.Clone(run.waiters) {
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
