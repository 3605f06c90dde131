package sandbox

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An attempt is something that no command may do, and how the kernel must say no: any other
// error would mean that something else stood in the way, and the refusal was not tried.
type attempt struct {
	name string
	want unix.Errno
	try  func() error
}

// raw makes a system call.
func raw(nr uintptr, a ...uintptr) func() error {
	a = append(a, 0, 0, 0, 0, 0, 0)
	return func() error {
		if _, _, e := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); e != 0 {
			return e
		}
		return nil
	}
}

// probeRefusals tries what no command may do, and says everything that is not as it should be.
func probeRefusals([]string) error {
	var wrong []error
	for _, list := range [][]attempt{mountAttempts(), namespaceAttempts(), processAttempts(),
		kernelAttempts(), socketAttempts(), fileAttempts()} {
		for _, a := range list {
			if err := a.try(); !errors.Is(err, a.want) {
				wrong = append(wrong, fmt.Errorf("%s: %v, want %v", a.name, err, a.want))
			}
		}
	}
	return errors.Join(wrong...)
}

func mountAttempts() []attempt {
	path := func(p string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(p + "\x00"))) }
	return []attempt{
		{"mount tmpfs", unix.EPERM, func() error { return unix.Mount("x", "/tmp", "tmpfs", 0, "") }},
		{"remount root", unix.EPERM, func() error {
			return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "")
		}},
		{"bind", unix.EPERM, func() error { return unix.Mount("/tmp", "/job", "", unix.MS_BIND, "") }},
		{"umount job", unix.EPERM, func() error { return unix.Unmount("/job", unix.MNT_DETACH) }},
		{"umount proc", unix.EPERM, func() error { return unix.Unmount("/proc", unix.MNT_DETACH) }},
		{"pivot_root", unix.EPERM, func() error { return unix.PivotRoot("/tmp", "/tmp") }},
		{"chroot", unix.EPERM, func() error { return unix.Chroot("/tmp") }},
		{"open_tree", unix.EPERM, func() error {
			_, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE)
			return err
		}},
		{"move_mount", unix.EPERM, func() error {
			return unix.MoveMount(unix.AT_FDCWD, "/proc", unix.AT_FDCWD, "/tmp", 0)
		}},
		{"mount_setattr", unix.EPERM, func() error {
			return unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
		}},
		{"fsopen", unix.EPERM, func() error { _, err := unix.Fsopen("tmpfs", 0); return err }},
		{"fspick", unix.EPERM, raw(unix.SYS_FSPICK, 0, path("/"))},
		{"fsconfig", unix.EPERM, raw(unix.SYS_FSCONFIG)},
		{"fsmount", unix.EPERM, raw(unix.SYS_FSMOUNT)},
		{"swapon", unix.EPERM, raw(unix.SYS_SWAPON, path("/tmp"))},
		{"quotactl_fd", unix.EPERM, raw(unix.SYS_QUOTACTL_FD)},
		{"open_by_handle_at", unix.EPERM, raw(unix.SYS_OPEN_BY_HANDLE_AT)},
		{"name_to_handle_at", unix.EPERM, raw(unix.SYS_NAME_TO_HANDLE_AT)},
	}
}

func namespaceAttempts() (list []attempt) {
	for name, flag := range map[string]int{"user": unix.CLONE_NEWUSER, "mount": unix.CLONE_NEWNS,
		"network": unix.CLONE_NEWNET, "pid": unix.CLONE_NEWPID, "ipc": unix.CLONE_NEWIPC,
		"uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP, "time": newTime} {
		args := [11]uint64{uint64(flag), 0, 0, 0, uint64(unix.SIGCHLD)}
		list = append(list,
			attempt{"unshare " + name, unix.EPERM, func() error { return unix.Unshare(flag) }},
			attempt{"clone3 " + name, unix.ENOSYS, raw(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), 88)})
		if flag != newTime {
			list = append(list, attempt{"clone " + name, unix.EPERM,
				raw(unix.SYS_CLONE, uintptr(flag)|uintptr(unix.SIGCHLD))})
		}
	}
	enter := func(name string, kind int) func() error {
		return func() error {
			fd, err := unix.Open("/proc/self/ns/"+name, unix.O_RDONLY, 0)
			if err != nil {
				return fmt.Errorf("opening: %v", err)
			}
			defer unix.Close(fd)
			return unix.Setns(fd, kind)
		}
	}
	return append(list, attempt{"setns", unix.EPERM, enter("user", 0)},
		// Which the filter lets through for the slot's process: the kernel wants a capability.
		attempt{"setns network", unix.EPERM, enter("net", unix.CLONE_NEWNET)},
		attempt{"setns any as network", unix.EINVAL, enter("ipc", unix.CLONE_NEWNET)})
}

