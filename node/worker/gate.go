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
	g.mu.Lock()
	t := &ticket{priority: priority, seq: seq, places: places, admitted: make(chan struct{})}
	heap.Push(&g.waiters, t)
	g.pass(0)
	g.mu.Unlock()
	select {
	case <-t.admitted:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.index >= 0 {
		heap.Remove(&g.waiters, t.index)
		g.pass(0) // it may have stood before one who needs fewer
	} else {
		g.pass(places) // admitted at the same moment
	}
	return context.Cause(ctx)
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
