// Package peer connects the members of a mesh: a libp2p host with QUIC and TCP, an identity,
// membership by certificate, and streams by protocol. It is the only importer of go-libp2p.
//
// The libp2p handshake proves who holds which key. Membership is shown next: whoever dialled
// opens a stream of wire.ProtocolCert and sends one frame, and the other answers with one:
//
//	{"cert": bytes of wire.Certificate, "now": Unix microseconds, "error": wire.Error or absent,
//	 "known": digest of the revocations it knows, "ended": bytes of the other's wire.Revocation or absent}
//
// An answer with an error refuses the certificate that was sent. The exchange may be repeated at
// any time, to show a renewed certificate. Until it has succeeded no stream of another protocol
// is handled, on either side: early ones wait for it, a few and not for long. Without it a
// connection is good for wire.ProtocolJoin only, and ends after pendingFor.
//
// On wire.ProtocolJoin one frame asks, with a ticket or an old certificate, and one answers:
//
//	{"ticket": text, "cert": bytes, "owner": text, "name": text, "now": Unix microseconds}
//	{"cert": bytes, "now": Unix microseconds, "error": wire.Error or absent}
//
// If the digests differ whoever dialled opens a stream of wire.ProtocolRevoked, and each tells what
// the other lacks; what is news is passed on to all connected members at once. A peer whose
// membership was revoked is shown the revocation, and nobody exchanges anything else with it. See
// revoked.go and news.go.
//
// Peers behind NAT are reached through a relay, the coordinator, with a circuit of libp2p's relay v2
// on which the two shake hands as on any connection: the relay sees nothing but their bytes. Each
// tries for a direct connection then, by dialling back and by punching a hole. See relay.go for what
// a relay takes, and direct.go for how a pair gets rid of it.
package peer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	p2p "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"

	"gaggle/wire"
)

// Config says who a Host is. Key and Mesh must be set.
type Config struct {
	Key  ed25519.PrivateKey // this machine's identity; its PeerID is wire.PeerOf(Key)
	Mesh wire.PeerID        // the mesh key whose certificates are accepted
	Cert *wire.Certificate  // ours; with nil nothing can be opened until SetCertificate

	// Listen names multiaddrs such as /ip4/0.0.0.0/udp/7070/quic-v1. Nil is DefaultPort over
	// QUIC and TCP on every address, IPv4 and IPv6; empty but not nil is none: the host only dials.
	Listen []string
	// AnyPort lets the host take any free port if Listen is nil and DefaultPort is taken.
	AnyPort bool

	// RevokedFile keeps what is known of revoked memberships; "" forgets it with the process.
	RevokedFile string

	Logger *slog.Logger     // nil discards
	Now    func() time.Time // the wall clock; nil is time.Now
}

// A Host is this machine on the mesh. It is safe for concurrent use.
type Host struct {
	key   ed25519.PrivateKey
	mesh  wire.PeerID
	log   *slog.Logger
	now   func() time.Time
	p2p   host.Host
	swarm *swarm.Swarm
	told  *teller
	meter *meter
	seen  *sightings

	revoked *revokedSet
	tellers chan struct{} // capacity maxTellers
	knocks  knocks

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // handlers and what we started

	mu      sync.Mutex // guards the fields below
	cert    *wire.Certificate
	book    map[wire.PeerID][]ma.Multiaddr
	lives   map[wire.PeerID]uint64 // of those in book, as far as they are known
	links   map[network.Conn]*link
	debts   map[wire.PeerID]*debt   // of whom a goroutine tells of revocations
	peers   map[wire.PeerID][]*link // certified, newest last
	pending int                     // inbound links not certified
	closed  bool
	via     circuit      // of UseRelay
	relay   *relay.Relay // nil unless ServeRelay was called
	guard   *relayGuard  // likewise
}

