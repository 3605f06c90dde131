package worker

import (
	"sync"
	"time"

	"gaggle/boottime"
)

// A Clock is the time as the coordinator has it, by which what it signs for a while is judged. It goes
// on by the time since boot: a wall clock that is set by hours while a node is connected would have
// it refuse all grants, and what only it holds could be had by nobody. The zero value is the wall clock
// until a coordinator has told the time. Safe for concurrent use.
type Clock struct {
	// Boot is as in Config, Wall the machine's wall clock; nil is the system's.
	Boot func() time.Duration
	Wall func() time.Time

	mu   sync.Mutex // guards the fields below
	told time.Time  // by the coordinator; zero before
	at   time.Duration
}

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.told.IsZero():
		return c.told.Add(c.boot() - c.at)
	case c.Wall != nil:
		return c.Wall()
	}
	return time.Now()
}

// set takes what a coordinator says the time is; 0 is of an older one, which does not.
func (c *Clock) set(micros int64) {
	if micros == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told, c.at = time.UnixMicro(micros), c.boot()
}

func (c *Clock) boot() time.Duration {
	if c.Boot != nil {
		return c.Boot()
	}
	return boottime.Now()
}
