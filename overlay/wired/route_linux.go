package wired

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// To is where a route leads. A local slot has its route from Bind.
type To struct {
	Way  Way
	Host netip.AddrPort // Direct and External: one of what its plane's Here says
	MTU  int            // of the slots there, in bytes, if less than here; 0: not known
}

const (
	maxRoutes = 1 << 16 // as in plane.c; MaxSlots of them are kept for slots here

	// MaxShare is how many routes one network may have, beside those of its slots here: four times
	// the members that there can be.
	MaxShare = 4096
)

// ErrManyRoutes says that the table of routes, or a network's share of it, is full.
var ErrManyRoutes = errors.New("no room for more routes between network slots")

// Route has packets to dst in network vni go where to says, and packets from dst believed if
// they come from there. It fails with ErrManyRoutes if the network has MaxShare. It replaces an older route with its counters, but not that of a slot
// which is bound here: then the error is ErrTaken.
func (p *Plane) Route(vni uint32, dst netip.Addr, to To) error {
	if vni == 0 || vni > MaxVNI || !dst.Is4() {
		return fmt.Errorf("route to %s in network %d: out of range", dst, vni)
	}
	r, err := p.routeOf(dst, to)
	if err != nil {
		return err
	}
	return p.setRoute(planeKey{Vni: vni, Ip: be(dst)}, &r)
}

// routeOf makes what stands in the table.
func (p *Plane) routeOf(dst netip.Addr, to To) (planeRoute, error) {
	r := planeRoute{Kind: uint32(to.Way), Mtu: uint16(min(to.MTU, 1<<16-1)), Used: coarse()}
	switch to.Way {
	case Direct, External:
		u, err := p.towards(to.Host.Addr())
		if err != nil {
			return r, fmt.Errorf("route to %s: %w", dst, err)
		}
		r.Remote, r.Source, r.Dev = be(to.Host.Addr()), be(u.addr), uint32(u.index)
		r.Port = to.Host.Port()<<8 | to.Host.Port()>>8
		if to.Way == External {
			if to.Host.Port() != p.port {
				return r, fmt.Errorf("route to %s: its host has VXLAN at port %d, this one at %d: %w", dst, to.Host.Port(), p.port, ErrUntrusted)
			}
			if err := p.makeVXLAN(); err != nil {
				return r, err
			}
		}
	case Agent, Nowhere:
	default:
		return r, fmt.Errorf("route to %s: no way %d", dst, to.Way)
	}
	return r, nil
}

// setRoute writes a route that is not of a slot here, within the share of its network.
func (p *Plane) setRoute(key planeKey, r *planeRoute) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.gate.RLock()
	defer p.gate.RUnlock()
	var old planeRoute
	known := p.objects.Routes.Lookup(key, &old) == nil
	switch {
	case known && Way(old.Kind) == Local:
		return fmt.Errorf("route to %s: %w", addr(key.Ip), ErrTaken)
	case !known && (p.routed[key.Vni] >= MaxShare || p.allRouted >= maxRoutes-MaxSlots):
		return fmt.Errorf("route to %s: %w", addr(key.Ip), ErrManyRoutes)
	}
	if err := full(p.objects.Routes.Put(key, r)); err != nil {
		return fmt.Errorf("route to %s: %w", addr(key.Ip), err)
	}
	if known {
		p.note(key, &old)
		return nil
	}
	p.routed[key.Vni]++
	p.allRouted++
	return nil
}

// unrouted counts a route less. p.mu is held.
func (p *Plane) unrouted(vni uint32) {
	p.allRouted--
	if p.routed[vni]--; p.routed[vni] <= 0 {
		delete(p.routed, vni)
	}
}

// routeLocal sets the route of a slot that is being bound.
func (p *Plane) routeLocal(key planeKey, r *planeRoute) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.gate.RLock()
	defer p.gate.RUnlock()
	err := p.objects.Routes.Update(key, r, ebpf.UpdateNoExist)
	if !errors.Is(err, ebpf.ErrKeyExist) {
		return full(err)
	}
	var old planeRoute
	if p.objects.Routes.Lookup(key, &old) == nil && Way(old.Kind) == Local {
		return ErrTaken
	}
	if err := full(p.objects.Routes.Put(key, r)); err != nil {
		return err
	}
	p.note(key, &old)
	p.unrouted(key.Vni)
	return nil
}

func full(err error) error {
	if errors.Is(err, unix.E2BIG) {
		return ErrManyRoutes
	}
	return err
}

// Unroute takes a route away; the next packet to dst is a miss. The route of a slot that is bound
// here stays.
func (p *Plane) Unroute(vni uint32, dst netip.Addr) error {
	key := planeKey{Vni: vni, Ip: be(dst)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate.RLock()
	defer p.gate.RUnlock()
	var old planeRoute
	if err := p.objects.Routes.Lookup(key, &old); err != nil || Way(old.Kind) == Local {
		return nil
	}
	if err := p.objects.Routes.Delete(key); err != nil {
		return fmt.Errorf("taking away the route to %s: %w", dst, err)
	}
	p.note(key, &old)
	p.unrouted(vni)
	return nil
}

// unrouteLocal takes the route of a slot away.
func (p *Plane) unrouteLocal(key planeKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate.RLock()
	defer p.gate.RUnlock()
	var old planeRoute
	if p.objects.Routes.Lookup(key, &old) == nil && p.objects.Routes.Delete(key) == nil {
		p.note(key, &old)
	}
}

// Expire takes away the routes that no packet used for the time idle, to 1.1 s, and returns how
// many. Those of slots that are bound here stay.
func (p *Plane) Expire(idle time.Duration) (int, error) {
	all, err := p.Routes()
	if err != nil {
		return 0, err
	}
	n := 0
	for _, s := range all {
		if s.Way == Local || s.Idle < idle {
			continue
		}
		if err := p.Unroute(s.VNI, s.Dst); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Forget takes away all routes of a network but those of slots that are bound here.
func (p *Plane) Forget(vni uint32) error {
	all, err := p.Routes()
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.VNI != vni {
			continue
		}
		if err := p.Unroute(s.VNI, s.Dst); err != nil {
			return err
		}
	}
	return nil
}

// coarseBits make the unit of routes' last use: 2^30 ns.
const coarseBits = 30

func coarse() uint32 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &t); err != nil {
		return 0
	}
	return uint32(t.Nano() >> coarseBits)
}

// be returns an IPv4 address as a number whose bytes in memory are in network order.
func be(a netip.Addr) uint32 {
	b := a.As4()
	return *(*uint32)(unsafe.Pointer(&b))
}

func addr(be uint32) netip.Addr { return netip.AddrFrom4(*(*[4]byte)(unsafe.Pointer(&be))) }

// makeVXLAN makes the device of External routes, once.
func (p *Plane) makeVXLAN() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	if p.vxlan {
		return nil
	}
	p.unreserve() // the device takes the port for itself
	index := p.claim.index(vxlanIndex)
	// Not less than slots': the kernel drops what is redirected to a device that it is too large for.
	err := p.rtnl.batch(newVXLAN(p.claim.name("vx"), index, p.claim.live(), p.mtu, p.port), quiet(index),
		clsact(index, createNew), filter(index, 1, p.objects.FromVxlan.FD(), "vxlan"), setUp(index))
	if err != nil {
		return fmt.Errorf("making a VXLAN device at port %d: %w", p.port, err)
	}
	p.vxlan = true
	return nil
}
