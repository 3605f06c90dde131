package blobstore

import (
	"errors"
	"fmt"

	"gaggle/wire"
)

// A walk visits an object and everything below it, each once.
type walk struct {
	h     *shelf
	space wire.Space
	touch bool             // counts as a use
	known map[key]struct{} // trees whose closure need not be looked at; guarded by h.mu
	seen  map[seenKey]struct{}
	stack []wire.Object // trees that are here, to be opened
}

// The same bytes may be a file and a directory in different places.
type seenKey struct {
	digest wire.Digest
	dir    bool
}

// visit calls see for o and everything below, with here telling whether it is in the store. It
// ends early when see returns false. Of known trees it sees no more than themselves. Touch makes it
// count as a use. The trees that it opened are returned. An error is of a disk, or of a blob that
// is named as a directory and is none.
func (h *shelf) visit(space wire.Space, roots []wire.Object, touch bool, known map[key]struct{}, see func(o wire.Object, here bool) bool) (opened []wire.Digest, err error) {
	w := &walk{h: h, space: space, touch: touch, known: known, seen: map[seenKey]struct{}{}}
	if !w.look(roots, see) {
		return nil, nil
	}
	for len(w.stack) > 0 {
		o := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		t, err := h.load(o.Digest)
		if errors.Is(err, ErrNotFound) { // found corrupt just now
			if !see(o, false) {
				return opened, nil
			}
			continue
		}
		if err != nil {
			return opened, fmt.Errorf("reading directory %s: %w", o.CID(), err)
		}
		opened = append(opened, o.Digest)
		below := make([]wire.Object, len(t.Entries))
		for i := range t.Entries {
			below[i] = t.Entries[i].Object
		}
		if !w.look(below, see) {
			return opened, nil
		}
	}
	return opened, nil
}

// look takes one directory's worth of objects under one lock.
func (w *walk) look(objs []wire.Object, see func(wire.Object, bool) bool) bool {
	type found struct {
		o    wire.Object
		here bool
	}
	var list []found
	w.h.mu.Lock()
	for _, o := range objs {
		k := seenKey{o.Digest, o.Kind == wire.Dir}
		if _, ok := w.seen[k]; ok || !o.Final() && o.Kind != wire.Graph {
			continue
		}
		w.seen[k] = struct{}{}
		e := w.h.table.in(w.space, o.Digest)
		if e != nil {
			if w.touch {
				w.h.table.touch(e)
			}
			if _, known := w.known[key{w.space, o.Digest}]; o.Kind == wire.Dir && !known {
				w.stack = append(w.stack, o)
			}
		}
		list = append(list, found{o, e != nil})
	}
	w.h.mu.Unlock()
	for _, f := range list {
		if !see(f.o, f.here) {
			return false
		}
	}
	return true
}

// missing returns what of o's closure is not here.
func (h *shelf) missing(space wire.Space, o wire.Object, touch bool) (out []wire.Object, err error) {
	k := key{space, o.Digest}
	h.mu.Lock()
	_, whole := h.whole[k]
	drops := h.drops
	if whole && o.Kind == wire.Dir {
		if e := h.table.in(space, o.Digest); e != nil {
			if touch {
				h.table.touch(e)
			}
			h.mu.Unlock()
			return nil, nil
		}
	}
	h.mu.Unlock()
	opened, err := h.visit(space, []wire.Object{o}, touch, h.whole, func(o wire.Object, here bool) bool {
		if !here {
			out = append(out, o)
		}
		return true
	})
	if err != nil || len(out) > 0 || o.Kind != wire.Dir {
		return out, err
	}
	h.rememberWhole(space, opened, drops)
	return nil, nil
}

// rememberWhole notes that trees are whole, unless something was dropped since.
func (h *shelf) rememberWhole(space wire.Space, trees []wire.Digest, drops uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.drops == drops {
		remember(h.whole, space, trees)
	}
}

// remember adds trees to those known to be whole, or durable.
func remember(known map[key]struct{}, space wire.Space, trees []wire.Digest) {
	if len(known)+len(trees) > maxWhole {
		clear(known)
	}
	for _, d := range trees[:min(len(trees), maxWhole)] {
		known[key{space, d}] = struct{}{}
	}
}

// doubts returns a number that changes when something durable may not be so any more: an object
// was dropped, changed form or came to another space. Called with mu held.
func (h *shelf) doubts() uint64 {
	if h.durableAt != h.table.doubts {
		h.durableAt = h.table.doubts
		clear(h.durable)
	}
	return h.durableAt
}

// rememberDurable notes that trees and all below them are durable, unless doubts changed.
func (h *shelf) rememberDurable(space wire.Space, trees []wire.Digest, doubts uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.doubts() == doubts {
		remember(h.durable, space, trees)
	}
}

// isWhole reports whether o and everything below it is here.
func (h *shelf) isWhole(space wire.Space, o wire.Object, touch bool) bool {
	if !o.Final() && o.Kind != wire.Graph {
		return false
	}
	out, err := h.missing(space, o, touch)
	return err == nil && len(out) == 0
}
