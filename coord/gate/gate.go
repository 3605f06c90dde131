// Package gate holds back the programs that a command starts, until they may start.
//
// It hears of them by seccomp's user notification of execve alone (seccomp_unotify(2)), which needs no
// privilege and costs a process nothing but when it executes a program. Without CAP_SYS_ADMIN no program
// of the command gains privileges (setuid) any more, and a command has one gate only.
package gate

import "errors"

// ErrUnsupported is why there is no gate: the system has no such notification, or does not let this
// process, or the process is behind a gate already.
var ErrUnsupported = errors.New("programs cannot be held back here")

// A Program is about to be started.
type Program struct {
	PID   int      // of the process that is to become it
	Path  string   // as it is called, before a relative one its directory; "" if that cannot be told
	Words []string // with its name, the first MaxWords; nil if they cannot be told
}

// MaxWords bounds the words of a command that are told.
const MaxWords = 64
