//go:build !linux

package overlay

import (
	"net/netip"
	"runtime"

	"gaggle/wire"
)

// UsePlane fails: the plane is Linux's.
func (a *Agent) UsePlane([]netip.Prefix) error {
	return wire.Errorf(wire.CauseSandbox, "", "there are no networks on %s", runtime.GOOS)
}

// PlaneTroubles fails as UsePlane does.
func PlaneTroubles([]netip.Prefix) ([]Trouble, error) { return nil, (*Agent)(nil).UsePlane(nil) }

// A kernel is never there.
type kernel struct{}

func (*kernel) close() error                      { return nil }
func (*kernel) forget(uint32)                     {}
func (*kernel) stats(map[uint32]*network, *Stats) {}
func (*kernel) answer(*network, wire.PeerID, *wayQuestion) *wayAnswer {
	return nil
}
