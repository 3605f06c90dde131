package peer

import (
	"context"
	"slices"
	"time"

	p2p "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	ma "github.com/multiformats/go-multiaddr"

	"gaggle/wire"
)

// A circuit is how others reach this host through a relay.
type circuit struct {
	relay wire.PeerID
	set   bool
	until time.Time // of the place there; zero without one
}

// renewPlace is how long before its end a place is renewed.
const renewPlace = reserveFor / 2

// UseRelay names the peer through which others may reach this host, and through which it reaches
// others: the coordinator. No other relay is used, whatever addresses are told.
func (h *Host) UseRelay(p wire.PeerID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.via = circuit{relay: p, set: true}
	h.seen.trust(peerID(p))
}

// Reserve takes a place at the relay, to which there must be a connection, so that others can reach
// this host there. Addrs names that way from then on. It also waits until the relay has told at
// which address it sees this host. Who was disconnected must call it again; otherwise the place is
// renewed. A relay that has no place, or is none, is an error of CauseUnreachable.
func (h *Host) Reserve(ctx context.Context) error {
	h.mu.Lock()
	via := h.via
	h.mu.Unlock()
	if !via.set {
		return nil
	}
	place, err := client.Reserve(ctx, h.p2p, p2p.AddrInfo{ID: peerID(via.relay)})
	if err == nil {
		h.seen.await(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.via.until = time.Time{}
		return wire.Errorf(wire.CauseUnreachable, "", "%s is no relay for this machine: %s", via.relay, firstLine(err))
	}
	h.via.until = place.Expiration
	return nil
}

// keepPlace renews the place at the relay when its time comes.
func (h *Host) keepPlace(now time.Time) {
	h.mu.Lock()
	due := !h.via.until.IsZero() && now.After(h.via.until.Add(-renewPlace))
	h.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(h.ctx, certTimeout)
	defer cancel()
	if err := h.Reserve(ctx); err != nil && h.ctx.Err() == nil {
		h.log.Warn("the place at the relay was not renewed", "error", err)
	}
}

// placed returns the address of this host at the relay, nil if it has no place there.
func (h *Host) placed() ma.Multiaddr {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.via.until.IsZero() {
		return nil
	}
	return h.via.addr()
}

// addr is without the relay's own address: who uses it is connected to the relay.
func (c circuit) addr() ma.Multiaddr {
	a, err := ma.NewMultiaddr("/p2p/" + peerID(c.relay).String() + "/p2p-circuit")
	if err != nil {
		panic("peer: " + err.Error())
	}
	return a
}

// usable returns an address that was told, as far as it leads to the peer: without its id, and
// through no relay but ours. It returns nil if that leaves nothing. Called with mu held.
func (h *Host) usable(a ma.Multiaddr) ma.Multiaddr {
	if isCircuit(a) {
		if id, err := a.ValueForProtocol(ma.P_P2P); err != nil || !h.via.set || id != peerID(h.via.relay).String() {
			return nil
		}
		return h.via.addr()
	}
	i := slices.IndexFunc(a, func(c ma.Component) bool { return c.Protocol().Code == ma.P_P2P })
	if i >= 0 {
		a = a[:i]
	}
	return a
}
