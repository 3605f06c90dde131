package sched

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"gaggle/wire"
)

// A gang is tasks of a job that run at the same time: all their slots are reserved in one Step or
// none. What they compute may depend on each other, so it is neither shared nor remembered, and
// counts only when all of them have ended in the same generation.
type gang struct {
	job     jobRef
	name    string
	size    int
	seq     uint64
	gen     int
	running bool
	since   time.Duration // when it became whole
	unfit   time.Duration // since when the mesh is too small for it; 0 if it is not
	members []*member
	failed  uint8 // generations that ended in failures of the infrastructure
}

type member struct {
	run     runRef
	service bool
	ended   bool
	outs    []wire.Object
	by      ran
}

// gangPatience is how long a gang waits for slots beside others before no more are given to them.
const gangPatience = 5 * time.Second

// checkGangs checks that the job's gangs are whole.
func (s *State) checkGangs(j *job) error {
	sizes := map[string]int{}
	var names []string
	for _, r := range j.tasks {
		if m := s.tasks.at(r).more; m != nil && m.gang != nil {
			if sizes[m.gang.Name] == 0 {
				names = append(names, m.gang.Name)
			}
			sizes[m.gang.Name]++
		}
	}
	for _, r := range j.tasks {
		if m := s.tasks.at(r).more; m != nil && m.gang != nil && m.gang.Size != sizes[m.gang.Name] {
			return fmt.Errorf("gang %q is of %d tasks, but %d belong to it", m.gang.Name, m.gang.Size, sizes[m.gang.Name])
		}
	}
	for _, name := range names {
		s.gangs = append(s.gangs, &gang{job: j.ref, name: name, size: sizes[name], seq: s.age()})
	}
	return nil
}

// joinGang makes the run of a task whose inputs are known a member of its gang.
func (s *State) joinGang(tr taskRef, k key, enc []byte) {
	t := s.tasks.at(tr)
	i := slices.IndexFunc(s.gangs, func(g *gang) bool { return g.job == jobRef(t.of) && g.name == t.more.gang.Name })
	switch {
	case i >= 0:
	case t.nesting > 0:
		s.fail(tr, failure(wire.CauseGraph, "", "a sub-graph cannot add tasks to gang %q", t.more.gang.Name), nil)
		return
	case !s.regroup(tr):
		return
	default:
		i = len(s.gangs) - 1
	}
	g := s.gangs[i]
	r := s.makeRun(tr, k, enc)
	s.runs.at(r).gang, s.runs.at(r).place = g, placeGang
	g.members = append(g.members, &member{run: r, service: t.more.gang.Service})
	s.attach(tr, r)
	if len(g.members) == g.size {
		g.since = s.now
		s.moved = true
	}
}

// regroup has a whole gang run again because a value of one of its tasks was lost. It reports false
// if that cannot be: then it has given the task up.
func (s *State) regroup(tr taskRef) bool {
	t := s.tasks.at(tr)
	j := s.jobOfTask(t)
	name := t.more.gang.Name
	var others []taskRef
	for _, r := range j.tasks {
		switch o := s.tasks.at(r); {
		case r == tr || o.more == nil || o.more.gang == nil || o.more.gang.Name != name || o.nesting > 0:
		case over(o.state) && o.state != wire.StateDone:
			s.giveUpFor(tr, o.name)
			return false
		default:
			others = append(others, r)
		}
	}
	s.gangs = append(s.gangs, &gang{job: j.ref, name: name, size: 1 + len(others), seq: s.age()})
	for _, r := range others {
		s.rewind(r, wire.Digest{})
	}
	return true
}

func (g *gang) member(r runRef) *member {
	for _, m := range g.members {
		if m.run == r {
			return m
		}
	}
	return nil
}

// waitingGangs returns the gangs that wait for slots: the highest priority first, then the oldest.
func (s *State) waitingGangs() (gs []*gang) {
	for _, g := range s.gangs {
		if !g.running && len(g.members) == g.size {
			gs = append(gs, g)
		}
	}
	slices.SortStableFunc(gs, func(a, b *gang) int { return cmp.Compare(s.gangPriority(b), s.gangPriority(a)) })
	return gs
}

func (s *State) gangPriority(g *gang) int {
	p := -100
	for _, m := range g.members {
		p = max(p, s.runs.at(m.run).hints.Priority)
	}
	return p
}

// reserved reports whether slots are to be left free for a gang that waits for long.
func (s *State) reserved() bool {
	if len(s.gangs) == 0 {
		return false
	}
	gs := s.waitingGangs()
	return len(gs) > 0 && s.now-gs[0].since > gangPatience && s.seats(gs[0], (*node).steady, false) != nil
}

// placeGangs starts the gangs for which there are slots.
func (s *State) placeGangs() {
	if len(s.gangs) == 0 {
		return
	}
	for _, g := range s.waitingGangs() {
		if !s.placeGang(g) && s.now-g.since > gangPatience {
			return // those behind it may not take what it waits for
		}
	}
}

