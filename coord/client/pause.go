package client

import (
	"context"
	"sync"
)

// pauses are the programs of a build, seen from the command, that wait for its deferred calls.
type pauses struct {
	mu     sync.Mutex // guards the fields below
	last   uint64     // number of one
	over   map[uint64]chan<- bool
	failed bool // all fail
}

// wait returns when the calls that were deferred so far have ended, or ctx is done; false says that one
// has failed, or that the agent is gone.
func (p *pauses) wait(ctx context.Context, c *Conn) (ok bool) {
	over := make(chan bool, 1)
	p.mu.Lock()
	if p.failed {
		p.mu.Unlock()
		return false
	}
	p.last++
	number := p.last
	if p.over == nil {
		p.over = map[uint64]chan<- bool{}
	}
	p.over[number] = over
	p.mu.Unlock()
	_ = c.pause(number) // fail is called if the agent is gone
	select {
	case <-ctx.Done():
		return true
	case ok := <-over:
		return ok
	}
}

// end takes in the agent's answer.
func (p *pauses) end(r *resume) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if over := p.over[r.Number]; over != nil {
		delete(p.over, r.Number)
		over <- !r.Failed
	}
}

// fail ends all, now and from now on.
func (p *pauses) fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
	for _, over := range p.over {
		over <- false
	}
	clear(p.over)
}
