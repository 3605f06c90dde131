package sched

import (
	"cmp"
	"time"

	"gaggle/wire"
)

// inputsGoneAfter is how long an input that nobody was ever known to hold is waited for: the
// submitter's machine may still be reporting what it has.
const inputsGoneAfter = 30 * time.Second

// starve has a run wait until somebody holds an object.
func (s *State) starve(r runRef, want objRef) {
	run, o := s.runs.at(r), s.objects.at(want)
	run.place, run.want, run.since = placeHungry, want, s.now
	o.refs++
	run.pos = int32(len(o.hungry))
	o.hungry = append(o.hungry, r)
	s.hungry = append(s.hungry, s.waiter(r))
	s.hungrier = true
}

// unhunger ends a run's wait for an object.
func (s *State) unhunger(r runRef) {
	run := s.runs.at(r)
	o := s.objects.at(run.want)
	if i, last := int(run.pos), len(o.hungry)-1; last >= 0 { // feed takes the whole list away
		o.hungry[i] = o.hungry[last]
		s.runs.at(o.hungry[i]).pos = int32(i)
		o.hungry = o.hungry[:last]
	}
	run.pos = -1
	want := run.want
	run.want, run.place, run.forMemo = 0, placeNone, false
	s.dropRef(want)
	s.hungrier = true
}

// feed lets the runs go on that waited for an object.
func (s *State) feed(o *object) {
	if !s.atHand(o) {
		return
	}
	o.refs++ // keeps it while the runs let go of it
	hungry := o.hungry
	o.hungry = nil
	for _, r := range hungry {
		if run := s.runs.at(r); run.forMemo {
			s.reconsider(r)
		} else {
			s.leavePlace(r)
			s.full(r)
			s.enqueue(r)
		}
	}
	o.refs--
}

// reconsider sends the tasks of a run that has not begun back to be resolved anew.
func (s *State) reconsider(r runRef) {
	for _, tr := range s.allWaiters(s.runs.at(r)) {
		s.detach(tr)
		s.enter(tr, wire.StateBlocked, wire.Notice{})
		s.work = append(s.work, tr)
	}
}

// feedAll looks at all hungry runs after a node came back.
func (s *State) feedAll() {
	hungry := s.hungry
	s.hungry = nil
	for _, w := range hungry {
		run := s.runAt(w, placeHungry)
		if run == nil {
			continue
		}
		s.hungry = append(s.hungry, w)
		s.feed(s.objects.at(run.want))
	}
}

// full says that the tasks of a run have their inputs again.
func (s *State) full(r runRef) {
	for tr := range s.waiters(s.runs.at(r)) {
		s.taskWaits(tr, "")
	}
}

// rederive has the object that a run is hungry for made again if that is lost and tasks of the
// waiting jobs made it. Tasks that wait for those leave the run.
func (s *State) rederive(r runRef) {
	run := s.runs.at(r)
	seq, o := run.seq, s.objects.at(run.want)
	if s.heldLive(o) {
		for tr := range s.waiters(run) {
			s.tellHungry(r, tr)
		}
		return // it may still come back
	}
	id := o.id
	for _, tr := range s.allWaiters(run) {
		t := s.tasks.at(tr)
		if t.run != r {
			continue
		}
		p := s.maker(tr, id)
		if p == 0 {
			s.tellHungry(r, tr)
			continue
		}
		s.rewind(p, id)
		if t.run == r && t.missing > 0 {
			s.detach(tr)
			s.enter(tr, wire.StateBlocked, wire.Notice{})
		}
		if r >= s.runs.next || s.runs.at(r).seq != seq {
			return
		}
	}
}

// tellHungry says what a task of a hungry run waits for.
func (s *State) tellHungry(r runRef, tr taskRef) {
	run := s.runs.at(r)
	if !run.forMemo {
		s.taskWaits(tr, s.whyHungry(s.objects.at(run.want), s.jobOfTask(s.tasks.at(tr))))
	}
}

// whyHungry names whoever has the object and is not there.
func (s *State) whyHungry(o *object, j *job) string {
	for i := range o.holders {
		if h := &o.holders[i]; h.have && s.nodes[h.node].state != nodeUp {
			return "waiting for inputs on " + s.nodes[h.node].hello.Name
		}
	}
	name := ""
	if n := s.nodeOf[j.client]; n != 0 {
		name = s.nodes[n].hello.Name
	}
	return "waiting for inputs on " + cmp.Or(name, "the submitting machine")
}

// watchHungry looks for runs that wait in vain, and tells jobs what they wait for.
func (s *State) watchHungry() {
	hungry := s.hungry
	s.hungry = nil
	settled := s.settled()
	for _, w := range hungry {
		run := s.runAt(w, placeHungry)
		switch {
		case run == nil:
			continue
		case run.forMemo && settled:
			s.leavePlace(w.run)
			if !s.adoptOrphan(w.run) {
				s.enqueue(w.run)
			}
		case run.forMemo:
		case s.heldLive(s.objects.at(run.want)):
			s.feed(s.objects.at(run.want))
		default:
			s.rederive(w.run)
			run = s.runAt(w, placeHungry)
			if run != nil && !everHeld(s.objects.at(run.want)) && s.now-run.since >= inputsGoneAfter {
				s.failHungry(w.run)
			}
		}
		if s.runAt(w, placeHungry) != nil {
			s.hungry = append(s.hungry, w)
		}
	}
}

// failHungry fails the tasks of a run for whose input nobody is left.
func (s *State) failHungry(r runRef) {
	run := s.runs.at(r)
	seq, id := run.seq, s.objects.at(run.want).id
	for _, tr := range s.allWaiters(run) {
		if s.tasks.at(tr).run != r || s.maker(tr, id) != 0 {
			continue
		}
		s.fail(tr, failure(wire.CauseInputsGone, "submit again from the machine that has the files",
			"nobody holds input %s", id.Short()), run.attempts)
		if r >= s.runs.next || s.runs.at(r).seq != seq {
			return
		}
	}
}

// tellPauses says of every job whether it waits for inputs, or for any node at all.
func (s *State) tellPauses() {
	if !s.hungrier {
		return
	}
	s.hungrier = false
	for _, r := range s.live {
		j := s.jobs.at(r)
		j.hungry = ""
		if len(s.byLoad) == 0 && j.queued > 0 {
			j.hungry = s.whyStuck(s.aimed(s.runs.at(s.first(j))))
		}
	}
	for _, w := range s.hungry {
		run := s.runAt(w, placeHungry)
		if run == nil || run.forMemo {
			continue
		}
		for tr := range s.waiters(run) {
			if j := s.jobOfTask(s.tasks.at(tr)); j.hungry == "" {
				j.hungry = s.whyHungry(s.objects.at(run.want), j)
			}
		}
	}
	for _, r := range s.live {
		j := s.jobs.at(r)
		s.pause(j, j.hungry)
	}
}
