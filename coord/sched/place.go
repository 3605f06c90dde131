package sched

import (
	"slices"
	"time"

	"gaggle/wire"
)

// fit is how a run would fare on a node.
type fit struct {
	start  time.Duration // from now on
	finish time.Duration
	run    time.Duration
	fetch  time.Duration
	moves  time.Duration // of fetch, what nothing else moves over the same link meanwhile
	source *node         // of most of what it would fetch
	guess  bool          // the link from source was not measured
}

const (
	// loadCandidates is how many of the least loaded nodes are looked at for each run, and
	// holderCandidates how many of the holders of each of its largest inputs.
	loadCandidates = 4
	// smallCandidates for one that is fetched in a moment.
	holderCandidates = 8
	smallCandidates  = 2
	// sourcesWeighed is how many holders are weighed to fetch an object from, and sourcesListed how
	// many are passed over to find them.
	sourcesWeighed = 4
	sourcesListed  = 32
	// maxRun bounds an estimate, so that sums of them do not overflow.
	maxRun = wire.MaxTimeout
	// lookAt bounds the search for nodes of the right class among the least loaded before all of
	// the class are looked through.
	lookAt = 32
	// guessable is the longest fetch that is begun over a link that was not measured; a longer one
	// waits for the probe, which takes about a second at 10 Mbit/s, but not for ever.
	guessable     = 2 * time.Second
	probePatience = 4 * time.Second
)

// place gives the ready runs to the nodes where they are done soonest. Bytes to move are a cost
// like any other. A run whose best node is busy is parked there, see park.go.
func (s *State) place() {
	if s.now < s.holdUntil || !s.moved {
		return
	}
	s.moved = false
	s.unparkFree()
	s.placeGangs()
	if !s.reserved() {
		s.spare(nil)
	}
	s.toPark = maxParking
	s.placeReady()
	s.reweigh()
	if len(s.ready) == 0 && s.room() {
		s.level()
	}
}

// placeReady places ready runs while a node has room.
func (s *State) placeReady() {
	for s.room() {
		r := s.next()
		if r == 0 {
			return
		}
		if s.toPark <= 0 {
			s.moved = true // and the next Step goes on
			return
		}
		s.unqueue(r)
		s.placeRun(r)
		s.resolveAll() // a run without its inputs sends tasks back
	}
}

// room reports whether any node has room.
func (s *State) room() bool { return len(s.byLoad) > 0 && s.nodes[s.byLoad[0].ref].room() }

// placeRun offers a run, or puts it where it waits.
func (s *State) placeRun(r runRef) {
	run := s.prepare(r, s.runs.at(r).lead)
	for _, ref := range run.need {
		if !s.atHand(s.objects.at(ref)) {
			s.starve(r, ref)
			s.rederive(r)
			return
		}
	}
	if !s.memoryFits(run, run.hints.MemBytes) {
		s.stick(r)
		return
	}
	n, f, now := s.best(run, nil)
	if n != nil && run.unfit != 0 {
		run.troubled().unfit = 0
	}
	switch {
	case n == nil:
		s.stick(r)
	case now && f.guess && f.fetch > guessable && s.now-run.since < probePatience:
		s.park(r, n, f.run) // until the link is measured
	case now:
		s.grant(r, n, f)
	default:
		s.park(r, n, f.run)
	}
}

// best returns the node where the run is done soonest, other than except, and whether it has room.
// It is nil if there is none that takes offers.
func (s *State) best(run *run, except *node) (best *node, bestFit fit, now bool) {
	s.look(run)
	s.gather(run)
	for pass := range 2 {
		for _, r := range s.cand {
			n := s.nodes[r]
			if n == except || pass == 0 && (n.spared || slices.Contains(run.avoid, r)) {
				continue
			}
			f := s.whenFree(run, n)
			if best != nil && f.finish >= bestFit.finish {
				continue // whatever it would fetch
			}
			s.fetching(n, &f)
			if f.guess {
				s.probe(f.source, n)
			}
			if best == nil || f.finish < bestFit.finish {
				best, bestFit = n, f
			}
		}
		if best != nil {
			break
		}
	}
	if best == nil {
		return nil, fit{}, false
	}
	return best, bestFit, best.room() && best.admits(run.hints)
}

