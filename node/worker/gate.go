package worker

import (
	"container/heap"
	"context"
	"sync"
)

// A gate has a number of places, of which each who enters takes one or more. Of those who wait the
// higher priority goes first, then the earlier offer; nobody overtakes, so that who needs many
// places gets them.
type gate struct {
	mu      sync.Mutex // guards the fields below
	open    int        // places not taken
	waiters waiters
}

func newGate(places int) *gate { return &gate{open: places} }

// A ticket is one's place in the queue before a gate.
type ticket struct {
	priority int
	seq      uint64
	places   int
	admitted chan struct{} // closed by leave
	index    int           // in the heap; -1 once admitted
}

// enter waits for places, at most as many as there are, which leave gives back. If ctx ends first
// there are none to give back and the error is the context's cause.
func (g *gate) enter(ctx context.Context, priority int, seq uint64, places int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return g.wait(ctx, g.queue(priority, seq, places))
}

// queue gives a place in the queue, to wait at.
func (g *gate) queue(priority int, seq uint64, places int) *ticket {
	t := &ticket{priority: priority, seq: seq, places: places, admitted: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	heap.Push(&g.waiters, t)
	g.pass(0)
	return t
}

// wait waits until a ticket is admitted. If ctx ends first it gives it up.
func (g *gate) wait(ctx context.Context, t *ticket) error {
	select {
	case <-t.admitted:
		return nil
	case <-ctx.Done():
		g.giveUp(t)
		return context.Cause(ctx)
	}
}

// giveUp ends a ticket, admitted or not.
func (g *gate) giveUp(t *ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.index >= 0 {
		heap.Remove(&g.waiters, t.index)
		g.pass(0) // it may have stood before one who needs fewer
	} else {
		g.pass(t.places)
	}
}

// leave gives places back.
func (g *gate) leave(places int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass(places)
}

// pass opens some places and admits the first who wait while there are enough. Called under g.mu.
func (g *gate) pass(places int) {
	g.open += places
	for len(g.waiters) > 0 && g.waiters[0].places <= g.open {
		t := heap.Pop(&g.waiters).(*ticket)
		g.open -= t.places
		close(t.admitted)
	}
}

// free returns how many places are not taken.
func (g *gate) free() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// waiters is a heap.Interface.
type waiters []*ticket

func (w waiters) Len() int { return len(w) }

func (w waiters) Less(i, j int) bool {
	if w[i].priority != w[j].priority {
		return w[i].priority > w[j].priority
	}
	return w[i].seq < w[j].seq
}

func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

func (w *waiters) Push(t any) {
	t.(*ticket).index = len(*w)
	*w = append(*w, t.(*ticket))
}

func (w *waiters) Pop() any {
	last := len(*w) - 1
	t := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	t.index = -1
	return t
}

// A seat is the places of one lease behind a gate.
type seat struct {
	gate   *gate
	places int
	ticket *ticket // nil if it neither has nor waits for them
}

// queue has a lease stand in line, as take does, without waiting.
func (s *seat) queue(l *lease) {
	if s.ticket == nil {
		s.ticket = s.gate.queue(l.Hints.Priority, l.seq, s.places)
	}
}

// take waits for the places.
func (s *seat) take(l *lease) error {
	s.queue(l)
	err := s.gate.wait(l.ctx, s.ticket)
	if err != nil {
		s.ticket = nil
	}
	return err
}

// leave gives the places back, or does not want them any more.
func (s *seat) leave() {
	if s.ticket != nil {
		s.gate.giveUp(s.ticket)
		s.ticket = nil
	}
}
