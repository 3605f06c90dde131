package sched

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"gaggle/wire"
)

// checkState returns the first of the invariants that does not hold after a Step.
func checkState(s *State, actions []Action) error {
	for _, check := range []func(*State) error{checkTasks, checkRuns, checkNodes, checkObjects, checkAcyclic} {
		if err := check(s); err != nil {
			return err
		}
	}
	return checkActions(s, actions)
}

// checkTasks: missing counts are right, counts add up, and tasks wait where their state says.
func checkTasks(s *State) error {
	n := 0
	for _, jr := range s.live {
		j := s.jobs.at(jr)
		open, counts := 0, wire.Counts{Tasks: len(j.tasks), Moved: j.counts.Moved, Verified: j.counts.Verified}
		for _, r := range j.tasks {
			t := s.tasks.at(r)
			n++
			missing := 0
			seen := map[taskRef]bool{}
			for e := t.deps; e != 0; e = s.edges.at(e).next {
				d := s.edges.at(e).to
				if seen[d] {
					return fmt.Errorf("task %s waits for %s twice", t.name, s.tasks.at(d).name)
				}
				seen[d] = true
				if s.tasks.at(d).state != wire.StateDone {
					missing++
				}
			}
			if missing != int(t.missing) {
				return fmt.Errorf("task %s (%s): missing is %d, want %d", t.name, t.state, t.missing, missing)
			}
			if !over(t.state) {
				open++
			}
			waits := t.state == wire.StateReady || t.state == wire.StateOffered || t.state == wire.StateRunning
			if waits != (t.run != 0) {
				return fmt.Errorf("task %s is %s with run %d", t.name, t.state, t.run)
			}
			if t.run != 0 && !slices.Contains(s.allWaiters(s.runs.at(t.run)), r) {
				return fmt.Errorf("task %s is no waiter of its run", t.name)
			}
			if t.state == wire.StateBlocked && missing == 0 {
				return fmt.Errorf("task %s is blocked by nothing", t.name)
			}
			if t.state == wire.StateExpanding && missing == 0 && t.more.waits == 0 {
				return fmt.Errorf("task %s expands nothing", t.name)
			}
			if s.view.read(t.enc); t.state == wire.StateDone && j.twice && !t.sure && !s.view.builtin && (t.more == nil || t.more.gang == nil) {
				return fmt.Errorf("task %s is done after one run", t.name)
			}
			if t.state == wire.StateDone && t.outs() == nil {
				return fmt.Errorf("task %s is done without a value", t.name)
			}
			tmp := job{counts: counts}
			tmp.tally(t, 1)
			counts = tmp.counts
		}
		if open != j.open || counts != j.counts {
			return fmt.Errorf("job %s: %d open and counts %+v, want %d and %+v", j.name, j.open, j.counts, open, counts)
		}
		if j.open == 0 && j.unkept == 0 && j.ended == nil && j.coming == nil {
			return fmt.Errorf("job %s has nothing to wait for and has not ended", j.name)
		}
	}
	if s.tasks.n != n {
		return fmt.Errorf("%d tasks are kept, %d belong to jobs", s.tasks.n, n)
	}
	return nil
}

