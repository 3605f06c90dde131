package peer

import (
	"slices"
	"sync"

	"gaggle/wire"
)

// A teller calls callbacks one at a time, in the order of events, without holding up who
// observed them.
type teller struct {
	done chan struct{} // closed when loop returns

	mu     sync.Mutex // guards the fields below
	wake   *sync.Cond
	up     []func(wire.PeerID)
	down   []func(wire.PeerID)
	events []change
	closed bool
}

type change struct {
	peer wire.PeerID
	up   bool
}

func newTeller() *teller {
	t := &teller{done: make(chan struct{})}
	t.wake = sync.NewCond(&t.mu)
	go t.loop()
	return t
}

func (t *teller) add(up, down func(wire.PeerID)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if up != nil {
		t.up = append(t.up, up)
	}
	if down != nil {
		t.down = append(t.down, down)
	}
}

// tell queues an event. There is at most one for each change of a connection, and connections
// are bounded and rate-limited.
func (t *teller) tell(p wire.PeerID, up bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, change{p, up})
	t.wake.Signal()
}

func (t *teller) close() {
	t.mu.Lock()
	t.closed = true
	t.wake.Signal()
	t.mu.Unlock()
	<-t.done
}

// loop ends after close, when every event has been told.
func (t *teller) loop() {
	defer close(t.done)
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		for len(t.events) == 0 && !t.closed {
			t.wake.Wait()
		}
		if len(t.events) == 0 {
			return
		}
		events := t.events
		t.events = nil
		for _, e := range events {
			fns := t.down
			if e.up {
				fns = t.up
			}
			fns = slices.Clone(fns)
			t.mu.Unlock()
			for _, fn := range fns {
				fn(e.peer)
			}
			t.mu.Lock()
		}
	}
}