// placeGang reserves a slot for every member and offers them, or does nothing.
func (s *State) placeGang(g *gang) bool {
	if slices.ContainsFunc(g.members, func(m *member) bool { return s.starving(s.runs.at(m.run)) }) {
		return false
	}
	usable := (*node).steady
	if s.now-g.since > impossibleAfter { // better a node on trial than none
		usable = (*node).offerable
	}
	chosen := s.seats(g, usable, true)
	if chosen == nil {
		return false
	}
	g.running = true
	for i, m := range g.members {
		f := s.fit(s.runs.at(m.run), chosen[i])
		s.grant(m.run, chosen[i], &f)
	}
	return true
}

// restartGang has all members begin again, under a new generation.
func (s *State) restartGang(g *gang) {
	g.gen++
	g.running, g.since = false, s.now
	for _, m := range g.members {
		run := s.runs.at(m.run)
		for _, l := range run.leases {
			if l != nil {
				s.emit(Cancel{l.node.peer, l.id})
				s.endLease(l)
			}
		}
		m.ended, m.outs = false, nil
		run.place = placeGang
		for _, tr := range run.waiters {
			if s.tasks.at(tr).state != wire.StateReady {
				s.enter(tr, wire.StateReady, wire.Notice{Resolved: wire.ThunkID(run.id)})
			}
		}
	}
	s.moved = true
}

// gangResult takes the value of a member, which counts when all others that are no services have
// theirs.
func (s *State) gangResult(l *lease, outs []wire.Object, e *Resulted) {
	run := s.runs.at(l.run)
	g := run.gang
	s.view.read(run.enc)
	if !s.view.matches(outs) || !final(outs) {
		s.attemptEnded(l, l.failure(wire.CauseInternal, "a member of a gang gave a value of another shape"), 0)
		return
	}
	m := g.member(l.run)
	m.ended, m.outs, m.by = true, outs, ran{node: l.node.ref, run: e.Result.Run, fetched: e.Result.Fetched}
	run.place = placeGang
	s.endLease(l)
	s.gangEnded(g)
}

func (s *State) gangEnded(g *gang) {
	if slices.ContainsFunc(g.members, func(m *member) bool { return !m.service && !m.ended }) {
		return
	}
	s.gangs = slices.DeleteFunc(s.gangs, func(o *gang) bool { return o == g })
	for _, m := range slices.Clone(g.members) {
		if g.member(m.run) != m {
			continue // the job stopped at the value of another
		}
		if m.outs == nil {
			m.outs = []wire.Object{} // a service ends without a value
		}
		s.succeed(m.run, m.outs, m.by)
	}
}

// gangFailed deals with a member whose attempt gave no value; its lease is over.
func (s *State) gangFailed(r runRef, f wire.Failure) {
	run := s.runs.at(r)
	g := run.gang
	m := g.member(r)
	run.place = placeGang
	switch {
	case f.Cause == 0: // nobody's fault, see leaseLost
		s.restartGang(g)
		return
	case f.Cause.Task() && m.service:
		m.ended = true
		return
	case f.Cause.Task():
		run.troubled().failures++
		if int(run.failures) <= run.hints.Retries {
			s.restartGang(g)
			return
		}
	default:
		if g.failed++; g.failed < maxInfra {
			s.restartGang(g)
			return
		}
	}
	s.failGang(g, m, f)
}

// failGang fails one member and gives the others up.
func (s *State) failGang(g *gang, m *member, f wire.Failure) {
	s.gangs = slices.DeleteFunc(s.gangs, func(o *gang) bool { return o == g })
	tr := s.runs.at(m.run).waiters[0]
	name := s.tasks.at(tr).name
	s.fail(tr, f, nil)
	for len(g.members) > 0 {
		r := s.runs.at(g.members[0].run).waiters[0]
		s.giveUpFor(r, name)
	}
}

// leaveGang takes a run that is over out of its gang. The gang of a job that is over goes with its
// last member.
func (s *State) leaveGang(r runRef) {
	g := s.runs.at(r).gang
	g.members = slices.DeleteFunc(g.members, func(m *member) bool { return m.run == r })
	if len(g.members) == 0 {
		s.gangs = slices.DeleteFunc(s.gangs, func(o *gang) bool { return o == g })
	}
}

// watchGangs refuses gangs that are larger than the mesh, and has lost inputs made again.
func (s *State) watchGangs() {
	for _, g := range s.waitingGangs() {
		if s.neverFits(g) {
			continue
		}
		for _, m := range g.members {
			run := s.runs.at(m.run)
			for _, ref := range run.need {
				if o := s.objects.at(ref); !s.heldLive(o) {
					if p := s.maker(run.waiters[0], o.id); p != 0 {
						s.rewind(p, o.id)
					}
				}
			}
		}
		s.moved = true
	}
}
