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
func NewPrograms(string, func(context.Context) bool) (*Programs, error) {
	return nil, placeholder.ErrUnsupported
}

// Pass returns at once.
func (*Programs) Pass(context.Context, gate.Program) {}
