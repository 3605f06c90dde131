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
	network bool // the members reach each other
	seq     uint64
	gen     int
	running bool
	since   time.Duration // when it became whole
	unfit   time.Duration // since when the mesh is too small for it; 0 if it is not
	fitted  bool          // it was large enough at one time
	fits    bool          // it was not when that was looked at last
	tasks   []taskRef     // all that belong to it
	members []*member     // the runs of those whose inputs are known
	failed  uint8         // generations that ended in failures of the infrastructure
	until   time.Duration // when it may begin again after one
	vni     uint32        // of the network of this generation; 0 if it has none
}

type member struct {
	run     runRef
	spec    *wire.Gang
	service bool
	ended   bool
	at      nodeRef       // where it is, or was last
	quit    *wire.Failure // of a service: it ended while others seemed to wait for it
	quitAt  time.Duration
	outs    []wire.Object
	by      ran
}

// gangPatience is how long a gang waits for slots beside others before no more are given to them.
const gangPatience = 5 * time.Second

// quitGrace is how long after the end of a service that others wait for it is taken to be in time: of
// their starts nodes tell with their next progress, and some have slow links.
const quitGrace = 5 * time.Second

// checkGangs checks that the job's gangs are whole, and that each can start.
func (s *State) checkGangs(j *job) error {
	if !slices.ContainsFunc(j.tasks, func(r taskRef) bool { m := s.tasks.at(r).more; return m != nil && m.gang != nil }) {
		return nil
	}
	number := map[string]int{}
	var gangs [][]*wire.Gang
	var tasks [][]taskRef // beside gangs
	of := make([]int, len(j.tasks))
	at := map[taskRef]int{}
	for i, r := range j.tasks {
		at[r] = i
		m := s.tasks.at(r).more
		if m == nil || m.gang == nil || s.tasks.at(r).nesting > 0 { // a sub-graph's fails by itself, see joinGang
			continue
		}
		n := number[m.gang.Name]
		if n == 0 {
			gangs, tasks = append(gangs, nil), append(tasks, nil)
			n = len(gangs)
			number[m.gang.Name] = n
		}
		of[i], gangs[n-1], tasks[n-1] = n, append(gangs[n-1], m.gang), append(tasks[n-1], r)
	}
	if len(gangs) == 0 {
		return nil
	}
	for _, members := range gangs {
		if err := wire.CheckGang(members); err != nil {
			return err
		}
	}
	stuck := wire.StuckGang(of, func(i int, dep func(int)) {
		for e := s.tasks.at(j.tasks[i]).deps; e != 0; e = s.edges.at(e).next {
			dep(at[s.edges.at(e).to])
		}
	})
	if stuck > 0 {
		return wire.Errorf(wire.CauseInvalid, "take tasks out of it", "gang %q cannot start: one of its tasks needs what another gives", gangs[stuck-1][0].Name)
	}
	for i, members := range gangs {
		s.newGang(j.ref, members[0], tasks[i])
	}
	return nil
}

func (s *State) newGang(j jobRef, spec *wire.Gang, tasks []taskRef) {
	s.gangs = append(s.gangs, &gang{job: j, name: spec.Name, size: len(tasks), network: spec.Network, seq: s.age(), tasks: tasks})
}

// gangOf returns the place in State.gangs of the gang of a task; -1 of one that has none, or whose
// gang is over.
func (s *State) gangOf(t *task) int {
	if t.more == nil || t.more.gang == nil || t.nesting > 0 {
		return -1
	}
	return slices.IndexFunc(s.gangs, func(g *gang) bool { return g.job == jobRef(t.of) && g.name == t.more.gang.Name })
}

// disband ends the gang of a task that will not be done, if it is not over, and returns the other
// tasks of it, for which there is nothing left to wait.
func (s *State) disband(r taskRef) (others []taskRef) {
	i := s.gangOf(s.tasks.at(r))
	if i < 0 {
		return nil
	}
	g := s.gangs[i]
	s.gangs = slices.Delete(s.gangs, i, i+1)
	return slices.DeleteFunc(slices.Clone(g.tasks), func(o taskRef) bool { return over(s.tasks.at(o).state) })
}

