package sandbox

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"gaggle/sandbox/notify"
)

// The filter allows what it does not name. Commands have no capability, a root of their own and
// no network, so the filter narrows the kernel's surface and closes what would outlive a command
// or reach its zygote, which has the same uid. mount, umount2, open_tree, move_mount,
// mount_setattr, chroot, unshare(CLONE_NEWNET) and setns(CLONE_NEWNET) stay open because the zygote's thread, whose
// filter a command inherits, needs them; they refuse everybody else for want of a capability.
//
// What is refused by its number alone, and a command of another architecture, is not answered by
// the kernel: the zygote hears of it and says no, so that a failure can name the call. Where a
// listener is there already (a container manager's: there can be one only), the kernel refuses.
//
// Since Linux 5.11 a call that is allowed by its number alone does not run the filter, so its
// length costs a command nothing.

const (
	// newNamespaces are the flags of clone and unshare that make namespaces.
	newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
		unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP
	newTime = 0x80 // CLONE_NEWTIME; clone has a signal's number there
	// lastCall is the newest system call this filter was written for (mseal 462 to
	// listns 470). Newer ones, and those of the x32 ABI, are "not implemented".
	lastCall = 470

	ioprioWhoProcess = 1
)

// A program is a BPF program under construction (seccomp(2)).
type program []unix.SockFilter

const (
	dataNr, dataArch                = 0, 4 // offsets in struct seccomp_data
	retKill, retAllow, retErrno     = 0x80000000, 0x7fff0000, 0x00050000
	retNotify                       = 0x7fc00000
	opEqual, opAbove, opAny         = unix.BPF_JEQ, unix.BPF_JGT, unix.BPF_JSET
	argLow                      int = 16 // of the first argument's low half, little endian
)

func (p *program) load(off int) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(off)})
}

func (p *program) ret(k uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k})
}

// unless skips the next n instructions if the loaded word is not op k.
func (p *program) unless(op uint16, k uint32, n int) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jf: uint8(n), K: k})
}

func (p *program) refuse(op uint16, k uint32, e unix.Errno) {
	p.unless(op, k, 1)
	p.ret(retErrno | uint32(e))
}

// call adds rules about one system call: body looks at arguments and returns verdicts; what it
// lets through is allowed.
func (p *program) call(nr uint32, body func(p *program)) {
	var b program
	body(&b)
	b.ret(retAllow)
	p.unless(opEqual, nr, len(b))
	*p = append(*p, b...)
}

func (p *program) arg(n int) { p.load(argLow + 8*n) }

// filter returns the program. What it refuses outright goes to a listener if there is one, and with
// lookups what names a file, too.
func filter(listener, lookups bool) (program, error) {
	arch := nativeArch()
	if arch == 0 {
		return nil, fmt.Errorf("no system call filter for %s", runtime.GOARCH)
	}
	no, foreign := uint32(retErrno)|uint32(unix.EPERM), uint32(retKill)
	if listener {
		no, foreign = retNotify, retNotify
	}
	var p program
	p.load(dataArch)
	p = append(p, unix.SockFilter{Code: unix.BPF_JMP | opEqual | unix.BPF_K, Jt: 1, K: arch})
	p.ret(foreign) // 32-bit programs: another table of calls
	p.load(dataNr)
	p.call(unix.SYS_CLONE, func(p *program) {
		p.arg(0)
		p.refuse(opAny, newNamespaces, unix.EPERM)
	})
	p.call(unix.SYS_UNSHARE, func(p *program) {
		p.arg(0)
		p.refuse(opAny, newNamespaces&^unix.CLONE_NEWNET|newTime, unix.EPERM)
	})
	p.call(unix.SYS_SETNS, func(p *program) {
		p.arg(1)
		p.unless(opEqual, unix.CLONE_NEWNET, 1)
		p.ret(retAllow)
		p.ret(no)
	})
	p.call(unix.SYS_IOCTL, func(p *program) {
		p.arg(1)
		p.refuse(opEqual, unix.TIOCSTI, unix.EPERM)
		p.refuse(opEqual, unix.TIOCLINUX, unix.EPERM)
		p.refuse(opEqual, unix.TIOCSETD, unix.EPERM) // loads line disciplines; a session has a terminal
	})
	p.call(unix.SYS_SOCKET, socketRules)
	p.call(unix.SYS_SOCKETPAIR, func(p *program) { // other families make two before they say no
		p.arg(0)
		p.unless(opEqual, unix.AF_UNIX, 1)
		p.ret(retAllow)
		p.ret(retErrno | uint32(unix.EAFNOSUPPORT))
	})
	guardZygote(&p)
	// What clone3's pointer holds cannot be seen; C libraries fall back to clone.
	p.refuse(opEqual, unix.SYS_CLONE3, unix.ENOSYS)
	p.refuse(opAbove, lastCall, unix.ENOSYS)
	for _, r := range refusals {
		p.unless(opEqual, r.call, 1)
		p.ret(no)
	}
	if lookups && listener {
		for _, c := range notify.PathCalls {
			p.unless(opEqual, c.Nr, 1)
			p.ret(retNotify)
		}
	}
	p.ret(retAllow)
	return p, nil
}

