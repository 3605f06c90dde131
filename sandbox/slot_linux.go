package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// A slot runs one thunk at a time in its zygote, which it starts when needed.
type slot struct {
	engine  *Engine
	index   int
	zygote  *remote // nil: not running
	drained []byte  // where output streams are read to
	spare   Cable   // for the next command on a network; nil: there is none
}

// A remote is the engine's end of a zygote.
type remote struct {
	cmd   *exec.Cmd
	sock  int // requests and replies
	kills int
	in    receiver
	group *group // nil: no cgroup
	owner int    // user namespace in which the engine's uid is the slot's; -1: they are one
	seq   uint64 // of the last Exec
	roots [keptRoots]mountedRoot
}

// A mountedRoot is a root tree that a zygote has mounted. A directory that was removed and made
// again has another inode, since the mount holds the old one.
type mountedRoot struct {
	path     string
	net      bool // for commands on a network
	dev, ino uint64
	used     uint64 // seq of its last use
}

// startTimeout bounds the start of a zygote, which takes 10 ms on an idle machine.
const startTimeout = 30 * time.Second

// start starts the slot's zygote.
func (s *slot) start() (err error) {
	ours, theirs, err := sockets()
	if err != nil {
		return err
	}
	z := &remote{sock: ours[0], kills: ours[1], in: receiver{sock: ours[0]}, owner: -1}
	z.cmd, err = s.command(theirs)
	if err == nil {
		err = startLazily(z.cmd)
	}
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		closeAll(ours)
		return wire.Errorf(wire.CauseSandbox, s.startHint(err), "starting a sandbox: %v", err)
	}
	defer func() {
		if err != nil {
			z.end()
		}
	}()
	if len(s.engine.groups.directories()) > 0 {
		if z.group, err = s.engine.groups.open(s.index, z.cmd.Process.Pid); err != nil {
			return wire.Errorf(wire.CauseSandbox, "", "starting a sandbox: %v", err)
		}
	}
	if s.engine.distinct {
		if err := exposeToOOM(z.cmd.Process.Pid); err != nil {
			return wire.Errorf(wire.CauseSandbox, "", "starting a sandbox: %v", err)
		}
		if z.owner, err = ownerMap(s.uid()); err != nil {
			return wire.Errorf(wire.CauseSandbox, setupHint(err), "starting a sandbox: %v", err)
		}
	}
	late := time.AfterFunc(startTimeout, func() { z.cmd.Process.Kill() })
	defer late.Stop()
	var ready reply
	fds, err := z.in.receive(&ready)
	closeAll(fds)
	if err != nil {
		return wire.Errorf(wire.CauseSandbox, "see the log", "starting a sandbox: its process ended (%v)",
			err)
	}
	if ready.Trouble != nil {
		return ready.Trouble
	}
	if z.group != nil {
		z.group.settle()
	}
	if z.group != nil && z.group.memory != "" {
		every := unix.NsecToTimeval(oomEvery.Nanoseconds())
		if err := unix.SetsockoptTimeval(z.sock, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &every); err != nil {
			return wire.Errorf(wire.CauseSandbox, "", "starting a sandbox: %v", err)
		}
	}
	s.zygote = z
	return nil
}

const (
	// lazy is the timer slack of a zygote (PR_SET_TIMERSLACK). While a command runs, the monitor of
	// Go's runtime wants to look every 20 us whether a processor should be taken from the thread
	// that waits for it, which took two fifths of the zygote's CPU time. Nothing here needs it to be
	// quick: a kill comes that much later at worst.
	lazy = 5 * time.Millisecond
	// normalSlack is the kernel's default, which commands have.
	normalSlack = 50 * time.Microsecond
)

// startLazily starts a process with the timer slack of a zygote. A child has that of the thread
// that forks it, and threads have that of the one that made them; the runtime's monitor is there
// before a program can set its own.
func startLazily(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := setSlack(lazy); err != nil {
		return err
	}
	err := cmd.Start()
	return errors.Join(err, setSlack(0)) // 0 is what the thread had at first
}

func setSlack(d time.Duration) error {
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(d.Nanoseconds()), 0, 0, 0); err != nil {
		return fmt.Errorf("setting the timer slack: %w", err)
	}
	return nil
}

// sockets returns two pairs: for requests, and for kills.
func sockets() (ours []int, theirs []*os.File, err error) {
	for range 2 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			closeAll(ours)
			for _, f := range theirs {
				f.Close()
			}
			return nil, nil, fmt.Errorf("making sockets: %w", err)
		}
		ours, theirs = append(ours, pair[0]), append(theirs, os.NewFile(uintptr(pair[1]), "zygote"))
	}
	return ours, theirs, nil
}

