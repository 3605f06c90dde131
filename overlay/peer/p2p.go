package peer

import (
	"crypto/ed25519"
	"log/slog"
	"os"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/libp2p/go-libp2p/p2p/host/observedaddrs"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"

	"gaggle/wire"
)

// init keeps libp2p from writing to stderr on its own, closed listeners as errors among it. What
// matters to us is returned to us. GOLOG_LOG_LEVEL=debug brings it back.
func init() {
	if os.Getenv("GOLOG_LOG_LEVEL") == "" {
		gologshim.SetDefaultHandler(slog.DiscardHandler)
	}
	// libp2p believes four who see this host at an address, which no small mesh has: a laptop may know
	// nobody but the coordinator. What of it we believe see sightings.
	observedaddrs.ActivationThresh = 1
}

// newP2P makes a libp2p host that does not listen yet. The connection manager is the one that
// never trims: libp2p's own closes connections above 192, in use or not.
func newP2P(key ed25519.PrivateKey, m *meter, seen *sightings) (host.Host, error) {
	k, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err != nil {
		return nil, err
	}
	limits, err := limits()
	if err != nil {
		return nil, err
	}
	return libp2p.New(
		libp2p.Identity(k),
		libp2p.NoListenAddrs,
		libp2p.Transport(quic.NewTransport),
		// A listener with SO_REUSEPORT would silently share the port with another process.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Security(tls.ID, tls.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ConnectionManager(connmgr.NullConnMgr{}),
		libp2p.ResourceManager(limits),
		libp2p.UserAgent("gaggle"),
		libp2p.BandwidthReporter(m),
		libp2p.EnableRelay(),
		libp2p.EnableHolePunching(holepunch.WithAddrFilter(seen)),
		libp2p.ForceReachabilityPrivate(), // asks nobody to dial back
		libp2p.SwarmOpts(swarm.WithDialRanker(dialOrder)),
		libp2p.Ping(false),
		libp2p.DisableMetrics(),
		// Hosts without IPv6 or UDP are found out by each dial; in a mesh of few peers the
		// detectors would refuse addresses on the evidence of others.
		libp2p.UDPBlackHoleSuccessCounter(nil),
		libp2p.IPv6BlackHoleSuccessCounter(nil),
	)
}

const (
	// maxConns bounds connections: the members a coordinator serves, for a while twice when they
	// reconnect.
	maxConns = 2 * wire.MaxPeers
	// maxStreams bounds streams of all connections.
	maxStreams = 64 << 10
	// peerConns bounds connections of one peer: one each way by QUIC and TCP, twice.
	peerConns = 8
	// peerStreams is what one peer may have open each way. libp2p's QUIC allows 256 incoming streams
	// on a connection and makes the opener wait for more.
	peerStreams = 1024
	// connMemory bounds what libp2p accounts for windows and buffers. A connection's windows grow
	// to 15 MiB when used; without room they stay small.
	connMemory = 1 << 30
	// unproved bounds connections whose handshake is not done, and streams whose protocol is not
	// agreed on.
	unproved = 512
	// connsPerSecond and connBurst limit new connections from one address. libp2p's own limits (8
	// connections and 0.2/s for an address, loopback exempt) refuse a cluster behind one NAT.
	connsPerSecond = 50
	connBurst      = wire.MaxPeers
)

// limits returns a resource manager for a mesh of wire.MaxPeers, all of which may be behind one
// address.
func limits() (network.ResourceManager, error) {
	all := rcmgr.ResourceLimits{
		Streams: maxStreams, StreamsInbound: maxStreams, StreamsOutbound: maxStreams,
		Conns: maxConns, ConnsInbound: maxConns, ConnsOutbound: maxConns, FD: maxConns, Memory: connMemory,
	}
	transient := rcmgr.ResourceLimits{
		Streams: unproved, StreamsInbound: unproved, StreamsOutbound: unproved,
		Conns: unproved, ConnsInbound: unproved, ConnsOutbound: unproved, FD: unproved, Memory: connMemory / 8,
	}
	one := rcmgr.ResourceLimits{
		Streams: peerStreams, StreamsInbound: peerStreams, StreamsOutbound: peerStreams,
		Conns: peerConns, ConnsInbound: peerConns, ConnsOutbound: peerConns, FD: peerConns, Memory: connMemory / 4,
	}
	conf := rcmgr.PartialLimitConfig{
		System: all, Transient: transient,
		ServiceDefault: all, ProtocolDefault: all,
		ServicePeerDefault: one, ProtocolPeerDefault: one, PeerDefault: one,
	}.Build(rcmgr.DefaultLimits.AutoScale())
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(conf),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: maxConns}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: maxConns}}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: rate.Limit{RPS: connsPerSecond, Burst: connBurst}}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: rate.Limit{RPS: connsPerSecond, Burst: connBurst}}},
		}}))
}
