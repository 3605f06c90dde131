//go:build amd64 || arm64

package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// A command is watched by seccomp's user notification (seccomp_unotify(2)): a filter that it and
// its children inherit stops them at every call of pathCalls until the watcher has noted the path
// and lets them go on. This works as an ordinary user, for static programs too, costs nothing at
// other calls, and leaves ptrace to debuggers.

// A pathCall is a system call with the numbers of its arguments; -1 for none.
type pathCall struct {
	nr               uint32
	dir, path, flags int
	how              use
}

// atCalls are those of every architecture.
var atCalls = []pathCall{
	{nr: unix.SYS_OPENAT, dir: 0, path: 1, flags: 2, how: opened},
	{nr: unix.SYS_OPENAT2, dir: 0, path: 1, flags: -1, how: opened},
	{nr: unix.SYS_STATX, dir: 0, path: 1, flags: -1, how: looked},
	{nr: unix.SYS_FACCESSAT, dir: 0, path: 1, flags: -1, how: looked},
	{nr: unix.SYS_FACCESSAT2, dir: 0, path: 1, flags: -1, how: looked},
	{nr: unix.SYS_READLINKAT, dir: 0, path: 1, flags: -1, how: looked},
	{nr: unix.SYS_EXECVE, dir: -1, path: 0, flags: -1, how: executed},
	{nr: unix.SYS_EXECVEAT, dir: 0, path: 1, flags: -1, how: executed},
}

// traceName is argv[0] of this binary as the process that becomes the command. Its arguments are
// the program and the command's own; descriptor 3 is a socket to the watcher, to which it sends
// the filter's descriptor, or why there is none.
const traceName = "gaggle: capture"

// Main becomes the command that is watched, if this process was started for that. A program that
// calls Traced.Run calls it first in main.
func Main() {
	if os.Args[0] != traceName || len(os.Args) < 3 {
		return
	}
	runtime.LockOSThread() // the filter is the thread's
	const socket = 3
	fd, err := listen()
	if err == nil {
		err = unix.Sendmsg(socket, []byte{0}, unix.UnixRights(fd), nil, 0)
	} else {
		unix.Sendmsg(socket, []byte(err.Error()), nil, nil, 0)
	}
	if err != nil {
		os.Exit(126)
	}
	unix.CloseOnExec(socket)
	err = syscall.Exec(os.Args[1], os.Args[2:], os.Environ())
	fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
	os.Exit(127)
}