// socketRules leave local, IP and routing sockets; vsock reaches the hypervisor, packet and alg
// are kernel surface.
func socketRules(p *program) {
	p.arg(0)
	for _, family := range []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6} {
		p.unless(opEqual, family, 1)
		p.ret(retAllow)
	}
	p.unless(opEqual, unix.AF_NETLINK, 3)
	p.arg(2)
	p.unless(opEqual, unix.NETLINK_ROUTE, 1)
	p.ret(retAllow)
	p.ret(retErrno | uint32(unix.EAFNOSUPPORT))
}

// guardZygote refuses what a process may do to another one of its uid and would last in the
// zygote: limits, priorities, affinity. Its threads have ids below firstPid.
func guardZygote(p *program) {
	p.call(unix.SYS_PRLIMIT64, func(p *program) {
		p.arg(0)
		p.unless(opEqual, 0, 1)
		p.ret(retAllow)
		p.ret(retErrno | uint32(unix.EPERM))
	})
	own := func(process uint32) func(p *program) { // the caller's, never "all of this user"
		return func(p *program) {
			p.arg(0)
			p.unless(opEqual, process, 3)
			p.arg(1)
			p.unless(opEqual, 0, 1)
			p.ret(retAllow)
			p.ret(retErrno | uint32(unix.EPERM))
		}
	}
	p.call(unix.SYS_SETPRIORITY, own(unix.PRIO_PROCESS))
	p.call(unix.SYS_IOPRIO_SET, own(ioprioWhoProcess))
	for _, nr := range []uint32{unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETPARAM,
		unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETATTR} {
		p.call(nr, func(p *program) {
			p.arg(0)
			p.unless(opEqual, 0, 1)
			p.ret(retAllow)
			p.unless(opAbove, firstPid-1, 1)
			p.ret(retAllow)
			p.ret(retErrno | uint32(unix.EPERM))
		})
	}
}

// nativeArch is what struct seccomp_data calls this program's architecture; 0 if it is not known.
func nativeArch() uint32 {
	return map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64,
		"arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
}

// installFilter binds the calling thread, and what it forks, to the filter. It returns the
// listener, or -1 where there can be none.
func installFilter(lookups bool) (listener int, err error) {
	fd, err := setFilter(true, lookups)
	if err == unix.EBUSY {
		_, err = setFilter(false, lookups)
		fd = -1
	}
	return fd, err
}

func setFilter(listener, lookups bool) (int, error) {
	f, err := filter(listener, lookups)
	if err != nil {
		return -1, err
	}
	flags := uintptr(0)
	if listener {
		flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	fd, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(f)
	if e != 0 {
		return -1, e
	}
	return int(fd), nil
}
