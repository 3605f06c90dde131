package server

import (
	"cmp"
	"slices"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// What the scheduler has forgotten of a job that ended, the history still tells: the server
// keeps the last keepEnded of them, in memory and in the journal.

// withStatus adds to the row that ends a job what the history will show of it. Called by the
// loop.
func (s *Server) withStatus(row sched.Row) sched.Row {
	r, ok := row.(sched.RowJobState)
	if !ok || r.Done == nil {
		return row
	}
	for _, j := range s.state.Jobs() {
		if j.Job == r.Job {
			j.Ended, j.Counts, j.Targets = r.At.UnixMicro(), r.Done.Counts, r.Done.Targets
			r.Status = &j
		}
	}
	return r
}

// remember adds a job to the history and drops the oldest beyond keepEnded.
func (s *Server) remember(r *sched.RowJobState) {
	if r.Status == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[r.Job] = r
	if len(s.ended) <= keepEnded {
		return
	}
	oldest := r
	for _, e := range s.ended {
		if e.At.Before(oldest.At) {
			oldest = e
		}
	}
	delete(s.ended, oldest.Job)
}

func (s *Server) endedJob(id wire.JobID) *sched.RowJobState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended[id]
}

// unpinTargets lets the holders of an ended job's targets trim them.
func (s *Server) unpinTargets(j wire.JobStatus) {
	for _, t := range j.Targets {
		for _, p := range t.Held.Peers {
			s.toNode(sched.Unpin{Node: p, Pin: wire.Pin{Space: j.Space, Object: t.Held.Object, Owner: j.Job.String()}})
		}
	}
	s.flushOutboxes()
}

// jobs lists the running and remembered jobs of the client's tenants, oldest first, with the
// present holders of their targets.
func (c *client) jobs() ([]wire.JobStatus, error) {
	var mine []wire.JobStatus
	add := func(j wire.JobStatus) {
		known := slices.ContainsFunc(mine, func(o wire.JobStatus) bool { return o.Job == j.Job })
		if !known && (c.cert.May(j.Space) || c.cert.Has(wire.RoleCoordinator)) {
			mine = append(mine, j)
		}
	}
	err := c.s.ask(func(st *sched.State) {
		for _, j := range st.Jobs() {
			add(j)
		}
		c.s.mu.Lock()
		for _, e := range c.s.ended {
			add(*e.Status)
		}
		c.s.mu.Unlock()
		for i := range mine {
			mine[i].Targets = slices.Clone(mine[i].Targets)
			for k, t := range mine[i].Targets {
				peers := st.Holders(mine[i].Space, t.Held.Object.Digest)
				mine[i].Targets[k].Held.Peers = peers[:min(len(peers), wire.MaxHolders)]
			}
		}
	})
	slices.SortStableFunc(mine, func(a, b wire.JobStatus) int { return cmp.Compare(a.Begun, b.Begun) })
	return mine, err
}

// job finds a job, running or ended, that the client may see.
func (c *client) job(id wire.JobID) (wire.JobStatus, error) {
	jobs, err := c.jobs()
	if err != nil {
		return wire.JobStatus{}, err
	}
	for _, j := range jobs {
		if j.Job == id {
			return j, nil
		}
	}
	return wire.JobStatus{}, wire.Errorf(wire.CauseNotFound, "coord status lists the jobs", "no job %s here", id)
}
