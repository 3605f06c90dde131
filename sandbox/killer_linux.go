package sandbox

import (
	"encoding/binary"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A killer ends the command of one Exec, from any goroutine, until over.
type killer struct {
	zygote *remote
	seq    uint64
	pause  *Pause // of the run: a frozen zygote kills nothing

	mu    sync.Mutex // guards the fields below
	done  bool
	late  bool        // killed, and for its timeout
	grace *time.Timer // not nil once killed
}

// The OOM killer's count is looked at while a command runs, at first after oomFirst, then each time
// after twice as long, at last every oomEvery. The killer takes one process, and the others might
// wait for it for ever. Whoever waits for the command looks: a timer for each start woke another
// thread, to wait for the timer. A look costs little, but after each the monitor of Go's runtime
// wakes some fifty times until it believes that this thread waits: 1 ms of CPU.
const (
	oomFirst = 100 * time.Millisecond
	oomEvery = 1600 * time.Millisecond
)

// looker returns what kills the command if the OOM killer has struck in its cgroup; nil without one.
func (k *killer) looker() func() {
	g := k.zygote.group
	if g == nil || g.memory == "" {
		return nil
	}
	return func() {
		if !g.outOfMemory() {
			return
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.done {
			k.strike()
		}
	}
}

// killGrace is how long a zygote may take to kill and reap before it is killed itself. It is
// long because a process may be in the middle of giving back a lot of memory.
const killGrace = 20 * time.Second

// kill has the zygote kill all that belongs to the Exec, now or as soon as it begins.
func (k *killer) kill(late bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.done && k.grace == nil {
		k.late = late
		k.strike()
	}
}

// strike is kill, with mu held.
func (k *killer) strike() {
	if k.grace != nil {
		return
	}
	k.pause.doom()
	b := binary.LittleEndian.AppendUint64(nil, k.seq)
	if unix.Sendmsg(k.zygote.kills, b, nil, nil, unix.MSG_NOSIGNAL) != nil {
		k.zygote.cmd.Process.Kill()
	}
	k.grace = time.AfterFunc(killGrace, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.done {
			k.zygote.cmd.Process.Kill()
		}
	})
}

// over makes later kills do nothing, and reports whether there was one for the timeout.
func (k *killer) over() (late bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.done = true
	if k.grace != nil {
		k.grace.Stop()
	}
	return k.late
}
