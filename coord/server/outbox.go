package server

import (
	"io"
	"sync"
	"time"

	"gaggle/wire"
)

// An outbox gathers what goes to one node until its writer is free, so that a busy node gets few
// large frames and an idle one is told at once.
type outbox struct {
	mu     sync.Mutex // guards the fields below
	ready  sync.Cond  // signalled by flush and close
	frames []*wire.ToNode
	items  int // in the last of frames
	bytes  int // about, of the offers and networks in it
	due    bool
	taken  time.Time // when the writer last took something
	closed bool
}

const (
	// frameItems and frameBytes bound one frame, so that it stays below wire.MaxFrame: one more
	// offer, of at most wire.MaxThunk and its holders, still fits.
	frameItems = 128
	frameBytes = 1 << 20
	// maxWaiting is how many frames may wait for a node that does not read; then it is cut off
	// and starts anew when it reconnects.
	maxWaiting = 4096
)

// offerBytes is about what an offer takes in a frame.
func offerBytes(o *wire.Offer) int {
	n := len(o.Thunk) + 256
	for _, x := range o.Then {
		n += len(x.Thunk) + 256
	}
	for _, list := range [][]wire.Held{o.Holders, o.Expect} {
		for _, h := range list {
			n += 64 + 40*(len(h.Peers)+len(h.Coming))
		}
	}
	return n
}

// networkBytes is about what a network takes, with the addresses of its nodes.
func networkBytes(w *wire.Network) int {
	n := 64
	for i := range w.Members {
		n += len(w.Members[i].Task) + 128
	}
	return n
}

func (o *outbox) init() { o.ready.L = &o.mu }

// add has put write something into the next frame. Nothing is sent before flush.
func (o *outbox) add(put func(*wire.ToNode)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if len(o.frames) == 0 || o.items >= frameItems || o.bytes >= frameBytes {
		o.frames = append(o.frames, new(wire.ToNode))
		o.items, o.bytes = 0, 0
	}
	f := o.frames[len(o.frames)-1]
	offers, networks := len(f.Offers), len(f.Networks)
	put(f)
	o.items++
	for i := range f.Offers[offers:] {
		o.bytes += offerBytes(&f.Offers[offers+i])
	}
	for i := range f.Networks[networks:] {
		o.bytes += networkBytes(&f.Networks[networks+i])
	}
	if len(o.frames) > maxWaiting {
		o.closed = true
		o.ready.Signal()
	}
}

// flush lets the writer send what was added.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.frames) > 0 && !o.due {
		o.due = true
		o.ready.Signal()
	}
}

// say lets the writer send what was added, or an empty frame, unless it has sent something since.
func (o *outbox) say(since time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.due || o.closed || o.taken.After(since) {
		return
	}
	if len(o.frames) == 0 {
		o.frames = append(o.frames, new(wire.ToNode))
		o.items, o.bytes = 0, 0
	}
	o.due = true
	o.ready.Signal()
}

// overflowed reports whether the outbox gave the node up.
func (o *outbox) overflowed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.ready.Signal()
}

// drain writes frames until the outbox is closed or w fails.
func (o *outbox) drain(w io.WriteCloser, epoch uint64) {
	for {
		frames := o.take()
		if frames == nil {
			return
		}
		for _, f := range frames {
			f.Epoch = epoch
			if err := writeFrame(w, f); err != nil {
				o.close()
				return
			}
		}
	}
}

// take waits for a flush and returns all frames, or nil when the outbox is closed.
func (o *outbox) take() []*wire.ToNode {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.due && !o.closed {
		o.ready.Wait()
	}
	if o.closed {
		return nil
	}
	frames := o.frames
	o.frames, o.items, o.bytes, o.due = nil, 0, 0, false
	o.taken = time.Now()
	return frames
}
