package wire

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
)

// PieceSize is the length of the pieces in which a large blob is fetched; the last one is what is
// left. A hash can be left and taken up between two blocks of 64 bytes, so at every piece.
const PieceSize = 1 << 20

// A Manifest tells the pieces of a blob, which is one that hashes to Digest, from others before all of
// them are there. It needs no tree of hashes beside the blob's own: States holds what SHA-256 has
// inside (FIPS 180-4, the chaining value H of section 6.2.2) after each piece but the last, 32 bytes
// each. A piece is right if it leads from the state before it, at first the constant one, to the state
// after it, at last to the digest. Pieces may be checked in any order, each is hashed once, and where
// all have passed the whole hashes to the digest: that needs no second reading.
//
// A manifest may be false. Then no bytes pass at the place where it begins to be true, read from the
// end: they would be another way into a state that SHA-256 reaches, for which no better way is known
// than trying. So two that differ are told apart by one piece, see Differ.
type Manifest struct {
	Digest Digest
	Size   uint64 // at most MaxBlob
	States []byte
}

// Pieces returns the number of pieces of a blob of this size, at least one.
func Pieces(size uint64) int { return int(max(1, (size+PieceSize-1)/PieceSize)) }

// Pieces returns their number.
func (m *Manifest) Pieces() int { return Pieces(m.Size) }

// Whole reports whether there are as many states as the size asks for.
func (m *Manifest) Whole() bool {
	return m.Size <= MaxBlob && len(m.States) == sha256.Size*(m.Pieces()-1)
}

// PieceLen returns the length of piece i in bytes.
func (m *Manifest) PieceLen(i int) int { return PieceLen(m.Size, i) }

// PieceLen returns the length of piece i of a blob of this size.
func PieceLen(size uint64, i int) int {
	return int(min(PieceSize, size-uint64(i)*PieceSize))
}

// state returns the state after piece i, nil before the first.
func (m *Manifest) state(i int) []byte {
	switch {
	case i < 0:
		return nil
	case i == m.Pieces()-1:
		return m.Digest[:]
	}
	return m.States[i*sha256.Size : (i+1)*sha256.Size]
}

// Check reports whether p is piece i. The manifest must be whole, and i one of its pieces.
func (m *Manifest) Check(i int, p []byte) bool {
	if len(p) != m.PieceLen(i) {
		return false
	}
	h := sha256.New()
	if i > 0 {
		resume(h, m.state(i-1), uint64(i)*PieceSize)
	}
	h.Write(p)
	if i == m.Pieces()-1 {
		return HashDigest(h) == m.Digest
	}
	var room [128]byte
	return string(chaining(h, room[:0])) == string(m.state(i))
}

// SameLink reports whether both say the same of piece i: what passes for one does for the other.
func (m *Manifest) SameLink(o *Manifest, i int) bool {
	return string(m.state(i-1)) == string(o.state(i-1)) && string(m.state(i)) == string(o.state(i))
}

// Differ returns the last piece before which m and o, manifests of one blob, have other states, and
// whether there is one. After it they have the same state, which at most one of them has a piece for.
func (m *Manifest) Differ(o *Manifest) (piece int, ok bool) {
	for i := m.Pieces() - 1; i > 0; i-- {
		if string(m.state(i-1)) != string(o.state(i-1)) {
			return i, true
		}
	}
	return 0, false
}

// The form in which crypto/sha256 lets its state be taken up: "sha\x03", the chaining value, an
// incomplete block of 64 bytes, the length so far as 8 bytes.
const (
	shaMagic = "sha\x03"
	shaForm  = len(shaMagic) + sha256.Size + sha256.BlockSize + 8
)

// resume has h go on after n bytes, whole blocks, that led to a state.
func resume(h hash.Hash, state []byte, n uint64) {
	var b [shaForm]byte
	copy(b[copy(b[:], shaMagic):], state)
	binary.BigEndian.PutUint64(b[shaForm-8:], n)
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b[:]); err != nil {
		panic(err) // another form than the one tested
	}
}

// chaining returns the state that h has reached after whole blocks. It uses room.
func chaining(h hash.Hash, room []byte) []byte {
	b, err := h.(encoding.BinaryAppender).AppendBinary(room)
	if err != nil || len(b) != shaForm {
		panic("crypto/sha256 has another form of state than the one tested")
	}
	return b[len(shaMagic) : len(shaMagic)+sha256.Size]
}

// A PieceHash is the hash that Digest is made of, and notes its state at each piece on the way.
type PieceHash struct {
	hash.Hash
	n      uint64
	states []byte
}

// NewPieceHash returns a hash of nothing yet.
func NewPieceHash() *PieceHash { return &PieceHash{Hash: NewHash()} }

// Write adds bytes. It never fails.
func (h *PieceHash) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 {
		k := min(uint64(len(p)), PieceSize-h.n%PieceSize)
		h.Hash.Write(p[:k])
		p, h.n = p[k:], h.n+k
		if h.n%PieceSize == 0 {
			var room [128]byte
			h.states = append(h.states, chaining(h.Hash, room[:0])...)
		}
	}
	return all, nil
}

// Manifest returns that of what was written.
func (h *PieceHash) Manifest() *Manifest {
	n := Pieces(h.n)
	return &Manifest{Digest: HashDigest(h.Hash), Size: h.n, States: h.states[:sha256.Size*(n-1)]}
}
