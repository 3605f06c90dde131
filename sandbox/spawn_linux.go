package sandbox

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// run runs one command to its end, and everything it left, too. The error says why it did not
// start.
func (z *zygote) run(x *execRequest, fds *[]int, r *reply) error {
	files, err := z.streams(x, *fds)
	if err != nil {
		return err
	}
	*fds = files
	if x.Job != "" {
		if err := z.place(x.Job); err != nil {
			return err
		}
	}
	program, err := z.program(x)
	if err != nil {
		return err
	}
	if z.seeker != nil {
		root, err := z.openRoot()
		if err != nil {
			return err
		}
		defer unix.Close(root)
		z.seeker.begin(root, rootPath(z.scratch.index))
		defer func() { r.Lookups = z.seeker.end() }()
	}
	pid, err := z.start(program, x, files)
	if err != nil {
		return z.startError(program, err)
	}
	closeAll(*fds) // the engine wants the end of both streams
	*fds = nil
	if pid == 0 {
		r.Killed = true
		return nil
	}
	var watched *sampler
	if x.Mem > 0 {
		watched = z.sample(x.Seq, x.Mem)
	}
	err = z.reap(pid, r)
	z.mu.Lock()
	z.running, r.Denials = 0, z.denials
	if watched != nil {
		watched.timer.Stop()
		r.Starved, r.Peak = watched.starved, watched.peak
	}
	z.mu.Unlock()
	if err != nil {
		return err
	}
	r.Full = z.full()
	return nil
}

