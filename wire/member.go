package wire

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Role is what a member of the mesh may do; the values are bits.
type Role uint64

// Roles. A node runs thunks of every tenant; a client submits jobs of its tenants and serves
// their inputs; a coordinator places work and signs grants.
const (
	RoleNode        Role = 1
	RoleClient      Role = 2
	RoleCoordinator Role = 4
)

// A Certificate makes a peer a member of the mesh. Encoded as
// [1, mesh, peer, roles, owner, [tenant, ...], not before, expires, signature], times in Unix
// seconds, signed by the mesh key, which is not any coordinator's peer key.
type Certificate struct {
	_         struct{} `cbor:",toarray"`
	Version   uint64
	Mesh      PeerID // the mesh key
	Peer      PeerID
	Roles     Role
	Owner     string  // who answers for the machine
	Tenants   []Space // ascending; spaces it may submit to
	NotBefore int64
	Expires   int64
	Signature []byte
}

const certVersion = 1

// SignCertificate certifies c.Peer under the mesh key; version, mesh and signature are filled in.
func SignCertificate(mesh ed25519.PrivateKey, c Certificate) *Certificate {
	c.Version, c.Mesh, c.Signature = certVersion, PeerOf(mesh), nil
	slices.Sort(c.Tenants)
	c.Signature = ed25519.Sign(mesh, c.signed())
	return &c
}

// Encode returns the canonical encoding.
func (c *Certificate) Encode() []byte { return encodeHashed(c) }

// DecodeCertificate reads a canonical encoding. It does not verify.
func DecodeCertificate(b []byte) (*Certificate, error) {
	c := new(Certificate)
	if err := decodeHashed(b, c, MaxText, certVersion); err != nil {
		return nil, fmt.Errorf("decoding a certificate: %w", err)
	}
	return c, nil
}

// Verify checks that the certificate is of mesh, is for peer, and holds at now. The causes are
// CauseUnauthorized, CauseExpired, and CauseClock for one from the future.
func (c *Certificate) Verify(mesh, peer PeerID, now time.Time) error {
	switch {
	case c.Version != certVersion:
		return Errorf(CauseVersion, "update gaggle on this machine", "certificate format %d is not known here", c.Version)
	case c.Mesh != mesh:
		return Errorf(CauseUnauthorized, "join the other mesh with a ticket of its coordinator", "peer %s belongs to another mesh", peer)
	case c.Peer != peer:
		return Errorf(CauseUnauthorized, "", "certificate of %s shown by %s", c.Peer, peer)
	}
	if err := verify(mesh, c.signed(), c.Signature, "certificate"); err != nil {
		return err
	}
	return checkWindow("certificate of "+peer.String(), c.NotBefore, c.Expires, now)
}

// Has reports whether the certificate gives all of the roles.
func (c *Certificate) Has(r Role) bool { return c.Roles&r == r }

// May reports whether the member may submit to and read the space.
func (c *Certificate) May(s Space) bool { return s == Public || slices.Contains(c.Tenants, s) }

func (c *Certificate) signed() []byte {
	u := *c
	u.Signature = nil
	return append([]byte(certLabel), encodeHashed(&u)...)
}