// checkRuns: every run is in the one place that it says, has waiters, and at most two leases.
func checkRuns(s *State) error {
	places := map[runRef][]place{}
	for _, jr := range s.live {
		j := s.jobs.at(jr)
		queued := len(j.heap)
		for i, r := range j.heap {
			places[r] = append(places[r], placeReady)
			if s.runs.at(r).course == nil || s.runs.at(r).pos != int32(i) || i > 0 && s.less(r, j.heap[(i-1)/2]) {
				return fmt.Errorf("the heap of job %s is out of order", j.name)
			}
		}
		for k, l := range j.fresh {
			last := runRef(0)
			for i, r := range l.runs {
				if r == 0 {
					continue
				}
				places[r] = append(places[r], placeReady)
				queued++
				if run := s.runs.at(r); run.course != nil || run.prio != l.prio || run.pos != int32(i) || i < l.head || last != 0 && !s.less(last, r) {
					return fmt.Errorf("the line of job %s is out of order", j.name)
				}
				last = r
			}
			if k > 0 && j.fresh[k-1].prio <= l.prio {
				return fmt.Errorf("the lines of job %s are out of order", j.name)
			}
		}
		if queued != j.queued || (queued > 0) != slices.Contains(s.ready, jr) {
			return fmt.Errorf("job %s with %d ready runs, counted %d: listed as ready %v", j.name, queued, j.queued, slices.Contains(s.ready, jr))
		}
	}
	parked := 0
	for _, n := range s.nodes[1:] {
		here, est := 0, time.Duration(0)
		for i, r := range n.parked.runs {
			if r == 0 {
				continue
			}
			places[r] = append(places[r], placeParked)
			here++
			est += s.runs.at(r).est
			if run := s.runs.at(r); run.node != n.ref || run.pos != int32(i) || i < n.parked.head {
				return fmt.Errorf("run %d is parked at %s in place %d, but says %d of %d", r, n.hello.Name, i, run.pos, run.node)
			}
		}
		if here != n.parked.n || est != n.parked.est {
			return fmt.Errorf("%s: %d runs are parked for %v, want %d for %v", n.hello.Name, n.parked.n, n.parked.est, here, est)
		}
		parked += here
		for _, l := range n.leases {
			if s.leases[l.id] != l {
				return fmt.Errorf("lease %x of %s is not in the table", l.id, n.hello.Name)
			}
			if run := s.runs.at(l.run); run.leases[0] != l && run.leases[1] != l {
				return fmt.Errorf("lease %x is not its run's", l.id)
			}
		}
	}
	for i, list := range [][]waiter{s.hungry, s.stuck, s.backing} {
		p := []place{placeHungry, placeStuck, placeBacking}[i]
		for _, w := range list {
			if s.runAt(w, p) != nil && !slices.Contains(places[w.run], p) {
				places[w.run] = append(places[w.run], p)
			}
		}
	}
	for _, g := range s.gangs {
		for _, m := range g.members {
			if m.ended && !g.running {
				return fmt.Errorf("gang %q waits for slots with a member that has ended in an earlier generation", g.name)
			}
			if s.runs.at(m.run).place == placeGang {
				places[m.run] = append(places[m.run], placeGang)
			}
		}
	}
	n := 0
	for r := runRef(1); r < s.runs.next; r++ {
		run := s.runs.at(r)
		if run.seq == 0 {
			continue
		}
		n++
		if run.lease() != nil {
			places[r] = append(places[r], placeLeased)
		}
		if len(places[r]) != 1 || places[r][0] != run.place {
			return fmt.Errorf("run %d says it is in place %d, but is in %v", r, run.place, places[r])
		}
		if run.lead == 0 {
			return fmt.Errorf("run %d has no waiters", r)
		}
		if all := s.allWaiters(run); run.tail != all[len(all)-1] {
			return fmt.Errorf("the last that waits for run %d is task %d, not %d", r, all[len(all)-1], run.tail)
		}
		if run.course == nil {
			if run.place != placeReady || s.findRun(&run.key, s.jobs.at(run.job).ownOnly()) != r {
				return fmt.Errorf("run %d has no course in place %d, or is not found", r, run.place)
			}
			continue
		}
		if found := s.findRun(&run.key, run.class.owner); run.gang == nil && (found == r) != (run.repeat == nil) {
			return fmt.Errorf("run %d, to compare %v, can be found: %v", r, run.repeat != nil, found == r)
		}
		if run.repeat != nil && (s.tasks.at(run.lead).mate != 0 || !s.jobOfTask(s.tasks.at(run.lead)).twice && !run.repeat.blind) {
			return fmt.Errorf("run %d compares for %d tasks", r, len(s.allWaiters(run)))
		}
		if run.leases[0] == nil && run.leases[1] != nil {
			return fmt.Errorf("run %d has only a second lease", r)
		}
	}
	for k, r := range s.ownRuns {
		if run := s.runs.at(r); run.key != k.key || s.jobs.at(run.job).ownOnly() != k.owner {
			return fmt.Errorf("run %d is listed for %s", r, k.owner)
		}
	}
	if n != s.runs.n || parked != s.parked {
		return fmt.Errorf("%d runs, counted %d; %d parked, counted %d", s.runs.n, n, s.parked, parked)
	}
	return nil
}

