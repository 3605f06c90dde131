package sched

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// Jobs returns the jobs that run and the last of those that are over, oldest first.
func (s *State) Jobs() []wire.JobStatus {
	refs := slices.Concat(s.over, s.live)
	slices.SortFunc(refs, func(a, b jobRef) int { return cmp.Compare(s.jobs.at(a).seq, s.jobs.at(b).seq) })
	list, h := make([]wire.JobStatus, 0, len(refs)), &holders{s: s}
	for _, r := range refs {
		list = append(list, s.jobStatus(s.jobs.at(r), h))
	}
	return list
}

func (s *State) jobStatus(j *job, h *holders) wire.JobStatus {
	st := wire.JobStatus{Job: j.id, Space: s.spaces[j.space], Name: j.name, State: "running", Counts: j.counts,
		Begun: j.begun.UnixMicro(), Detached: j.detach, Trust: j.trust, Passing: j.passing}
	if n := s.nodeOf[j.client]; n != 0 {
		st.Client = s.nodes[n].hello.Name
	}
	switch {
	case j.ended != nil:
		st.Ended, st.Targets, st.Counts = j.endedAt.UnixMicro(), j.ended.Targets, j.ended.Counts
		st.State = "done"
		if j.cancelled {
			st.State = "cancelled"
		} else if j.ended.Error != nil || len(j.ended.Failures) > 0 {
			st.State = "failed"
		}
		return st
	case j.waiting != "":
		st.State, st.Waiting = "waiting", j.waiting
	case j.coming != nil && j.open == 0:
		st.State, st.Waiting = "waiting", "waiting for the rest of the job"
	case j.detach && !j.accepted:
		st.State, st.Waiting = "waiting", "waiting for copies of the inputs on other machines"
	case j.open == 0:
		st.State, st.Waiting = "waiting", "waiting for the targets to be stored"
	default:
		if why := cmp.Or(s.whyGangsWait(j, h), h.whyJobWaits(j)); why != "" {
			st.State, st.Waiting = "waiting", why
		}
	}
	for _, t := range j.targets {
		if task := s.tasks.at(t.task); task.state == wire.StateDone {
			st.Targets = append(st.Targets, wire.Target{Path: t.path, Held: s.heldBy(j.space, task.outs()[t.output])})
		}
	}
	return st
}

// ExplainBound is how many tasks one answer describes, so that it fits a frame.
const ExplainBound = 1000

// Tasks returns the tasks of a running job whose names begin with prefix, in the order they came. Of more
// than ExplainBound it returns as many, those first that are asked about most: before reasons are sought,
// for everything else waits meanwhile.
func (s *State) Tasks(id wire.JobID, prefix string) (list []wire.TaskStatus) {
	r, ok := s.jobOf[id]
	if !ok {
		return nil
	}
	var named []taskRef
	for _, tr := range s.jobs.at(r).tasks {
		if strings.HasPrefix(s.tasks.at(tr).name, prefix) {
			named = append(named, tr)
		}
	}
	if len(named) > ExplainBound {
		named = s.foremost(named, prefix)
	}
	h := &holders{s: s}
	for _, tr := range named {
		list = append(list, s.taskStatus(tr, h))
	}
	return list
}

// foremost returns as many tasks as one answer describes, those first that are asked about most.
func (s *State) foremost(named []taskRef, prefix string) []taskRef {
	var by [leastInterest + 1][]taskRef
	for _, tr := range named {
		i := s.tasks.at(tr).interest(prefix)
		by[i] = append(by[i], tr)
	}
	return slices.Concat(by[:]...)[:ExplainBound]
}

const leastInterest = 4

// interest is less for what is rather told of tasks whose names begin alike.
func (t *task) interest(name string) int {
	switch {
	case t.name == name:
		return 0
	case t.state >= wire.StateOffered && t.state <= wire.StateExpanding:
		return 1
	case t.state == wire.StateFailed:
		return 2
	case t.state == wire.StateReady:
		return 3
	}
	return leastInterest
}

func (s *State) taskStatus(tr taskRef, h *holders) wire.TaskStatus {
	t := s.tasks.at(tr)
	j := s.jobOfTask(t)
	st := wire.TaskStatus{Name: t.name, Thunk: wire.ThunkID(t.id), State: t.state, How: t.how, Waiting: s.whyWaits(tr, h), Encoded: t.enc, Hints: &j.hints[t.hints]}
	if t.node != 0 {
		st.Node, st.NodeName = s.nodes[t.node].peer, s.nodes[t.node].hello.Name
	}
	if t.more != nil {
		st.Gang = t.more.gang
	}
	if t.run != 0 {
		run := s.runs.at(t.run)
		st.Resolved, st.Encoded = wire.ThunkID(run.id), run.enc
		if run.course != nil {
			st.Attempts = slices.Clone(run.attempts)
		}
	} else if enc, err := s.reduced(t); err == "" {
		st.Resolved, st.Encoded = wire.ThunkID(wire.Sum(enc)), enc
	}
	for _, o := range t.outs() {
		st.Value = append(st.Value, s.heldBy(j.space, o))
	}
	if t.more != nil && t.more.failure != nil {
		st.Failure, st.Attempts = t.more.failure, t.more.attempts
	}
	return st
}