// command prepares the start of a zygote.
func (s *slot) command(theirs []*os.File) (*exec.Cmd, error) {
	e := s.engine
	arg, err := json.Marshal(zygoteConfig{Distinct: e.distinct, Program: e.program != nil,
		Terminals: e.config.Terminals, Lookups: e.config.Lookups, Networks: e.config.Networks != nil, Far: e.config.Networks != nil && tunClosed()})
	if err != nil {
		return nil, err
	}
	uid, gid := os.Geteuid(), os.Getegid()
	if e.distinct {
		uid, gid = s.uid(), s.uid()
	}
	cmd := exec.Command("/proc/self/exe", string(arg))
	if e.program != nil {
		cmd = exec.Command("/proc/self/fd/"+strconv.Itoa(programFD), string(arg), shieldedArg)
		theirs = append(theirs, e.program)
	}
	cmd.Args[0] = zygoteName
	cmd.Dir = "/"
	// See defaultSignals for asynchronous preemption.
	cmd.Env = []string{"GOGC=50", "GOMAXPROCS=2", "GODEBUG=asyncpreemptoff=1"}
	cmd.Stderr = &errorLog{log: e.log, slot: s.index}
	cmd.ExtraFiles = theirs
	// Ambient capabilities carry what the zygote needs over its execve though its uid inside is
	// not 0. No Pdeathsig: it follows the thread that forked, which may end long before the
	// engine; the zygote watches its socket.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		UidMappings:                []syscall.SysProcIDMap{{ContainerID: insideID, HostID: uid, Size: 1}},
		GidMappings:                []syscall.SysProcIDMap{{ContainerID: insideID, HostID: gid, Size: 1}},
		GidMappingsEnableSetgroups: e.distinct, // drop root's supplementary groups; others may not
		Credential: &syscall.Credential{Uid: insideID, Gid: insideID,
			NoSetGroups: !e.distinct},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SETPCAP,
			unix.CAP_SYS_RESOURCE, unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW},
		Setsid: true, // the terminal's Ctrl-C is for the engine
	}
	return cmd, nil
}

// exposeToOOM takes from a zygote what protects the engine, a system service, say, from the OOM
// killer: a command can lower its own oom_score_adj as far as the superuser last set its zygote's.
func exposeToOOM(pid int) error {
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil || len(b) == 0 || b[0] != '-' {
		return err
	}
	return os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("0"), 0)
}

// uid is the host's uid and gid of the slot, where it has its own.
func (s *slot) uid() int { return s.engine.config.FirstUID + s.index }

// ownerMap returns a user namespace that says, given to a mount, that what the superuser owns is
// owned by uid. Commands thus see the same owner whether the engine is the superuser's or not.
func ownerMap(uid int) (int, error) {
	cmd := exec.Command("/proc/self/exe", holderArg)
	cmd.Args[0] = zygoteName
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: one,
		GidMappings: one}
	hold, err := cmd.StdinPipe()
	if err != nil {
		return -1, err
	}
	if err := cmd.Start(); err != nil {
		return -1, err
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	hold.Close()
	if e := cmd.Wait(); err == nil && e != nil {
		unix.Close(fd)
		return -1, e
	}
	return fd, err
}

func (s *slot) startHint(err error) string {
	if i, e := os.Stat("/proc/self/exe"); e == nil && s.engine.distinct && i.Mode().Perm()&0o001 == 0 {
		return "tasks run under another uid, which must be able to execute this program: chmod a+rx " + executablePath()
	}
	return setupHint(err)
}

func executablePath() string {
	p, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return p
}

// errorLog takes what a zygote says before it dies.
type errorLog struct {
	log  *slog.Logger
	slot int
}

func (l *errorLog) Write(b []byte) (int, error) {
	l.log.Error("slot's process says", "slot", l.slot, "text", string(b[:min(len(b), wire.MaxText)]))
	return len(b), nil
}

// stop ends the slot's zygote, and with it everything in its pid namespace.
func (s *slot) stop() {
	s.unplug()
	if s.zygote != nil {
		s.zygote.end()
		s.zygote = nil
	}
}

func (z *remote) end() {
	z.cmd.Process.Kill()
	z.cmd.Wait() // returns once the whole pid namespace is gone
	closeAll([]int{z.sock, z.kills})
	if z.owner >= 0 {
		unix.Close(z.owner)
	}
	if z.group != nil {
		z.group.close()
	}
}
