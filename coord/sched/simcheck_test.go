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
			if t.outs == nil {
				continue
			}
			k := fmt.Sprint(w.epoch, j.id, t.seq)
			if old := w.pinned[k]; old != nil && !slices.Equal(old, t.outs) && !w.mayDiverge(t) {
				w.t.Fatalf("at %v the pinned value of %s changed", w.now, t.name)
			}
			w.pinned[k] = t.outs
		}
	}
}

// mayDiverge: only in worlds where thunks may give another value.
func (w *world) mayDiverge(*task) bool {
	return w.chancy || w.bad != nil || slices.ContainsFunc(w.nodes, func(n *simNode) bool { return n.lies })
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
	k := wire.Sum(a.Offer.Thunk)
	if l := w.s.leases[a.Offer.Lease]; l == nil || w.s.runs.at(l.run).leases[1] != nil {
		return // a copy of a straggler
	}
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
		if t.state != wire.StateDone || len(t.outs) == 0 || t.more != nil && len(t.more.subs) > 0 {
			continue
		}
		enc, err := w.s.reduced(t)
		given := w.values[wire.Sum(enc)]
		if slices.ContainsFunc(given, func(v string) bool { return strings.Contains(v, "{graph") }) {
			continue // what it came to was known
		}
		if err != "" || !slices.Contains(given, fmt.Sprint(t.outs)) {
			w.t.Fatalf("task %s of %s has %v, but of its inputs nodes made %v %s", t.name, j.id, t.outs, given, err)
		}
	}
}
