package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// A group is the cgroup of one slot, used for one command after the other. The zygote is in it
// too, as only so is every command from its first instruction; limits leave room for it.
type group struct {
	v2           bool
	memory, pids string // directories, "" if there is none

	max, peak, usage, oom *os.File // of memory
	pidsMax, pidsEvents   *os.File
	cpuWeight             *os.File // nil if CPU cannot be shared by weight
	freezer               *os.File // nil if it cannot be frozen
	freezeWords           [2]string

	memLimit  int64 // as set
	pidsLimit int
	weight    int
	zygote    int   // processes and threads of the zygote
	base      int64 // memory in use before the command
	kills     count // of the OOM killer
	refused   count // forks
}

// A count is one that only grows, read once after each command.
type count struct {
	before, after int64
	read          bool // after is of the last command's end
}

// begin notes where the count in f stands before a command: where it stood after the last one, if
// somebody looked.
func (c *count) begin(f *os.File, label string) {
	if c.before = c.after; !c.read {
		c.before = number(f, label)
	}
	c.read = false
}

// grew reports whether the count has grown since begin.
func (c *count) grew(f *os.File, label string) bool {
	c.after, c.read = number(f, label), true
	return c.after > c.before
}

const (
	// zygoteMem is room for the zygote's own heap and page tables (5 to 8 MiB resident).
	zygoteMem = 16 << 20
	// zygotePids is room for threads that Go's runtime may still start.
	zygotePids = 8
	// zygoteThreads is how many it has about, where nobody counts them.
	zygoteThreads = 16
)

// open makes the cgroup of a slot and moves the zygote there.
func (g *groups) open(slot, pid int) (_ *group, err error) {
	s := &group{v2: g.v2, freezeWords: g.freezeWords}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	dir := "slot" + strconv.Itoa(slot)
	if g.memory != "" {
		s.memory = filepath.Join(g.memory, dir)
		files := []file{{&s.max, "memory.limit_in_bytes"}, {&s.peak, "memory.max_usage_in_bytes"},
			{&s.usage, "memory.usage_in_bytes"}, {&s.oom, "memory.oom_control"}}
		if g.v2 {
			files = []file{{&s.max, "memory.max"}, {&s.usage, "memory.current"}, {&s.oom, "memory.events"}}
		}
		if err := makeGroup(s.memory, pid, files); err != nil {
			return nil, err
		}
		if g.v2 { // since Linux 5.19; one can be reset since 6.12
			s.peak, _ = openKnob(filepath.Join(s.memory, "memory.peak"), os.O_RDWR)
		}
	}
	if g.pids != "" {
		s.pids = filepath.Join(g.pids, dir)
		if err := makeGroup(s.pids, pid, []file{{&s.pidsMax, "pids.max"}, {&s.pidsEvents,
			"pids.events"}}); err != nil {
			return nil, err
		}
	}
	// These bound nothing. A process of a real-time class, for one, may not be in a CPU group.
	name := map[bool]string{false: "cpu.shares", true: "cpu.weight"}[g.v2]
	s.cpuWeight = openOptional(g.cpu, dir, name, pid)
	s.freezer = openOptional(g.freeze, dir, g.freezeFile, pid)
	return s, nil
}

// openOptional is makeGroup with one file, which is nil if there can be none.
func openOptional(parent, dir, name string, pid int) (f *os.File) {
	if parent == "" || makeGroup(filepath.Join(parent, dir), pid, []file{{&f, name}}) != nil {
		return nil
	}
	return f
}

type file struct {
	to   **os.File
	name string
}

func makeGroup(dir string, pid int, files []file) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making a cgroup: %w", err)
	}
	if err := enterGroup(dir, pid); err != nil {
		return fmt.Errorf("entering a cgroup: %w", err)
	}
	for _, f := range files {
		flags := os.O_RDWR
		if i, err := os.Stat(filepath.Join(dir, f.name)); err == nil && i.Mode().Perm()&0o222 == 0 {
			flags = os.O_RDONLY
		}
		var err error
		if *f.to, err = openKnob(filepath.Join(dir, f.name), flags); err != nil {
			return err
		}
	}
	return nil
}