// processAttempts are about the zygote, which is pid 1.
func processAttempts() []attempt {
	limit := &unix.Rlimit{Cur: 1, Max: 1}
	var cpu unix.CPUSet
	cpu.Set(0)
	pidfd, _ := unix.PidfdOpen(1, 0)
	return []attempt{
		{"ptrace attach", unix.EPERM, func() error { return unix.PtraceAttach(1) }},
		{"ptrace seize", unix.EPERM, func() error { return unix.PtraceSeize(1) }},
		{"ptrace self", unix.EPERM, raw(unix.SYS_PTRACE, unix.PTRACE_TRACEME)},
		{"process_vm_readv", unix.EPERM, raw(unix.SYS_PROCESS_VM_READV, 1)},
		{"process_vm_writev", unix.EPERM, raw(unix.SYS_PROCESS_VM_WRITEV, 1)},
		{"process_madvise", unix.EPERM, raw(unix.SYS_PROCESS_MADVISE)},
		{"process_mrelease", unix.EPERM, raw(unix.SYS_PROCESS_MRELEASE, uintptr(pidfd))},
		{"move_pages", unix.EPERM, raw(unix.SYS_MOVE_PAGES, 1)},
		{"migrate_pages", unix.EPERM, raw(unix.SYS_MIGRATE_PAGES, 1)},
		{"kcmp", unix.EPERM, raw(unix.SYS_KCMP, 1, 1)},
		{"pidfd_getfd", unix.EPERM, raw(unix.SYS_PIDFD_GETFD, uintptr(pidfd), 0)},
		{"prlimit", unix.EPERM, func() error { return unix.Prlimit(1, unix.RLIMIT_NOFILE, limit, nil) }},
		{"priority of the user", unix.EPERM, func() error { return unix.Setpriority(unix.PRIO_USER, 0, 19) }},
		{"priority", unix.EPERM, func() error { return unix.Setpriority(unix.PRIO_PROCESS, 1, 19) }},
		{"affinity", unix.EPERM, func() error { return unix.SchedSetaffinity(1, &cpu) }},
		{"real time", unix.EPERM, func() error {
			return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
		}},
		{"more than its part", unix.EACCES, func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) }},
		{"ioprio", unix.EPERM, raw(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 1, 7)},
		{"setuid", unix.EINVAL, func() error { return syscall.Setuid(0) }}, // no such uid inside
		{"setgroups", unix.EPERM, func() error { return unix.Setgroups([]int{0}) }},
		{"capset", unix.EPERM, capsetAll},
	}
}

func capsetAll() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	caps := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
	return unix.Capset(&hdr, &caps[0])
}

func kernelAttempts() []attempt {
	one, queue := byte('x'), [3]byte{'/', 'x'}
	var list []attempt
	for name, nr := range map[string]uintptr{
		"bpf": unix.SYS_BPF, "perf_event_open": unix.SYS_PERF_EVENT_OPEN,
		"userfaultfd": unix.SYS_USERFAULTFD, "io_uring_setup": unix.SYS_IO_URING_SETUP,
		"io_uring_enter": unix.SYS_IO_URING_ENTER, "io_uring_register": unix.SYS_IO_URING_REGISTER,
		"keyctl": unix.SYS_KEYCTL, "add_key": unix.SYS_ADD_KEY, "request_key": unix.SYS_REQUEST_KEY,
		"fanotify_init": unix.SYS_FANOTIFY_INIT, "init_module": unix.SYS_INIT_MODULE,
		"finit_module": unix.SYS_FINIT_MODULE, "kexec_load": unix.SYS_KEXEC_LOAD,
		"kexec_file_load": unix.SYS_KEXEC_FILE_LOAD, "syslog": unix.SYS_SYSLOG,
		"acct": unix.SYS_ACCT, "vhangup": unix.SYS_VHANGUP, "settimeofday": unix.SYS_SETTIMEOFDAY,
		"shmget": unix.SYS_SHMGET, "semget": unix.SYS_SEMGET, "msgget": unix.SYS_MSGGET,
	} {
		list = append(list, attempt{name, unix.EPERM, raw(nr, 1, 4096, 0o1600)})
	}
	return append(list,
		attempt{"mq_open", unix.EPERM, raw(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(&queue)),
			unix.O_CREAT|unix.O_RDWR, 0o600)},
		attempt{"TIOCSTI", unix.EPERM, raw(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&one)))},
		attempt{"TIOCSTI with high bits", unix.EPERM, raw(unix.SYS_IOCTL, 0, 1<<40|unix.TIOCSTI,
			uintptr(unsafe.Pointer(&one)))},
		attempt{"TIOCSETD", unix.EPERM, raw(unix.SYS_IOCTL, 0, unix.TIOCSETD, uintptr(unsafe.Pointer(&one)))},
		attempt{"TIOCLINUX", unix.EPERM, raw(unix.SYS_IOCTL, 0, unix.TIOCLINUX, uintptr(unsafe.Pointer(&one)))},
		attempt{"sethostname", unix.EPERM, func() error { return unix.Sethostname([]byte("x")) }},
		attempt{"clock_settime", unix.EPERM, func() error {
			return unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{})
		}},
		attempt{"reboot", unix.EPERM, raw(unix.SYS_REBOOT, 0xfee1dead, 672274793, 0x89abcdef)},
		attempt{"newer call", unix.ENOSYS, raw(lastCall + 1)})
}

