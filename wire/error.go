package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Cause says why something failed, as a number that programs branch on. Numbers are never
// reused.
type Cause uint16

// Causes. Those up to 19 are the task's own doing and not retried unless the user asks; those
// from 20 to 39 are the infrastructure's and retried elsewhere; the rest are refusals.
const (
	CauseUnknown Cause = 0

	CauseExit             Cause = 1  // the command ended with a code other than 0
	CauseSignal           Cause = 2  // the command was ended by a signal of its own making
	CauseTimeout          Cause = 3  // it ran longer than its timeout
	CauseMemory           Cause = 4  // it needed more memory than its limit
	CauseProcesses        Cause = 5  // it needed more processes than its limit
	CauseOutputMissing    Cause = 6  // it ended with 0 but a declared output is not there
	CauseOutputInvalid    Cause = 7  // an output is something a tree cannot hold, or escapes
	CauseOutputBound      Cause = 8  // outputs exceed their bound
	CauseNotInRoot        Cause = 9  // the program does not exist in the root
	CauseGraph            Cause = 10 // it wrote a sub-graph that is refused
	CauseCycle            Cause = 11 // a sub-graph waits for itself
	CauseNondeterministic Cause = 12 // a re-run gave another value

	CauseNodeLost   Cause = 20 // the node that ran it went away
	CauseDiskFull   Cause = 21 // a store has no room
	CauseFetch      Cause = 22 // an input could not be fetched from any holder
	CauseSandbox    Cause = 23 // the sandbox could not be set up
	CauseInputsGone Cause = 24 // nobody holds an input any more and it cannot be made again
	CauseInternal   Cause = 25 // our own bug
	CauseDisk       Cause = 26 // a disk fails, or a file on it is damaged

	CauseInvalid      Cause = 40 // malformed or impossible request
	CauseNotFound     Cause = 41 // no such job, task, target or object
	CauseTooLarge     Cause = 42 // exceeds a stated bound
	CauseNoPlatform   Cause = 43 // no node has the platform, abi or labels
	CauseUnauthorized Cause = 44 // no, forged or wrong certificate or grant
	CauseExpired      Cause = 45 // ticket, certificate or grant has run out
	CauseClock        Cause = 46 // clocks differ too much to tell
	CauseCancelled    Cause = 47 // somebody asked for it to stop
	CauseVersion      Cause = 48 // format or protocol version not known
	CauseBusy         Cause = 49 // over a limit for now; try later
	CauseUnreachable  Cause = 50 // a peer does not answer
	CauseDependency   Cause = 51 // something it needs failed
	CauseRevoked      Cause = 52 // the membership was ended for good
	CauseUnproven     Cause = 53 // it cannot be shown that those gave a value whom a job believes
)

var causeNames = map[Cause]string{
	CauseExit: "exit", CauseSignal: "signal", CauseTimeout: "timeout", CauseMemory: "memory",
	CauseProcesses: "processes", CauseOutputMissing: "missing output", CauseOutputInvalid: "invalid output",
	CauseOutputBound: "output bound", CauseNotInRoot: "not in the root", CauseGraph: "sub-graph",
	CauseCycle: "cycle", CauseNondeterministic: "nondeterministic",
	CauseNodeLost: "node lost", CauseDiskFull: "disk full", CauseFetch: "fetch", CauseSandbox: "sandbox",
	CauseInputsGone: "inputs gone", CauseInternal: "internal", CauseDisk: "disk",
	CauseInvalid: "invalid", CauseNotFound: "not found", CauseTooLarge: "too large",
	CauseNoPlatform: "no platform", CauseUnauthorized: "unauthorized", CauseExpired: "expired",
	CauseClock: "clock", CauseCancelled: "cancelled", CauseVersion: "version", CauseBusy: "busy",
	CauseUnreachable: "unreachable", CauseDependency: "dependency",
	CauseRevoked: "revoked", CauseUnproven: "unproven",
}

func (c Cause) String() string {
	if s, ok := causeNames[c]; ok {
		return s
	}
	return fmt.Sprintf("cause %d", uint16(c))
}

// Task reports whether the task itself is to blame, so that running it again elsewhere would
// likely end the same.
func (c Cause) Task() bool { return c >= CauseExit && c <= CauseNondeterministic }

// Infrastructure reports whether another node may well succeed.
func (c Cause) Infrastructure() bool { return c >= CauseNodeLost && c <= CauseDisk }

