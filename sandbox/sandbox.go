// Package sandbox runs one thunk's command under limits: hermetic, deterministic, and in a
// fraction of a millisecond.
//
// An Engine has slots. Each slot is a zygote: this very binary, started once more in user, mount,
// pid, network, IPC and UTS namespaces of its own, with loopback up, capabilities that end at the
// next execve, no_new_privs, a seccomp filter and resource limits. It is pid 1 there and keeps
// root trees mounted. A thunk is then one fork, chroot and execve away; when it has ended, all it
// left is killed before its outputs are collected.
//
// What the command sees:
//
//	/            its root tree, read-only
//	/job         the working directory: its inputs, and room to write (a tmpfs); see Spec.JobDir
//	/tmp         empty, writable; also HOME and /dev/shm
//	/proc        its own processes, nothing of the machine
//	/dev         null zero full random urandom fd stdin stdout stderr shm
//	network      its own loopback; and with Spec.Net eth0, with an address that others may reach
//	uid, gid     1000, pid 100, host name "thunk", umask 022, no address space randomisation
//
// The environment is the thunk's own with, unless it sets them, PATH (see DefaultPath),
// HOME=/tmp, TMPDIR=/tmp, USER and LOGNAME=thunk, PWD=/job, TZ=UTC, LC_ALL=C and
// SOURCE_DATE_EPOCH=315532800. All files are as old as that (wire.FileTime).
//
// Files in /job and /tmp live in memory and count as such. Each is a tmpfs of the size and with the
// inodes of Limits, so the kernel refuses what is too much while it is written, at no cost to what
// is not; a watcher would be late by what is written between two looks. Directories in directories
// count one by one: a chain of 60,000 is torn down no slower than 60,000 files side by side
// (measured), so depth is judged only when outputs are collected. A command that fills one fails
// whatever its exit code says: what it left would depend on a limit that is in no hash.
//
// What reveals the machine all the same, so that a command which lets it into its outputs is not
// deterministic: the time of day and random numbers; how many processors it may use (nproc,
// sched_getaffinity) and which (cpuid); the kernel's release (uname -r); memory, uptime and load of
// sysinfo(2); and of the file system that holds an input its inode numbers, the sizes and blocks of
// directories (ls -ld, stat, du), and the order in which a directory input lists its entries (tar
// wants --sort=name, find a sort). All else that programs usually write is the same everywhere:
// cluster-test's TestProgramsGiveTheSameEverywhere runs forty of them on two unlike nodes.
package sandbox

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"gaggle/wire"
)

// Config describes an Engine.
type Config struct {
	// Dir is a directory of the engine's own on disk. What an earlier engine left is removed.
	Dir string
	// Slots is how many thunks can run at once, at least 1.
	Slots int
	// FirstUID is the host's uid and gid of the first slot, the next slot has the next one; 0 is
	// DefaultFirstUID. Only the superuser can give uids away: with another user, all slots have
	// that user's.
	FirstUID int
	// Terminals lets runs have a terminal (Session.Terminal): all commands then see /dev/tty,
	// /dev/ptmx and /dev/pts besides.
	Terminals bool
	// Lookups has every Report tell what the command looked for in vain. Commands then run slower:
	// each call that names a file waits for another process. It takes a listener of seccomp, of
	// which a process can have one: inside most containers no run succeeds.
	Lookups bool
	// Networks lets runs be on a network (Spec.Net). Slots that had such a run keep a namespace
	// ready for the next one.
	Networks Networks
	Logger   *slog.Logger // nil discards
}

// DefaultFirstUID starts a range that systemd's UIDS-GIDS document leaves to the administrator,
// below those of containers (524288) and above those of users and dynamic services (65519).
const DefaultFirstUID = 70_001

