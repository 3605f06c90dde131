package sched

import (
	"cmp"
	"fmt"
	"slices"

	"gaggle/wire"
)

// A large job comes in parts, and its first tasks run before the last are here: reading 10^6 tasks
// takes the coordinator seconds. It is recorded, and accepted, when it is whole. One that breaks off
// before that is forgotten; what ran of it stays in the memo, for when it comes again.

func (s *State) submitted(e *Submitted) {
	if r, ok := s.jobOf[e.Job]; ok {
		j := s.jobs.at(r)
		switch {
		case j.client != e.Client || s.spaces[j.space] != e.Space:
			return // somebody else's job has the id
		case j.coming != nil:
			s.drop(j) // its stream broke off, and nobody has noticed so far
		default:
			if j.accepted {
				s.tellAccepted(j)
			}
			if j.ended != nil {
				s.emit(End{j.id, *j.ended})
			}
			return
		}
	}
	r := s.jobs.add()
	j := s.jobs.at(r)
	*j = job{
		ref: r, id: e.Job, space: s.space(e.Space), tenant: s.tenant(e.Tenant), name: e.Name, client: e.Client, detach: e.Detach,
		keepGoing: e.KeepGoing, twice: e.Twice, verify: e.Verify, trust: e.Trust, owner: e.Owner, passing: e.Passing, begun: e.At, seq: s.age(), since: s.now, hintOf: map[hintKey]uint32{}, roots: map[wire.Digest]uint64{},
		wanted: make(map[wire.ThunkID][]int, len(e.Targets)), aims: make(map[taskRef][]target, len(e.Targets)),
	}
	for i, t := range e.Targets {
		j.wanted[t.Thunk] = append(j.wanted[t.Thunk], i)
	}
	s.signs = s.signs || e.Trust != wire.TrustAny
	s.jobOf[e.Job] = r
	s.live = append(s.live, r)
	s.hungrier = true
	j.coming = new(*e)
	j.coming.Tasks = nil // they are added one part after the other
	s.part(j, e.Tasks, e.Stream == 0)
}

// extended takes a further part of a job.
func (s *State) extended(e *Extended) {
	if j := s.streaming(e.Job, e.Stream); j != nil {
		s.part(j, e.Tasks, e.End)
	}
}

// brokeOff forgets a job of which no more comes.
func (s *State) brokeOff(e *BrokeOff) {
	if j := s.streaming(e.Job, e.Stream); j != nil {
		s.drop(j)
	}
}

// streaming returns the job that comes in by a stream, nil if it does not any more.
func (s *State) streaming(id wire.JobID, stream uint64) *job {
	r, ok := s.jobOf[id]
	if !ok {
		return nil
	}
	if j := s.jobs.at(r); j.coming != nil && j.coming.Stream == stream {
		return j
	}
	return nil
}

// part adds tasks to a job that comes in; with the last it is whole.
func (s *State) part(j *job, tasks []wire.TaskSpec, last bool) {
	e := j.coming
	if e.Tasks == nil {
		e.Tasks = slices.Clip(tasks)
	} else {
		e.Tasks = append(e.Tasks, tasks...)
	}
	if err := s.admitJob(j, tasks); err != nil {
		s.refuse(j, err, e.Recorded)
		return
	}
	before := len(j.tasks)
	err := s.load(j, tasks)
	if err == nil && last {
		err = s.checkWhole(j)
	}
	switch {
	case err != nil:
		s.refuse(j, wire.Errorf(wire.CauseInvalid, "", "%v", err), e.Recorded)
		return
	case len(j.failures) > 0 && !j.keepGoing: // the tasks before these were cancelled then
		s.cancelFrom(j, before, failure(wire.CauseCancelled, "", "the job stopped when task %q failed", j.failures[0].Task))
	}
	if last {
		s.whole(j)
	}
}

// whole records a job that is here to its last task, and accepts it unless its inputs have to be
// copied first.
func (s *State) whole(j *job) {
	e := *j.coming
	e.Stream, e.Total = 0, 0
	j.coming, j.wanted = nil, nil
	switch {
	case e.Passing:
	case e.Recorded:
		s.holdUntil = max(s.holdUntil, s.now+recoveryHold)
	default:
		s.emit(Record{RowJob{e}})
	}
	if j.detach {
		s.keepLeaves(j)
	} else {
		s.accept(j)
	}
	if j.open == 0 {
		s.check = append(s.check, j.ref)
	}
}

// load adds tasks to a job, and marks those that make targets.
func (s *State) load(j *job, tasks []wire.TaskSpec) error {
	if err := j.checkTrust(tasks); err != nil {
		return err
	}
	for i := range tasks {
		r, err := s.addTask(j, &tasks[i], 0, tasks[i].Name)
		if err != nil {
			return err
		}
		id := wire.ThunkID(s.tasks.at(r).id)
		for _, place := range j.wanted[id] {
			spec := j.coming.Targets[place]
			output, ok := s.outputOf(r, spec.Output)
			if !ok {
				return fmt.Errorf("target %q: task %q has no output %q", spec.Path, tasks[i].Name, spec.Output)
			}
			t := target{spec.Path, r, output, place}
			j.targets, j.aims[r] = append(j.targets, t), append(j.aims[r], t)
			s.tasks.at(r).target = true
		}
		delete(j.wanted, id)
		if s.tasks.at(r).state == wire.StateDone { // a sub-graph brought it before
			s.keepTargets(j, r)
		}
	}
	return nil
}

// checkWhole checks what only a whole job can fulfil.
func (s *State) checkWhole(j *job) error {
	for _, t := range j.coming.Targets {
		if len(j.wanted[t.Thunk]) > 0 {
			return fmt.Errorf("target %q is no task of the job", t.Path)
		}
	}
	slices.SortFunc(j.targets, func(a, b target) int { return cmp.Compare(a.place, b.place) })
	return s.checkGangs(j)
}

// outputOf returns the place of an output of a task.
func (s *State) outputOf(r taskRef, path string) (int, bool) {
	s.view.readOutputs(s.tasks.at(r).enc)
	return s.view.output(path)
}

func (s *State) accept(j *job) {
	if !j.accepted && j.coming == nil {
		j.accepted = true
		s.tellAccepted(j)
	}
}

// tellAccepted tells the submitter that the job is durable, which one that passes never is.
func (s *State) tellAccepted(j *job) {
	if !j.passing {
		s.emit(Accept{j.id, j.trust})
	}
}

// refuse ends a job that was not accepted.
func (s *State) refuse(j *job, e *wire.Error, recorded bool) {
	j.coming = nil
	s.cancelOpen(j, wire.Failure{Cause: e.Cause, Message: e.Message, Hint: e.Hint})
	done := wire.Done{Error: e, Counts: j.counts}
	if recorded {
		s.end(j, done)
		return
	}
	s.emit(End{j.id, done})
	s.drop(j)
}

// drop forgets a job that was not accepted; nobody is told. It takes no place among the jobs that
// are over: who is refused tries again.
func (s *State) drop(j *job) {
	j.coming, j.wanted = nil, nil
	j.ended, j.endedAt = new(wire.Done), s.wall
	s.freeTasks(j)
	s.forgetJob(j.ref)
}
