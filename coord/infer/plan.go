package infer

import (
	"context"
	"fmt"

	"gaggle/coord/infer/scan"
	"gaggle/wire"
)

// A Store takes files in.
type Store interface {
	Trees
	// Add takes in a file of this machine. Its error wraps ErrPending for one that a call has still to
	// write.
	Add(ctx context.Context, path string) (wire.Object, error)
}

// A Planner makes thunks of calls. Its methods may be called side by side.
type Planner struct {
	Store   Store
	Scanner *scan.Scanner
	// Toolchain returns the one of a program, whose path comes first, with others that it starts, by
	// name. Its root is in the store.
	Toolchain func(ctx context.Context, tools []string) (*Toolchain, error)
	// Portable has a node see the files of calls where no directory of the user's has a say in it.
	// Compilers are told to write paths from the build's directory down instead.
	Portable bool
}

// A Plan is a call as a thunk.
type Plan struct {
	Thunk  *wire.Thunk
	Made   []Made        // what it makes, besides the streams
	Leaves []wire.Object // what it needs, all of it known

	RootSize uint64 // bytes of its root
	Hints    wire.Hints
	move     *move
}

// Made is an output of a thunk and where it belongs on this machine.
type Made struct {
	Output string // in the thunk
	Path   string // absolute
	Run    bool   // it is a program, or a library that is loaded
	Names  bool   // a text that names files as they were called
	// Mode is the file whose permissions it gets if that is there, absolute: its own if it is changed
	// in place, which keeps them, or another, and then the umask holds. "" is the usual ones.
	Mode string
}

// Local is an error that says why a call has to run on this machine. It is no failure.
type Local string

func (l Local) Error() string { return string(l) }

func local(format string, args ...any) error { return Local(fmt.Sprintf(format, args...)) }
