package worker

import (
	"container/heap"
	"context"
	"sync"
)

// A gate lets a bounded number in at once: of those who wait, first the higher priority, then
// the earlier offer.
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
	admitted chan struct{} // closed by leave
	index    int           // in the heap; -1 once admitted
}

// enter waits for a place, which leave gives back. If ctx ends first there is none to give back
// and the error is the context's cause.
func (g *gate) enter(ctx context.Context, priority int, seq uint64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	g.mu.Lock()
	if g.open > 0 {
		g.open--
		g.mu.Unlock()
		return nil
	}
	t := &ticket{priority: priority, seq: seq, admitted: make(chan struct{})}
	heap.Push(&g.waiters, t)
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
	} else {
		g.pass() // admitted at the same moment
	}
	return context.Cause(ctx)
}

// leave gives a place back.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass()
}

// pass hands a place to the first who waits. Called under g.mu.
func (g *gate) pass() {
	if len(g.waiters) == 0 {
		g.open++
		return
	}
	close(heap.Pop(&g.waiters).(*ticket).admitted)
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
