//go:build !linux

package placeholder

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"time"
)

// ErrLost says that the kernel waited no longer: somebody has read the placeholder.
var ErrLost = errors.New("somebody who could wait no longer has read it unmade")

// A File is a placeholder; on this system there are none.
type File struct{}

// Make returns ErrUnsupported.
func Make(string, fs.FileMode, *Share) (*File, error) { return nil, ErrUnsupported }

// IDOf knows no file.
func IDOf(fs.FileInfo) (ID, bool) { return ID{}, false }

// ID returns nothing.
func (*File) ID() ID { return ID{} }

// Wanted is false.
func (*File) Wanted() bool { return false }

// Name returns "".
func (*File) Name() string { return "" }

// Fill returns ErrUnsupported.
func (*File) Fill(io.ReadSeeker, bool, func() (resume func())) error { return ErrUnsupported }

// Remove does nothing.
func (*File) Remove(func()) error { return nil }

// Processes are those of a build.
type Processes struct {
	Variable string // NAME=value; "NAME=" is for any value
}

// Freeze stops none.
func (Processes) Freeze() (resume func(), err error) { return func() {}, nil }

// End ends none.
func (Processes) End(bool) error { return nil }

// Patience returns how long the kernel has somebody wait for a placeholder.
func Patience() time.Duration { return 0 }

// Most is 0.
func Most() int { return 0 }

// A Share is a process that keeps this one's placeholders.
type Share struct{}

// NewShare returns nothing of use.
func NewShare(*net.UnixConn) *Share { return nil }

// Kept are placeholders of a process that was killed.
type Kept struct{}

// Keep keeps none.
func Keep(*net.UnixConn) *Kept { return new(Kept) }

// Remove has nothing to take away.
func (*Kept) Remove() error { return nil }

// nonblock has an open fail that would wait.
const nonblock = 0