// joinGang makes the run of a task whose inputs are known a member of its gang.
func (s *State) joinGang(tr taskRef, k key, enc []byte) {
	t := s.tasks.at(tr)
	i := s.gangOf(t)
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
	run := s.prepare(r, tr)
	run.gang, run.place = g, placeGang
	g.members = append(g.members, &member{run: r, spec: t.more.gang, service: t.more.gang.Service})
	s.attach(tr, r)
	if len(g.members) == g.size && !s.gangFromMemo(g) {
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
	s.newGang(j.ref, t.more.gang, append(slices.Clip(others), tr))
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
	return len(gs) > 0 && s.now-gs[0].since > gangPatience && gs[0].fits
}

// placeGangs starts the gangs for which there are slots.
func (s *State) placeGangs() {
	if len(s.gangs) == 0 {
		return
	}
	for _, g := range s.waitingGangs() {
		if len(g.members) == g.size && !s.placeGang(g) && s.now-g.since > gangPatience {
			return // those behind it may not take what it waits for
		}
	}
}

// placeGang reserves a slot for every member and offers them, or does nothing.
func (s *State) placeGang(g *gang) bool {
	if s.now < g.until || slices.ContainsFunc(g.members, func(m *member) bool { return s.starving(s.runs.at(m.run)) }) {
		return false
	}
	usable := (*node).steady
	if s.now-g.since > impossibleAfter { // better a node on trial than none
		usable = (*node).offerable
	}
	if s.freeSlots(usable) < g.size { // as it is mostly; no need to look at each member
		return false
	}
	chosen := s.seats(g, usable, true)
	if chosen == nil {
		return false
	}
	if s.gangFromMemo(g) { // who brings the slots may bring the values back
		return true
	}
	g.running, g.fitted = true, true
	s.taskWaits(s.runs.at(g.members[0].run).lead, "")
	s.connectGang(g, chosen)
	for i, m := range g.members {
		f := s.fit(s.runs.at(m.run), chosen[i])
		m.at = chosen[i].ref
		s.grant(m.run, chosen[i], f)
	}
	return true
}

// restartGang has all members begin again, under a new generation. What runs of the old one is
// cancelled first, and what cannot be told so is on a network of its own.
func (s *State) restartGang(g *gang) {
	g.gen++
	g.running, g.since, g.vni = false, s.now, 0
	for _, m := range g.members {
		run := s.runs.at(m.run)
		for _, l := range run.leases {
			if l != nil {
				s.emit(Cancel{l.node.peer, l.id})
				s.endLease(l)
			}
		}
		m.ended, m.outs = false, nil
		m.quit = nil
		run.place = placeGang
		for tr := range s.waiters(run) {
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
	if m.service && g.awaits(s, m) {
		f := l.failure(wire.CauseExit, fmt.Sprintf("it ended with 0, but never listened on port %d, for which others of gang %q wait", m.spec.Ready, g.name))
		m.quit, m.quitAt = &f, s.now
	}
	m.ended, m.outs, m.by = true, outs, ran{node: l.node.ref, run: e.Result.Run, fetched: e.Result.Fetched}
	run.place = placeGang
	s.endLease(l)
	s.gangEnded(g)
}

// awaits reports whether members of a running gang have not begun that wait for m to listen.
func (g *gang) awaits(s *State, m *member) bool {
	return m.spec.Ready != 0 && slices.ContainsFunc(g.members, func(o *member) bool {
		l := s.runs.at(o.run).lease()
		return !o.service && o.spec.Ready == 0 && !o.ended && l != nil && !l.began
	})
}

func (s *State) gangEnded(g *gang) {
	if slices.ContainsFunc(g.members, func(m *member) bool { return !m.service && !m.ended }) {
		return
	}
	s.gangs = slices.DeleteFunc(s.gangs, func(o *gang) bool { return o == g })
	s.rememberGang(g)
	for _, m := range slices.Clone(g.members) {
		if g.member(m.run) != m {
			continue // the job stopped at the value of another
		}
		if m.service { // it ends without a value, however it ended
			m.outs, m.by.node = []wire.Object{}, m.at
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
		if g.awaits(s, m) {
			m.quit, m.quitAt = &f, s.now
		}
		return
	case f.Cause.Task():
		s.memberFailed(g, m, f)
		return
	default:
		if g.failed++; g.failed < maxInfra {
			g.until = s.now + firstBackoff<<(g.failed-1)
			s.avoid(g, s.nodeOf[f.Node])
			s.restartGang(g)
			return
		}
	}
	s.failGang(m, f)
}

// memberFailed has a gang begin again that a member of its failed, if that is to be retried.
func (s *State) memberFailed(g *gang, m *member, f wire.Failure) {
	run := s.runs.at(m.run)
	run.troubled().failures++
	if int(run.failures) <= run.hints.Retries {
		s.restartGang(g)
		return
	}
	s.failGang(m, f)
}

// watchServices fails the gangs that wait for services which have ended, and has the first member that
// waits for one tell so.
func (s *State) watchServices() {
	for _, g := range slices.Clone(s.gangs) {
		for _, m := range g.members {
			if why := s.whyMemberWaits(s.runs.at(m.run)); why != "" {
				s.taskWaits(s.runs.at(m.run).lead, why)
				break
			}
		}
		i := slices.IndexFunc(g.members, func(m *member) bool {
			return m.quit != nil && s.now-m.quitAt >= quitGrace && g.awaits(s, m)
		})
		if g.running && i >= 0 {
			s.memberFailed(g, g.members[i], *g.members[i].quit)
		}
	}
}

// avoid has no member of a gang tried on a node next if there are others.
func (s *State) avoid(g *gang, r nodeRef) {
	for _, m := range g.members {
		if run := s.runs.at(m.run); r != 0 && !slices.Contains(run.avoid, r) {
			run.troubled().avoid = append(run.avoid, r)
		}
	}
}

// failGang fails one member, and so gives the others up.
func (s *State) failGang(m *member, f wire.Failure) {
	s.fail(s.runs.at(m.run).lead, f, nil)
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

// watchGangs refuses gangs that are larger than the mesh, says what the others wait for, and has lost
// inputs made again.
func (s *State) watchGangs() {
	s.watchServices()
	for _, g := range s.waitingGangs() {
		if len(g.members) < g.size {
			continue // its job stopped for another one's sake
		}
		g.fits = s.seats(g, (*node).steady, false) != nil
		if s.gangFromMemo(g) || s.neverFits(g) { // whoever holds the values may be back
			continue
		}
		s.taskWaits(s.runs.at(g.members[0].run).lead, s.whyGangWaits(g))
		s.remakeInputs(g)
		s.moved = true
	}
	if s.reserved() {
		s.spare(s.seats(s.waitingGangs()[0], (*node).steady, false))
	}
}

// remakeInputs has lost inputs of a gang's members made again. To find that one cannot be made ends the
// gang.
func (s *State) remakeInputs(g *gang) {
	type lost struct {
		maker taskRef
		id    wire.Digest
	}
	var all []lost
	for _, m := range g.members {
		run := s.runs.at(m.run)
		for _, ref := range run.need {
			if o := s.objects.at(ref); !s.heldLive(o) {
				if p := s.maker(run.lead, o.id); p != 0 {
					all = append(all, lost{p, o.id})
				}
			}
		}
	}
	for _, l := range all {
		if len(g.members) == g.size {
			s.rewind(l.maker, l.id)
		}
	}
}

// spare leaves nodes to a gang that waits for slots on them, until it is called again. What is for
// others goes on there, and what has no other node waits.
func (s *State) spare(nodes []*node) {
	if s.spared == 0 && len(nodes) == 0 {
		return
	}
	wanted := make(map[*node]bool, len(nodes))
	for _, n := range nodes {
		wanted[n] = true
	}
	s.spared = len(wanted)
	for _, n := range s.nodes[1:] {
		if n.spared != wanted[n] {
			n.spared = wanted[n]
			s.reload(n)
			s.moved = true
		}
	}
}
