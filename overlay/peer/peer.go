// Package peer connects the members of a mesh: a libp2p host with QUIC and TCP, an identity,
// membership by certificate, and streams by protocol.
package peer

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"time"

	"gaggle/wire"
)

// Config says who a Host is. Key, and Mesh unless the host only joins, must be set.
type Config struct {
	Key  ed25519.PrivateKey // this machine's identity; its PeerID is wire.PeerOf(Key)
	Mesh wire.PeerID        // the mesh key whose certificates are accepted
	Cert *wire.Certificate  // ours; nil: nothing but Renew works until SetCertificate

	// Listen names multiaddrs such as /ip4/0.0.0.0/udp/7070/quic-v1. Nil is DefaultPort over
	// QUIC and TCP on every address, IPv4 and IPv6; empty but not nil is none: the host only dials.
	Listen []string
	// AnyPort lets the host take any free port if Listen is nil and DefaultPort is taken.
	AnyPort bool

	Logger *slog.Logger     // nil discards
	Now    func() time.Time // the wall clock; nil is time.Now
}

// DefaultPort is listened on, UDP and TCP, unless Config.Listen says otherwise.
const DefaultPort = 7070

// A Host is this machine on the mesh. It is safe for concurrent use.
type Host struct{}

var errNotBuilt = wire.Errorf(wire.CauseInternal, "", "not built")

// New starts a host. A port that is taken is an error of wire.CauseInvalid.
func New(cfg Config) (*Host, error) { return nil, errNotBuilt }

// Close ends all connections and waits for handlers to return.
func (h *Host) Close() error { return nil }

// ID returns the host's own id.
func (h *Host) ID() wire.PeerID { return wire.PeerID{} }

// Addrs returns where others may reach the host now, as multiaddrs, best first, at most
// wire.MaxAddrs.
func (h *Host) Addrs() []string { return nil }

// Certificate returns the host's own certificate, nil if it has none.
func (h *Host) Certificate() *wire.Certificate { return nil }

// SetCertificate replaces the host's own certificate and shows it on every connection there is.
func (h *Host) SetCertificate(c *wire.Certificate) {}

// AddAddrs remembers where a peer may be reached. It replaces what was said before. Addresses
// that are malformed are left out.
func (h *Host) AddAddrs(p wire.PeerID, addrs []string) {}

// Connect makes sure that there is a connection to p on which certificates were exchanged.
// addrs adds to AddAddrs; it may be nil.
//
// Errors are *wire.Error: CauseUnreachable names the addresses tried; CauseUnauthorized is a
// certificate of another mesh, forged, or another peer at that address; CauseExpired a
// certificate, ours or theirs, that ran out; CauseClock clocks more than wire.MaxClockSkew apart.
func (h *Host) Connect(ctx context.Context, p wire.PeerID, addrs []string) error { return errNotBuilt }

// Open begins a stream of a protocol to p, and connects first if need be, with Connect's errors.
// It does not wait for p to accept: that p does not handle the protocol is the error of a Read.
func (h *Host) Open(ctx context.Context, p wire.PeerID, protocol string) (*Stream, error) {
	return nil, errNotBuilt
}

// Handle lets fn serve the streams of a protocol that certified peers open, each in a goroutine
// of its own. A stream that fn leaves open is reset when fn returns.
func (h *Host) Handle(protocol string, fn func(*Stream)) {}

// Disconnect closes every connection to p.
func (h *Host) Disconnect(p wire.PeerID) {}

// Connected reports whether there is a connection to p on which certificates were exchanged.
func (h *Host) Connected(p wire.PeerID) bool { return false }

// Member returns the certificate that a connected peer has shown, nil if p is not Connected.
func (h *Host) Member(p wire.PeerID) *wire.Certificate { return nil }

// OnConnect lets fn know when a peer becomes Connected. Callbacks are called one at a time in
// the order of events; they must not block for long.
func (h *Host) OnConnect(fn func(wire.PeerID)) {}

// OnDisconnect lets fn know when the last connection to a Connected peer has ended.
func (h *Host) OnDisconnect(fn func(wire.PeerID)) {}

// ServeJoin lets peers without certificate trade a ticket for one, and peers whose certificate
// ran out at most wire.RenewGrace ago renew it. mesh signs the certificates. redeemed is called with
// the serial of a ticket that is good for one join; it records the use and reports true if
// this is the first. It may be called from several goroutines.
func (h *Host) ServeJoin(mesh ed25519.PrivateKey, redeemed func(serial uint64) bool) {}

// Renew asks a coordinator, at the addresses known for it, for a new certificate in place of
// the host's own, which may have run out at most wire.RenewGrace ago. It sets and returns the new one.
func (h *Host) Renew(ctx context.Context, coordinator wire.PeerID) (*wire.Certificate, error) {
	return nil, errNotBuilt
}

// Join trades a ticket for a certificate of key's holder, at the coordinator the ticket names.
// owner is who answers for this machine, unless the ticket says; name is what to call it in
// the coordinator's log. Errors are as for Connect.
func Join(ctx context.Context, key ed25519.PrivateKey, t *wire.Ticket, owner, name string) (*wire.Certificate, error) {
	return nil, errNotBuilt
}
