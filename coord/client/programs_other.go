//go:build !linux

package client

import (
	"context"

	"gaggle/coord/gate"
	"gaggle/coord/placeholder"
)

// Programs decides nothing on this system.
type Programs struct{}

// NewPrograms returns placeholder.ErrUnsupported.
func NewPrograms(string, bool, func(context.Context) bool) (*Programs, error) {
	return nil, placeholder.ErrUnsupported
}

// PutBack does nothing.
func (*Programs) PutBack() error { return nil }

// Free is true.
func (*Programs) Free(gate.Program) bool { return true }

// Hold returns at once.
func (*Programs) Hold(context.Context, gate.Program) {}