func socketAttempts() (list []attempt) {
	try := func(name string, want unix.Errno, family, kind, proto int) {
		list = append(list, attempt{name, want, func() error {
			_, err := unix.Socket(family, kind, proto)
			return err
		}})
	}
	const sockPacket = 10 // the old name of AF_PACKET
	try("raw socket", unix.EPERM, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	try("raw socket of IPv6", unix.EPERM, unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)
	try("packet socket, old", unix.EPERM, unix.AF_INET, sockPacket, 0)
	for name, family := range map[string]int{"packet": unix.AF_PACKET, "vsock": unix.AF_VSOCK,
		"alg": unix.AF_ALG, "xdp": unix.AF_XDP, "key": unix.AF_KEY, "can": unix.AF_CAN,
		"tipc": unix.AF_TIPC, "bluetooth": unix.AF_BLUETOOTH, "rds": unix.AF_RDS, "smc": unix.AF_SMC} {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_SEQPACKET} {
			try(name+" socket", unix.EAFNOSUPPORT, family, kind, 0)
		}
		list = append(list, attempt{name + " pair", unix.EAFNOSUPPORT, func() error {
			_, err := unix.Socketpair(family, unix.SOCK_STREAM, 0)
			return err
		}})
	}
	for name, proto := range map[string]int{"audit": unix.NETLINK_AUDIT, "netfilter": unix.NETLINK_NETFILTER,
		"generic": unix.NETLINK_GENERIC, "xfrm": unix.NETLINK_XFRM, "uevent": unix.NETLINK_KOBJECT_UEVENT} {
		try("netlink "+name, unix.EAFNOSUPPORT, unix.AF_NETLINK, unix.SOCK_RAW, proto)
	}
	return list
}

func fileAttempts() []attempt {
	write := func(name string, want unix.Errno) attempt {
		return attempt{"write " + name, want, func() error {
			f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
			if err == nil {
				_, err = f.Write([]byte("0"))
				f.Close()
			}
			return err
		}}
	}
	list := func(name string, want unix.Errno) attempt {
		return attempt{"list " + name, want, func() error { _, err := os.ReadDir(name); return err }}
	}
	return []attempt{
		write("/x", unix.EROFS), write("/bin/true", unix.EROFS), write("/dev/x", unix.EROFS),
		{"chmod bin", unix.EROFS, func() error { return os.Chmod("/bin/true", 0o777) }},
		{"link to bin", unix.EXDEV, func() error { return os.Link("/bin/true", "/tmp/true") }},
		{"block device", unix.EPERM, func() error { return unix.Mknod("/tmp/sda", unix.S_IFBLK|0o600, 8<<8) }},
		{"TUN device", unix.EPERM, func() error { return unix.Mknod("/tmp/tun", unix.S_IFCHR|0o666, 10<<8|200) }},
		{"character device", unix.EPERM, func() error { return unix.Mknod("/tmp/mem", unix.S_IFCHR|0o600, 1<<8|1) }},
		{"terminal", unix.ENOENT, func() error { _, err := os.Open("/dev/tty"); return err }},
		{"pty", unix.ENOENT, func() error { _, err := os.Open("/dev/ptmx"); return err }},
		write("/proc/sysrq-trigger", unix.ENOENT), write("/proc/sys/kernel/core_pattern", unix.ENOENT),
		write("/proc/sys/kernel/ns_last_pid", unix.ENOENT), write("/proc/1/mem", unix.ENOENT),
		write("/proc/1/oom_score_adj", unix.ENOENT), write("/proc/self/uid_map", unix.EPERM),
		{"oom_score_adj", unix.EACCES, func() error {
			return os.WriteFile("/proc/self/oom_score_adj", []byte("-1"), 0)
		}},
		list("/proc/1", unix.ENOENT), list("/proc/1/root", unix.ENOENT), list("/proc/1/fd", unix.ENOENT),
		list("/proc/2/fd", unix.ENOENT), list("/proc/sys", unix.ENOENT), list("/sys", unix.ENOENT),
		{"escape by dotdot", unix.ELOOP, escapeByDots},
	}
}

// escapeByDots succeeds if there is anything above the root.
func escapeByDots() error {
	var a, b unix.Stat_t
	unix.Stat("/", &a)
	unix.Stat("/../../../..", &b)
	if a.Ino == b.Ino && a.Dev == b.Dev {
		return unix.ELOOP // the root is its own parent
	}
	return nil
}
