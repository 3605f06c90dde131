package peer

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"

	"gaggle/wire"
)

const (
	// relayAfter is how much later than the first direct address a relay is tried: a direct
	// connection takes two or three round trips, and an address that leads nowhere does not answer.
	relayAfter = time.Second
	// directAgain is how long a relayed pair waits between two tries to do without.
	directAgain = time.Minute
	// measureAgain is how long a round trip counts that nothing below measures.
	measureAgain = time.Minute
	// leaveRelay is how long a circuit is kept without streams once there is a direct connection.
	leaveRelay = 30 * time.Second
)

// dialOrder is libp2p's order of addresses, with relays after all direct ones; libp2p tries them at
// once if it knows private addresses only.
func dialOrder(addrs []ma.Multiaddr) []network.AddrDelay {
	var direct, relays []ma.Multiaddr
	for _, a := range addrs {
		if isCircuit(a) {
			relays = append(relays, a)
		} else {
			direct = append(direct, a)
		}
	}
	out := swarm.DefaultDialRanker(direct)
	var after time.Duration
	if len(direct) > 0 {
		after = relayAfter
	}
	for _, a := range relays {
		out = append(out, network.AddrDelay{Addr: a, Delay: after})
	}
	return out
}

// goDirect tries for a direct connection to a peer that is reached through the relay, in the
// background, at most every directAgain. libp2p's hole punching does so from the other side, once.
func (h *Host) goDirect(l *link) {
	now := time.Now().UnixNano()
	last := l.direct.Load()
	if now-last < int64(directAgain) || !l.direct.CompareAndSwap(last, now) || !h.begin() {
		return
	}
	go func() {
		defer h.work.Done()
		ctx, cancel := context.WithTimeout(h.ctx, dialTimeout)
		defer cancel()
		h.lend(l.peer)
		ctx = network.WithForceDirectDial(ctx, "there is a relayed one")
		if _, err := h.swarm.DialPeer(network.WithDialPeerTimeout(ctx, dialTimeout), peerID(l.peer)); err != nil {
			h.log.Debug("a relayed peer cannot be dialled directly", "peer", l.peer, "error", firstLine(err))
		}
	}()
}

// adopt shows certificates on a direct connection that was made while there is a relayed one to the
// same peer: nobody waits for it who would.
func (h *Host) adopt(l *link) {
	if l.relayed || l.inbound || h.certified(l.peer) == nil || !h.begin() {
		return
	}
	go func() {
		defer h.work.Done()
		ctx, cancel := context.WithTimeout(h.ctx, certTimeout)
		defer cancel()
		if err := h.certify(ctx, l); err != nil {
			h.log.Debug("a direct connection was not certified", "peer", l.peer, "error", firstLine(err))
			l.close()
		}
	}()
}

// The ways of wire.Path, best first. UDP carries QUIC.
const (
	WayDirect  = "direct"  // UDP, as dialled
	WayPunched = "punched" // UDP, made while the relay had them know each other: dialled back or hole punched
	WayTCP     = "tcp"     // TCP: UDP does not get through, or not in packets of 1,200 bytes
	WayRelayed = "relayed" // through the relay
)

// Ways returns all ways.
func Ways() []string { return []string{WayDirect, WayPunched, WayTCP, WayRelayed} }

// Paths returns how each Connected peer is reached, ordered by peer, at most wire.MaxPaths.
func (h *Host) Paths() []wire.Path {
	h.mu.Lock()
	peers := make([]wire.PeerID, 0, len(h.peers))
	for p := range h.peers {
		peers = append(peers, p)
	}
	h.mu.Unlock()
	slices.SortFunc(peers, func(a, b wire.PeerID) int { return bytes.Compare(a.Bytes(), b.Bytes()) })
	out := make([]wire.Path, 0, wire.MaxPaths)
	for _, p := range peers {
		if l := h.certified(p); l != nil && len(out) < wire.MaxPaths {
			rtt, measures := l.roundTrip()
			if !measures {
				h.measure(l)
			}
			out = append(out, wire.Path{Peer: p, Way: l.way(), RTT: rtt})
		}
	}
	return out
}

// RelayedOnly reports whether a peer is connected through the relay and in no other way.
func (h *Host) RelayedOnly(p wire.PeerID) bool {
	l := h.certified(p)
	return l != nil && l.relayed
}

func (l *link) way() string {
	switch _, err := l.conn.RemoteMultiaddr().ValueForProtocol(ma.P_TCP); {
	case l.relayed:
		return WayRelayed
	case err == nil:
		return WayTCP
	case l.punched.Load():
		return WayPunched
	}
	return WayDirect
}

// roundTrip asks QUIC, which measures all the time, or else returns what the exchange of certificates
// took last, 0 before we have begun one.
func (l *link) roundTrip() (rtt time.Duration, measures bool) {
	if q := l.quic(); q != nil {
		return q.ConnectionStats().SmoothedRTT, true
	}
	return time.Duration(l.rtt.Load()), false
}

// measure has certificates exchanged once more, in the background, at most every measureAgain: that
// is a round trip, over circuits and TCP as well, and whoever was dialled has taken none.
func (h *Host) measure(l *link) {
	now := time.Now().UnixNano()
	last := l.measured.Load()
	if now-last < int64(measureAgain) || !l.measured.CompareAndSwap(last, now) || !h.begin() {
		return
	}
	go func() {
		defer h.work.Done()
		ctx, cancel := context.WithTimeout(h.ctx, certTimeout)
		defer cancel()
		if err := h.showCert(ctx, l); err != nil && h.ctx.Err() == nil {
			h.log.Debug("a round trip was not measured", "peer", l.peer, "error", firstLine(err))
		}
	}()
}
