package placeholder

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Processes are those that have a variable in their environment, and all that they have started; this
// process is none of them.
type Processes struct {
	Variable string // NAME=value; "NAME=" is for any value
}

// A process is one of them.
type process struct {
	pid, parent int
	state       byte // as in proc(5)
	name        string
	marked      bool // has the variable
}

// all returns the processes of this machine that can be looked at. Those that end meanwhile are left
// out.
func (p Processes) all() (map[int]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	found := map[int]process{}
	want := append([]byte{0}, p.Variable...)
	if !strings.HasSuffix(p.Variable, "=") {
		want = append(want, 0)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		one, err := look(pid)
		if err != nil {
			continue
		}
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil {
			one.marked = bytes.Contains(append([]byte{0}, env...), want)
		}
		found[pid] = one
	}
	return found, nil
}

// look reads /proc/PID/stat.
func look(pid int) (process, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return process{}, fmt.Errorf("/proc/%d/stat is not as in proc(5)", pid)
	}
	rest := strings.Fields(string(b[end+1:]))
	if len(rest) < 2 {
		return process{}, fmt.Errorf("/proc/%d/stat is not as in proc(5)", pid)
	}
	parent, err := strconv.Atoi(rest[1])
	return process{pid: pid, parent: parent, state: rest[0][0], name: string(b[open+1 : end])}, err
}

// now returns them as they are now.
func (p Processes) now() (map[int]process, error) {
	all, err := p.all()
	if err != nil {
		return nil, err
	}
	self := os.Getpid()
	in := map[int]process{}
	for pid, one := range all {
		// Up to one that has the variable; the chain is short, and has no circle.
		for at, ok := one, true; ok && at.pid != self; at, ok = all[at.parent] {
			if at.marked {
				in[pid] = one
				break
			}
		}
	}
	return in, nil
}

// freezeWithin is how long processes may take to stop. A process in a system call stops when that is
// over, which those that wait for a placeholder break off.
const freezeWithin = 2 * time.Second

// Freeze stops all of them, those that are started meanwhile too, and returns what lets them go on.
func (p Processes) Freeze() (resume func(), err error) {
	stopped := map[int]bool{}
	resume = func() {
		for pid := range stopped {
			_ = syscall.Kill(pid, syscall.SIGCONT) // it may have been ended
		}
	}
	for begun, quiet := time.Now(), false; !quiet; {
		in, err := p.now()
		if err != nil {
			return resume, err
		}
		quiet = true
		for pid, one := range in {
			if !stopped[pid] && one.state != 'T' {
				if syscall.Kill(pid, syscall.SIGSTOP) != nil {
					continue // it has just ended, or is another user's
				}
				stopped[pid] = true
			}
			quiet = quiet && strings.IndexByte("TtZXD", one.state) >= 0
		}
		if time.Since(begun) > freezeWithin {
			return resume, errors.New("processes of the build do not stop")
		}
		if !quiet {
			time.Sleep(time.Millisecond)
		}
	}
	return resume, nil
}

// IsMake reports whether a process of this name is make, which puts away what it was making when it
// is ended.
func IsMake(name string) bool { return name == "make" || name == "gmake" }

// A Process is a running program.
type Process struct {
	PID  int
	Name string // of the program, 15 bytes at most
}

// ParentOf returns the process that started another one.
func ParentOf(pid int) (Process, error) {
	child, err := look(pid)
	if err != nil {
		return Process{}, err
	}
	parent, err := look(child.parent)
	return Process{parent.pid, parent.name}, err
}

// End ends them: those above as by kill(1), so that make ends what it has started and removes what was
// being made, and if somebody may wait for a placeholder, all but makes at once.
func (p Processes) End(waiting bool) error {
	var frozen error
	if waiting {
		_, frozen = p.Freeze() // those that do not stop are ended all the same
	}
	in, err := p.now()
	if err != nil {
		return errors.Join(frozen, err)
	}
	for pid, one := range in {
		_, below := in[one.parent]
		switch {
		case waiting && !IsMake(one.name):
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		case !below:
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	for pid := range in { // whoever has stopped them
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	return frozen
}
