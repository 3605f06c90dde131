package sched

import "time"

// A run whose best node is busy is parked there. It is weighed anew when the node has room, and when
// others have, once a second or when a link was measured: then from the ends of the queues, some at a
// time, for as long as that gives nodes work. A job of 10^6 tasks that are best run where their inputs
// are costs no more for that than the mesh has slots.

const (
	// maxParking is how many runs are parked in a Step, some 10 ms of weighing.
	maxParking = 4096
	// reweighed is how many parked runs are weighed anew at a time, about, and worthwhile the share
	// of them, one in so many, that has to find another place for more to be.
	reweighed  = 512
	worthwhile = 4
)

// A lot holds runs in order, those that are parked at a node for instance. Taking one out leaves a hole.
type lot struct {
	runs []runRef      // run.pos is the place in it; 0 is a hole. The first and the last are none
	head int           // where the first is
	n    int           // of runs
	est  time.Duration // of those that are parked
}

// park has a run wait for the node that will be done with it soonest though it is busy.
func (s *State) park(r runRef, n *node, est time.Duration) {
	run, l := s.runs.at(r), &n.parked
	run.place, run.node, run.first, run.est = placeParked, n.ref, false, est
	l.add(r, run)
	l.est += est
	s.parked++
	s.toPark--
}

// unpark takes one run off the node it waits for.
func (s *State) unpark(r runRef) {
	run := s.runs.at(r)
	l := &s.nodes[run.node].parked
	l.est -= run.est
	s.takeOut(l, run)
	s.parked--
	run.place, run.node, run.pos = placeNone, 0, -1
}

func (l *lot) add(r runRef, run *run) {
	run.pos = int32(len(l.runs))
	l.runs = append(l.runs, r)
	l.n++
}

// takeOut takes a run out of a lot. Holes are taken off both ends, and all of them once they are more
// than the runs.
func (s *State) takeOut(l *lot, run *run) {
	l.runs[run.pos] = 0
	l.n--
	if l.n == 0 {
		*l = lot{}
		return
	}
	for l.runs[l.head] == 0 {
		l.head++
	}
	for l.runs[len(l.runs)-1] == 0 {
		l.runs = l.runs[:len(l.runs)-1]
	}
	if len(l.runs) <= 2*l.n+64 {
		return
	}
	runs := make([]runRef, 0, l.n+l.n/2)
	for _, r := range l.runs[l.head:] {
		if r != 0 {
			s.runs.at(r).pos = int32(len(runs))
			runs = append(runs, r)
		}
	}
	l.runs, l.head = runs, 0
}

// unparkAll makes all that wait for a node ready again.
func (s *State) unparkAll(n *node) {
	parked := n.parked
	n.parked = lot{}
	s.parked -= parked.n
	for _, r := range parked.runs[parked.head:] {
		if r != 0 {
			s.enqueue(r)
		}
	}
}

// unparkFree makes ready again as many runs as the nodes they wait for have room for. There they are
// before those that are left: were they weighed against these, each would be parked at another node with
// a queue that is shorter by a little, and the room would stay.
func (s *State) unparkFree() {
	if s.parked == 0 {
		return
	}
	for _, n := range s.nodes[1:] {
		if n.parked.n == 0 || !n.room() {
			continue
		}
		for k := 2*n.slots - n.taken; k > 0 && n.parked.n > 0; k-- {
			r := n.parked.runs[n.parked.head]
			s.unpark(r)
			s.enqueue(r)
			s.runs.at(r).node, s.runs.at(r).first = n.ref, true
		}
	}
}

// reweigh weighs parked runs anew while nodes have room.
func (s *State) reweigh() {
	for s.again && s.parked > 0 && len(s.ready) == 0 && s.room() {
		before := s.parked
		taken := s.unparkTails()
		s.placeReady()
		s.again = (before-s.parked)*worthwhile >= taken
	}
}

// unparkTails makes the last runs of each node's queue ready again, of each the same share, and returns
// how many: those at the ends wait longest.
func (s *State) unparkTails() (taken int) {
	all := s.parked
	for _, n := range s.nodes[1:] {
		for k := (n.parked.n*reweighed + all - 1) / all; k > 0 && n.parked.n > 0; k-- {
			r := n.parked.runs[len(n.parked.runs)-1]
			s.unpark(r)
			s.enqueue(r)
			s.runs.at(r).node = n.ref
			taken++
		}
	}
	return taken
}