// whyWaits says why a task that could run does not.
func (s *State) whyWaits(tr taskRef, h *holders) string {
	t := s.tasks.at(tr)
	j := s.jobOfTask(t)
	switch {
	case t.run != 0 && s.runs.at(t.run).place == placeGang:
		return h.whyGangWaits(j, s.runs.at(t.run).gang)
	case t.more != nil && t.more.waiting != "":
		return t.more.waiting
	case t.state == wire.StateBlocked || t.state == wire.StateExpanding:
		for e := t.deps; e != 0; e = s.edges.at(e).next {
			if d := s.tasks.at(s.edges.at(e).to); d.state != wire.StateDone {
				return fmt.Sprintf("waiting for task %q", d.name)
			}
		}
	case t.run == 0:
	default:
		run := s.runs.at(t.run)
		switch run.place {
		case placeReady:
			return h.whyReady(j, run)
		case placeParked:
			return "waiting for a slot on " + s.nodes[run.node].hello.Name + ", which has its inputs" + h.whose(j, []nodeRef{run.node})
		case placeBacking:
			return "to be tried again in " + max(0, run.until-s.now).Round(100*time.Millisecond).String()
		case placeLeased:
			return h.whyLeased(j, run)
		}
	}
	return ""
}

// Snapshot returns a job's state as notices: one for each task, and one if the job waits.
func (s *State) Snapshot(id wire.JobID) (list []wire.Notice) {
	r, ok := s.jobOf[id]
	if !ok {
		return nil
	}
	j := s.jobs.at(r)
	for _, tr := range j.tasks {
		t := s.tasks.at(tr)
		n := wire.Notice{Task: t.name, Thunk: wire.ThunkID(t.id), State: t.state, How: t.how, At: s.wall.UnixMicro()}
		if t.node != 0 {
			n.Node, n.NodeName = s.nodes[t.node].peer, s.nodes[t.node].hello.Name
		}
		if t.run != 0 {
			n.Resolved = wire.ThunkID(s.runs.at(t.run).id)
		}
		if t.more != nil {
			n.Failure, n.Waiting = t.more.failure, t.more.waiting
		}
		list = append(list, n)
	}
	if j.waiting != "" {
		list = append(list, wire.Notice{Waiting: j.waiting, At: s.wall.UnixMicro()})
	}
	return list
}

// Nodes returns the members that are or were connected, in the order in which they came.
func (s *State) Nodes() []wire.NodeStatus {
	list := make([]wire.NodeStatus, 0, len(s.nodes))
	for _, n := range s.nodes[1:] {
		if s.nodeOf[n.peer] != n.ref {
			continue // forgotten
		}
		st := wire.NodeStatus{Info: wire.PeerInfo{Peer: n.peer, Name: n.hello.Name, Addrs: n.hello.Addrs}, Versions: n.hello.Versions,
			Owner: n.owner, State: "up", Slots: n.hello.Slots, Busy: n.running, MemBytes: n.hello.MemBytes, StoreMax: n.hello.StoreMax,
			StoreUsed: n.storeUsed, OwnOnly: n.hello.OwnOnly, Tenants: n.tenants, Metered: n.hello.Metered, Labels: n.hello.Labels, Ran: n.ran, Fetched: n.fetchedBytes, SilentFor: s.now - n.seen}
		if n.quarantine != nil {
			st.Quarantine, st.Lied = n.quarantine.why.Reason, n.quarantine.why.Lied
		}
		switch {
		case n.left && n.state != nodeUp: // it may be back soon, so what it holds counts as long as of others
			st.State = "left"
		case n.state == nodeLost:
			st.State = "lost"
		case n.state == nodeSuspect:
			st.State = "suspect"
		case n.quarantine != nil:
			st.State = "quarantined"
		case n.draining:
			st.State = "draining"
		case n.paused:
			st.State = "paused"
		}
		list = append(list, st)
	}
	return list
}

// bytesText writes a number of bytes for people.
func bytesText(n int64) string {
	const gib, mib = 1 << 30, 1 << 20
	switch {
	case n >= gib && n%gib == 0:
		return fmt.Sprintf("%d GiB", n/gib)
	case n >= gib:
		return fmt.Sprintf("%.1f GiB", float64(n)/gib)
	}
	return fmt.Sprintf("%.0f MiB", float64(n)/mib)
}