// A Spec is one run of a command.
type Spec struct {
	Root    string        // host directory seen as /, read-only; it must have /dev /proc /tmp /job
	Inputs  []Input       // laid out below /job
	Argv    []string      // Argv[0] is absolute, has a slash and is relative to /job, or is sought in PATH
	Env     []string      // NAME=value; the fixed variables are added unless set
	Stdin   string        // host path of a file; "" is an empty one
	Outputs []wire.Output // what must be left below /job
	Limits  Limits

	// JobDir is where the command finds its job directory instead of /job: as wire.Thunk.JobDir.
	// The output wire.Stderr is then the whole standard error. WorkDir is the working directory
	// in it; "" is itself.
	JobDir, WorkDir string

	// Stdout and Stderr, unless nil, are given the streams as they come, up to
	// Limits.StreamBytes each. They must not block for long: the command would.
	Stdout, Stderr io.Writer
	Sink           Sink // of outputs

	// Net puts the command on a network: it has a namespace, and so all ports, to itself, finds
	// names through /etc/resolv.conf and its own address in $GAGGLE_ADDR. Nil: its own loopback only.
	Net Membership

	// Again says that the command has run before, to see whether it ends alike: it is run in the slot
	// that has been idle for longest, which is the same one only if no other is.
	Again bool

	Pause   *Pause   // unless nil, holds the command still when asked to
	Session *Session // not nil: for a person, see there
}

// An Input is a file or directory that is laid out in the job directory. It cannot be changed
// through its path there, or the change stays in the job.
type Input struct {
	Path     string // clean, relative, slash-separated, not below another input
	Source   string // host path of a file or directory, which is never modified
	Dir      bool   // Source is a directory
	Exec     bool   // the file is executable
	Writable bool   // the command may write to it: a copy, owned by it; so is what overlaps an output
}

// Limits bound a run. Zero fields mean the defaults.
type Limits struct {
	Wall        time.Duration // of running, not of being frozen; wire.DefaultTimeout
	MemBytes    int64         // of all its processes and of the files it writes; wire.DefaultMemory
	Pids        int           // processes and threads at once; DefaultPids
	CPUWeight   int           // its part of a busy CPU beside other commands, 1 to 10,000; DefaultCPUWeight
	OutputBytes int64         // in /job, in /tmp, and of all outputs; DefaultOutputBytes
	OutputFiles int           // files and directories, likewise; DefaultOutputFiles
	StreamBytes int64         // handed to Spec.Stdout, and Spec.Stderr; DefaultStreamBytes
}

const (
	// DefaultPids is room for a JVM or a parallel make, and far below what hurts a machine.
	DefaultPids = 1_024
	// DefaultCPUWeight is that of any cgroup, of either version.
	DefaultCPUWeight = 100
	// DefaultOutputBytes bounds what one thunk writes; memory usually bounds it earlier.
	DefaultOutputBytes = 8 << 30
	// DefaultOutputFiles is above wire.MaxTreeEntries, so that any one directory fits.
	DefaultOutputFiles = 300_000
	// DefaultStreamBytes is more than anybody reads.
	DefaultStreamBytes = 256 << 20
)

func (l Limits) withDefaults() Limits {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	if l.Wall <= 0 {
		l.Wall = wire.DefaultTimeout
	}
	def(&l.MemBytes, wire.DefaultMemory)
	def(&l.OutputBytes, DefaultOutputBytes)
	def(&l.StreamBytes, DefaultStreamBytes)
	if l.Pids <= 0 {
		l.Pids = DefaultPids
	}
	if l.CPUWeight <= 0 {
		l.CPUWeight = DefaultCPUWeight
	}
	l.CPUWeight = min(l.CPUWeight, 10_000)
	if l.OutputFiles <= 0 {
		l.OutputFiles = DefaultOutputFiles
	}
	return l
}

// A Sink takes outputs. An error of either method ends the run and is returned by Engine.Run.
type Sink interface {
	// PutFile stores size bytes from the start of f, whatever its offset; the caller closes it.
	PutFile(ctx context.Context, f *os.File, size int64) (wire.BlobID, error)
	PutBytes(ctx context.Context, b []byte) (wire.BlobID, error)
	PutTree(ctx context.Context, t *wire.Tree) (wire.TreeID, error)
}

// A Report says how a run ended.
type Report struct {
	// Outputs are in the order of Spec.Outputs; nil if there is a Failure. The output wire.Stdout
	// is the whole standard output. An output with a Graph is an Object of kind Graph if the
	// command left a file there.
	Outputs []wire.Object
	// Failure is nil if the command ended with 0 and left all outputs.
	Failure        *wire.Failure
	Stdout, Stderr []byte // the ends, at most wire.MaxTail each, with a mark if cut
	Run, CPU       time.Duration
	Frozen         time.Duration // how long it was held still, which is not in Run
	Lookups        *Lookups      // nil unless Config.Lookups
	// PeakMem is the most memory it used, files included, where a cgroup counts that; else the
	// resident set of its largest process.
	PeakMem int64
}
