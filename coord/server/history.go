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
	delete(s.accepted, r.Job)
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

// isAccepted reports whether a job's acknowledgement was let go in this life, as it is of those that an
// earlier one recorded.
func (s *Server) isAccepted(id wire.JobID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted[id] || s.ended[id] != nil
}

// grantOf returns a grant for the client to read the targets of a job; none if it may not.
func (c *client) grantOf(id wire.JobID) []byte {
	j, err := c.job(id)
	if err != nil {
		return nil
	}
	return c.s.grantFor(j.Space, c.cert.Peer)
}

// unpinTargets lets the holders of an ended job's targets trim them.
func (s *Server) unpinTargets(j wire.JobStatus) error {
	var actions []sched.Action
	for _, t := range j.Targets {
		for _, p := range t.Held.Peers {
			actions = append(actions, sched.Unpin{Node: p, Pin: wire.Pin{Space: j.Space, Object: t.Held.Object, Owner: j.Job.String()}})
		}
	}
	return s.ask(func(*sched.State) { s.carryOut(actions) })
}

// allJobs lists the running and remembered jobs of all tenants, oldest first.
func (s *Server) allJobs() ([]wire.JobStatus, error) {
	var jobs []wire.JobStatus
	err := s.ask(func(st *sched.State) { jobs = st.Jobs() })
	if err != nil {
		return nil, err
	}
	known := make(map[wire.JobID]bool, len(jobs))
	for _, j := range jobs {
		known[j.Job] = true
	}
	s.mu.Lock()
	s.waitsForRoom(jobs)
	for _, e := range s.ended {
		if !known[e.Job] {
			jobs = append(jobs, *e.Status)
		}
	}
	s.mu.Unlock()
	slices.SortStableFunc(jobs, func(a, b wire.JobStatus) int { return cmp.Compare(a.Begun, b.Begun) })
	return jobs, nil
}

// jobs lists the jobs of the client's tenants, oldest first, without their targets, which one
// answer might not hold, and without those that have passed.
func (c *client) jobs() ([]wire.JobStatus, error) {
	jobs, err := c.s.allJobs()
	mine := slices.DeleteFunc(jobs, func(j wire.JobStatus) bool { return !c.maySee(j) || j.Passing && j.Ended != 0 })
	for i := range mine {
		mine[i].Targets = nil
	}
	return mine, err
}

func (c *client) maySee(j wire.JobStatus) bool {
	return c.cert.May(j.Space) || c.cert.Has(wire.RoleCoordinator)
}

// job finds a job, running or ended, that the client may see, with the present holders of its
// targets.
func (c *client) job(id wire.JobID) (wire.JobStatus, error) {
	jobs, err := c.s.allJobs()
	if err != nil {
		return wire.JobStatus{}, err
	}
	i := slices.IndexFunc(jobs, func(j wire.JobStatus) bool { return j.Job == id && c.maySee(j) })
	if i < 0 {
		return wire.JobStatus{}, wire.Errorf(wire.CauseNotFound, "coord status lists the jobs", "no job %s here", id)
	}
	j := jobs[i]
	j.Targets = slices.Clone(j.Targets)
	err = c.s.ask(func(st *sched.State) {
		for k, t := range j.Targets {
			peers := st.Holders(j.Space, t.Held.Object.Digest)
			j.Targets[k].Held.Peers = peers[:min(len(peers), wire.MaxHolders)]
		}
	})
	return j, err
}
