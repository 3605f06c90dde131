package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"gaggle/wire"
)

// A trouble tells people once that the coordinator cannot be reached, and once that it can be
// again.
type trouble struct {
	out   io.Writer
	addrs []string // of the coordinator

	mu   sync.Mutex // guards said
	said wire.Cause // of what was told last; CauseUnknown if all is well
}

// say tells of an error unless one of its kind was told already.
func (t *trouble) say(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cause := wire.CauseOf(err)
	if cause == wire.CauseUnknown {
		cause = wire.CauseUnreachable
	}
	if cause == t.said || cause == wire.CauseRevoked { // the end of the program tells of that one
		return
	}
	t.said = cause
	if cause != wire.CauseUnreachable {
		fmt.Fprintf(t.out, "cannot work with the coordinator: %v\n  trying again\n", err)
		return
	}
	fmt.Fprintf(t.out, "cannot reach the coordinator at %s: %s\n", strings.Join(t.addrs, ", "),
		message(err))
	fmt.Fprintln(t.out, "  trying again; check that coord serve runs there, "+
		"and that its port (UDP, or TCP) is open for this machine")
}

// over takes note that all is well, and reports whether anybody was told otherwise.
func (t *trouble) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	told := t.said != wire.CauseUnknown
	t.said = wire.CauseUnknown
	return told
}

// message is an error without its hint.
func message(err error) string {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}