// checkNodes: slots and memory are not overdrawn, and the accounts are right.
func checkNodes(s *State) error {
	if !slices.IsSortedFunc(s.byLoad, func(a, b loaded) int { return cmp.Or(cmp.Compare(a.load, b.load), cmp.Compare(a.ref, b.ref)) }) {
		return fmt.Errorf("nodes are out of order")
	}
	for _, n := range s.nodes[1:] {
		var mem int64
		adopted, taken, running, widest := 0, 0, 0, 1
		for _, l := range n.leases {
			mem += l.hints.MemBytes
			taken += l.slots
			widest = max(widest, l.slots)
			if l.adopted {
				adopted += l.slots
			}
			if l.began {
				running += l.slots
			}
		}
		switch {
		case taken-adopted > 2*n.hello.Slots-1+widest:
			return fmt.Errorf("%s has %d slots taken of %d", n.hello.Name, taken, n.hello.Slots)
		case mem != n.mem || taken != n.taken || running != n.running:
			return fmt.Errorf("%s: %d bytes, %d slots taken, %d running, want %d, %d and %d", n.hello.Name, n.mem, n.taken, n.running, mem, taken, running)
		case n.listed != n.offerable() || n.listed != slices.Contains(s.byLoad, loaded{n.load, n.ref}):
			return fmt.Errorf("%s listed %v, offerable %v", n.hello.Name, n.listed, n.offerable())
		case len(n.leases) == 0 && (n.est != 0 || n.fetch != 0 || n.beganSum != 0):
			return fmt.Errorf("%s idle with an account of %v, %v, %v", n.hello.Name, n.est, n.fetch, n.beganSum)
		case n.state == nodeLost && len(n.leases) > 0:
			return fmt.Errorf("%s is lost and has leases", n.hello.Name)
		}
	}
	return nil
}

// checkObjects: references are counted right.
func checkObjects(s *State) error {
	refs, kept := map[objRef]int{}, map[objRef]int{}
	for r := runRef(1); r < s.runs.next; r++ {
		if run := s.runs.at(r); run.seq != 0 && run.course != nil {
			for _, o := range run.need {
				refs[o]++
			}
			if run.want != 0 {
				refs[run.want]++
			}
		}
	}
	for _, n := range s.nodes[1:] {
		for _, l := range n.leases {
			for _, o := range l.coming {
				refs[o]++
			}
		}
	}
	for _, jr := range slices.Concat(s.live, s.over) {
		for _, k := range s.jobs.at(jr).keeps {
			refs[k.obj]++
			kept[k.obj]++
		}
		for _, p := range s.jobs.at(jr).pins {
			refs[p.obj]++
		}
	}
	n := 0
	for r := objRef(1); r < s.objects.next; r++ {
		o := s.objects.at(r)
		if o.of == 0 {
			continue
		}
		n++
		if int(o.refs) != refs[r] || int(o.kept) != kept[r] {
			return fmt.Errorf("object %s: %d refs and %d kept, want %d and %d", o.id.Short(), o.refs, o.kept, refs[r], kept[r])
		}
		for i, h := range o.hungry {
			if run := s.runs.at(h); run.place != placeHungry || run.want != r || run.pos != int32(i) {
				return fmt.Errorf("run %d does not wait for object %s", h, o.id.Short())
			}
		}
		if o.refs == 0 && len(o.holders) == 0 {
			return fmt.Errorf("object %s is kept for nothing", o.id.Short())
		}
	}
	if n != s.objects.n {
		return fmt.Errorf("%d objects, counted %d", s.objects.n, n)
	}
	return nil
}

