package wired

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// A Slot is an endpoint: eth0 in a namespace, and its host end with the program on it. It is laid
// once, bound at most once, and gone after that: no namespace serves two networks.
type Slot struct {
	n int

	mu    sync.Mutex // guards the fields below
	state slotState
	vni   uint32
	addr  netip.Addr
}

type slotState int

const (
	laid slotState = iota
	bound
	spent
)

var (
	// ErrExhausted says that all slots of the plane are in use.
	ErrExhausted = fmt.Errorf("all %d network slots of this node are in use", MaxSlots)

	// ErrTaken says that the address is already bound in the network.
	ErrTaken = errors.New("address is taken in this network")

	// ErrSpent says that a slot was bound before.
	ErrSpent = errors.New("network slot was bound before, and serves no second network")
)

// Number returns the slot's number, 1 to MaxSlots. It is given again only after it has rested
// longer than all others that are free.
func (s *Slot) Number() int { return s.n }

// Lay gives the namespace ns an eth0 with SlotMAC as its address and the plane's MTU; it is down, and whoever
// owns the namespace gives it its IP address. The slot reaches nothing until it is bound. Lay
// fails with ErrExhausted when there is no number left. It holds the machine's lock of network
// configuration for about 60 us.
func (p *Plane) Lay(ns *os.File) (*Slot, error) {
	for range 4 {
		s, err := p.number()
		if err != nil {
			return nil, err
		}
		err = p.lay(s, ns)
		if err == nil {
			return s, nil
		}
		var refused *batchError
		first := errors.As(err, &refused) && refused.at == 0
		if !first { // the pair may be there
			_ = p.rtnl.batch(removeLink(p.claim.index(s.n)))
		}
		p.rest(s)
		if first && refused.err == unix.EEXIST && !p.there(s.n) {
			return nil, fmt.Errorf("laying network slot %d: the namespace has an %s", s.n, eth0)
		}
		if !first || refused.err != unix.EEXIST { // of a namespace that the kernel still takes down
			return nil, fmt.Errorf("laying network slot %d: %w", s.n, err)
		}
	}
	return nil, fmt.Errorf("interfaces of slots that were given up are still there: %w", ErrExhausted)
}

// there reports whether the host end of a slot is.
func (p *Plane) there(n int) bool {
	_, err := p.rtnl.ask(request(unix.RTM_GETLINK, 0).link(p.claim.index(n), 0, 0))
	return err == nil
}

func (p *Plane) lay(s *Slot, ns *os.File) error {
	p.gate.RLock()
	defer p.gate.RUnlock()
	index := p.claim.index(s.n)
	err := p.rtnl.batch(
		newVeth(p.claim.name(strconv.Itoa(s.n)), index, p.claim.live(), p.mtu, int(ns.Fd())),
		quiet(index),
		clsact(index, createNew),
		filter(index, 1, p.objects.FromSlot.FD(), "slot"),
		setUp(index),
	)
	return err
}

// number takes the number that has rested longest.
func (p *Plane) number() (*Slot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if len(p.free) == 0 {
		return nil, ErrExhausted
	}
	s := &Slot{n: p.free[0]}
	p.free = p.free[1:]
	p.slots[s.n] = s
	return s, nil
}

func (p *Plane) rest(s *Slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.slots, s.n)
	p.free = append(p.free, s.n)
}

// Bind makes the slot the one with address addr, an IPv4 one, in network vni. It takes two
// writes to maps, no lock of the kernel's network configuration. It fails with ErrTaken if
// another slot here has the address there, and with ErrSpent if the slot was bound before.
func (p *Plane) Bind(s *Slot, vni uint32, addr netip.Addr) error {
	if vni == 0 || vni > MaxVNI || !addr.Is4() {
		return fmt.Errorf("binding to %s in network %d: out of range", addr, vni)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != laid {
		return ErrSpent
	}
	key := planeKey{Vni: vni, Ip: be(addr)}
	if err := p.routeLocal(key, &planeRoute{Kind: uint32(Local), Dev: uint32(p.claim.index(s.n))}); err != nil {
		return fmt.Errorf("binding slot %d to %s: %w", s.n, addr, err)
	}
	p.gate.RLock()
	defer p.gate.RUnlock()
	if err := p.objects.Slots.Put(uint32(s.n), &planeSlot{Vni: vni, Ip: be(addr)}); err != nil {
		_ = p.objects.Routes.Delete(key)
		return fmt.Errorf("binding slot %d: %w", s.n, err)
	}
	s.state, s.vni, s.addr = bound, vni, addr
	return nil
}

// Unbind cuts the slot off from its network: nothing leaves or enters it from then on. Its devices
// are removed in the background, or with the namespace if that ends before; then its number
// begins to rest. Of a slot that is not bound, or was unbound before, only the latter, or nothing.
func (p *Plane) Unbind(s *Slot) {
	s.mu.Lock()
	was := s.state
	s.state = spent
	if was == bound {
		p.gate.RLock()
		_ = p.objects.Slots.Put(uint32(s.n), &planeSlot{})
		p.gate.RUnlock()
		p.unrouteLocal(planeKey{Vni: s.vni, Ip: be(s.addr)})
	}
	s.mu.Unlock()
	if was == spent {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed { // else all devices go at once
		p.dying <- s // has room for all slots
	}
}

// bury removes the devices of slots that were unbound, as many at once as there are: to remove
// one takes the kernel as long as to remove many, for it waits for all CPUs.
func (p *Plane) bury() {
	for s := range p.dying {
		all := []*Slot{s}
		for more := true; more && len(all) < MaxSlots; {
			select {
			case s, more = <-p.dying:
				if more {
					all = append(all, s)
				}
			default:
				more = false
			}
		}
		if err := p.removeSlots(all); err != nil {
			p.log.Warn("removing network slots", "slots", len(all), "error", err)
		}
		for _, s := range all {
			p.rest(s)
		}
	}
}

// removeSlots removes devices, of which some may be gone with their namespaces.
func (p *Plane) removeSlots(all []*Slot) error {
	gone := func(m *message) *message {
		m.ok = unix.ENODEV
		return m
	}
	const most = 100 // answers of a batch, which the socket has to hold
	for some := range slices.Chunk(all, most) {
		var requests []*message
		for _, s := range some {
			requests = append(requests, gone(setGroup(p.claim.index(s.n), p.claim.dying())))
		}
		if err := p.rtnl.batch(requests...); err != nil {
			return err
		}
	}
	return p.rtnl.batch(gone(removeGroup(p.claim.dying())))
}
