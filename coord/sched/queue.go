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

// enqueue makes a run ready in its job's heap.
func (s *State) enqueue(r runRef) {
	run := s.runs.at(r)
	run.place = placeReady
	if run.course != nil {
		run.node, run.first = 0, false
	}
	j := s.jobs.at(run.job)
	run.pos = int32(len(j.ready))
	j.ready = append(j.ready, r)
	s.up(j, len(j.ready)-1)
	if len(j.ready) == 1 {
		s.activate(j)
	}
	s.moved = true
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

// unqueue takes a run out of its job's heap.
func (s *State) unqueue(r runRef) {
	run := s.runs.at(r)
	j := s.jobs.at(run.job)
	i, last := int(run.pos), len(j.ready)-1
	s.swap(j, i, last)
	j.ready = j.ready[:last]
	if i < last {
		s.down(j, i)
		s.up(j, i)
	}
	run.pos, run.place = -1, placeNone
	if last == 0 {
		j.ready = nil
		j.tenant.jobs--
		i := slices.Index(s.ready, j.ref)
		s.ready = slices.Delete(s.ready, i, i+1)
	}
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
	return best.ready[0]
}

// before reports whether a's turn is before b's.
func (s *State) before(a, b *job) bool {
	if a.tenant != b.tenant && a.tenant.pass != b.tenant.pass {
		return a.tenant.pass < b.tenant.pass
	}
	if a.tenant != b.tenant {
		return a.seq < b.seq
	}
	pa, pb := s.runs.at(a.ready[0]).prio, s.runs.at(b.ready[0]).prio
	return cmp.Or(cmp.Compare(pb, pa), cmp.Compare(a.pass, b.pass), cmp.Compare(a.seq, b.seq)) < 0
}

// less orders a job's heap: the highest priority, then the oldest.
func (s *State) less(a, b runRef) bool {
	x, y := s.runs.at(a), s.runs.at(b)
	return x.prio > y.prio || x.prio == y.prio && x.seq < y.seq
}

func (s *State) swap(j *job, a, b int) {
	j.ready[a], j.ready[b] = j.ready[b], j.ready[a]
	s.runs.at(j.ready[a]).pos, s.runs.at(j.ready[b]).pos = int32(a), int32(b)
}

func (s *State) up(j *job, i int) {
	for i > 0 && s.less(j.ready[i], j.ready[(i-1)/2]) {
		s.swap(j, i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (s *State) down(j *job, i int) {
	for {
		c := 2*i + 1
		if c >= len(j.ready) {
			return
		}
		if c+1 < len(j.ready) && s.less(j.ready[c+1], j.ready[c]) {
			c++
		}
		if !s.less(j.ready[c], j.ready[i]) {
			return
		}
		s.swap(j, i, c)
		i = c
	}
}
