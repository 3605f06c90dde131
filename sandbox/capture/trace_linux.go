//go:build amd64 || arm64

package capture

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/sandbox/notify"
	"gaggle/wire"
)

// A command is watched by seccomp's user notification (package notify): a filter that it and its
// children inherit stops them at every call that names a file until the watcher has noted the path
// and lets them go on. That leaves ptrace to debuggers.
//
// Between the watcher and the command stands a process that survivors of the command, background
// processes and daemons, come to when their parent has gone (PR_SET_CHILD_SUBREAPER): they could
// open nothing any more once the watcher had gone. It waits for them, and ends them if it must.

// watch runs the program and notes in seen what it and its children ask for. ended are the names of
// processes that it left behind and that were ended.
func watch(ctx context.Context, c Traced, program string, seen uses) (exit int, ended []string, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "watcher"), os.NewFile(uintptr(pair[1]), "watched")
	defer ours.Close()
	defer theirs.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{keeperName, program}, c.Argv...)
	cmd.Env = c.Env
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Dir, c.Stdin, c.Stdout, c.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Cancel = func() error { return order(pair[0], orderKill) }
	cmd.WaitDelay = killing + time.Second
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	theirs.Close()
	listener, err := notify.Take(pair[0])
	if err != nil {
		return 0, nil, errors.Join(wire.Errorf(wire.CauseInvalid, "run it outside of containers, on Linux 5.5 or later; or list tools and include by hand",
			"this machine does not let a command be watched: %v", err), ignoreExit(cmd.Wait()))
	}
	seen.asked(program, executed)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		serve(listener, seen, stop)
		unix.Close(listener)
	}()
	heard := make(chan told, 1)
	go func() { heard <- hear(pair[0], cmp.Or(c.patience, patience)) }()
	err = ignoreExit(cmd.Wait()) // everything has ended
	close(stop)
	<-done
	t := <-heard
	switch {
	case ctx.Err() != nil:
		return 0, nil, ctx.Err()
	case err != nil:
		return 0, nil, err
	case !t.exited:
		return 0, nil, fmt.Errorf("the process that watches over the command ended (%v)", cmd.ProcessState)
	case t.status.Signaled():
		return 128 + int(t.status.Signal()), t.ended, nil
	}
	return t.status.ExitStatus(), t.ended, nil
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// told is what the keeper says of a command.
type told struct {
	exited bool
	status syscall.WaitStatus
	ended  []string
}

// hear listens to the keeper until it has gone. What survives the command has patience to end, and
// is then ended.
func hear(socket int, patience time.Duration) (t told) {
	b := make([]byte, maxTold)
	for {
		n, err := unix.Read(socket, b)
		switch {
		case err == unix.EINTR:
		case err != nil || n == 0:
			return t
		case b[0] == saysExit && n == 5:
			t.exited, t.status = true, syscall.WaitStatus(binary.LittleEndian.Uint32(b[1:]))
			end := time.AfterFunc(patience, func() { order(socket, orderEnd) })
			defer end.Stop()
		case b[0] == saysEnded && n > 1:
			t.ended = strings.Split(string(b[1:n]), "\x00")
		}
	}
}

// poll wakes up this often to see whether all has ended, in milliseconds.
const poll = 50

// serve notes the path of each call, and lets it go on, until nobody is left or stop is closed.
func serve(listener int, seen uses, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		ready, err := unix.Poll(fds, poll)
		switch {
		case err == unix.EINTR || err == nil && ready == 0:
			continue
		case err != nil || fds[0].Revents&unix.POLLHUP != 0:
			return
		}
		var c notify.Call
		if notify.Receive(listener, &c) != nil {
			continue // it was killed meanwhile
		}
		if p := c.PathCall(); p != nil {
			if name, _ := p.Path(&c); name != "" {
				seen.asked(name, useOf[p.Use(&c)])
			}
		}
		c.Allow(listener) // or it was killed
	}
}

var useOf = map[notify.Use]use{notify.Look: looked, notify.Open: opened, notify.Execute: executed}