// An Error is a failure that crosses a process boundary: what happened, and what the reader can
// do about it.
type Error struct {
	Cause   Cause  `cbor:"cause"`
	Message string `cbor:"msg"`
	Hint    string `cbor:"hint,omitempty"` // what to do next
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.Hint != "" {
		b.WriteString(": ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

// Errorf returns an Error of the given cause. The message may be empty of hints.
func Errorf(c Cause, hint, format string, args ...any) *Error {
	return &Error{Cause: c, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// AsError returns the Error in err's chain with the whole chain's text as its message, or makes
// one: of a cancelled or expired context, else of CauseUnknown. It returns nil for nil. The text
// is cut at MaxText.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		if error(e) != err {
			e = e.within(err.Error())
		}
	case errors.Is(err, context.Canceled):
		e = &Error{Cause: CauseCancelled, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		e = &Error{Cause: CauseUnreachable, Message: err.Error()}
	default:
		e = &Error{Message: err.Error()}
	}
	if len(e.Message) > MaxText {
		cut := *e
		cut.Message = strings.ToValidUTF8(cut.Message[:MaxText], "")
		e = &cut
	}
	return e
}

// within returns e with the text of an error that wraps it. The hint stays apart if it ends the
// text.
func (e *Error) within(text string) *Error {
	if around, ok := strings.CutSuffix(text, e.Error()); ok {
		return &Error{Cause: e.Cause, Message: around + e.Message, Hint: e.Hint}
	}
	return &Error{Cause: e.Cause, Message: text}
}

// CauseOf returns the cause of the Error in err's chain, else CauseUnknown.
func CauseOf(err error) Cause {
	var e *Error
	if errors.As(err, &e) {
		return e.Cause
	}
	return CauseUnknown
}

// Hints steer where and for how long a thunk runs. They are in no hash and belong to whoever
// waits for it. Zero fields mean the defaults of the node.
type Hints struct {
	MilliCPU int64             `cbor:"cpu,omitempty"`     // thousandths of a core; 0 is DefaultMilliCPU
	MemBytes int64             `cbor:"mem,omitempty"`     // 0 is DefaultMemory
	Timeout  time.Duration     `cbor:"timeout,omitempty"` // of running time; 0 is DefaultTimeout
	Priority int               `cbor:"prio,omitempty"`    // higher first; -100 to 100
	Retries  int               `cbor:"retries,omitempty"` // of task failures; 0 to 10
	Labels   map[string]string `cbor:"labels,omitempty"`  // the node must have them
}

const (
	// DefaultMilliCPU is what a thunk without a CPU hint counts as: one core.
	DefaultMilliCPU = 1000
	// MaxMilliCPU bounds what a user may ask for: 1,024 cores.
	MaxMilliCPU = 1024 * 1000
	// DefaultMemory is what a thunk without a memory hint is admitted with.
	DefaultMemory = 512 << 20
	// DefaultTimeout bounds the running time of a thunk without a timeout.
	DefaultTimeout = time.Hour
	// MaxTimeout bounds what a user may ask for.
	MaxTimeout = 7 * 24 * time.Hour
)

// Widest returns the hints under which a run serves both h and o: the larger limits, the higher
// priority. Labels stay h's: who joins a run takes it where it is.
func (h Hints) Widest(o Hints) Hints {
	h.MilliCPU = max(h.CPU(), o.CPU())
	h.MemBytes = max(h.Memory(), o.Memory())
	h.Timeout = max(h.Deadline(), o.Deadline())
	h.Priority = max(h.Priority, o.Priority)
	h.Retries = max(h.Retries, o.Retries)
	return h
}

// CPU returns the share of processors in thousandths of a core.
func (h Hints) CPU() int64 {
	if h.MilliCPU > 0 {
		return h.MilliCPU
	}
	return DefaultMilliCPU
}

// Slots returns how many of a node's slots a run takes: one for each core it keeps busy, but never
// more than the node has.
func (h Hints) Slots(have int) int {
	return int(min((min(h.CPU(), MaxMilliCPU)+DefaultMilliCPU-1)/DefaultMilliCPU, int64(have)))
}

// Memory returns the memory limit in bytes.
func (h Hints) Memory() int64 {
	if h.MemBytes > 0 {
		return h.MemBytes
	}
	return DefaultMemory
}

// Deadline returns the limit on running time.
func (h Hints) Deadline() time.Duration {
	if h.Timeout > 0 {
		return h.Timeout
	}
	return DefaultTimeout
}