// New starts a host. A port that is taken is an error of wire.CauseInvalid that says so.
func New(cfg Config) (*Host, error) {
	h := &Host{
		key: cfg.Key, mesh: cfg.Mesh, cert: cfg.Cert, log: cfg.Logger, now: cfg.Now,
		book:  map[wire.PeerID][]ma.Multiaddr{},
		lives: map[wire.PeerID]uint64{},
		links: map[network.Conn]*link{},
		debts: map[wire.PeerID]*debt{},
		peers: map[wire.PeerID][]*link{},
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.now == nil {
		h.now = time.Now
	}
	var err error
	h.meter, h.seen, h.knocks = newMeter(), newSightings(), newKnocks()
	h.revoked, h.tellers = openRevoked(cfg.RevokedFile, cfg.Mesh, h.now(), h.log), make(chan struct{}, maxTellers)
	if h.p2p, err = newP2P(cfg.Key, h.meter, h.seen); err != nil {
		return nil, fmt.Errorf("starting the peer host: %w", err)
	}
	h.swarm = h.p2p.Network().(*swarm.Swarm)
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.told = newTeller()
	h.p2p.Network().Notify(&network.NotifyBundle{
		ConnectedF:    func(_ network.Network, c network.Conn) { h.opened(c) },
		DisconnectedF: func(_ network.Network, c network.Conn) { h.gone(c) },
	})
	h.p2p.SetStreamHandler(protocol.ID(wire.ProtocolCert), h.answerCert)
	h.Handle(wire.ProtocolRevoked, h.serveRevoked)
	h.work.Go(h.sweep)
	if err := h.watchSightings(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	if err := h.listen(cfg.Listen, cfg.AnyPort); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Close ends all connections and waits for handlers to return.
func (h *Host) Close() error {
	h.mu.Lock()
	was := h.closed
	h.closed = true
	h.mu.Unlock()
	if was {
		return nil
	}
	h.cancel()
	h.mu.Lock()
	r := h.relay
	h.mu.Unlock()
	var err error
	if r != nil {
		err = r.Close()
	}
	err = errors.Join(err, h.p2p.Close())
	h.work.Wait()
	h.told.close()
	return err
}

// begin counts a piece of work that Close waits for. It returns false once Close has begun.
func (h *Host) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.work.Add(1)
	return true
}

// ID returns the host's own id.
func (h *Host) ID() wire.PeerID { return wire.PeerOf(h.key) }

// Certificate returns the host's own certificate, nil if it has none.
func (h *Host) Certificate() *wire.Certificate {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cert
}

// SetCertificate replaces the host's own certificate and shows it on every connection there is.
func (h *Host) SetCertificate(c *wire.Certificate) {
	h.mu.Lock()
	h.cert = c
	var shown []*link
	for _, ls := range h.peers {
		shown = append(shown, ls...)
	}
	h.mu.Unlock()
	for _, l := range shown {
		if !h.begin() {
			return
		}
		go func() {
			defer h.work.Done()
			ctx, cancel := context.WithTimeout(h.ctx, certTimeout)
			defer cancel()
			if err := h.showCert(ctx, l); err != nil && h.ctx.Err() == nil {
				h.log.Warn("a renewed certificate was not taken", "peer", l.peer, "error", err)
			}
		}()
	}
}

// Handle lets fn serve the streams of a protocol that certified peers open, each in a goroutine
// of its own. A stream that fn has not closed when it returns is reset.
func (h *Host) Handle(proto string, fn func(*Stream)) {
	h.p2p.SetStreamHandler(protocol.ID(proto), func(s network.Stream) {
		if !h.begin() {
			_ = s.Reset()
			return
		}
		defer h.work.Done()
		l := h.linkOf(s.Conn())
		if l == nil || !h.admit(l) {
			_ = s.Reset()
			return
		}
		st := l.stream(s, s)
		defer st.finish()
		fn(st)
	})
}

// Disconnect closes every connection to p.
func (h *Host) Disconnect(p wire.PeerID) {
	if err := h.swarm.ClosePeer(peerID(p)); err != nil {
		h.log.Debug("closing the connections to a peer", "peer", p, "error", err)
	}
}

// Connected reports whether there is a connection to p on which certificates were exchanged.
func (h *Host) Connected(p wire.PeerID) bool { return h.certified(p) != nil }

// Member returns the certificate that a connected peer has shown, nil if p is not Connected.
func (h *Host) Member(p wire.PeerID) *wire.Certificate {
	l := h.certified(p)
	if l == nil {
		return nil
	}
	return l.shown()
}

// OnConnect lets fn know when a peer becomes Connected. Callbacks are called one at a time in
// the order of events; they must not block for long, nor call Close.
func (h *Host) OnConnect(fn func(wire.PeerID)) { h.told.add(fn, nil) }

// OnDisconnect lets fn know when the last connection to a Connected peer has ended.
func (h *Host) OnDisconnect(fn func(wire.PeerID)) { h.told.add(nil, fn) }

func peerID(p wire.PeerID) p2p.ID { return p2p.ID(p.Bytes()) }
