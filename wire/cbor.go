package wire

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipfs/go-cid"
)

// ErrNotCanonical is wrapped when bytes decode but are not the one encoding of their value.
var ErrNotCanonical = errors.New("encoding is not canonical")

// linkTag is DAG-CBOR's tag for a CID: a byte string of 0x00 and the binary CID.
const linkTag = 42

var (
	hashedEnc, messageEnc cbor.EncMode
	hashedDec, messageDec cbor.DecMode
)

func init() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	// Core deterministic encoding (RFC 8949, 4.2.1). Hashed values are arrays, links, strings,
	// integers and booleans only, for which it equals DAG-CBOR's strict form.
	opts := cbor.CoreDetEncOptions()
	opts.NilContainers = cbor.NilContainerAsEmpty
	hashedEnc, err = opts.EncMode()
	must(err)
	messageEnc, err = cbor.EncOptions{Sort: cbor.SortBytewiseLexical, Time: cbor.TimeUnixMicro}.EncMode()
	must(err)
	hashedDec, err = cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		IntDec:           cbor.IntDecConvertSignedOrFail,
		MaxNestedLevels:  16,
		MaxArrayElements: MaxTreeEntries,
		MaxMapPairs:      16,
	}.DecMode()
	must(err)
	messageDec, err = cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  24,
		MaxArrayElements: MaxList,
		MaxMapPairs:      4096,
	}.DecMode()
	must(err)
}

// encodeHashed returns the canonical DAG-CBOR of v, a toarray struct. It panics on types that
// have none, which would be our own bug.
func encodeHashed(v any) []byte {
	if a, ok := v.(interface{ append([]byte) []byte }); ok {
		return a.append(make([]byte, 0, 512))
	}
	return reflectHashed(v)
}

func reflectHashed(v any) []byte {
	b, err := hashedEnc.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("wire: encoding %T: %v", v, err))
	}
	return b
}

// decodeHashed reads into v and refuses anything but its canonical encoding: fxamacker/cbor
// accepts long integers and lengths even with strict options, so it encodes again and compares.
// Another format than version is said to be that, whatever it holds.
func decodeHashed(b []byte, v any, limit int, version uint64) error {
	if len(b) > limit {
		return fmt.Errorf("%T of %d bytes exceeds the bound of %d", v, len(b), limit)
	}
	if got, ok := formatOf(b); ok && got != version {
		return Errorf(CauseVersion, "update gaggle on this machine", "format %d is not known here", got)
	}
	if err := hashedDec.Unmarshal(b, v); err != nil {
		return err
	}
	if !bytes.Equal(encodeHashed(v), b) {
		return ErrNotCanonical
	}
	return nil
}

// formatOf returns the version that an encoded array leads with, if it leads with a number.
func formatOf(b []byte) (version uint64, ok bool) {
	if len(b) < 2 || b[0]&^0x1f != 0x80 {
		return 0, false
	}
	rest, err := hashedDec.UnmarshalFirst(b[1:], &version)
	return version, err == nil && len(rest) < len(b)
}

// Marshal encodes a message: a struct with text keys. Fields a reader does not know are ignored
// by Unmarshal, so that versions N and N-1 understand each other.
func Marshal(v any) ([]byte, error) { return messageEnc.Marshal(v) }

// Unmarshal decodes a message of at most MaxFrame bytes.
func Unmarshal(b []byte, v any) error {
	if len(b) > MaxFrame {
		return fmt.Errorf("message of %d bytes exceeds the bound of %d", len(b), MaxFrame)
	}
	return messageDec.Unmarshal(b, v)
}

// A link is written as tag 42 (d8 2a), a byte string of 37 (58 25), the 00 that DAG-CBOR asks for,
// CIDv1 (01), the codec (55 raw, 71 dag-cbor), sha2-256 (12), 32 (20) and the digest.
const linkSize = 9 + len(Digest{})

func appendLink(b []byte, codec byte, d Digest) []byte {
	b = append(b, 0xd8, linkTag, 0x58, 0x25, 0x00, 0x01, codec, 0x12, 0x20)
	return append(b, d[:]...)
}

func readLink(b []byte) (codec byte, d Digest, err error) {
	if len(b) != linkSize {
		return 0, d, fmt.Errorf("%w: link of %d bytes", ErrBadID, len(b))
	}
	codec = b[6]
	copy(d[:], b[9:])
	if !bytes.Equal(b, appendLink(make([]byte, 0, linkSize), codec, d)) {
		return 0, d, fmt.Errorf("%w: not a CIDv1 link with sha2-256", ErrBadID)
	}
	return codec, d, nil
}

func readLinkOf(b []byte, want byte) (Digest, error) {
	codec, d, err := readLink(b)
	if err == nil && codec != want {
		err = fmt.Errorf("%w: link of codec 0x%x, want 0x%x", ErrBadID, codec, want)
	}
	return d, err
}

// MarshalCBOR writes the id as a DAG-CBOR link.
func (id BlobID) MarshalCBOR() ([]byte, error) { return appendLink(nil, cid.Raw, Digest(id)), nil }

// UnmarshalCBOR reads a DAG-CBOR link to a blob.
func (id *BlobID) UnmarshalCBOR(b []byte) error {
	d, err := readLinkOf(b, cid.Raw)
	*id = BlobID(d)
	return err
}

// MarshalCBOR writes the id as a DAG-CBOR link.
func (id TreeID) MarshalCBOR() ([]byte, error) {
	return appendLink(nil, cid.DagCBOR, Digest(id)), nil
}

// UnmarshalCBOR reads a DAG-CBOR link to a tree.
func (id *TreeID) UnmarshalCBOR(b []byte) error {
	d, err := readLinkOf(b, cid.DagCBOR)
	*id = TreeID(d)
	return err
}

// MarshalCBOR writes the id as a DAG-CBOR link.
func (id ThunkID) MarshalCBOR() ([]byte, error) {
	return appendLink(nil, cid.DagCBOR, Digest(id)), nil
}

// UnmarshalCBOR reads a DAG-CBOR link to a thunk.
func (id *ThunkID) UnmarshalCBOR(b []byte) error {
	d, err := readLinkOf(b, cid.DagCBOR)
	*id = ThunkID(d)
	return err
}
