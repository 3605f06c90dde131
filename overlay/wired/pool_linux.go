package wired

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// A Ready is a slot that waits in a pool, with its namespace.
type Ready struct {
	Slot *Slot
	NS   *os.File
}

// A PoolConfig says how a Pool is to be.
type PoolConfig struct {
	Low, High int // when fewer than Low slots are ready, more are laid until there are High
	// Make makes a namespace, and Dress has its eth0 up and addressed when the slot is laid.
	Make  func() (*os.File, error)
	Dress func(Ready) error
}

// A Pool has slots laid ahead, on a thread that runs when nothing else wants to: nice 19, not
// SCHED_IDLE, as it takes the kernel's lock of network configuration, and others may wait for it.
type Pool struct {
	plane  *Plane
	config PoolConfig
	wake   chan struct{} // has room for one
	filler sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	ready  []Ready
	closed bool
	err    error // why the last slot was not laid
}

// NewPool begins to fill a pool of the plane's slots.
func NewPool(p *Plane, config PoolConfig) *Pool {
	q := &Pool{plane: p, config: config, wake: make(chan struct{}, 1)}
	q.filler.Go(q.fill)
	q.stir()
	return q
}

// Take returns a slot that is ready, or lays one if there is none. The namespace is the caller's to close.
// The error wraps ErrExhausted when the plane has no more slots.
func (q *Pool) Take() (Ready, error) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return Ready{}, ErrClosed
	}
	n := len(q.ready)
	if n == 0 {
		q.mu.Unlock()
		q.stir()
		return q.lay()
	}
	r := q.ready[n-1] // the one that was laid last is in caches
	q.ready = q.ready[:n-1]
	low := n-1 < q.config.Low
	q.mu.Unlock()
	if low {
		q.stir()
	}
	return r, nil
}

// Len returns how many slots are ready.
func (q *Pool) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ready)
}

// Err returns why the pool is not full, if laying the last slot failed.
func (q *Pool) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Close gives up the slots that are ready, and waits for the one that is being laid.
func (q *Pool) Close() {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	q.closed = true
	close(q.wake)
	q.mu.Unlock()
	q.filler.Wait()
	for _, r := range q.ready {
		q.plane.Unbind(r.Slot)
		r.NS.Close()
	}
}

func (q *Pool) stir() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *Pool) fill() {
	runtime.LockOSThread() // for good: the thread is slow and ends with the goroutine
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
	for range q.wake {
		for q.wants() {
			r, err := q.lay()
			q.mu.Lock()
			q.err = err
			if err == nil {
				q.ready = append(q.ready, r)
			}
			q.mu.Unlock()
			if err != nil {
				break // until the next Take
			}
		}
	}
}

func (q *Pool) wants() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.closed && len(q.ready) < q.config.High
}

func (q *Pool) lay() (Ready, error) {
	ns, err := q.config.Make()
	if err != nil {
		return Ready{}, fmt.Errorf("making a network namespace: %w", err)
	}
	s, err := q.plane.Lay(ns)
	if err != nil {
		return Ready{}, errors.Join(err, ns.Close())
	}
	r := Ready{s, ns}
	if q.config.Dress == nil {
		return r, nil
	}
	if err := q.config.Dress(r); err != nil {
		q.plane.Unbind(s)
		return Ready{}, errors.Join(fmt.Errorf("dressing a network slot: %w", err), ns.Close())
	}
	return r, nil
}
