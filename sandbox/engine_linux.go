package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// An Engine runs thunks. It is safe for concurrent use.
type Engine struct {
	config   Config
	log      *slog.Logger
	distinct bool     // every slot has a uid of its own
	slash    int      // descriptor of "/"
	program  *os.File // read-only mount of this program; nil: zygotes must make their own
	groups   groups
	idle     *idleSlots

	ctx   context.Context // ends with Close
	close context.CancelFunc
	once  sync.Once
	err   error // of Close
}

// New makes an engine and starts its first slot, so that a machine on which nothing can run is
// known at once: the error is a *wire.Error with CauseSandbox and a hint that says what is
// missing. The others start when needed. Close ends all.
func New(c Config) (*Engine, error) {
	if c.Slots < 1 {
		return nil, wire.Errorf(wire.CauseSandbox, "give it at least one", "a sandbox with %d slots",
			c.Slots)
	}
	if c.FirstUID == 0 {
		c.FirstUID = DefaultFirstUID
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, wire.Errorf(wire.CauseSandbox, "", "making the sandbox's directory: %v", err)
	}
	if err := sweep(c.Dir); err != nil {
		return nil, wire.Errorf(wire.CauseSandbox, "", "cleaning the sandbox's directory: %v", err)
	}
	slash, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, wire.Errorf(wire.CauseSandbox, "", "opening /: %v", err)
	}
	e := &Engine{config: c, log: c.Logger, slash: slash, groups: openGroups(),
		idle: newIdleSlots(c.Slots)}
	e.groups.shareAmong(c.Slots)
	e.distinct = canGiveUIDs(c)
	if e.distinct {
		e.program = cloneProgram()
	}
	e.ctx, e.close = context.WithCancel(context.Background())
	for i := c.Slots - 1; i >= 0; i-- { // the one that is started is the first to be used
		s := &slot{engine: e, index: i}
		if i == 0 {
			err = s.start()
		}
		e.idle.put(s)
	}
	if err != nil {
		if e := e.Close(); e != nil {
			err = errors.Join(err, e)
		}
		return nil, err
	}
	if l := e.Limits(); l != "" {
		e.log.Warn("limits are not all enforced", "why", l)
	}
	return e, nil
}

// spoolPrefix starts the names of what the engine keeps in its directory.
const spoolPrefix = "stdout-"

// spool makes a file without a name.
func (e *Engine) spool() (*os.File, error) {
	f, err := os.CreateTemp(e.config.Dir, spoolPrefix)
	if err != nil {
		return nil, fmt.Errorf("making a file for an output stream: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes what an engine that was killed left. A spool has no name for longer than it
// takes to unlink it.
func sweep(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, spoolPrefix+"*"))
	for _, f := range old {
		err = errors.Join(err, os.Remove(f))
	}
	return err
}

// canGiveUIDs reports whether slots can have uids of their own: for the superuser, in a user
// namespace that has them, with the right to mount.
func canGiveUIDs(c Config) bool {
	if os.Geteuid() != 0 || !mapped("/proc/self/uid_map", c) || !mapped("/proc/self/gid_map", c) {
		return false
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, c.Dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

func mapped(name string, c Config) bool {
	found := false
	eachLine(name, func(line string) {
		var inside, outside, size int64
		if n, _ := fmt.Sscan(line, &inside, &outside, &size); n == 3 {
			found = found || inside <= int64(c.FirstUID) && int64(c.FirstUID+c.Slots) <= inside+size
		}
	})
	return found
}

// Limits says which limits cannot be enforced here, and what can be done about it; "" if all
// can.
func (e *Engine) Limits() string { return e.groups.limits() }

// BoundsMemory reports whether the memory of commands is bounded, rather than watched.
func (e *Engine) BoundsMemory() bool { return e.groups.memory != "" }

// Close kills what runs, waits for it, and leaves no process, mount or cgroup. Calls of Run
// under way and later fail.
func (e *Engine) Close() error {
	e.once.Do(func() {
		e.close()
		for _, s := range e.idle.all() {
			s.stop()
		}
		e.err = e.groups.close()
		unix.Close(e.slash)
		if e.program != nil {
			e.program.Close()
		}
	})
	return e.err
}

var errClosed = wire.Errorf(wire.CauseSandbox, "", "the sandbox is closed")

// Run runs s in a free slot, waiting for one, and returns how it ended. The error is the
// context's if that ended, which kills the command at once; one of the sink; else it is a
// *wire.Error of CauseSandbox: the machine's doing, not the command's.
func (e *Engine) Run(ctx context.Context, s Spec) (Report, error) {
	if err := s.check(); err != nil {
		return Report{}, err
	}
	select {
	case <-ctx.Done():
		return Report{}, ctx.Err()
	case <-e.ctx.Done():
		return Report{}, errClosed
	case <-e.idle.some:
		sl := e.idle.take(!s.Again)
		defer e.putBack(sl, s.Net != nil)
		if e.ctx.Err() != nil {
			return Report{}, errClosed
		}
		return sl.run(ctx, &s)
	}
}

// putBack makes a slot idle; one whose command was on a network gets a new namespace before, for which
// nobody waits but Close.
func (e *Engine) putBack(s *slot, networked bool) {
	if !networked {
		e.idle.put(s)
		return
	}
	go func() {
		defer e.idle.put(s)
		s.refill()
	}()
}

// check refuses what no sandbox could run.
func (s *Spec) check() error {
	invalid := func(format string, args ...any) error {
		return wire.Errorf(wire.CauseInvalid, "", format, args...)
	}
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return invalid("no command")
	}
	if len(s.Argv) > wire.MaxArgs || len(s.Env) > wire.MaxArgs || len(s.Inputs) > wire.MaxInputs || len(s.Outputs) > wire.MaxOutputs {
		return invalid("too many arguments, variables, inputs or outputs")
	}
	for _, list := range [][]string{s.Argv, s.Env} {
		for _, a := range list {
			if strings.IndexByte(a, 0) >= 0 || !utf8.ValidString(a) {
				return invalid("%q holds a NUL or is not UTF-8", a[:min(len(a), 80)])
			}
		}
	}
	for i := range s.Inputs {
		if err := wire.CheckPath(s.Inputs[i].Path); err != nil {
			return invalid("input: %v", err)
		}
	}
	for i := range s.Outputs {
		if err := wire.CheckPath(s.Outputs[i].Path); err != nil {
			return invalid("output: %v", err)
		}
		if g := s.Outputs[i].Graph; g != "" && wire.CheckPath(g) != nil {
			return invalid("output %q: bad graph path %q", s.Outputs[i].Path, g)
		}
	}
	return nil
}
