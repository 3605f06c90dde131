package sched

import (
	"slices"
	"time"

	"gaggle/wire"
)

// A job of 10^6 tasks has most of its runs wait in a heap for long, so a run is lean until it is looked
// at for the first time: what is needed from then on, its course, is made then.
type course struct {
	need   []objRef    // its inputs and, last, its root
	hints  *wire.Hints // widest of those who wait; shared, never changed
	class  *class
	kind   *kind
	gang   *gang
	leases [2]*lease

	*trouble               // noTrouble while nothing went wrong
	since    time.Duration // when it came to its place
	est      time.Duration // how long it is expected to run at node
	node     nodeRef       // where it is parked, or was until it became ready again
	want     objRef        // that it is hungry for
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
func (c *course) troubled() *trouble {
	if c.trouble == noTrouble {
		c.trouble = new(trouble)
	}
	return c.trouble
}

// maxCourses is how many courses are kept for runs to come: about what the largest mesh has under way.
const maxCourses = 1 << 14

// prepare returns a run with its course, made for a task that waits for it if it had none.
func (s *State) prepare(r runRef, tr taskRef) *run {
	run := s.runs.at(r)
	if run.course != nil {
		return run
	}
	if run.place == placeReady {
		defer s.toHeap(r) // once it has a course
		s.takeOut(&s.jobs.at(run.job).lineOf(run).lot, run)
	}
	if k := len(s.courses); k > 0 {
		run.course, s.courses = s.courses[k-1], s.courses[:k-1]
	} else {
		run.course = new(course)
	}
	s.aim(run.course, run, tr)
	c, j := run.course, s.jobs.at(run.job)
	s.joinClass(c.class)
	c.kind = s.kind(j.space, kindName(s.tasks.at(tr).name))
	for _, in := range s.view.inputs {
		c.need = s.addNeed(c.need, run.of, in.object)
	}
	if !c.builtin {
		c.root = true
		c.need = s.addNeed(c.need, run.of, wire.Object{Kind: wire.Dir, Digest: s.view.root, Size: j.roots[s.view.root]})
	}
	return run
}

// aim reads the thunk of a run and says what it asks of a node.
func (s *State) aim(c *course, run *run, tr taskRef) {
	t := s.tasks.at(tr)
	j := s.jobOfTask(t)
	s.view.read(run.enc)
	h := &j.hints[t.hints]
	c.builtin, c.hints, c.trouble, c.since = s.view.builtin, h, noTrouble, s.now
	c.class = s.class(&s.view, run.of, h.Labels, j.ownOnly())
}

// aimed returns a run to be asked what it waits for: a copy if it has no course so far, which is then
// without what it needs. To ask leaves nothing behind.
func (s *State) aimed(run *run) *run {
	if run.course != nil {
		return run
	}
	c := *run
	c.course = new(course)
	s.aim(c.course, run, run.lead)
	return &c
}

func (s *State) addNeed(need []objRef, space uint32, o wire.Object) []objRef {
	r := s.objectRef(space, o)
	if slices.Contains(need[max(0, len(need)-64):], r) {
		return need
	}
	s.objects.at(r).refs++
	return append(need, r)
}

// endCourse lets go of what a run that is over needed.
func (s *State) endCourse(run *run) {
	c := run.course
	for _, o := range c.need {
		s.dropRef(o)
	}
	s.leaveClass(c.class)
	run.course = nil
	if len(s.courses) < maxCourses {
		*c = course{need: c.need[:0]}
		s.courses = append(s.courses, c)
	}
}
