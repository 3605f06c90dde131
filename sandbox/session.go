package sandbox

import (
	"io"
	"math"
	"os"
)

// A Session is a run for a person who looks into a task's sandbox: the command's standard input
// is theirs, its streams are not cut, and its outputs are not collected. Inputs are laid out, and
// are writable, as for Spec.Outputs all the same.
type Session struct {
	// Stdin is copied to the command's standard input until either ends; nil is an empty one. It
	// takes the place of Spec.Stdin.
	Stdin io.Reader
	// Terminal, unless nil, is the person's. The command gets a terminal of its own, whose master
	// end this one is joined to, in raw mode until the run has ended: Ctrl-C, window sizes and
	// job control reach the command. Stdin, Spec.Stdout and Spec.Stderr are not used then. It
	// needs Config.Terminals.
	Terminal *os.File
}

// streamRoom is how much of each output stream is handed on.
func (s *Spec) streamRoom(l Limits) int64 {
	if s.Session != nil {
		return math.MaxInt64
	}
	return l.StreamBytes
}
