package sched

import (
	"cmp"
	"slices"
	"time"
)

// A tenant shares the mesh with others in proportion to its weight, by stride scheduling
// (Waldspurger and Weihl, 1995): who gets a slot is charged the time it is expected to take, and
// the one charged least is next. Within a tenant the highest priority is next, then the job
// charged least.
type tenant struct {
	name   string
	weight time.Duration
	pass   time.Duration // charged so far
	jobs   int           // with something ready
}

func (s *State) tenant(name string) *tenant {
	if t := s.tenantOf[name]; t != nil {
		return t
	}
	t := &tenant{name: name, weight: 1}
	for _, w := range s.cfg.Weights {
		if w.Tenant == name {
			t.weight = time.Duration(max(1, w.Weight))
		}
	}
	s.tenants = append(s.tenants, t)
	s.tenantOf[name] = t
	return t
}

// charge puts what is dispatched for a job on its account.
func (j *job) charge(s *State, est time.Duration) {
	j.pass += est
	j.tenant.pass += est / j.tenant.weight
}

// A line holds runs of one priority that were not looked at so far, in the order in which they became
// ready. A large job has nearly all of its runs there, and passes them one after the other; those that
// have had a turn come back out of order, to a heap.
type line struct {
	prio int8
	lot
}

// lineOf returns the line of a run without a course.
func (j *job) lineOf(run *run) *line {
	i, ok := slices.BinarySearchFunc(j.fresh, run.prio, func(l *line, prio int8) int { return cmp.Compare(prio, l.prio) })
	if !ok {
		j.fresh = slices.Insert(j.fresh, i, &line{prio: run.prio})
	}
	return j.fresh[i]
}

// enqueue makes a run ready, in its job's line or heap.
func (s *State) enqueue(r runRef) {
	run := s.runs.at(r)
	run.place = placeReady
	j := s.jobs.at(run.job)
	if run.course == nil {
		j.lineOf(run).add(r, run)
	} else {
		run.node, run.first = 0, false
		s.toHeap(r)
	}
	if j.queued++; j.queued == 1 {
		s.activate(j)
	}
	s.moved = true
}

// toHeap puts a run into the heap of its job. One that comes from a line counts as queued already: were it
// counted anew its job, if it is the only one, would begin to compete anew, and lose what it has left.
func (s *State) toHeap(r runRef) {
	run := s.runs.at(r)
	j := s.jobs.at(run.job)
	run.pos = int32(len(j.heap))
	j.heap = append(j.heap, r)
	s.up(j, len(j.heap)-1)
}

// activate lets a job compete. It does not get what it left unused while it had nothing to run.
func (s *State) activate(j *job) {
	least, leastJob := time.Duration(-1), time.Duration(-1)
	for _, r := range s.ready {
		o := s.jobs.at(r)
		if least < 0 || o.tenant.pass < least {
			least = o.tenant.pass
		}
		if o.tenant == j.tenant && (leastJob < 0 || o.pass < leastJob) {
			leastJob = o.pass
		}
	}
	if j.tenant.jobs == 0 {
		j.tenant.pass = max(j.tenant.pass, least)
	}
	j.pass = max(j.pass, leastJob)
	j.tenant.jobs++
	s.ready = append(s.ready, j.ref)
}

// unqueue takes a run out of its job's line or heap.
func (s *State) unqueue(r runRef) {
	run := s.runs.at(r)
	j := s.jobs.at(run.job)
	if run.course == nil {
		s.takeOut(&j.lineOf(run).lot, run)
	} else {
		i, last := int(run.pos), len(j.heap)-1
		s.swap(j, i, last)
		j.heap = j.heap[:last]
		if i < last {
			s.down(j, i)
			s.up(j, i)
		}
	}
	run.pos, run.place = -1, placeNone
	if j.queued--; j.queued == 0 {
		j.heap, j.fresh = nil, nil
		j.tenant.jobs--
		i := slices.Index(s.ready, j.ref)
		s.ready = slices.Delete(s.ready, i, i+1)
	}
}

// first returns the run of a job whose turn is next, which has one.
func (s *State) first(j *job) (r runRef) {
	if len(j.heap) > 0 {
		r = j.heap[0]
	}
	for _, l := range j.fresh {
		if l.n > 0 {
			if f := l.runs[l.head]; r == 0 || s.less(f, r) {
				r = f
			}
			break
		}
	}
	return r
}

// reorder moves a run whose priority changed.
func (s *State) reorder(r runRef) {
	run := s.runs.at(r)
	j := s.jobs.at(run.job)
	s.up(j, int(run.pos))
	s.down(j, int(run.pos))
}

// next returns the run whose turn it is, 0 if none is ready.
func (s *State) next() runRef {
	var best *job
	for _, r := range s.ready {
		if j := s.jobs.at(r); best == nil || s.before(j, best) {
			best = j
		}
	}
	if best == nil {
		return 0
	}
	return s.first(best)
}

// before reports whether a's turn is before b's.
func (s *State) before(a, b *job) bool {
	if a.tenant != b.tenant && a.tenant.pass != b.tenant.pass {
		return a.tenant.pass < b.tenant.pass
	}
	if a.tenant != b.tenant {
		return a.seq < b.seq
	}
	pa, pb := s.runs.at(s.first(a)).prio, s.runs.at(s.first(b)).prio
	return cmp.Or(cmp.Compare(pb, pa), cmp.Compare(a.pass, b.pass), cmp.Compare(a.seq, b.seq)) < 0
}

// less orders a job's runs: the highest priority, then the oldest.
func (s *State) less(a, b runRef) bool {
	x, y := s.runs.at(a), s.runs.at(b)
	return x.prio > y.prio || x.prio == y.prio && x.seq < y.seq
}

func (s *State) swap(j *job, a, b int) {
	j.heap[a], j.heap[b] = j.heap[b], j.heap[a]
	s.runs.at(j.heap[a]).pos, s.runs.at(j.heap[b]).pos = int32(a), int32(b)
}

func (s *State) up(j *job, i int) {
	for i > 0 && s.less(j.heap[i], j.heap[(i-1)/2]) {
		s.swap(j, i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (s *State) down(j *job, i int) {
	for {
		c := 2*i + 1
		if c >= len(j.heap) {
			return
		}
		if c+1 < len(j.heap) && s.less(j.heap[c+1], j.heap[c]) {
			c++
		}
		if !s.less(j.heap[c], j.heap[i]) {
			return
		}
		s.swap(j, i, c)
		i = c
	}
}