// listen installs the filter in this thread and returns its descriptor.
func listen() (int, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, fmt.Errorf("setting no_new_privs: %w", err)
	}
	const load, jump, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	// struct seccomp_data begins with the number (4 bytes) and the architecture (4).
	filter := []unix.SockFilter{{Code: load, K: 4}, {Code: jump, Jt: 1, K: auditArch}, {Code: ret, K: unix.SECCOMP_RET_ALLOW}, {Code: load, K: 0}}
	for _, c := range pathCalls {
		filter = append(filter, unix.SockFilter{Code: jump, Jf: 1, K: c.nr}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	filter = append(filter, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return -1, fmt.Errorf("installing a filter that reports file names: %w", errno)
	}
	return int(fd), nil
}

// watch runs the program and notes in seen what it and its children ask for.
func watch(ctx context.Context, c Traced, program string, seen uses) (exit int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "watcher"), os.NewFile(uintptr(pair[1]), "watched")
	defer ours.Close()
	defer theirs.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{traceName, program}, c.Argv...)
	cmd.Env = c.Env
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Dir, c.Stdin, c.Stdout, c.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.WaitDelay = drain // of output that descendants hold open
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	theirs.Close()
	listener, err := receive(int(ours.Fd()))
	if err != nil {
		return 0, errors.Join(wire.Errorf(wire.CauseInvalid, "run it outside of containers, on Linux 5.5 or later; or list tools and include by hand",
			"this machine does not let a command be watched: %v", err), ignoreExit(cmd.Wait()))
	}
	defer unix.Close(listener)
	seen.asked(program, executed)

	// Closing the listener fails the calls of what is left, so the watcher goes on until all that
	// was watched has ended, or shortly after the command.
	ended := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(listener, seen, ended)
	}()
	err = cmd.Wait()
	close(ended)
	<-done
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err := ignoreExit(err); err != nil {
		return 0, err
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// receive takes the filter's descriptor from the socket.
func receive(socket int) (int, error) {
	text, rights := make([]byte, 512), make([]byte, unix.CmsgSpace(4))
	n, r, _, _, err := unix.Recvmsg(socket, text, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:r])
	if err != nil || len(messages) != 1 {
		return -1, errors.New(string(text[:n]))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// A notification is struct seccomp_notif, an answer struct seccomp_notif_resp of
// linux/seccomp.h, whose layout is the kernel's interface.
type (
	notification struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	answer struct {
		id    uint64
		val   int64
		err   int32
		flags uint32
	}
)

const (
	// poll wakes up this often to see whether the command has ended, in milliseconds.
	poll = 50
	// drain is how long what a command left behind is watched further.
	drain = 2 * time.Second
	// longDrain is how long it is watched if it never rests.
	longDrain = 10 * time.Second
	// goOn is SECCOMP_USER_NOTIF_FLAG_CONTINUE.
	goOn = 1
)

// serve notes the path of each call, and lets it go on, until nobody is left or, after ended,
// nothing comes for drain.
func serve(listener int, seen uses, ended <-chan struct{}) {
	calls := make(map[int32]pathCall, len(pathCalls))
	for _, c := range pathCalls {
		calls[int32(c.nr)] = c
	}
	var n notification
	var end time.Time // when ended was seen closed
	for idle := 0; ; {
		select {
		case <-ended:
			if end.IsZero() {
				end = time.Now()
			}
			if time.Since(end) > longDrain {
				return
			}
		default:
		}
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		ready, err := unix.Poll(fds, poll)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || fds[0].Revents&unix.POLLHUP != 0:
			return
		case ready == 0:
			if idle += poll; !end.IsZero() && idle >= int(drain.Milliseconds()) {
				return
			}
			continue
		}
		idle = 0
		n = notification{}
		if control(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)) != 0 {
			continue // it was killed meanwhile
		}
		if c, ok := calls[n.nr]; ok {
			if p := c.resolve(&n); p != "" {
				seen.asked(p, c.use(&n))
			}
		}
		control(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer{id: n.id, flags: goOn}))
	}
}

func control(fd int, request uintptr, arg unsafe.Pointer) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return errno
}

// use is what the call does with its path.
func (c pathCall) use(n *notification) use {
	if c.flags >= 0 && n.args[c.flags]&unix.O_PATH != 0 {
		return looked
	}
	return c.how
}

// resolve returns the absolute path that a stopped call names, or "".
func (c pathCall) resolve(n *notification) string {
	p := text(int(n.pid), uintptr(n.args[c.path]))
	if p == "" || path.IsAbs(p) {
		return p
	}
	base := "/proc/" + strconv.Itoa(int(n.pid)) + "/cwd"
	if c.dir >= 0 && int32(n.args[c.dir]) != unix.AT_FDCWD {
		base = "/proc/" + strconv.Itoa(int(n.pid)) + "/fd/" + strconv.Itoa(int(int32(n.args[c.dir])))
	}
	dir, err := os.Readlink(base)
	if err != nil || !path.IsAbs(dir) {
		return ""
	}
	return dir + "/" + p
}

// text reads a string that ends in NUL from another process, page by page, for the next page may
// not be there.
func text(pid int, at uintptr) string {
	page := os.Getpagesize()
	var all []byte
	for len(all) <= wire.MaxPath {
		b := make([]byte, page-int(at)%page)
		local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
		n, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: at, Len: len(b)}}, 0)
		if err != nil || n <= 0 {
			return ""
		}
		if end := bytes.IndexByte(b[:n], 0); end >= 0 {
			return string(append(all, b[:end]...))
		}
		all = append(all, b[:n]...)
		at += uintptr(n)
	}
	return ""
}
