package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// openKnobs opens files of /proc before the machine's goes out of sight.
func (z *zygote) openKnobs() (err error) {
	const lastPid, oomAdj = "/proc/sys/kernel/ns_last_pid", "/proc/self/oom_score_adj"
	if z.lastPid, err = unix.Open(lastPid, unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("opening %s: %w", lastPid, err)
	}
	if z.oomAdj, err = unix.Open(oomAdj, unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("opening %s: %w", oomAdj, err)
	}
	if z.oomScore, err = os.ReadFile(oomAdj); err != nil {
		return fmt.Errorf("reading %s: %w", oomAdj, err)
	}
	if bytes.HasPrefix(z.oomScore, []byte("-")) {
		z.oomScore = []byte("0") // see exposeToOOM
	}
	return nil
}

// defaultSignals gives every signal its default action in a way that Go's runtime does not
// notice. From inside a pid namespace, its pid 1 gets only signals it has a handler for: a
// command has our uid and could otherwise end us. The runtime does without: asynchronous
// preemption is off, and our own faults end the process either way.
//
// It is told first that they are ignored, or it would think that it handles them, and take its
// handlers off one by one in every child that it forks: 49 of 55 system calls before an execve.
func defaultSignals() error {
	signal.Ignore()      // all
	var action [4]uint64 // struct kernel_sigaction: SIG_DFL, no flags, nothing blocked
	for s := 1; s <= 64; s++ {
		if s == int(unix.SIGKILL) || s == int(unix.SIGSTOP) {
			continue
		}
		if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)),
			0, 8, 0, 0); e != 0 {
			return e
		}
	}
	return nil
}

// loopback brings lo up in the thread's network namespace.
func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
}

// confine sets on this thread what commands inherit.
func (z *zygote) confine() error {
	for _, l := range []struct {
		what int
		max  uint64
	}{
		// Limits bind the zygote too. Never RLIMIT_AS: the Go heap could not grow.
		//
		// One byte of core, not none: a core_pattern that is a pipe heeds no limit but this
		// (core(5)), and would start the machine's handler, the superuser's, outside.
		{unix.RLIMIT_CORE, 1}, {unix.RLIMIT_STACK, 8 << 20}, {unix.RLIMIT_MEMLOCK,
			64 << 10}, {unix.RLIMIT_NOFILE, 4096},
		// Some users may go before all others (audio groups, desktops). Their thunks may not.
		{unix.RLIMIT_RTPRIO, 0}, {unix.RLIMIT_NICE, 0},
	} {
		var have unix.Rlimit
		if err := unix.Getrlimit(l.what, &have); err != nil {
			return err
		}
		hard := min(l.max, have.Max)
		limit := unix.Rlimit{Cur: hard, Max: hard}
		if l.what == unix.RLIMIT_NOFILE {
			limit.Cur = min(1024, hard)
		}
		// Not the raw call: ForkExec would restore the old RLIMIT_NOFILE.
		if err := unix.Setrlimit(l.what, &limit); err != nil {
			return fmt.Errorf("setting limit %d: %w", l.what, err)
		}
	}
	unix.Umask(0o022)
	if err := setSlack(normalSlack); err != nil {
		return err
	}
	const addrNoRandomize = 0x40000
	if _, _, e := unix.RawSyscall(unix.SYS_PERSONALITY, addrNoRandomize, 0, 0); e != 0 {
		return fmt.Errorf("personality: %w", e)
	}
	// An execve under an empty bounding set leaves no capability, though the zygote keeps its
	// own; but the ambient and inheritable sets would pass. Emptying the latter empties both.
	for c := uintptr(0); unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) == nil; c++ {
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	caps[0].Inheritable, caps[1].Inheritable = 0, 0
	if err := unix.Capset(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	// Until its execve a command has the zygote's credentials, which open /proc/1/root to
	// "#!/proc/1/root/host/usr/bin/x". They do not if the zygote cannot be dumped.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("dumpable: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	listener, err := installFilter(z.Lookups)
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	if z.Lookups && listener < 0 {
		return wire.Errorf(wire.CauseSandbox, "run it outside of containers", "this machine does not let a command be watched")
	}
	if z.Lookups {
		z.seeker = newSeeker()
	}
	if listener >= 0 {
		go z.hear(listener)
	}
	return nil
}
