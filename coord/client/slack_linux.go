package client

import (
	"errors"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// monitorSlack is the timer slack (PR_SET_TIMERSLACK) of the monitor of the agent's runtime. As long
	// as a thread waits in a system call that wants to look every 20 us whether another should take
	// over, which took a fifth of the agent's CPU time in a build.
	monitorSlack = time.Millisecond
	// usualSlack is the kernel's default.
	usualSlack = 50 * time.Microsecond
)

// startLazily starts a process with the monitor's slack. A child has that of the thread that forks it,
// and the runtime's monitor is there before a program can set its own.
func startLazily(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := setSlack(monitorSlack); err != nil {
		return cmd.Start()
	}
	return errors.Join(cmd.Start(), setSlack(usualSlack))
}

// usualTimers gives the calling thread, and those that it will start, the usual slack.
func usualTimers() { _ = setSlack(usualSlack) } // it costs accuracy only

func setSlack(d time.Duration) error {
	return unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(d.Nanoseconds()), 0, 0, 0)
}
