package worker

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime returns the time since boot. Go's monotonic clock stops while the machine sleeps, and
// a lease must not: the coordinator has long given the thunk to another node.
func bootTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // there since Linux 2.6.39
	}
	return time.Duration(t.Nano())
}
