package sched

import (
	"maps"
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// A job is one submission. When it is over its tasks are freed; what Jobs shows of it stays for a
// while.
type job struct {
	ref       jobRef
	id        wire.JobID
	space     uint32
	tenant    *tenant
	name      string
	client    wire.PeerID
	detach    bool
	keepGoing bool
	twice     bool
	verify    int // percent
	trust     wire.Trust
	owner     string // of the submitter
	passing   bool   // neither recorded nor remembered
	begun     time.Time
	seq       uint64
	accepted  bool
	cancelled bool
	ended     *wire.Done
	endedAt   time.Time

	coming *Submitted             // while more of it follows, what of it is here
	wanted map[wire.ThunkID][]int // targets whose tasks are to come, then

	tasks    []taskRef // in the order they came
	open     int       // of tasks, not over
	bytes    int64     // of the thunks it was submitted with
	targets  []target
	aims     map[taskRef][]target // the same, by task
	counts   wire.Counts
	failures []wire.FailedTask
	waiting  string // why it does not go on
	hungry   string // scratch of tellPauses
	since    time.Duration

	hints  []wire.Hints
	hintOf map[hintKey]uint32
	roots  map[wire.Digest]uint64 // sizes of root trees

	fresh  []*line  // ready runs, see queue.go: the highest priority first
	heap   []runRef // likewise
	queued int      // in both
	pass   time.Duration

	keeps  []*keep // objects that must become durable, see keep.go
	keepOf map[objRef]int
	unkept int // of keeps, not durable yet
	pins   []pin
	pinOf  map[objRef][]nodeRef
}

// A target is an output that the user wants.
type target struct {
	path   string
	task   taskRef
	output int
	place  int // in the submission
}

const (
	// lingerFor is how long a job that is over keeps its tasks unless its targets are released;
	// fetching begins at once when somebody watches.
	lingerFor = 10 * time.Minute
	// passingLingers is lingerFor of one that passes: its submitter fetches at once, and a target
	// that is lost then it makes by itself.
	passingLingers = 30 * time.Second
	// maxLingering bounds the tasks so kept; the oldest jobs go first.
	maxLingering = 200_000
)

func (s *State) cancelled(id wire.JobID) {
	r, ok := s.jobOf[id]
	if !ok || s.jobs.at(r).ended != nil {
		return
	}
	j := s.jobs.at(r)
	if j.coming != nil {
		s.refuse(j, wire.Errorf(wire.CauseCancelled, "", "job %s was cancelled while it was submitted", j.id), false)
		return
	}
	j.cancelled = true
	e := wire.Errorf(wire.CauseCancelled, "", "job %s was cancelled", j.id)
	s.cancelOpen(j, wire.Failure{Cause: e.Cause, Message: e.Message})
	s.end(j, wire.Done{Error: e, Counts: j.counts, Failures: j.failures})
}

// checkEnds ends the jobs that have nothing left to wait for, and reports whether that led to
// anything more to do.
func (s *State) checkEnds() bool {
	if len(s.check) == 0 {
		return false
	}
	jobs := s.check
	s.check = nil
	for _, r := range jobs {
		j := s.jobs.at(r)
		if j.ended != nil || j.coming != nil || j.open > 0 || !s.allKept(j) {
			continue
		}
		done := wire.Done{Failures: j.failures, Counts: j.counts}
		for _, t := range j.targets {
			if s.tasks.at(t.task).state == wire.StateDone {
				o := s.tasks.at(t.task).outs()[t.output]
				done.Targets = append(done.Targets, wire.Target{Path: t.path, Held: s.heldBy(j.space, o)})
			}
		}
		s.accept(j)
		s.end(j, done)
	}
	return len(s.check)+len(s.work) > 0
}

// heldBy names an object and up to wire.MaxHolders of its holders.
func (s *State) heldBy(space uint32, o wire.Object) wire.Held {
	h := wire.Held{Object: o}
	if obj := s.object(space, o.Digest); obj != nil {
		h.Peers = s.peersOf(obj, 0, wire.MaxHolders, 0)
	}
	return h
}

// end closes a job, whose tasks are all over. One that reached its targets lingers, so that those
// that are lost before they are fetched can be made again.
func (s *State) end(j *job, done wire.Done) {
	j.ended, j.endedAt, j.since = &done, s.wall, s.now
	if !j.passing {
		s.emit(Record{RowJobState{Job: j.id, Cancelled: j.cancelled, Done: &done, At: s.wall}})
	}
	s.emit(End{j.id, done})
	if len(done.Targets) == 0 {
		s.free(j)
		return
	}
	s.lingering += len(j.tasks)
	for _, r := range slices.Clone(s.live) {
		if o := s.jobs.at(r); s.lingering > maxLingering && o.ended != nil {
			s.free(o)
		}
	}
}

// expireJobs frees the jobs that have lingered long enough.
func (s *State) expireJobs() {
	for _, r := range slices.Clone(s.live) {
		if j := s.jobs.at(r); j.ended != nil && s.now-j.since > j.lingers() {
			s.free(j)
		}
	}
	for _, r := range slices.Clone(s.over) {
		if s.jobs.at(r).passing {
			s.forgetPassing(r)
		}
	}
}

// forgetPassing frees a job that is over and that nobody asks about.
func (s *State) forgetPassing(r jobRef) {
	s.over = slices.DeleteFunc(s.over, func(o jobRef) bool { return o == r })
	s.forgetJob(r)
}

// lingers is how long a job that is over keeps its tasks.
func (j *job) lingers() time.Duration {
	if j.passing {
		return passingLingers
	}
	return lingerFor
}

// free gives up the tasks of a job that is over. Its targets stay pinned until they are released.
func (s *State) free(j *job) {
	s.freeTasks(j)
	s.over = append(s.over, j.ref)
	if len(s.over) > maxEnded {
		// Rather one whose targets nobody waits for any more.
		i := max(0, slices.IndexFunc(s.over, func(r jobRef) bool { return len(s.jobs.at(r).pins) == 0 }))
		s.forgetJob(s.over[i])
		s.over = slices.Delete(s.over, i, i+1)
	}
}

func (s *State) freeTasks(j *job) {
	if len(j.ended.Targets) > 0 {
		s.lingering -= len(j.tasks)
	}
	s.cancelOpen(j, wire.Failure{Cause: wire.CauseCancelled, Message: "the job is over"})
	s.endKeeps(j)
	s.gangs = slices.DeleteFunc(s.gangs, func(g *gang) bool { return g.job == j.ref })
	s.work = slices.DeleteFunc(s.work, func(r taskRef) bool { return s.tasks.at(r).of == uint32(j.ref) })
	for _, r := range j.tasks {
		s.taskOf.del(r)
	}
	for _, r := range j.tasks {
		s.dropTask(r)
	}
	j.tasks, j.targets, j.aims, j.hints, j.hintOf, j.roots = nil, nil, nil, nil, nil, nil
	s.live = slices.DeleteFunc(s.live, func(r jobRef) bool { return r == j.ref })
	s.moved = true
}

// forgetJob frees the last of a job that is over.
func (s *State) forgetJob(r jobRef) {
	j := s.jobs.at(r)
	s.unpin(j)
	delete(s.jobOf, j.id)
	s.check = slices.DeleteFunc(s.check, func(c jobRef) bool { return c == r })
	s.jobs.drop(r)
}

// released lets the targets of a job that is over go.
func (s *State) released(id wire.JobID) {
	r, ok := s.jobOf[id]
	if !ok || s.jobs.at(r).ended == nil {
		return
	}
	j := s.jobs.at(r)
	if j.tasks != nil {
		s.free(j)
	}
	if j.passing {
		s.forgetPassing(r)
		return
	}
	s.unpin(j)
	s.emit(Record{RowJobState{Job: j.id, Released: true, Cancelled: j.cancelled, At: s.wall}})
}

// hint interns hints: the tasks of a job have few different ones.
func (j *job) hint(h wire.Hints) uint32 {
	h.MemBytes, h.Timeout = h.Memory(), h.Deadline()
	k := hintKey{h.MilliCPU, h.MemBytes, h.Timeout, h.Priority, h.Retries, labelKey(h.Labels)}
	i, ok := j.hintOf[k]
	if !ok {
		i = uint32(len(j.hints))
		j.hints = append(j.hints, h)
		j.hintOf[k] = i
	}
	return i
}

type hintKey struct {
	milliCPU, memBytes int64
	timeout            time.Duration
	priority, retries  int
	label              string // as labelKey writes them
}

// labelKey is a text that is equal for equal labels.
func labelKey(labels map[string]string) string {
	if len(labels) == 0 {
		return ""
	}
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, k+"="+labels[k])
	}
	return strings.Join(pairs, "\x00")
}

// pause says why the job does not go on; "" if it does.
func (s *State) pause(j *job, why string) {
	if j.waiting != why {
		j.waiting = why
		s.tell(j, wire.Notice{Waiting: why})
	}
}
