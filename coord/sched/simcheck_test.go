package sched

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gaggle/wire"
)

// checkPins: a pinned value changes only if a re-run diverged.
func (w *world) checkPins() {
	for _, jr := range w.s.live {
		j := w.s.jobs.at(jr)
		for _, r := range j.tasks {
			t := w.s.tasks.at(r)
			if t.outs() == nil {
				continue
			}
			k := fmt.Sprint(w.epoch, j.id, t.id)
			if old := w.pinned[k]; old != nil && !slices.Equal(old, t.outs()) && !w.mayDiverge(t) {
				w.t.Fatalf("at %v the pinned value of %s changed", w.now, t.name)
			}
			w.pinned[k] = t.outs()
		}
	}
}

// mayDiverge: only in worlds where thunks may give another value.
func (w *world) mayDiverge(*task) bool {
	return w.chancy || w.bad != nil || slices.ContainsFunc(w.nodes, func(n *simNode) bool { return n.lies })
}

// checkTrust: a task is done with a value that those gave whom its job believes, and what shows it is kept.
func (w *world) checkTrust(actions []Action) {
	for _, a := range actions {
		tell, ok := a.(Tell)
		if !ok || tell.Notice.State != wire.StateDone {
			continue
		}
		j := w.s.jobs.at(w.s.jobOf[tell.Job])
		r := w.s.taskOf.find(&key{uint32(j.ref), wire.Digest(tell.Notice.Thunk)})
		if j.trust == wire.TrustAny || r == 0 || w.s.tasks.at(r).state != wire.StateDone {
			continue
		}
		t, id := w.s.tasks.at(r), wire.Digest(tell.Notice.Resolved)
		value := fmt.Sprint(t.outs())
		if t.more != nil && len(t.more.subs) > 0 {
			value = fmt.Sprint(t.more.raw)
		}
		var by []string
		for i, v := range w.values[id] {
			if v == value && !slices.Contains(by, w.givers[id][i]) {
				by = append(by, w.givers[id][i])
			}
		}
		if own := j.ownOnly(); own != "" && !slices.Contains(by, own) || len(by) < j.trust.Owners() {
			w.t.Fatalf("at %v task %s of %s, which believes %s (of %s), is done with a value that nodes of %v gave", w.now, t.name, j.id, j.trust, j.owner, by)
		}
		if by := w.shown(w.s.spaces[j.space], wire.ThunkID(id), value); t.more == nil || t.more.gang == nil {
			if own := j.ownOnly(); own != "" && !slices.Contains(by, own) || len(by) < j.trust.Owners() {
				w.t.Fatalf("at %v task %s of %s, which believes %s (of %s), is done with a value of which only nodes of %v can be shown to claim it", w.now, t.name, j.id, j.trust, j.owner, by)
			}
		}
	}
}

// shown returns the owners whose nodes can be shown to claim a value.
func (w *world) shown(space wire.Space, id wire.ThunkID, value string) (owners []string) {
	for _, c := range w.s.Claims(space, id) {
		if o := w.s.nodes[w.s.nodeOf[c.Signer]].owner; fmt.Sprint(c.Value.Outputs) == value && !slices.Contains(owners, o) {
			owners = append(owners, o)
		}
	}
	return owners
}

// checkTrusted: what jobs want of one owner's nodes is offered to no other, and what a node goes on with
// needs no other's word.
func checkTrusted(s *State, l *lease) error {
	if l == nil {
		return nil
	}
	run := s.runs.at(l.run)
	for tr := range s.waiters(run) {
		if o := s.jobOfTask(s.tasks.at(tr)).ownOnly(); o != run.class.owner || o != "" && o != l.node.owner {
			return fmt.Errorf("offer to %s of %s, of a run for nodes of %q, for a job that believes those of %q", l.node.hello.Name, l.node.owner, run.class.owner, o)
		}
	}
	for _, x := range l.then {
		if t := s.tasks.at(x.task); t.of != 0 && (s.jobOfTask(t).ownOnly() != run.class.owner || s.jobOfTask(t).trust.Owners() > 0) {
			return fmt.Errorf("%s goes on with %s, whose job believes %s", l.node.hello.Name, t.name, s.jobOfTask(t).trust)
		}
	}
	return nil
}

// answered forgets what was asked back and is answered, or cannot be.
func (w *world) answered(events []Event) {
	gone := func(p wire.PeerID) {
		maps.DeleteFunc(w.asked, func(_ wire.LeaseID, at wire.PeerID) bool { return at == p })
	}
	for _, e := range events {
		switch e := e.(type) {
		case Recalled:
			delete(w.asked, e.Lease)
		case Resulted:
			delete(w.asked, e.Result.Lease)
		case AttemptFailed:
			delete(w.asked, e.Attempt.Lease)
		case NodeUp:
			gone(e.Peer)
		case NodeGone:
			gone(e.Peer)
		}
	}
}

// checkRace: a thunk whose lease was asked back is not offered elsewhere before the node has
// answered, for it may have begun.
func (w *world) checkRace(a Offer) {
	l := w.s.leases[a.Offer.Lease]
	if l == nil || w.s.runs.at(l.run).leases[1] != nil {
		return // a copy of a straggler
	}
	k := wire.Sum(slices.Concat(a.Offer.Thunk, []byte(w.s.runs.at(l.run).class.owner))) // whose nodes have a run of their own
	if a.Offer.Fresh || len(a.Offer.Expect) > 0 {
		return // a run of its own
	}
	for id, at := range w.asked {
		if w.given[id] == k && w.s.nodes[w.s.nodeOf[at]].state == nodeUp {
			w.t.Fatalf("at %v %s is offered again though %s was asked for lease %x back and did not answer", w.now, a.Offer.Name, w.node(at).hello.Name, id)
		}
	}
	w.given[a.Offer.Lease] = k
}

// checkMade: all that a job says it has made was made by a node of just what the job says it was
// made of, so that no two values of one task are mixed.
func (w *world) checkMade(id wire.JobID) {
	ref, ok := w.s.jobOf[id]
	if !ok {
		return // refused
	}
	j := w.s.jobs.at(ref)
	for _, r := range j.tasks { // none if they are freed already
		t := w.s.tasks.at(r)
		if t.state != wire.StateDone || len(t.outs()) == 0 || t.more != nil && len(t.more.subs) > 0 {
			continue
		}
		enc, err := w.s.reduced(t)
		given := w.values[wire.Sum(enc)]
		if slices.ContainsFunc(given, func(v string) bool { return strings.Contains(v, "{graph") }) {
			continue // what it came to was known
		}
		if err != "" || !slices.Contains(given, fmt.Sprint(t.outs())) {
			w.t.Fatalf("task %s of %s has %v, but of its inputs nodes made %v %s", t.name, j.id, t.outs(), given, err)
		}
	}
}
