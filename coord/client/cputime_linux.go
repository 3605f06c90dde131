package client

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime measures the CPU time of the calling goroutine, which keeps its thread until over is called.
func cpuTime() (over func() time.Duration) {
	runtime.LockOSThread()
	begun := threadTime()
	return func() time.Duration {
		defer runtime.UnlockOSThread()
		return threadTime() - begun
	}
}

func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
