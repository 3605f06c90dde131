package wire

import (
	"crypto/ed25519"
	"fmt"
	"time"
)

// A Value is what a resolved thunk computed: its declared outputs in the order of
// Thunk.Outputs, and nothing else. Encoded as [1, [object, ...]].
type Value struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Outputs []Object
}

const valueVersion = 1

// NewValue returns the value with the given outputs.
func NewValue(outputs []Object) *Value { return &Value{Version: valueVersion, Outputs: outputs} }

// Encode returns the canonical encoding and its digest.
func (v *Value) Encode() (Digest, []byte) {
	b := encodeHashed(v)
	return Sum(b), b
}

// DecodeValue reads a canonical encoding.
func DecodeValue(b []byte) (*Value, error) {
	v := new(Value)
	err := decodeHashed(b, v, MaxObject, valueVersion)
	if err == nil {
		err = v.check()
	}
	if err != nil {
		return nil, fmt.Errorf("decoding a value: %w", err)
	}
	return v, nil
}

// Final reports whether no output is a graph still to be run.
func (v *Value) Final() bool {
	for _, o := range v.Outputs {
		if !o.Final() {
			return false
		}
	}
	return true
}

// Matches reports whether v can be a value of t: as many outputs, each of the declared kind.
func (v *Value) Matches(t *Thunk) error {
	if len(v.Outputs) != len(t.Outputs) {
		return fmt.Errorf("value has %d outputs, the thunk %d", len(v.Outputs), len(t.Outputs))
	}
	for i, o := range v.Outputs {
		d := t.Outputs[i]
		switch {
		case o.Kind == Graph && d.Graph != "", o.Kind == Dir && d.Kind == Dir,
			(o.Kind == File || o.Kind == Exec) && d.Kind == File, t.Builtin() && o.Final():
		default:
			return fmt.Errorf("output %q is %s, declared as %s", d.Path, o.Kind, d.Kind)
		}
	}
	return nil
}

func (v *Value) check() error {
	if v.Version != valueVersion {
		return Errorf(CauseVersion, "update gaggle on this machine", "value format %d is not known here", v.Version)
	}
	if len(v.Outputs) > MaxOutputs {
		return fmt.Errorf("value of %d outputs", len(v.Outputs))
	}
	for _, o := range v.Outputs {
		if !o.Final() && o.Kind != Graph {
			return fmt.Errorf("value holds %s", o.Kind)
		}
	}
	return nil
}

// A Claim is a signed statement that a thunk has a value. Encoded as
// [1, space, thunk, value, signer, signature]; the signature is Ed25519 over the label
// "gaggle claim 1" and the encoding with an empty signature.
type Claim struct {
	_         struct{} `cbor:",toarray"`
	Version   uint64
	Space     Space
	Thunk     ThunkID
	Value     Value
	Signer    PeerID
	Signature []byte
}

const claimVersion = 1

// A label goes before every signed encoding, so that a signature over one kind of statement is
// none over another.
const (
	claimLabel   = "gaggle claim 1\x00"
	receiptLabel = "gaggle receipts 1\x00"
	certLabel    = "gaggle certificate 1\x00"
	grantLabel   = "gaggle grant 1\x00"
	ticketLabel  = "gaggle ticket 1\x00"
)

// SignClaim states under k's name that thunk has the value v.
func SignClaim(k ed25519.PrivateKey, space Space, thunk ThunkID, v *Value) *Claim {
	c := &Claim{Version: claimVersion, Space: space, Thunk: thunk, Value: *v, Signer: PeerOf(k)}
	c.Signature = ed25519.Sign(k, c.signed())
	return c
}

// KeptClaim puts together a claim of which the parts were kept. Verify tells whether they belong together.
func KeptClaim(space Space, thunk ThunkID, v *Value, signer PeerID, signature []byte) *Claim {
	return &Claim{Version: claimVersion, Space: space, Thunk: thunk, Value: *v, Signer: signer, Signature: signature}
}

// Encode returns the canonical encoding.
func (c *Claim) Encode() []byte { return encodeHashed(c) }

