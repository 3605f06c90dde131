package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multihash"
)

// A Digest is the sha2-256 hash of some bytes. It is what stores and tables key by; on the
// wire, on disk and for people it is dressed as a CIDv1 by BlobID, TreeID and ThunkID, because a
// cid.Cid costs 64 bytes of heap where this costs 32 and no pointer.
type Digest [sha256.Size]byte

// A BlobID names immutable bytes: CIDv1, raw codec, sha2-256.
type BlobID Digest

// A TreeID names an immutable directory by the hash of its canonical encoding (see Tree):
// CIDv1, dag-cbor codec, sha2-256.
type TreeID Digest

// A ThunkID names a thunk by the hash of its canonical encoding: command, root, inputs and
// declared outputs. Equal work has an equal ThunkID on every machine.
type ThunkID Digest

// ErrBadID is wrapped by the Parse functions for text that is not an id of the kind asked for.
var ErrBadID = errors.New("not a valid id")

// Sum returns the digest of b.
func Sum(b []byte) Digest { return sha256.Sum256(b) }

// NewHash returns the hash that Digest is made of.
func NewHash() hash.Hash { return sha256.New() }

// HashDigest returns the digest that h, made by NewHash, has reached.
func HashDigest(h hash.Hash) (d Digest) {
	h.Sum(d[:0])
	return d
}

// Short returns the first 12 hexadecimal digits, for logs.
func (d Digest) Short() string { return hex.EncodeToString(d[:6]) }

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// CID returns the full CIDv1 of the blob.
func (id BlobID) CID() cid.Cid { return digestCID(cid.Raw, Digest(id)) }

// CID returns the full CIDv1 of the tree.
func (id TreeID) CID() cid.Cid { return digestCID(cid.DagCBOR, Digest(id)) }

// CID returns the full CIDv1 of the thunk.
func (id ThunkID) CID() cid.Cid { return digestCID(cid.DagCBOR, Digest(id)) }

func (id BlobID) String() string  { return id.CID().String() }
func (id TreeID) String() string  { return id.CID().String() }
func (id ThunkID) String() string { return id.CID().String() }

// ParseBlobID reads the text form of a blob's CID.
func ParseBlobID(s string) (BlobID, error) {
	d, err := parseCID(s, cid.Raw)
	return BlobID(d), err
}

// ParseTreeID reads the text form of a tree's CID.
func ParseTreeID(s string) (TreeID, error) {
	d, err := parseCID(s, cid.DagCBOR)
	return TreeID(d), err
}

// ParseThunkID reads the text form of a thunk's CID.
func ParseThunkID(s string) (ThunkID, error) {
	d, err := parseCID(s, cid.DagCBOR)
	return ThunkID(d), err
}

func parseCID(s string, codec uint64) (Digest, error) {
	c, err := cid.Decode(s)
	if err != nil {
		return Digest{}, fmt.Errorf("%w: %q: %w", ErrBadID, s, err)
	}
	return cidDigest(c, codec)
}

func digestCID(codec uint64, d Digest) cid.Cid {
	mh, err := multihash.Encode(d[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // sha2-256 has this length
	}
	return cid.NewCidV1(codec, mh)
}

// cidDigest takes a CID apart, refusing every version, codec and hash but the one we write.
func cidDigest(c cid.Cid, codec uint64) (d Digest, err error) {
	p := c.Prefix()
	if p.Version != 1 || p.Codec != codec || p.MhType != multihash.SHA2_256 || p.MhLength != len(d) {
		return d, fmt.Errorf("%w: %s: want CIDv1, codec 0x%x, sha2-256", ErrBadID, c, codec)
	}
	mh := c.Hash()
	copy(d[:], mh[len(mh)-len(d):])
	return d, nil
}

// A Space says whose bytes they are: a tenant's name, or Public. Stores, memos, the exchange and
// in-flight sharing are keyed by (space, id); equal bytes of two spaces are one file underneath
// but each space sees only its own.
type Space string

// Public is the space that every member may read: toolchains, by opt-in.
const Public Space = "public"

// Valid reports whether s is a well-formed name: 1 to MaxName letters, digits, '_', '.', '-'.
func (s Space) Valid() bool { return ValidName(string(s)) }

// ValidName reports whether s can name a task, tenant, label or mesh: 1 to MaxName characters of
// [A-Za-z0-9_.-], and neither "." nor "..".
func ValidName(s string) bool {
	if s == "" || len(s) > MaxName || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}

// A PeerID names a member of the mesh: its Ed25519 public key. Its text is the libp2p peer id
// (base58btc of an identity multihash of the protobuf-encoded key, libp2p spec "peer-ids").
type PeerID [ed25519.PublicKeySize]byte

// peerPrefix precedes the key in the binary form of a libp2p peer id: identity multihash (0x00)
// of 36 bytes, protobuf {1: key type 1 = Ed25519, 2: 32 bytes}.
var peerPrefix = []byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}

// PeerOf returns the id of the holder of the private key k.
func PeerOf(k ed25519.PrivateKey) PeerID { return PeerID(k.Public().(ed25519.PublicKey)) }

// Key returns the public key that the id is made of.
func (p PeerID) Key() ed25519.PublicKey { return ed25519.PublicKey(p[:]) }

// IsZero reports whether p is the zero PeerID, which names nobody.
func (p PeerID) IsZero() bool { return p == PeerID{} }

// Bytes returns the binary libp2p form.
func (p PeerID) Bytes() []byte { return append(append([]byte(nil), peerPrefix...), p[:]...) }

func (p PeerID) String() string {
	s, err := multibase.Encode(multibase.Base58BTC, p.Bytes())
	if err != nil {
		panic(err) // base58btc is always known
	}
	return s[1:] // libp2p writes it without the multibase letter
}

// Short returns the last eight characters of the text form, which is where peer ids differ.
func (p PeerID) Short() string {
	s := p.String()
	return s[len(s)-8:]
}

// PeerFromBytes reads the binary libp2p form; only Ed25519 keys are members.
func PeerFromBytes(b []byte) (p PeerID, err error) {
	if len(b) != len(peerPrefix)+len(p) || string(b[:len(peerPrefix)]) != string(peerPrefix) {
		return p, fmt.Errorf("%w: peer id of %d bytes is not an Ed25519 key", ErrBadID, len(b))
	}
	copy(p[:], b[len(peerPrefix):])
	return p, nil
}

// ParsePeerID reads the text form.
func ParsePeerID(s string) (PeerID, error) {
	if len(s) > 64 {
		return PeerID{}, fmt.Errorf("%w: peer id of %d characters", ErrBadID, len(s))
	}
	_, b, err := multibase.Decode("z" + s)
	if err != nil {
		return PeerID{}, fmt.Errorf("%w: peer id %q: %w", ErrBadID, s, err)
	}
	return PeerFromBytes(b)
}

// A JobID names one submission. It is drawn at random by the submitter, so that a repeated
// submission after a lost acknowledgement is recognised.
type JobID [8]byte

func (j JobID) String() string { return "j" + hex.EncodeToString(j[:]) }

// ParseJobID reads the text form, "j" and 16 hexadecimal digits.
func ParseJobID(s string) (j JobID, err error) {
	if len(s) != 1+2*len(j) || s[0] != 'j' {
		return j, fmt.Errorf("%w: job %q: want j and %d hexadecimal digits", ErrBadID, s, 2*len(j))
	}
	if _, err := hex.Decode(j[:], []byte(s[1:])); err != nil {
		return j, fmt.Errorf("%w: job %q: %w", ErrBadID, s, err)
	}
	return j, nil
}
