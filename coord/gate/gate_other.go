//go:build !linux || !(amd64 || arm64)

package gate

import (
	"context"
	"os/exec"
)

// Main does nothing.
func Main() {}

// A Gate does not exist on this system.
type Gate struct{}

// Start returns ErrUnsupported.
func Start(*exec.Cmd, func(Program) bool, func(context.Context, Program)) (*Gate, error) {
	return nil, ErrUnsupported
}

// Close does nothing.
func (*Gate) Close() error { return nil }