// DecodeClaim reads a canonical encoding and verifies the signature.
func DecodeClaim(b []byte) (*Claim, error) {
	c := new(Claim)
	err := decodeHashed(b, c, MaxObject, claimVersion)
	if err == nil {
		err = c.Verify()
	}
	if err != nil {
		return nil, fmt.Errorf("decoding a claim: %w", err)
	}
	return c, nil
}

// Verify checks form and signature. Whether to believe the signer is the reader's policy.
func (c *Claim) Verify() error {
	if c.Version != claimVersion {
		return Errorf(CauseVersion, "update gaggle on this machine", "claim format %d is not known here", c.Version)
	}
	if !c.Space.Valid() {
		return fmt.Errorf("bad space %q", c.Space)
	}
	if err := c.Value.check(); err != nil {
		return err
	}
	return verify(c.Signer, c.signed(), c.Signature, "claim")
}

func (c *Claim) signed() []byte {
	u := *c
	u.Signature = nil
	return append([]byte(claimLabel), encodeHashed(&u)...)
}

func verify(signer PeerID, signed, signature []byte, what string) error {
	if !ed25519.Verify(signer.Key(), signed, signature) {
		return Errorf(CauseUnauthorized, "", "signature of the %s by %s is wrong", what, signer)
	}
	return nil
}

// A Receipt tells how one run went: everything about it that is not its value.
type Receipt struct {
	_          struct{} `cbor:",toarray"`
	Space      Space
	Thunk      ThunkID // resolved
	Value      Digest  // of the encoded Value; zero if it failed
	Cause      Cause   // CauseUnknown if it succeeded
	Exit       int64   // exit code; -1 if none
	Signal     int64   // that ended it; 0 if none
	Started    int64   // Unix time in microseconds by the node's wall clock
	Queue      int64   // microseconds: accepted until inputs wanted
	Fetch      int64   // fetching and laying out inputs
	Run        int64   // running, frozen time not counted
	Store      int64   // hashing and storing outputs
	CPU        int64   // user and system
	PeakMem    int64   // bytes; 0 if not known
	FetchBytes int64   // moved from other peers
	Stdout     Object  // kept ends of the streams; zero size if empty
	Stderr     Object
}

// RunTime returns how long the command ran.
func (r *Receipt) RunTime() time.Duration { return time.Duration(r.Run) * time.Microsecond }

// A ReceiptBatch is the receipts of some runs under one signature by the node that ran them.
// Encoded as [1, signer, [receipt, ...], signature].
type ReceiptBatch struct {
	_         struct{} `cbor:",toarray"`
	Version   uint64
	Signer    PeerID
	Receipts  []Receipt
	Signature []byte
}

const receiptVersion = 1

// SignReceipts signs up to MaxBatch receipts.
func SignReceipts(k ed25519.PrivateKey, rs []Receipt) *ReceiptBatch {
	b := &ReceiptBatch{Version: receiptVersion, Signer: PeerOf(k), Receipts: rs}
	b.Signature = ed25519.Sign(k, b.signed())
	return b
}

// Encode returns the canonical encoding.
func (b *ReceiptBatch) Encode() []byte { return encodeHashed(b) }

// DecodeReceiptBatch reads a canonical encoding and verifies the signature.
func DecodeReceiptBatch(b []byte) (*ReceiptBatch, error) {
	r := new(ReceiptBatch)
	err := decodeHashed(b, r, MaxFrame, receiptVersion)
	switch {
	case err != nil:
	case r.Version != receiptVersion:
		err = Errorf(CauseVersion, "update gaggle on this machine", "receipt format %d is not known here", r.Version)
	case len(r.Receipts) == 0 || len(r.Receipts) > MaxBatch:
		err = fmt.Errorf("batch of %d receipts", len(r.Receipts))
	default:
		err = verify(r.Signer, r.signed(), r.Signature, "receipts")
	}
	if err != nil {
		return nil, fmt.Errorf("decoding receipts: %w", err)
	}
	return r, nil
}

func (b *ReceiptBatch) signed() []byte {
	u := *b
	u.Signature = nil
	return append([]byte(receiptLabel), encodeHashed(&u)...)
}
