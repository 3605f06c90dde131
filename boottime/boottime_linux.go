// Package boottime is the clock that goes on while a machine sleeps, and that nobody sets.
package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now returns the time since boot. Go's monotonic clock stops while the machine sleeps, and neither a
// lease must, whose thunk the coordinator has long given to another node, nor the time by which grants
// run out.
func Now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // there since Linux 2.6.39
	}
	return time.Duration(t.Nano())
}
