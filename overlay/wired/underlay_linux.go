package wired

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// maxWays bounds the hosts of which the underlay is remembered.
const maxWays = 8192

// maxUnderlays is how many interfaces of trusted networks the programs know.
const maxUnderlays = 4

// An underlay is an Ethernet interface of this host with an address in a trusted network.
type underlay struct {
	index int
	name  string
	mtu   int
	addr  netip.Addr
}

// ErrUntrusted says that a host may not be sent packets of tenants as they are.
var ErrUntrusted = errors.New("not in a trusted network")

// findUnderlays looks up the interfaces of trusted networks, takes the port on them and settles
// the MTU of slots.
func (p *Plane) findUnderlays() error {
	p.mtu = p.config.mtu()
	var err error
	if p.underlays, err = underlays(p.config.Trusted); err != nil {
		return err
	}
	if len(p.underlays) > maxUnderlays {
		return fmt.Errorf("%d interfaces have addresses in trusted networks, more than %d: trust fewer networks", len(p.underlays), maxUnderlays)
	}
	for _, u := range p.underlays {
		p.mtu = min(p.mtu, u.mtu-vxlanBytes)
	}
	if p.mtu < leastMTU {
		return fmt.Errorf("slots would have an MTU of %d bytes, less than %d", p.mtu, leastMTU)
	}
	if len(p.underlays) == 0 {
		return nil
	}
	return p.reserve()
}

func underlays(trusted []netip.Prefix) ([]underlay, error) {
	if len(trusted) == 0 {
		return nil, nil
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	var all []underlay
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("listing addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			// Not those without Ethernet headers, as of WireGuard, where the programs would read amiss.
			if err == nil && len(i.HardwareAddr) == 6 && within(trusted, prefix.Addr()) {
				all = append(all, underlay{i.Index, i.Name, i.MTU, prefix.Addr()})
				break
			}
		}
	}
	return all, nil
}

func within(trusted []netip.Prefix, a netip.Addr) bool {
	return a.Is4() && slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

// waysLast is how long the underlay towards a host is believed to be the same; a host's routes
// change seldom, and a gang that starts routes to few hosts many times.
const waysLast = time.Second

type wayTo struct {
	by    underlay
	until time.Time
}

// towards returns the underlay by which the kernel would send to a host.
func (p *Plane) towards(host netip.Addr) (underlay, error) {
	if !within(p.config.Trusted, host) {
		return underlay{}, fmt.Errorf("%s: %w", host, ErrUntrusted)
	}
	now := time.Now()
	p.mu.Lock()
	w, known := p.ways[host]
	p.mu.Unlock()
	if known && now.Before(w.until) {
		return w.by, nil
	}
	u, err := p.lookUp(host)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		delete(p.ways, host)
		return u, err
	}
	if len(p.ways) >= maxWays {
		clear(p.ways)
	}
	p.ways[host] = wayTo{u, now.Add(waysLast)}
	return u, nil
}

// From returns which of Here a host in a trusted network sees as the source of what is sent to it. The
// error wraps ErrUntrusted if the host is in none, or the way there leads elsewhere.
func (p *Plane) From(host netip.Addr) (netip.AddrPort, error) {
	u, err := p.towards(host)
	return netip.AddrPortFrom(u.addr, p.port), err
}

// lookUp asks the kernel's routes.
func (p *Plane) lookUp(host netip.Addr) (underlay, error) {
	dst := host.As4()
	m := request(unix.RTM_GETROUTE, 0)
	m.b = append(m.b, unix.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // struct rtmsg
	answer, err := p.rtnl.ask(m.attr(unix.RTA_DST, dst[:]...))
	if err != nil {
		return underlay{}, fmt.Errorf("looking up the way to %s: %w", host, err)
	}
	index := 0
	if len(answer) >= unix.SizeofRtMsg {
		attrs(answer[unix.SizeofRtMsg:], func(kind uint16, value []byte) {
			if kind == unix.RTA_OIF && len(value) == 4 {
				index = int(native.Uint32(value))
			}
		})
	}
	for _, u := range p.underlays {
		if u.index == index {
			return u, nil
		}
	}
	return underlay{}, fmt.Errorf("the way to %s leads by no interface of a trusted network: %w", host, ErrUntrusted)
}
