//go:build !linux

package sandbox

import (
	"context"
	"runtime"

	"gaggle/wire"
)

// An Engine runs thunks. It exists on Linux only.
type Engine struct{}

// Main does nothing on this system.
func Main() {}

// New fails: the sandbox is made of Linux namespaces.
func New(Config) (*Engine, error) { return nil, unsupported() }

// Run fails as New does.
func (e *Engine) Run(context.Context, Spec) (Report, error) { return Report{}, unsupported() }

// TryNetwork fails as New does.
func (e *Engine) TryNetwork(context.Context) error { return unsupported() }

// Close does nothing.
func (e *Engine) Close() error { return nil }

// BoundsMemory returns false.
func (e *Engine) BoundsMemory() bool { return false }

// Limits returns "".
func (e *Engine) Limits() string { return "" }

func unsupported() error {
	return wire.Errorf(wire.CauseSandbox, "this machine can submit; run nodes on Linux",
		"tasks cannot run on %s", runtime.GOOS)
}
