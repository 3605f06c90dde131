package peer

import (
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	p2p "github.com/libp2p/go-libp2p/core/peer"
	pb "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
	circuit2 "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"

	"gaggle/wire"
)

// RelayLimits bound what a host relays. A budget is of an hour; a peer's counts what it sends, on
// circuits of its own and on those to it. When one is spent the circuits in question end and no new
// ones begin until the hour is over. Zero fields are taken from DefaultRelayLimits.
type RelayLimits struct {
	CircuitBytes int64         // each direction of one circuit
	CircuitLife  time.Duration // then it ends, and may be opened anew
	Circuits     int           // of one peer at once
	AllCircuits  int           // at once
	PeerBytes    int64         // of one peer in an hour
	AllBytes     int64         // in an hour
}

// DefaultRelayLimits let a laptop behind a bad NAT fetch a toolchain and its inputs, and keep a
// coordinator's link from being full for more than a part of the hour: 64 GiB are 150 Mbit/s.
// libp2p's own, 128 KiB and two minutes a circuit, are for finding each other only.
var DefaultRelayLimits = RelayLimits{
	CircuitBytes: 4 << 30, CircuitLife: 2 * time.Hour, Circuits: 64, AllCircuits: 2048,
	PeerBytes: 8 << 30, AllBytes: 64 << 30,
}

// relayBuffer is the buffer of each direction of a circuit: 64 MiB for all circuits.
const relayBuffer = 16 << 10

// reserveFor is how long a place at the relay lasts unless it is renewed.
const reserveFor = time.Hour

func (l RelayLimits) filled() RelayLimits {
	d := DefaultRelayLimits
	or := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	or(&l.CircuitBytes, d.CircuitBytes)
	or(&l.PeerBytes, d.PeerBytes)
	or(&l.AllBytes, d.AllBytes)
	or((*int64)(&l.CircuitLife), int64(d.CircuitLife))
	if l.Circuits == 0 {
		l.Circuits = d.Circuits
	}
	if l.AllCircuits == 0 {
		l.AllCircuits = d.AllCircuits
	}
	return l
}

// ServeRelay lets members reach each other through this host, which must be reachable itself. It may
// be called once, before Close.
func (h *Host) ServeRelay(limits RelayLimits) error {
	limits = limits.filled()
	guard := &relayGuard{h: h, limits: limits}
	h.meter.start(limits, time.Now(), h.cutCircuits)
	r, err := relay.New(h.p2p, relay.WithACL(guard), relay.WithMetricsTracer(guard), relay.WithResources(relay.Resources{
		Limit:          &relay.RelayLimit{Duration: limits.CircuitLife, Data: limits.CircuitBytes},
		ReservationTTL: reserveFor, BufferSize: relayBuffer,
		MaxReservations: wire.MaxPeers, MaxCircuits: limits.Circuits,
		// All members may be behind one address.
		MaxReservationsPerIP: wire.MaxPeers, MaxReservationsPerASN: wire.MaxPeers,
	}))
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.relay, h.guard = r, guard
	return nil
}

// RelayUse is what a host has relayed since it began to.
type RelayUse struct {
	Bytes    int64 // received to be passed on
	Open     int64 // circuits now
	Circuits int64 // opened ever
	Places   int64 // members that may be reached through it now
	Refused  int64 // circuits and places that were asked for
}

// Relayed returns what this host has relayed, nothing if it is no relay.
func (h *Host) Relayed() RelayUse {
	h.mu.Lock()
	g := h.guard
	h.mu.Unlock()
	if g == nil {
		return RelayUse{}
	}
	return RelayUse{h.meter.bytes(), g.open.Load(), g.opened.Load(), g.places.Load(), g.refused.Load()}
}

// cutCircuits ends the circuits of a peer, of everybody for "".
func (h *Host) cutCircuits(p p2p.ID) {
	for _, c := range h.swarm.Conns() {
		if p != "" && c.RemotePeer() != p {
			continue
		}
		for _, s := range c.GetStreams() {
			if s.Protocol() == circuit2.ProtoIDv2Hop || s.Protocol() == circuit2.ProtoIDv2Stop {
				_ = s.Reset()
			}
		}
	}
}

// A relayGuard says who may use the relay and counts. It is relay's ACL and tracer.
type relayGuard struct {
	h      *Host
	limits RelayLimits

	open, opened, places, refused atomic.Int64
}

// AllowReserve lets members be reached through the relay.
func (g *relayGuard) AllowReserve(p p2p.ID, _ ma.Multiaddr) bool { return g.member(p) }

// AllowConnect lets members reach members while their budgets last.
func (g *relayGuard) AllowConnect(from p2p.ID, _ ma.Multiaddr, to p2p.ID) bool {
	return g.member(from) && g.member(to) && g.open.Load() < int64(g.limits.AllCircuits) &&
		g.h.meter.left(time.Now(), from, to)
}

// member reports whether a peer is connected and its certificate holds.
func (g *relayGuard) member(p p2p.ID) bool {
	id, err := wire.PeerFromBytes([]byte(p))
	if err != nil {
		return false
	}
	cert := g.h.Member(id)
	return cert != nil && !g.h.outdated(cert) && g.h.Revoked(id) == nil
}

// RelayStatus is of no interest.
func (g *relayGuard) RelayStatus(bool) {}

// ConnectionOpened counts a circuit.
func (g *relayGuard) ConnectionOpened() { g.open.Add(1); g.opened.Add(1) }

// ConnectionClosed counts the end of a circuit.
func (g *relayGuard) ConnectionClosed(time.Duration) { g.open.Add(-1) }

// ConnectionRequestHandled counts circuits that were refused.
func (g *relayGuard) ConnectionRequestHandled(s pb.Status) { g.judge(s) }

// ReservationAllowed counts a place.
func (g *relayGuard) ReservationAllowed(again bool) {
	if !again {
		g.places.Add(1)
	}
}

// ReservationClosed counts places given up.
func (g *relayGuard) ReservationClosed(n int) { g.places.Add(-int64(n)) }

// ReservationRequestHandled counts places that were refused.
func (g *relayGuard) ReservationRequestHandled(s pb.Status) { g.judge(s) }

func (g *relayGuard) judge(s pb.Status) {
	if s != pb.Status_OK {
		g.refused.Add(1)
	}
}

// BytesTransferred is of no interest: the meter knows whose they are.
func (g *relayGuard) BytesTransferred(int) {}

// relayed reports whether a connection is a circuit through a relay.
func relayed(c network.ConnMultiaddrs) bool { return isCircuit(c.RemoteMultiaddr()) }

func isCircuit(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}
