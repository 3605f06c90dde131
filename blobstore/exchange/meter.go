package exchange

import (
	"context"
	"sync"
	"time"
)

// A meter has whoever sends wait, so that all together do not exceed a rate.
type meter struct {
	rate int64 // bytes per second; 0 is no bound

	mu   sync.Mutex // guards free
	free time.Time  // when what was let through has gone out at the rate
}

const (
	// smallWrite bytes, as of an answer that something is absent or somebody else should be asked, do not
	// wait for as long as smallAhead, or they would take longer than their requesters wait: what follows
	// makes up for them.
	smallWrite = 1 << 10
	smallAhead = 5 * time.Second
)

// wait returns when n more bytes may be sent. They wait in order of arrival, each for those before it.
func (m *meter) wait(ctx context.Context, n int) error {
	if m.rate == 0 {
		return nil
	}
	m.mu.Lock()
	now := time.Now()
	if m.free.Before(now) {
		m.free = now
	}
	at := m.free
	m.free = m.free.Add(time.Duration(float64(n) / float64(m.rate) * float64(time.Second)))
	m.mu.Unlock()
	if n <= smallWrite {
		at = at.Add(-smallAhead)
	}
	if !at.After(now) {
		return nil
	}
	timer := time.NewTimer(at.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