// checkWindow judges a validity window with MaxClockSkew to spare on both sides.
func checkWindow(what string, from, until int64, now time.Time) error {
	switch {
	case now.Add(MaxClockSkew).Unix() < from:
		return Errorf(CauseClock, "set the clock of this machine, or of the one that issued it",
			"%s is valid from %s on, but it is %s here", what, stamp(from), stamp(now.Unix()))
	case now.Add(-MaxClockSkew).Unix() > until:
		return Errorf(CauseExpired, "ask for a new one (coord ticket), or set the clock of this machine",
			"%s ran out at %s; it is %s here", what, stamp(until), stamp(now.Unix()))
	}
	return nil
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// A Grant lets a peer read a space from any member until it expires. Encoded as
// [1, space, peer, expires, signer, signature]; the signer is a coordinator.
type Grant struct {
	_         struct{} `cbor:",toarray"`
	Version   uint64
	Space     Space
	Peer      PeerID
	Expires   int64 // Unix seconds
	Signer    PeerID
	Signature []byte
}

const grantVersion = 1

// SignGrant signs a grant with a coordinator's peer key.
func SignGrant(k ed25519.PrivateKey, space Space, peer PeerID, expires time.Time) *Grant {
	g := &Grant{Version: grantVersion, Space: space, Peer: peer, Expires: expires.Unix(), Signer: PeerOf(k)}
	g.Signature = ed25519.Sign(k, g.signed())
	return g
}

// Encode returns the canonical encoding.
func (g *Grant) Encode() []byte { return encodeHashed(g) }

// DecodeGrant reads a canonical encoding. It does not verify.
func DecodeGrant(b []byte) (*Grant, error) {
	g := new(Grant)
	if err := decodeHashed(b, g, MaxText, grantVersion); err != nil {
		return nil, fmt.Errorf("decoding a grant: %w", err)
	}
	return g, nil
}

// Verify checks that the grant was given to peer, holds at now, and is signed by one whom
// trusted accepts as a coordinator.
func (g *Grant) Verify(peer PeerID, now time.Time, trusted func(PeerID) bool) error {
	switch {
	case g.Version != grantVersion:
		return Errorf(CauseVersion, "update gaggle on this machine", "grant format %d is not known here", g.Version)
	case !g.Space.Valid():
		return fmt.Errorf("bad space %q", g.Space)
	case g.Peer != peer:
		return Errorf(CauseUnauthorized, "", "grant of %s used by %s", g.Peer, peer)
	case !trusted(g.Signer):
		return Errorf(CauseUnauthorized, "", "grant signed by %s, which is no coordinator", g.Signer)
	}
	if err := verify(g.Signer, g.signed(), g.Signature, "grant"); err != nil {
		return err
	}
	return checkWindow("grant", 0, g.Expires, now)
}

func (g *Grant) signed() []byte {
	u := *g
	u.Signature = nil
	return append([]byte(grantLabel), encodeHashed(&u)...)
}

// A Ticket lets a machine join the mesh. Its text is "gag1-" and the unpadded base64url of
// [1, mesh, coordinator, [address, ...], roles, owner, [tenant, ...], issued, expires, serial,
// signature], signed by the mesh key. A ticket with Serial 0 is reusable until it expires;
// another is good for one join, which the coordinator remembers. One for a number of joins, of two
// at least, is [2, ..., serial, uses, signature].
type Ticket struct {
	_           struct{} `cbor:",toarray"`
	Version     uint64
	Mesh        PeerID
	Coordinator PeerID
	Addrs       []string // multiaddrs of the coordinator, best first
	Roles       Role     // that joining gives
	Owner       string   // "" lets the joiner say
	Tenants     []Space
	Issued      int64 // Unix seconds
	Expires     int64
	Serial      uint64
	Uses        uint64 // joins that it is good for, if Serial is not 0; 0 is as 1
	Signature   []byte
}

// ticketOnce is the form of a ticket without a number of uses.
type ticketOnce struct {
	_           struct{} `cbor:",toarray"`
	Version     uint64
	Mesh        PeerID
	Coordinator PeerID
	Addrs       []string
	Roles       Role
	Owner       string
	Tenants     []Space
	Issued      int64
	Expires     int64
	Serial      uint64
	Signature   []byte
}

const (
	ticketVersion = 1
	ticketUses    = 2 // with a number of uses
	ticketPrefix  = "gag1-"
)

func (t *Ticket) encode() []byte {
	if t.Version == ticketUses {
		return encodeHashed(t)
	}
	return encodeHashed(&ticketOnce{Version: t.Version, Mesh: t.Mesh, Coordinator: t.Coordinator, Addrs: t.Addrs, Roles: t.Roles,
		Owner: t.Owner, Tenants: t.Tenants, Issued: t.Issued, Expires: t.Expires, Serial: t.Serial, Signature: t.Signature})
}

func decodeTicket(b []byte) (*Ticket, error) {
	if version, ok := formatOf(b); ok && version == ticketUses {
		t := new(Ticket)
		err := decodeHashed(b, t, MaxText, ticketUses)
		if err == nil && (t.Serial == 0 || t.Uses < 2) {
			err = ErrNotCanonical
		}
		return t, err
	}
	o := new(ticketOnce)
	err := decodeHashed(b, o, MaxText, ticketVersion)
	return &Ticket{Version: o.Version, Mesh: o.Mesh, Coordinator: o.Coordinator, Addrs: o.Addrs, Roles: o.Roles,
		Owner: o.Owner, Tenants: o.Tenants, Issued: o.Issued, Expires: o.Expires, Serial: o.Serial, Signature: o.Signature}, err
}

// SignTicket signs t with the mesh key; version, mesh and signature are filled in.
func SignTicket(mesh ed25519.PrivateKey, t Ticket) *Ticket {
	t.Version, t.Mesh, t.Signature = ticketVersion, PeerOf(mesh), nil
	if t.Uses > 1 && t.Serial != 0 {
		t.Version = ticketUses
	}
	slices.Sort(t.Tenants)
	t.Signature = ed25519.Sign(mesh, t.signed())
	return &t
}

// Text returns the form people hand on.
func (t *Ticket) Text() string {
	return ticketPrefix + base64.RawURLEncoding.EncodeToString(t.encode())
}

// ParseTicket reads the text form and verifies its signature, so that a character lost in
// copying is noticed here. It does not judge the time; see Verify.
func ParseTicket(s string) (*Ticket, error) {
	const hint = "copy the whole line that coord serve or coord ticket printed"
	s = strings.TrimSpace(s)
	body, ok := strings.CutPrefix(s, ticketPrefix)
	if !ok {
		return nil, Errorf(CauseInvalid, hint, "this is not a join ticket: it does not begin with %s", ticketPrefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return nil, Errorf(CauseInvalid, hint, "the join ticket is damaged or not whole")
	}
	t, err := decodeTicket(b)
	if err != nil {
		if CauseOf(err) == CauseVersion {
			return nil, fmt.Errorf("reading the join ticket: %w", err)
		}
		return nil, Errorf(CauseInvalid, hint, "the join ticket is damaged or not whole")
	}
	if err := verify(t.Mesh, t.signed(), t.Signature, "ticket"); err != nil {
		return nil, Errorf(CauseInvalid, hint, "the join ticket is damaged or not whole")
	}
	if len(t.Addrs) == 0 || len(t.Addrs) > MaxAddrs {
		return nil, Errorf(CauseInvalid, hint, "the join ticket has %d addresses", len(t.Addrs))
	}
	return t, nil
}

// Verify checks that the ticket is of mesh and holds at now.
func (t *Ticket) Verify(mesh PeerID, now time.Time) error {
	if t.Mesh != mesh {
		return Errorf(CauseUnauthorized, "use a ticket of this coordinator", "the ticket is of another mesh")
	}
	if err := verify(mesh, t.signed(), t.Signature, "ticket"); err != nil {
		return err
	}
	return checkWindow("ticket", t.Issued, t.Expires, now)
}

func (t *Ticket) signed() []byte {
	u := *t
	u.Signature = nil
	return append([]byte(ticketLabel), u.encode()...)
}

// MarshalCBOR writes the 32 bytes of the key as a byte string.
func (p PeerID) MarshalCBOR() ([]byte, error) {
	return append([]byte{0x58, byte(len(p))}, p[:]...), nil
}

// UnmarshalCBOR reads a byte string of 32.
func (p *PeerID) UnmarshalCBOR(b []byte) error {
	if len(b) != 2+len(p) || b[0] != 0x58 || b[1] != byte(len(p)) {
		return fmt.Errorf("%w: peer key", ErrBadID)
	}
	copy(p[:], b[2:])
	return nil
}
