package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

const (
	zygoteName = "gaggle-slot" // argv[0] of a zygote
	holderArg  = "hold"        // its argument in a process that holds a namespace until its input ends
	requests   = 3             // descriptor of the socket for requests
	kills      = 4             // and of that for kills
	firstPid   = 100           // of the command; the zygote's threads have lower ids
	insideID   = 1000          // uid and gid that a command sees
)

func init() {
	if isZygote() {
		// Bounding set, no_new_privs, filter and personality belong to a thread, and a child
		// inherits those of the thread that forks it. One thread is set up, and it forks.
		runtime.LockOSThread()
	}
}

func isZygote() bool {
	n := len(os.Args)
	return os.Args[0] == zygoteName && (n == 2 || n == 3 && os.Args[2] == shieldedArg)
}

// Main must be called first in main, and in TestMain, of every binary that makes an Engine. In
// a process that an Engine started as a slot it does not return; else it does nothing.
func Main() {
	if !isZygote() {
		return
	}
	if os.Args[1] == holderArg {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	z := zygote{host: -1, sockets: -1, spare: -1, home: -1}
	err := json.Unmarshal([]byte(os.Args[1]), &z.zygoteConfig)
	if err == nil {
		err = z.setup()
	}
	if err != nil {
		send(requests, &reply{Trouble: troubleOf(err)}, nil)
		os.Exit(1)
	}
	if err := z.serve(); err != io.EOF {
		fmt.Fprintln(os.Stderr, err) // the engine logs it
		os.Exit(1)
	}
	os.Exit(0)
}

// zygoteConfig is what an engine tells a zygote at its start.
type zygoteConfig struct {
	Distinct  bool `json:"distinct"`  // its uid is not the engine's: paths mean nothing to it
	Program   bool `json:"program"`   // programFD is the mount it runs from
	Terminals bool `json:"terminals"` // commands may have one
	Lookups   bool `json:"lookups"`   // what they look for is noted
	Networks  bool `json:"networks"`  // commands may be on one
	Far       bool `json:"far"`       // by a pair of devices, for want of /dev/net/tun
}

// A zygote is the helper process of a slot.
type zygote struct {
	zygoteConfig
	host            int    // descriptor of the machine's root, -1 if closed
	sockets         int    // of the network namespace's sockstat, -1 if not open
	lastPid         int    // of ns_last_pid
	oomAdj          int    // of its own oom_score_adj
	oomScore        []byte // what that was at the start
	roots           [keptRoots]bool
	scratch         scratch
	processes, data unix.Rlimit           // as they are; zero before the first command
	programs        map[programKey]string // where names lead
	failed          error                 // of the requests since the last Exec
	seeker          *seeker               // nil unless Lookups
	weaver          *weaver               // nil unless Networks
	spare           int                   // descriptor of the namespace of the next command on a network, -1 if none
	home            int                   // and of the thread's own, -1 if not open

	mu      sync.Mutex // guards the fields below, and starting a command
	running uint64     // sequence number of the command; 0 none
	doomed  uint64     // highest sequence number that was to be killed
	denials []denial   // of the command
}

func troubleOf(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		return e
	}
	return wire.Errorf(wire.CauseSandbox, setupHint(err), "setting up the sandbox: %v", err)
}

func (z *zygote) setup() error {
	if err := z.shield(); err != nil {
		return err
	}
	// A command would get whatever the engine itself inherited without close-on-exec.
	if err := unix.CloseRange(requests, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
	if err := defaultSignals(); err != nil {
		return fmt.Errorf("resetting signals: %w", err)
	}
	if err := z.openKnobs(); err != nil {
		return err
	}
	// Nested user namespaces are the kernel's widest attack surface.
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return fmt.Errorf("forbidding nested user namespaces: %w", err)
	}
	if err := unix.Sethostname([]byte("thunk")); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	if err := loopback(); err != nil {
		return fmt.Errorf("bringing loopback up: %w", err)
	}
	if z.Networks {
		z.weaver = newWeaver(z.Far)
	}
	if err := z.enter(); err != nil {
		return err
	}
	return z.confine()
}