// checkAcyclic: no task waits for itself.
func checkAcyclic(s *State) error {
	state := map[taskRef]int{}
	var visit func(r taskRef) error
	visit = func(r taskRef) error {
		if state[r] == 1 {
			return fmt.Errorf("task %s waits for itself", s.tasks.at(r).name)
		}
		if state[r] == 2 {
			return nil
		}
		state[r] = 1
		for e := s.tasks.at(r).deps; e != 0; e = s.edges.at(e).next {
			if err := visit(s.edges.at(e).to); err != nil {
				return err
			}
		}
		state[r] = 2
		return nil
	}
	for _, jr := range s.live {
		for _, r := range s.jobs.at(jr).tasks {
			if err := visit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkActions: offers go to nodes that fit and name holders, all is of the present epoch, and a
// job's end comes after its targets are stored.
func checkActions(s *State, actions []Action) error {
	for _, a := range actions {
		switch a := a.(type) {
		case Offer:
			if uint32(a.Offer.Lease>>32) != s.epoch {
				return fmt.Errorf("offer of epoch %d in %d", a.Offer.Lease>>32, s.epoch)
			}
			n := s.nodes[s.nodeOf[a.Node]]
			th, err := wire.DecodeThunk(a.Offer.Thunk)
			if err != nil || !th.Resolved() {
				return fmt.Errorf("offer of a bad thunk: %v", err)
			}
			if !slices.Contains(n.hello.Versions.Platforms, th.Platform) {
				return fmt.Errorf("offer for %s to %s", th.Platform, n.hello.Name)
			}
			if n.hello.OwnOnly && !th.Builtin() && !slices.Contains(n.tenants, a.Offer.Space) {
				return fmt.Errorf("offer of a thunk of %s to %s, which is for %v only", a.Offer.Space, n.hello.Name, n.tenants)
			}
			for _, h := range a.Offer.Holders {
				if n.hello.Metered && len(h.Coming) > 0 {
					return fmt.Errorf("%s is metered and told who fetches %s, too", n.hello.Name, h.Object.CID())
				}
			}
			if err := checkTrusted(s, s.leases[a.Offer.Lease]); err != nil {
				return err
			}
			for _, x := range a.Offer.Then {
				next, err := wire.DecodeThunk(x.Thunk)
				if err != nil || next.Platform != th.Platform || next.Builtin() || len(x.Hints.Labels) > 0 || uint32(x.Lease>>32) != s.epoch {
					return fmt.Errorf("continuation %+v: %v", x, err)
				}
			}
			for k, v := range a.Offer.Hints.Labels {
				if n.hello.Labels[k] != v {
					return fmt.Errorf("offer for label %s=%s to %s", k, v, n.hello.Name)
				}
			}
			for _, h := range a.Offer.Holders {
				if len(h.Peers) == 0 || len(h.Peers) > wire.MaxHolders || slices.Contains(h.Peers, a.Node) {
					return fmt.Errorf("offer to %s with holders %v", n.hello.Name, h.Peers)
				}
			}
		case End:
			for _, t := range a.Done.Targets {
				space := s.spaces[s.jobs.at(s.jobOf[a.Job]).space]
				o := s.object(s.spaceOf[space], t.Held.Object.Digest)
				if o == nil || !slices.ContainsFunc(o.holders, func(h holder) bool { return h.durable && s.nodes[h.node].live() }) {
					return fmt.Errorf("job %s told to end before target %s is stored", a.Job, t.Path)
				}
			}
		}
	}
	return nil
}