// openRoot opens the root of the next command.
func (z *zygote) openRoot() (int, error) {
	return unix.Open(rootPath(z.scratch.index), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// streams returns the descriptors of standard input, output and error, having closed what else
// was in fds.
func (z *zygote) streams(x *execRequest, fds []int) ([]int, error) {
	if x.Session != noSession {
		return z.sessionStreams(x, fds)
	}
	if len(fds) < 2 || !x.Empty && x.Stdin == "" && len(fds) < 3 {
		return nil, unix.EBADMSG
	}
	in := -1
	var err error
	switch {
	case x.Empty:
		in, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	case x.Stdin == "":
		in, err = reopen(fds[2])
	default:
		var tree int
		if tree, err = cloneTree(z.host, x.Stdin); err == nil {
			in, err = reopen(tree)
			unix.Close(tree)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening standard input: %w", err)
	}
	closeAll(fds[2:])
	return []int{in, fds[0], fds[1]}, nil
}

// reopen opens for reading the file that a mount is of. Through a descriptor of the store's own
// mount a command could change modes, and open it again for writing.
func reopen(mount int) (int, error) {
	return unix.Open("/proc/self/fd/"+strconv.Itoa(mount), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// start forks the command. The pid is 0 if somebody wanted it killed already.
func (z *zygote) start(program string, x *execRequest, files []int) (pid int, err error) {
	if err := z.setLimits(x); err != nil {
		return 0, err
	}
	// A command is the first to go when memory runs out. Its parent goes back to where it
	// started, which needs no privilege.
	if _, err := unix.Pwrite(z.oomAdj, []byte("1000"), 0); err != nil {
		return 0, fmt.Errorf("setting oom_score_adj: %w", err)
	}
	defer unix.Pwrite(z.oomAdj, z.oomScore, 0)
	if _, err := unix.Pwrite(z.lastPid, []byte(strconv.Itoa(firstPid-1)), 0); err != nil {
		return 0, fmt.Errorf("setting ns_last_pid: %w", err)
	}
	z.closeHost()
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.doomed >= x.Seq {
		return 0, nil
	}
	if z.Lookups {
		defer withoutGC()()
	}
	if x.Net {
		back, err := z.goOut()
		if err != nil {
			return 0, err
		}
		defer back()
	}
	// No CLONE_NEW flag: ForkExec would fork without CLONE_VM, twice as dear. Not
	// os.StartProcess: it opens a pidfd and makes an os.Process each time.
	pid, err = syscall.ForkExec(program, x.Argv, &syscall.ProcAttr{
		Dir:   x.Cwd,
		Env:   x.Env,
		Files: []uintptr{uintptr(files[0]), uintptr(files[1]), uintptr(files[2])},
		Sys: &syscall.SysProcAttr{Chroot: rootPath(z.scratch.index), Setsid: true,
			Setctty: x.Session == terminalSession},
	})
	if err != nil {
		return 0, err
	}
	z.running, z.denials = x.Seq, nil
	return pid, nil
}

// setLimits sets the limits that stand in for a cgroup's. They are soft: to set them for one
// command only, the zygote must be able to go back.
func (z *zygote) setLimits(x *execRequest) error {
	set := func(what int, have *unix.Rlimit, n uint64) error {
		if *have == (unix.Rlimit{}) { // nobody else sets it later
			if err := unix.Getrlimit(what, have); err != nil {
				return err
			}
		}
		want := unix.Rlimit{Cur: have.Max, Max: have.Max}
		if n > 0 {
			want.Cur = min(n, want.Cur)
		}
		if *have == want {
			return nil
		}
		*have = want
		return unix.Setrlimit(what, &want)
	}
	if err := set(unix.RLIMIT_NPROC, &z.processes, uint64(x.Pids)); err != nil {
		return fmt.Errorf("limiting processes: %w", err)
	}
	// For what takes memory faster than it is sampled. It counts what is reserved, too, such as
	// the 8 MiB of each thread's stack, hence the slack.
	data := uint64(0)
	if x.Mem > 0 {
		data = 2*uint64(x.Mem) + 4<<30
	}
	if err := set(unix.RLIMIT_DATA, &z.data, data); err != nil {
		return fmt.Errorf("limiting memory: %w", err)
	}
	return nil
}

// reap waits for the command, reaping orphans meanwhile, then kills and reaps until nothing is
// left. All in the pid namespace are descendants of the zygote: when it has no child, nothing is.
// To kill takes the kernel a walk over all processes of the machine, so it is done only if needed.
func (z *zygote) reap(command int, r *reply) error {
	ended, begun := false, time.Now()
	for options := unix.WALL; ; {
		var ws unix.WaitStatus
		var ru unix.Rusage
		pid, err := unix.Wait4(-1, &ws, options, &ru)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD && ended:
			return nil
		case err != nil:
			return fmt.Errorf("waiting: %w", err)
		case pid == 0:
			unix.Kill(-1, unix.SIGKILL)
			options = unix.WALL
			continue
		}
		r.User += ru.Utime.Nano()
		r.System += ru.Stime.Nano()
		r.MaxRSS = max(r.MaxRSS, ru.Maxrss<<10)
		if pid == command {
			ended = true
			r.Run = time.Since(begun).Nanoseconds()
			r.Status = uint32(ws)
		}
		if ended {
			options = unix.WALL | unix.WNOHANG
		}
	}
}

// freshNetwork moves the thread into a new network namespace if the last command left sockets or
// connections behind: those in TIME_WAIT hold their ports, and sockets that are in flight in
// their own queues live, with their names, until the kernel collects such cycles.
func (z *zygote) freshNetwork() (err error) {
	if z.sockets < 0 {
		if z.sockets, err = unix.Open("/proc/self/net/sockstat", unix.O_RDONLY|unix.O_CLOEXEC,
			0); err != nil {
			return fmt.Errorf("opening sockstat: %w", err)
		}
	}
	var buf [512]byte
	n, err := unix.Pread(z.sockets, buf[:], 0)
	if err != nil {
		return fmt.Errorf("reading sockstat: %w", err)
	}
	b := buf[:n]
	// sockets: used 0
	// TCP: inuse 0 orphan 0 tw 0 alloc 4 mem 0; the last two are of all namespaces, tw is of IPv6 too.
	var used, inuse, orphan, tw int
	_, line, _ := bytes.Cut(b, []byte("TCP: "))
	if _, err := fmt.Sscanf(string(b), "sockets: used %d\n", &used); err != nil {
		return fmt.Errorf("parsing sockstat: %w", err)
	}
	if _, err := fmt.Sscanf(string(line), "inuse %d orphan %d tw %d", &inuse, &orphan, &tw); err != nil {
		return fmt.Errorf("parsing sockstat: %w", err)
	}
	if used == 0 && inuse == 0 && tw == 0 {
		return nil
	}
	unix.Close(z.sockets)
	z.sockets = -1
	if z.home >= 0 {
		unix.Close(z.home)
		z.home = -1
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("renewing the network: %w", err)
	}
	return loopback()
}

// startError explains why a program that is there did not start.
func (z *zygote) startError(program string, err error) error {
	switch err {
	case unix.ENOENT:
		root, e := z.openRoot()
		if e != nil {
			return e
		}
		defer unix.Close(root)
		if in := interpreter(root, program, 0); in != "" {
			return wire.Errorf(wire.CauseNotInRoot, fmt.Sprintf("add %s to tools", path.Base(in)),
				"%q needs %q, which is not in the root", program, in)
		}
		return wire.Errorf(wire.CauseNotInRoot, "add it to tools", "%q cannot be started: %v", program, err)
	case unix.ENOEXEC, unix.EINVAL, unix.ELIBBAD:
		return wire.Errorf(wire.CauseNotInRoot,
			"it must be a Linux program for this processor, or start with #! and its interpreter",
			"%q is not a program", program)
	case unix.EACCES, unix.EPERM, unix.ELOOP, unix.ENOTDIR:
		return wire.Errorf(wire.CauseNotInRoot, "it and its interpreter must be executable",
			"%q cannot be executed: %v", program, err)
	case unix.E2BIG:
		return wire.Errorf(wire.CauseExit, "pass them in a file",
			"arguments and environment exceed what the kernel takes")
	}
	return fmt.Errorf("starting %q: %w", program, err)
}

// interpreter returns the missing one of the interpreters that a script's first line, or the
// header of an ELF file, asks for; "" if it cannot tell.
func interpreter(root int, program string, depth int) string {
	fd, err := unix.Openat2(root, program,
		&unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT})
	if err == unix.ENOENT && depth > 0 {
		return program
	}
	if err != nil || depth > 4 { // the kernel follows as many
		return ""
	}
	f := os.NewFile(uintptr(fd), program)
	defer f.Close()
	head, err := bufio.NewReader(io.LimitReader(f, 256)).ReadBytes('\n') // BINPRM_BUF_SIZE
	if script, ok := bytes.CutPrefix(head, []byte("#!")); ok && (err == nil || err == io.EOF) {
		if words := strings.Fields(string(script)); len(words) > 0 {
			return interpreter(root, words[0], depth+1)
		}
		return ""
	}
	if in := elfInterpreter(f); in != "" {
		return interpreter(root, in, depth+1)
	}
	return ""
}

func elfInterpreter(f *os.File) string {
	e, err := elf.NewFile(f)
	if err != nil {
		return ""
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < 4096 {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err == nil {
				return strings.TrimRight(string(b), "\x00")
			}
		}
	}
	return ""
}
