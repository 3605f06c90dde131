package sched

import (
	"time"

	"golang.org/x/sys/unix"
)

// stageClock is the CPU time of the thread: what else the machine does counts little. The collector
// works on other threads.
func stageClock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}
