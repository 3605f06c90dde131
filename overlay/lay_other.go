//go:build !linux

package overlay

import (
	"runtime"

	"gaggle/sandbox"
	"gaggle/wire"
)

// Lay fails: networks are made of Linux namespaces.
func (a *Agent) Lay(*sandbox.Namespace) (sandbox.Cable, error) {
	return nil, wire.Errorf(wire.CauseSandbox, "", "there are no networks on %s", runtime.GOOS)
}
