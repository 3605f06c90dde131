//go:build amd64 || arm64

package capture

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/sandbox/notify"
)

// keeperName is argv[0] of this binary as the process that stands between watcher and command, and
// watchedName as the one that becomes the command. Their arguments are the program and the
// command's own. Descriptor 3 is a socket to the watcher: the one that becomes the command sends
// the filter's descriptor, or why there is none; the keeper then sends saysExit with the command's
// status and, if it ended others, saysEnded with their names. It takes orders.
const (
	keeperName  = "gaggle: capture"
	watchedName = "gaggle: captured"
	toWatcher   = 3

	saysExit, saysEnded = 'x', 'e'
	orderEnd, orderKill = 'E', 'K' // those who survive; all

	maxTold = 4 << 10 // bytes of a message
)

const (
	// patience is how long what a command left behind may go on: a helper that writes its last
	// file needs less, a daemon never ends.
	patience = 5 * time.Second
	// grace is how long it has to end when asked to.
	grace = 2 * time.Second
	// killing bounds all the ending: one that hangs in the kernel cannot be killed.
	killing = grace + 3*time.Second
)

// Main becomes one of the processes of a command that is watched, if this process was started for
// that. A program that calls Traced.Run calls it first in main.
func Main() {
	if len(os.Args) < 3 {
		return
	}
	switch os.Args[0] {
	case keeperName:
		k := keeper{}
		if err := k.keep(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", keeperName, err)
			os.Exit(126)
		}
		os.Exit(0)
	case watchedName:
		become(os.Args[1], os.Args[2:])
	}
}

// become executes the command under the filter.
func become(program string, argv []string) {
	runtime.LockOSThread() // the filter is the thread's
	fd, err := notify.Listen(notify.PathCallNumbers())
	if notify.Hand(toWatcher, fd, err) != nil {
		os.Exit(126)
	}
	unix.CloseOnExec(toWatcher)
	err = syscall.Exec(program, argv, os.Environ())
	fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
	os.Exit(127)
}

// A keeper starts the command, and reaps what comes to it.
type keeper struct {
	mu    sync.Mutex // guards the field below
	ended []string   // names of those that were asked to end
}

func (k *keeper) keep() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the one whom orphans come to: %w", err)
	}
	// The terminal's are for the command and the watcher. Not ignored: the command would, too.
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP)
	unix.CloseOnExec(toWatcher)
	command, err := syscall.ForkExec("/proc/self/exe", append([]string{watchedName}, os.Args[1:]...),
		&syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2, toWatcher}})
	if err != nil {
		return err
	}
	for fd := range 3 {
		unix.Close(fd) // the ends of pipes are the command's alone
	}
	go k.obey()
	k.reap(command)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.ended) > 0 {
		text := strings.Join(k.ended, "\x00")
		say(append([]byte{saysEnded}, text[:min(len(text), maxTold-1)]...))
	}
	return nil
}

func say(b []byte) { unix.Sendmsg(toWatcher, b, nil, nil, unix.MSG_NOSIGNAL) } // or it has gone

// order tells the keeper what to do.
func order(socket int, o byte) error {
	return unix.Sendmsg(socket, []byte{o}, nil, nil, unix.MSG_NOSIGNAL)
}

// reap waits until nothing is left, and tells how the command ended.
func (k *keeper) reap(command int) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return
		case pid == command:
			say(binary.LittleEndian.AppendUint32([]byte{saysExit}, uint32(ws)))
		}
	}
}

// obey ends what is left when the watcher wants that, or has gone.
func (k *keeper) obey() {
	b := make([]byte, 1)
	for {
		n, err := unix.Read(toWatcher, b)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && n == 1 && b[0] == orderEnd:
			k.end()
		}
		break
	}
	for begun := time.Now(); time.Since(begun) < killing; time.Sleep(10 * time.Millisecond) {
		for _, p := range below(os.Getpid()) {
			unix.Kill(p.pid, unix.SIGKILL)
		}
	}
	os.Exit(1)
}

// end asks all to end, and gives them time for it.
func (k *keeper) end() {
	k.mu.Lock()
	for _, p := range below(os.Getpid()) {
		if !p.zombie && !slices.Contains(k.ended, p.name) {
			k.ended = append(k.ended, p.name)
		}
		unix.Kill(p.pid, unix.SIGTERM)
		unix.Kill(p.pid, unix.SIGCONT) // or one that is stopped would not hear of it
	}
	k.mu.Unlock()
	time.Sleep(grace)
}

// A relative is a process below another.
type relative struct {
	pid, parent int
	name        string
	zombie      bool
}

// below returns the descendants of a process.
func below(pid int) (all []relative) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what ended meanwhile matters not
	children := map[int][]relative{}
	for _, name := range names {
		if r, ok := readRelative(name); ok {
			children[r.parent] = append(children[r.parent], r)
		}
	}
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		for _, r := range children[queue[0]] {
			all = append(all, r)
			queue = append(queue, r.pid)
		}
	}
	return all
}

// readRelative reads "PID (NAME) STATE PARENT ..." (proc_pid_stat(5)); the name may hold anything.
func readRelative(name string) (r relative, ok bool) {
	pid, err := strconv.Atoi(name)
	if err != nil {
		return r, false
	}
	b, err := os.ReadFile("/proc/" + name + "/stat")
	open, end := strings.IndexByte(string(b), '('), strings.LastIndexByte(string(b), ')')
	if err != nil || open < 0 || end < open {
		return r, false
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 2 {
		return r, false
	}
	parent, err := strconv.Atoi(f[1])
	return relative{pid, parent, string(b[open+1 : end]), f[0] == "Z"}, err == nil
}
