package sandbox

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A drain reads both output streams of a command, so that it never blocks on one that nobody reads.
// One thread waits for the streams and then for the reply of the slot's process: with a goroutine
// for each in Go's poller a start took 10 system calls more, and woke two threads more.
type drain struct {
	streams *[2]stream
	ends    [2]int // of pipes, to read; -1 once a stream has ended
	buf     []byte // of the slot
	apart   sync.WaitGroup
}

// drainBytes is how much is read at once: as much as a pipe holds.
const drainBytes = 64 << 10

// newDrain makes the pipes of a run. It returns the command's ends.
func (r *run) newDrain() (d *drain, theirs []int, err error) {
	s := r.slot
	if s.drained == nil {
		s.drained = make([]byte, drainBytes)
	}
	d = &drain{streams: &r.out, ends: [2]int{-1, -1}, buf: s.drained}
	for i := range d.ends {
		var p [2]int
		if err = unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			break
		}
		d.ends[i] = p[0]
		theirs = append(theirs, p[1])
		if s.engine.distinct { // the command may open it again by way of /dev/stdout
			if err = unix.Fchown(p[1], s.uid(), s.uid()); err != nil {
				break
			}
		}
	}
	if err != nil {
		d.drop()
		closeAll(theirs)
		return nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	return d, theirs, nil
}

// until reads the streams until there is something to receive from sock, or both have ended.
// Without a socket, -1, it is the latter. It calls look, unless nil, now and
// then.
func (d *drain) until(sock int, look func()) {
	pause, next := oomFirst, time.Now().Add(oomFirst)
	for d.ends[0] >= 0 || d.ends[1] >= 0 {
		set := [...]unix.PollFd{{Fd: int32(d.ends[0]), Events: unix.POLLIN},
			{Fd: int32(d.ends[1]), Events: unix.POLLIN}, {Fd: int32(sock), Events: unix.POLLIN}}
		timeout := -1
		if look != nil {
			timeout = int(max(0, time.Until(next)+time.Millisecond-1) / time.Millisecond)
		}
		if _, err := unix.Poll(set[:], timeout); err != nil {
			continue // a signal, or the kernel has no memory now
		}
		for i := range d.ends {
			d.read(i, set[i].Revents)
		}
		if set[2].Revents != 0 {
			return
		}
		if look != nil && time.Now().After(next) {
			look()
			pause = min(2*pause, oomEvery)
			next = time.Now().Add(pause)
		}
	}
}

// read takes what there is of a stream. A command can take its own words back, by way of
// /dev/stdout; then this waits for more, at most until all of it is killed.
func (d *drain) read(i int, events int16) {
	n, err := 0, error(nil)
	switch {
	case events == 0:
		return
	case events&unix.POLLIN != 0:
		if n, err = unix.Read(d.ends[i], d.buf); err == unix.EINTR {
			return
		}
	}
	if n <= 0 {
		unix.Close(d.ends[i])
		d.ends[i] = -1
		return
	}
	d.streams[i].take(d.buf[:n])
}

// wait waits for what runs apart, and until both streams have ended.
func (d *drain) wait() {
	d.apart.Wait()
	d.until(-1, nil)
}

// drop closes the streams of a command that has not started.
func (d *drain) drop() {
	for i, fd := range d.ends {
		if fd >= 0 {
			unix.Close(fd)
		}
		d.ends[i] = -1
	}
}
