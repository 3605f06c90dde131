package wire

import (
	"crypto/ed25519"
	"fmt"
	"time"
)

// A Revocation ends the membership of a peer for good, whatever certificates it has: its key is no
// member's any more. Encoded as [1, mesh, peer, at, until, tickets, signature], times in Unix
// seconds, signed by the mesh key. Members keep those they have heard of until they run out, when
// no certificate that the peer may have can be renewed, and tell them each other.
type Revocation struct {
	_         struct{} `cbor:",toarray"`
	Version   uint64
	Mesh      PeerID // the mesh key
	Peer      PeerID
	At        int64
	Until     int64
	Tickets   bool // tickets issued before At are void, too
	Signature []byte
}

const (
	revocationVersion = 1
	revocationLabel   = "gaggle revocation 1\x00"
)

// revocationLife is how long one must be kept: a certificate issued just before may be renewed for
// so long, by the clock of a coordinator that is behind.
const revocationLife = CertLife + RenewGrace + 2*MaxClockSkew

// SignRevocation ends the membership of p at a time.
func SignRevocation(mesh ed25519.PrivateKey, p PeerID, at time.Time, tickets bool) *Revocation {
	r := &Revocation{Version: revocationVersion, Mesh: PeerOf(mesh), Peer: p, At: at.Unix(), Until: at.Add(revocationLife).Unix(), Tickets: tickets}
	r.Signature = ed25519.Sign(mesh, r.signed())
	return r
}

// Encode returns the canonical encoding.
func (r *Revocation) Encode() []byte { return encodeHashed(r) }

// DecodeRevocation reads a canonical encoding. It does not verify.
func DecodeRevocation(b []byte) (*Revocation, error) {
	r := new(Revocation)
	if err := decodeHashed(b, r, MaxText, revocationVersion); err != nil {
		return nil, fmt.Errorf("decoding a revocation: %w", err)
	}
	return r, nil
}

// Verify checks that the revocation is of mesh. That it has run out is no error; see Over.
func (r *Revocation) Verify(mesh PeerID) error {
	switch {
	case r.Version != revocationVersion:
		return Errorf(CauseVersion, "update gaggle on this machine", "revocation format %d is not known here", r.Version)
	case r.Mesh != mesh:
		return Errorf(CauseUnauthorized, "", "the revocation of %s is of another mesh", r.Peer)
	}
	return verify(mesh, r.signed(), r.Signature, "revocation")
}

// Over reports whether nothing is left that it would refuse.
func (r *Revocation) Over(now time.Time) bool { return now.Unix() > r.Until }

// Refusal is what whoever meets the peer is told, the peer among them.
func (r *Revocation) Refusal() *Error {
	return Errorf(CauseRevoked, "ask whoever runs the mesh; a machine that is let in again needs a new identity (another --state) and a new ticket",
		"the membership of %s was revoked at %s", r.Peer, stamp(r.At))
}

func (r *Revocation) signed() []byte {
	u := *r
	u.Signature = nil
	return append([]byte(revocationLabel), encodeHashed(&u)...)
}

// Revocations is what members tell each other on a stream of ProtocolRevoked: one frame each way.
type Revocations struct {
	Entries [][]byte `cbor:"entries,omitempty"` // encoded Revocations, at most MaxRevoked
	// All asks for those that the receiver has beside Entries, which are all that the sender has.
	All bool `cbor:"all,omitempty"`
}