// openKnob opens a file of a cgroup. Go's poller would take it, too, and make each use of its
// descriptor three system calls.
func openKnob(name string, flags int) (*os.File, error) {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// hold freezes or thaws all in the group, the zygote too.
func (s *group) hold(frozen bool) error {
	word := s.freezeWords[0]
	if frozen {
		word = s.freezeWords[1]
	}
	if _, err := s.freezer.WriteAt([]byte(word), 0); err != nil {
		return fmt.Errorf("freezing or thawing a cgroup: %w", err)
	}
	return nil
}

// share sets the weight of the next command. A cgroup of version 1 has shares, usually 1,024.
func (s *group) share(weight int) error {
	if s.cpuWeight == nil || s.weight == weight {
		return nil
	}
	n := int64(weight)
	if !s.v2 {
		n = max(2, n*1024/DefaultCPUWeight)
	}
	if _, err := s.cpuWeight.WriteAt(strconv.AppendInt(nil, n, 10), 0); err != nil {
		return fmt.Errorf("setting the CPU weight: %w", err)
	}
	s.weight = weight
	return nil
}

// settle counts the zygote's threads, once it is set up.
func (s *group) settle() {
	if s.pids == "" {
		return
	}
	b, err := os.ReadFile(filepath.Join(s.pids, "pids.current"))
	if err == nil {
		s.zygote, _ = strconv.Atoi(string(bytes.TrimSpace(b)))
	}
}

// limit sets the limits of the next command and remembers where the counters stand.
func (s *group) limit(l Limits) error {
	if s.memory != "" {
		if s.memLimit != l.MemBytes {
			if _, err := s.max.WriteAt(strconv.AppendInt(nil, l.MemBytes+zygoteMem, 10), 0); err != nil {
				return fmt.Errorf("setting the memory limit: %w", err)
			}
			s.memLimit = l.MemBytes
		}
		if s.peak != nil {
			s.peak.WriteAt([]byte("0"), 0) // where it cannot be reset it is that of the slot
		}
		s.base = number(s.usage, "")
		s.kills.begin(s.oom, "oom_kill ")
	}
	if s.pids != "" {
		if s.pidsLimit != l.Pids {
			if _, err := s.pidsMax.WriteAt(strconv.AppendInt(nil, int64(l.Pids+s.zygote+zygotePids), 10),
				0); err != nil {
				return fmt.Errorf("setting the limit on processes: %w", err)
			}
			s.pidsLimit = l.Pids
		}
		s.refused.begin(s.pidsEvents, "max ")
	}
	return s.share(l.CPUWeight)
}

// outOfMemory reports whether the OOM killer struck since limit.
func (s *group) outOfMemory() bool {
	return s.memory != "" && s.kills.grew(s.oom, "oom_kill ")
}

// outOfPids reports whether a fork was refused since limit.
func (s *group) outOfPids() bool {
	return s.pids != "" && s.refused.grew(s.pidsEvents, "max ")
}

// peakBytes returns the most memory used since limit beyond what was in use then; 0 if unknown.
func (s *group) peakBytes() int64 {
	if s.memory == "" || s.peak == nil {
		return 0
	}
	return max(0, number(s.peak, "")-s.base)
}

// number reads the number that follows label in a file of a cgroup or of /proc, 0 if there is none.
func number(f *os.File, label string) int64 {
	var b [4096]byte
	n, err := unix.Pread(int(f.Fd()), b[:], 0) // ReadAt reads once more to see that it is all
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b[:n]) {
		if rest, ok := bytes.CutPrefix(line, []byte(label)); ok {
			word, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
			v, _ := strconv.ParseInt(string(word), 10, 64)
			return v
		}
	}
	return 0
}

// close forgets the group, whose directory the next zygote of the slot uses again.
func (s *group) close() {
	for _, f := range []*os.File{s.max, s.peak, s.usage, s.oom, s.pidsMax, s.pidsEvents, s.cpuWeight,
		s.freezer} {
		if f != nil {
			f.Close()
		}
	}
}
