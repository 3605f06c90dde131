package sandbox

import "golang.org/x/sys/unix"

// A refusal is a system call that fails with EPERM, and why.
type refusal struct {
	call uint32
	name string
	why  string
}

const (
	whyKernel  = "changes the machine"
	whyModules = "loads code into the kernel"
	whySurface = "wide kernel surface with a history of holes, no use to a command"
	whyOthers  = "reads or writes other processes"
	whyKeys    = "keyrings outlive a command and are not namespaced"
	whyLasting = "makes objects that outlive a command in its slot"
	whyHandles = "opens files without a path, hence past the root"
)

var refusals = []refusal{
	{unix.SYS_ACCT, "acct", whyKernel},
	{unix.SYS_ADJTIMEX, "adjtimex", whyKernel},
	{unix.SYS_CLOCK_ADJTIME, "clock_adjtime", whyKernel},
	{unix.SYS_CLOCK_SETTIME, "clock_settime", whyKernel},
	{unix.SYS_QUOTACTL, "quotactl", whyKernel},
	{unix.SYS_QUOTACTL_FD, "quotactl_fd", whyKernel},
	{unix.SYS_REBOOT, "reboot", whyKernel},
	{unix.SYS_SETTIMEOFDAY, "settimeofday", whyKernel},
	{unix.SYS_SWAPOFF, "swapoff", whyKernel},
	{unix.SYS_SWAPON, "swapon", whyKernel},
	{unix.SYS_SYSLOG, "syslog", whyKernel},
	{unix.SYS_VHANGUP, "vhangup", whyKernel},

	{unix.SYS_DELETE_MODULE, "delete_module", whyModules},
	{unix.SYS_FINIT_MODULE, "finit_module", whyModules},
	{unix.SYS_INIT_MODULE, "init_module", whyModules},
	{unix.SYS_KEXEC_FILE_LOAD, "kexec_file_load", whyModules},
	{unix.SYS_KEXEC_LOAD, "kexec_load", whyModules},

	{unix.SYS_BPF, "bpf", whySurface},
	{unix.SYS_FANOTIFY_INIT, "fanotify_init", whySurface},
	{unix.SYS_FSCONFIG, "fsconfig", whySurface},
	{unix.SYS_FSMOUNT, "fsmount", whySurface},
	{unix.SYS_FSOPEN, "fsopen", whySurface},
	{unix.SYS_FSPICK, "fspick", whySurface},
	{unix.SYS_IO_URING_ENTER, "io_uring_enter", whySurface},
	{unix.SYS_IO_URING_REGISTER, "io_uring_register", whySurface},
	{unix.SYS_IO_URING_SETUP, "io_uring_setup", whySurface},
	{unix.SYS_PERF_EVENT_OPEN, "perf_event_open", whySurface},
	{unix.SYS_PIVOT_ROOT, "pivot_root", whySurface},
	{unix.SYS_SETNS, "setns", whySurface},
	{unix.SYS_USERFAULTFD, "userfaultfd", whySurface},

	{unix.SYS_KCMP, "kcmp", whyOthers},
	{unix.SYS_PIDFD_GETFD, "pidfd_getfd", whyOthers},
	{unix.SYS_PROCESS_MADVISE, "process_madvise", whyOthers},
	{unix.SYS_PROCESS_MRELEASE, "process_mrelease", whyOthers},
	{unix.SYS_PROCESS_VM_READV, "process_vm_readv", whyOthers},
	{unix.SYS_PROCESS_VM_WRITEV, "process_vm_writev", whyOthers},
	{unix.SYS_PTRACE, "ptrace", whyOthers},

	{unix.SYS_ADD_KEY, "add_key", whyKeys},
	{unix.SYS_KEYCTL, "keyctl", whyKeys},
	{unix.SYS_REQUEST_KEY, "request_key", whyKeys},

	{unix.SYS_MQ_OPEN, "mq_open", whyLasting},
	{unix.SYS_MSGGET, "msgget", whyLasting},
	{unix.SYS_SEMGET, "semget", whyLasting},
	{unix.SYS_SHMGET, "shmget", whyLasting},

	{unix.SYS_NAME_TO_HANDLE_AT, "name_to_handle_at", whyHandles},
	{unix.SYS_OPEN_BY_HANDLE_AT, "open_by_handle_at", whyHandles},
}
