package exchange

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// uploadSlots is how many answers with pieces are on their way at once (DESIGN section 7): few, so
	// that pieces arrive, and are passed on, one after the other rather than all at the end.
	uploadSlots = 4
	// maxQueue bounds those that wait for a slot, and maxQueueEach those of one peer, of which as many
	// have one: the others are told to try elsewhere.
	maxQueue     = 16
	maxQueueEach = 4
	// slotHeld is how long a slow or stalled peer keeps others from a slot.
	slotHeld = time.Second
)

// uploads gives out the slots, in order of arrival.
type uploads struct {
	mu    sync.Mutex // guards the fields below
	taken int
	queue []chan struct{} // closed when its turn has come
}

// enter waits for a slot until ctx ends, and returns what gives it back. It reports false if there is
// none to be had.
func (u *uploads) enter(ctx context.Context, m *member) (leave func(), ok bool) {
	m.mu.Lock()
	many := m.lending >= maxQueueEach
	if !many {
		m.lending++
	}
	m.mu.Unlock()
	if many {
		return nil, false
	}
	done := func() {
		m.mu.Lock()
		m.lending--
		m.mu.Unlock()
	}
	if !u.wait(ctx) {
		done()
		return nil, false
	}
	give := sync.OnceFunc(u.give)
	timer := time.AfterFunc(slotHeld, give)
	return func() {
		timer.Stop()
		give()
		done()
	}, true
}

func (u *uploads) wait(ctx context.Context) bool {
	u.mu.Lock()
	if u.taken < uploadSlots {
		u.taken++
		u.mu.Unlock()
		return true
	}
	if len(u.queue) >= maxQueue {
		u.mu.Unlock()
		return false
	}
	turn := make(chan struct{})
	u.queue = append(u.queue, turn)
	u.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	}
	u.mu.Lock()
	i := slices.Index(u.queue, turn)
	if i >= 0 {
		u.queue = slices.Delete(u.queue, i, i+1)
	}
	u.mu.Unlock()
	if i < 0 { // it was given meanwhile
		u.give()
	}
	return false
}

// give hands a slot on.
func (u *uploads) give() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.queue) == 0 {
		u.taken--
		return
	}
	close(u.queue[0])
	u.queue = u.queue[1:]
}
