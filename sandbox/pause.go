package sandbox

import (
	"errors"
	"sync"
	"time"
)

// A Pause holds one run still and lets it go on. While it is held, the run takes no CPU and its
// timeout does not come nearer; it keeps its slot and its memory. Give each Spec its own. Safe for
// concurrent use.
type Pause struct {
	mu     sync.Mutex // guards the fields below
	freeze func(bool) error
	wall   *time.Timer   // nil: not running
	left   time.Duration // of the timeout, when wall was last started or stopped
	since  time.Time     // wall was last started; while frozen, stopped
	frozen bool
	doomed bool          // it is being killed
	total  time.Duration // frozen before since
}

var (
	// ErrNotRunning means that the run has not begun, or has ended.
	ErrNotRunning = errors.New("the command is not running")
	// ErrCannotFreeze means that this machine has no cgroup that could freeze a command.
	ErrCannotFreeze = errors.New("commands cannot be frozen here for want of a cgroup")
)

// Freeze stops the command and all its processes where they are. To freeze twice is to freeze
// once. The error is ErrNotRunning, ErrCannotFreeze or that of the cgroup.
func (p *Pause) Freeze() error { return p.set(true) }

// Thaw lets them go on. Errors are as Freeze's.
func (p *Pause) Thaw() error { return p.set(false) }

// Frozen reports whether the command is held, and how long it has been in all.
func (p *Pause) Frozen() (now bool, total time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen {
		return true, p.total + time.Since(p.since)
	}
	return false, p.total
}

func (p *Pause) set(frozen bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.setLocked(frozen)
}

func (p *Pause) setLocked(frozen bool) error {
	switch {
	case p.wall == nil, p.doomed:
		return ErrNotRunning
	case p.freeze == nil:
		return ErrCannotFreeze
	case p.frozen == frozen:
		return nil
	}
	if err := p.freeze(frozen); err != nil {
		return err
	}
	now := time.Now()
	if p.frozen = frozen; frozen {
		p.wall.Stop()
		p.left -= now.Sub(p.since)
	} else {
		p.total += now.Sub(p.since)
		p.wall.Reset(max(0, p.left))
	}
	p.since = now
	return nil
}

// begin has late called once the run has gone on for wall, not counting what it was frozen.
// freeze is nil if it cannot be.
func (p *Pause) begin(wall time.Duration, late func(), freeze func(bool) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.freeze, p.left, p.since, p.frozen, p.total = freeze, wall, time.Now(), false, 0
	p.wall = time.AfterFunc(wall, late)
}

// doom lets the run go on to its end, whether it has begun or not; it cannot be frozen any more.
func (p *Pause) doom() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked()
	p.doomed = true
}

// end is for a run that is over, or did not begin.
func (p *Pause) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked()
}

func (p *Pause) endLocked() {
	if p.wall == nil {
		return
	}
	if p.frozen {
		p.setLocked(false)
	}
	p.wall.Stop()
	p.wall = nil
}
