//go:build amd64 || arm64

package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"gaggle/sandbox/notify"
)

// Names of this binary, as argv[0], when it is
const (
	becomes = "gaggle: gate"      // the process that becomes the command; its arguments are a socket's number, the program, the command's words
	opens   = "gaggle: open gate" // what lets all go on that outlive the command; descriptor 3 is the listener
)

// Main becomes one of the processes of a gate, if this process was started for that. A program that
// calls Start calls it first in main.
func Main() {
	switch {
	case os.Args[0] == becomes && len(os.Args) >= 4:
		become(os.Args[1], os.Args[2], os.Args[3:])
	case os.Args[0] == opens:
		letAll(3)
		os.Exit(0)
	}
}

// become executes the command under the filter.
func become(number, program string, argv []string) {
	runtime.LockOSThread() // the filter is the thread's
	socket, err := strconv.Atoi(number)
	if err != nil {
		os.Exit(126)
	}
	unix.CloseOnExec(socket)
	listener, err := notify.Listen([]uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT})
	if err := notify.Hand(socket, listener, err); err != nil {
		os.Exit(126)
	}
	unix.CloseOnExec(listener)
	err = syscall.Exec(program, argv, os.Environ())
	fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
	os.Exit(127)
}

// letAll lets everybody go on until nobody is left.
func letAll(listener int) {
	for {
		call, over := notify.Wait(listener, -1)
		if over {
			return
		}
		var c notify.Call
		if call && notify.Receive(listener, &c) == nil {
			_ = c.Allow(listener) // or it was killed
		}
	}
}

// A Gate stands before the programs of one command.
type Gate struct {
	listener int
	free     func(Program) bool
	hold     func(context.Context, Program)
	stop     [2]int // a pipe; closed for writing it ends the listening
	ctx      context.Context
	end      context.CancelFunc
	over     bool // nobody is behind the gate any more; set when done
	done     chan struct{}
	held     sync.WaitGroup
}

// Start starts a command as Cmd.Start does, but before the command or what comes of it executes a
// program, free is asked, for one after the other: if it says no, hold is called, side by side, and the
// program starts when that returns. Hold returns when its context is done. The error wraps ErrUnsupported
// if the command was not started for want of a gate. The command has no descriptors but its three and
// those that this process was started with.
func Start(cmd *exec.Cmd, free func(Program) bool, hold func(context.Context, Program)) (*Gate, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(pair[0])
	program, argv := cmd.Path, cmd.Args
	cmd.Path, cmd.Args = "/proc/self/exe", append([]string{becomes, strconv.Itoa(pair[1]), program}, argv...)
	// By its own number: the low ones may be make's, to share out its jobs.
	_, err = unix.FcntlInt(uintptr(pair[1]), unix.F_SETFD, 0)
	if err == nil {
		err = cmd.Start()
	}
	unix.Close(pair[1])
	cmd.Path, cmd.Args = program, argv
	if err != nil {
		return nil, err
	}
	listener, err := notify.Take(pair[0])
	if err != nil {
		_ = cmd.Wait() // it has said why
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	notify.WakeSync(listener)
	g := &Gate{listener: listener, free: free, hold: hold, done: make(chan struct{})}
	if err := unix.Pipe2(g.stop[:], unix.O_CLOEXEC); err != nil {
		unix.Close(listener) // the command fails to start
		return nil, errors.Join(err, cmd.Wait())
	}
	g.ctx, g.end = context.WithCancel(context.Background())
	go g.listen()
	return g, nil
}

// listen hears of programs until nobody is left, or Close.
func (g *Gate) listen() {
	defer close(g.done)
	for {
		call, over := notify.Wait(g.listener, g.stop[0])
		if !call {
			g.over = over
			return
		}
		c := new(notify.Call)
		if notify.Receive(g.listener, c) != nil {
			continue // it was killed meanwhile
		}
		p, ok := programOf(c)
		if !ok || g.free(p) {
			_ = c.Allow(g.listener) // or it was killed
			continue
		}
		g.held.Go(func() {
			g.hold(g.ctx, p)
			_ = c.Allow(g.listener) // or it was killed
		})
	}
}

// programOf returns which program a call executes.
func programOf(c *notify.Call) (Program, bool) {
	p := c.PathCall()
	if p == nil {
		return Program{}, false
	}
	path, _ := p.Path(c)
	return Program{int(c.Pid), path, p.Words(c, MaxWords)}, true
}

// Close lets all go on. If processes of the command are left, another process lets them go on from
// now on, which ends with the last of them.
func (g *Gate) Close() error {
	unix.Close(g.stop[1])
	<-g.done
	g.end()
	g.held.Wait()
	defer unix.Close(g.stop[0])
	listener := os.NewFile(uintptr(g.listener), "listener")
	defer listener.Close()
	if g.over {
		return nil
	}
	left := exec.Command("/proc/self/exe")
	left.Args = []string{opens}
	left.Dir = "/"
	left.ExtraFiles = []*os.File{listener}
	left.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := left.Start(); err != nil {
		return fmt.Errorf("letting programs start that the command has left behind: %w", err)
	}
	return left.Process.Release()
}
