package peer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"gaggle/wire"
)

// DefaultPort is listened on, UDP and TCP, unless Config.Listen says otherwise.
const DefaultPort = 7070

// listenOn returns the default addresses with a port. The IPv6 ones come last: many hosts have no
// IPv6, which is no error.
func listenOn(port int) []string {
	return []string{
		fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", port), fmt.Sprintf("/ip4/0.0.0.0/tcp/%d", port),
		fmt.Sprintf("/ip6/::/udp/%d/quic-v1", port), fmt.Sprintf("/ip6/::/tcp/%d", port),
	}
}

func (h *Host) listen(addrs []string, anyPort bool) error {
	if addrs != nil {
		return h.listenEach(addrs, false)
	}
	err := h.listenEach(listenOn(DefaultPort), true)
	if !anyPort || !portTaken(err) {
		return err
	}
	h.swarm.ListenClose(slices.DeleteFunc(slices.Clone(h.swarm.ListenAddresses()), isCircuit)...)
	return h.listenEach(listenOn(0), true)
}

// listenEach listens on every address, where libp2p would be content with one. If lax, an IPv6
// address may fail unless the port is taken.
func (h *Host) listenEach(addrs []string, lax bool) error {
	for _, s := range addrs {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return wire.Errorf(wire.CauseInvalid, "write it as /ip4/0.0.0.0/udp/7070/quic-v1 or /ip4/0.0.0.0/tcp/7070",
				"%q is not an address to listen on (%v)", s, err)
		}
		if err = h.swarm.AddListenAddr(a); err == nil {
			continue
		}
		taken := portTaken(err)
		switch {
		case lax && !taken && strings.HasPrefix(s, "/ip6/"):
			h.log.Info("not listening on IPv6", "addr", s, "error", err)
		case taken:
			return fmt.Errorf("%w (%w)", wire.Errorf(wire.CauseInvalid, "end the other program (ss -lnptu shows it), or listen elsewhere",
				"cannot listen on %s: the port is taken", s), err)
		default:
			return wire.Errorf(wire.CauseInvalid, "name an address of this machine", "cannot listen on %s: %v", s, err)
		}
	}
	return nil
}

// wsaAddrInUse is what Windows says where others say EADDRINUSE.
const wsaAddrInUse = syscall.Errno(10048)

func portTaken(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaAddrInUse)
}

// Addrs returns where others may reach the host now, as multiaddrs, best first, at most
// wire.MaxAddrs. Loopback addresses are left out unless there is nothing else.
func (h *Host) Addrs() []string {
	all, err := h.swarm.InterfaceListenAddresses()
	if err != nil {
		h.log.Warn("the addresses of this machine cannot be read", "error", err)
		all = h.swarm.ListenAddresses()
	}
	all = slices.DeleteFunc(slices.Clone(all), func(a ma.Multiaddr) bool {
		return isCircuit(a) || manet.IsIP6LinkLocal(a) || manet.IsIPUnspecified(a)
	})
	if slices.ContainsFunc(all, func(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) }) {
		all = slices.DeleteFunc(all, manet.IsIPLoopback)
	}
	all = append(all, h.observed()...)
	slices.SortStableFunc(all, func(a, b ma.Multiaddr) int { return cmp.Compare(rank(a), rank(b)) })
	most := wire.MaxAddrs
	place := h.placed()
	if place != nil {
		most--
	}
	out := make([]string, 0, wire.MaxAddrs)
	for _, a := range all {
		if s := a.String(); len(out) < most && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if place != nil {
		out = append(out, place.String())
	}
	return out
}

// observed returns the public addresses at which others see this host, as far as they are believed: a
// NAT's, which may let in whoever asks.
func (h *Host) observed() []ma.Multiaddr {
	b, ok := h.p2p.(interface{ AllAddrs() []ma.Multiaddr })
	if !ok {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(b.AllAddrs()), func(a ma.Multiaddr) bool {
		return !manet.IsPublicAddr(a) || isCircuit(a) || !h.seen.believed(a)
	})
}

// rank puts QUIC before TCP, and IPv4 before IPv6.
func rank(a ma.Multiaddr) int {
	r := 0
	if _, err := a.ValueForProtocol(ma.P_TCP); err == nil {
		r += 2
	}
	if _, err := a.ValueForProtocol(ma.P_IP6); err == nil {
		r++
	}
	return r
}