// serve carries out requests until the engine is gone.
func (z *zygote) serve() error {
	go z.watch()
	warmThreads()
	if err := send(requests, &reply{}, nil); err != nil {
		return err
	}
	in := &receiver{sock: requests}
	for {
		var q request
		fds, err := in.receive(&q)
		if err != nil {
			return err
		}
		if q.Weave {
			closeAll(fds)
			if err := z.weave(); err != nil {
				return err
			}
			continue
		}
		if z.failed == nil {
			z.failed = z.carryOut(&q, &fds)
		}
		if q.Exec != nil {
			if err := z.answer(q.Exec, fds); err != nil {
				return err
			}
			continue
		}
		closeAll(fds)
	}
}

// warmThreads makes the runtime start as many threads as it will ever need here, which it keeps.
// One that it started later could take the pid that the command is to have.
func warmThreads() {
	const threads = 8 // two run, two collect garbage, the others stand by for system calls
	var started, done sync.WaitGroup
	started.Add(threads)
	for range threads {
		done.Go(func() {
			runtime.LockOSThread()
			started.Done()
			started.Wait()
			runtime.UnlockOSThread()
		})
	}
	done.Wait()
}

// carryOut does what comes before the Exec of a request, and takes the descriptors it uses.
func (z *zygote) carryOut(q *request, fds *[]int) error {
	if err := z.openHost(); err != nil {
		return err
	}
	take := func() (fd int) {
		if len(*fds) == 0 {
			return -1
		}
		fd, *fds = (*fds)[0], (*fds)[1:]
		return fd
	}
	if r := q.Root; r != nil {
		fd := -1
		if r.Source == "" {
			fd = take()
		} else {
			var err error
			if fd, err = cloneTree(z.host, r.Source); err != nil {
				return fmt.Errorf("cloning the root %s: %w", r.Source, err)
			}
		}
		err := z.mountRoot(r.Index, fd, r.Net)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	if err := z.resize(scratch{index: q.Use, bytes: q.Bytes, inodes: q.Inodes}); err != nil {
		return err
	}
	if len(q.Inputs) == 0 && q.Work == "" {
		return nil
	}
	l, err := openLayout(z.scratch.path(0), z.host)
	if err != nil {
		return err
	}
	defer l.close()
	for i := range q.Inputs {
		in, fd := &q.Inputs[i], -1
		if !in.Inline && in.Source == "" {
			fd = take()
		}
		err := l.put(in, fd)
		if fd >= 0 {
			unix.Close(fd)
		}
		if err != nil {
			return err
		}
	}
	if q.Work == "" {
		return nil
	}
	if err := wire.CheckPath(q.Work); err != nil {
		return err
	}
	return l.enter(q.Work)
}

// answer runs the command and replies, then makes the slot ready for the next.
func (z *zygote) answer(x *execRequest, fds []int) error {
	var r reply
	err := z.failed
	z.failed = nil
	if err == nil {
		err = z.run(x, &fds, &r)
	}
	closeAll(fds)
	var with []int
	if err != nil {
		r = reply{Trouble: troubleOf(err)}
	} else {
		job := z.scratch.path(0)
		const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW
		fd, err := unix.Open(job, flags, 0)
		if err == unix.EACCES { // the command has locked itself out
			unix.Chmod(job, 0o755)
			fd, err = unix.Open(job, flags, 0)
		}
		if err != nil {
			return fmt.Errorf("opening /job: %w", err)
		}
		with = append(with, fd)
		// A second lock on what place sees to.
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Dev != z.scratch.fresh[0].dir.Dev || st.Ino != z.scratch.fresh[0].dir.Ino {
			return fmt.Errorf("%s is not the job directory any more (%v)", job, err)
		}
	}
	err = send(requests, &r, with)
	closeAll(with)
	if err != nil {
		return err
	}
	// After the reply: unmounting waits for RCU, up to milliseconds on a busy machine.
	if z.scratch.mounted {
		if err := z.renew(z.scratch); err != nil {
			return err
		}
	}
	return z.freshNetwork()
}

// watch ends the zygote when its engine has died, and the kernel then all in its pid namespace;
// and it carries out kills. Its thread is not the one that is confined.
func (z *zygote) watch() {
	var b [8]byte
	for {
		n, err := unix.Read(kills, b[:])
		switch {
		case err == unix.EINTR:
		case n != len(b):
			os.Exit(0)
		default:
			z.kill(binary.LittleEndian.Uint64(b[:]))
		}
	}
}

func (z *zygote) kill(seq uint64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.doomed = max(z.doomed, seq)
	if z.running == seq {
		unix.Kill(-1, unix.SIGKILL) // all but ourselves
	}
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
