package wire

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

func pieceNoise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func manifestOf(b []byte) *Manifest {
	h := NewPieceHash()
	for len(b) > 0 { // in odd steps, as they come
		n := min(len(b), 333_333)
		h.Write(b[:n])
		b = b[n:]
	}
	return h.Manifest()
}

func pieceOf(b []byte, i int) []byte {
	return b[i*PieceSize : min(len(b), (i+1)*PieceSize)]
}

func TestManifestChecksPieces(t *testing.T) {
	for _, size := range []int{0, 1, PieceSize - 1, PieceSize, PieceSize + 1, 2 * PieceSize, 3*PieceSize + 100} {
		b := pieceNoise(size)
		m := manifestOf(b)
		if m.Digest != Sum(b) || m.Size != uint64(size) || !m.Whole() {
			t.Fatalf("of %d bytes: %v of %d bytes, whole is %v", size, m.Digest, m.Size, m.Whole())
		}
		for i := m.Pieces() - 1; i >= 0; i-- { // any order
			p := bytes.Clone(pieceOf(b, i))
			if !m.Check(i, p) {
				t.Errorf("of %d bytes: Check(%d) = false", size, i)
			}
			if m.Check(i, append(bytes.Clone(p), 0)) || len(p) > 0 && m.Check(i, p[:len(p)-1]) {
				t.Errorf("of %d bytes: piece %d passes with another length", size, i)
			}
			if len(p) > 0 {
				p[len(p)/2] ^= 1
				if m.Check(i, p) {
					t.Errorf("of %d bytes: piece %d passes with a wrong bit", size, i)
				}
			}
		}
	}
}

// The states are those of FIPS 180-4 and so of every implementation: of a MiB of zeros,
// as a program written from the standard gives it.
func TestManifestIsPinned(t *testing.T) {
	m := manifestOf(make([]byte, 2*PieceSize))
	const want = "de6e9901b3239712266dbc96d0f48d6fb7bc330c30ff1e76298ae3b8f5d1275e"
	if got := hex.EncodeToString(m.States); got != want {
		t.Errorf("States = %s, want %s", got, want)
	}
}

// Of two manifests that differ one piece tells which is false.
func TestManifestsThatDiffer(t *testing.T) {
	b := pieceNoise(5*PieceSize + 7)
	m := manifestOf(b)
	if _, ok := m.Differ(m); ok {
		t.Error("a manifest differs from itself")
	}
	// A liar changes piece 1 and goes on from there, as far as it can.
	lie := bytes.Clone(b)
	lie[PieceSize] ^= 1
	f := manifestOf(lie)
	f.Digest = m.Digest
	i, ok := m.Differ(f)
	if !ok || i != 5 {
		t.Fatalf("Differ = %d, %v, want 5", i, ok)
	}
	if f.Check(i, pieceOf(lie, i)) || f.Check(i, pieceOf(b, i)) || !m.Check(i, pieceOf(b, i)) {
		t.Error("the piece after the last different state does not tell")
	}
	if !f.Check(1, pieceOf(lie, 1)) || f.SameLink(m, 1) || !f.SameLink(m, 0) || f.SameLink(m, 5) {
		t.Error("links")
	}
	// One that is false in a single state.
	g := &Manifest{m.Digest, m.Size, bytes.Clone(m.States)}
	g.States[40] ^= 1
	if i, ok := m.Differ(g); !ok || i != 2 {
		t.Errorf("Differ = %d, %v, want 2", i, ok)
	}
}

func TestManifestSize(t *testing.T) {
	for _, m := range []*Manifest{{Size: PieceSize + 1}, {Size: 1, States: make([]byte, 32)}, {Size: MaxBlob + 1}, {Size: 3 * PieceSize, States: make([]byte, 63)}} {
		if m.Whole() {
			t.Errorf("%d states of %d bytes are whole", len(m.States), m.Size)
		}
	}
}