// gather lists the nodes worth weighing for a run.
func (s *State) gather(run *run) {
	s.cand = s.cand[:0]
	s.stamp++
	second := run.repeat != nil || run.leases[0] != nil // it is no use from a node on trial
	add := func(r nodeRef) bool {
		n := s.nodes[r]
		if n.stamp == s.stamp || !n.listed || n.trial && second || run.repeat != nil && run.repeat.party(n) || !run.class.has(r) || n.memBytes != 0 && n.memBytes < run.hints.MemBytes {
			return false
		}
		n.stamp = s.stamp
		s.cand = append(s.cand, r)
		return true
	}
	if run.node != 0 {
		add(run.node)
	}
	for _, o := range s.needs {
		if run.first {
			break // its node was the best of those that hold its inputs, and has room now
		}
		if len(o.holders) == 0 {
			continue // its recall is weighed; placing looked at its inputs
		}
		many, from := smallCandidates, int(run.seq%uint64(len(o.holders)))
		if o.size >= smallFetch || run.builtin {
			many = holderCandidates
		}
		for i := range min(many, len(o.holders)) {
			if h := &o.holders[(from+i)%len(o.holders)]; h.have || h.coming > 0 {
				add(h.node)
			}
		}
		if len(s.cand) >= 4*holderCandidates {
			break
		}
	}
	found, free := 0, 0
	for i, l := range s.byLoad {
		r, n := l.ref, s.nodes[l.ref]
		if !n.room() || i >= lookAt && found == 0 || found >= loadCandidates {
			break
		}
		if add(r) && n.admits(run.hints) && !slices.Contains(run.avoid, r) {
			found++
		}
	}
	if found > 0 {
		return
	}
	// Those with room are of another class or have no memory: look through the run's own, starting
	// at another place each time.
	k := len(run.class.nodes)
	for i := range k {
		r := run.class.nodes[(i+int(run.seq%uint64(k)))%k]
		if add(r) && s.nodes[r].room() && s.nodes[r].admits(run.hints) {
			free++
		}
		if free >= loadCandidates || len(s.cand) >= 8*holderCandidates {
			break
		}
	}
}

// look lists what the run needs in State.needs.
func (s *State) look(run *run) {
	s.needs = s.needs[:0]
	for _, ref := range run.need {
		s.needs = append(s.needs, s.objects.at(ref))
	}
}

// fit estimates when the run would be done on the node: it starts when a slot is free and its
// inputs are there, whichever is later, for nodes fetch while they run other things.
func (s *State) fit(run *run, n *node) fit {
	s.look(run)
	f := s.whenFree(run, n)
	s.fetching(n, &f)
	return f
}

// whenFree is fit for a run whose inputs are there.
func (s *State) whenFree(run *run, n *node) fit {
	f := fit{run: s.estimate(run, n)}
	f.start = s.queueing(n, run)
	if !n.room() || !n.admits(run.hints) {
		f.start = max(f.start, f.run/2)
	}
	f.finish = f.start + f.run
	return f
}

// fetching adds to a fit what it takes until what is in State.needs is on the node.
func (s *State) fetching(n *node, f *fit) {
	var missing uint64
	var largest *object
	coming := false
	for _, o := range s.needs {
		if h := o.holder(n.ref); h != nil && (h.have || h.coming > 0) {
			coming = coming || !h.have
			continue
		}
		missing += o.size
		if largest == nil || o.size >= largest.size {
			largest = o
		}
	}
	if coming {
		f.start = max(f.start, n.fetch+fetchStart)
	}
	if largest != nil {
		var rate float64
		var rtt time.Duration
		ahead := n.fetch
		if f.source = s.source(largest, n); f.source != nil {
			rate, rtt = s.rates(f.source.ref, n.ref)
			shared := 1 // among how many what its source has to serve is shared
			if largest.size >= sharedFrom {
				shared = max(1, min(len(largest.holders), wire.MaxHolders))
			}
			ahead = max(ahead, f.source.serve/time.Duration(shared))
			f.guess = rate == 0 && missing > smallFetch
		}
		if missing > 0 || f.source != nil {
			f.fetch = fetchTime(missing, rate, rtt)
			f.moves = fetchTime(missing, rate, 0) - fetchStart + fetchEach
			f.start = max(f.start, ahead+f.fetch)
		}
	}
	f.finish = f.start + f.run
}

// source returns the holder from which n, which has it not, would best fetch the object: the best of
// a few, from another place in the list for each node.
func (s *State) source(o *object, n *node) (best *node) {
	var bestRate float64
	looked, k := 0, len(o.holders)
	for i := range min(k, sourcesListed) {
		h := &o.holders[(int(n.ref)+i)%k]
		if !h.have || s.nodes[h.node].state != nodeUp {
			continue
		}
		src := s.nodes[h.node]
		rate, _ := s.rates(src.ref, n.ref)
		if best == nil || best.metered && !src.metered || best.metered == src.metered && (rate > bestRate || rate == bestRate && src.serve < best.serve) {
			best, bestRate = src, rate
		}
		if looked++; looked >= sourcesWeighed && !best.metered {
			break
		}
	}
	if best == nil {
		return s.anyUp(o)
	}
	return best
}
