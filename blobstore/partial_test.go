package blobstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

func pieceNoise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{3}).Read(b)
	return b
}

func manifestOf(b []byte) *wire.Manifest {
	h := wire.NewPieceHash()
	h.Write(b)
	return h.Manifest()
}

func pieceOf(b []byte, i int) []byte {
	return b[i*wire.PieceSize : min(len(b), (i+1)*wire.PieceSize)]
}

// A receiver is what Store and Memory have in common here.
type receiver interface {
	Receive(wire.Space, *wire.Manifest) (*Partial, error)
	Resume(wire.Space, wire.Digest, uint64) *Partial
	Manifest(context.Context, wire.Space, wire.Digest) (*wire.Manifest, error)
	Open(wire.Space, wire.Digest) (*Blob, error)
	Put(context.Context, wire.Space, io.Reader) (wire.BlobID, int64, error)
}

func writePiece(t *testing.T, p *Partial, b []byte, i int) {
	t.Helper()
	if fresh, err := p.Write(i, pieceOf(b, i)); !fresh || err != nil {
		t.Fatalf("Write(%d) = %v, %v", i, fresh, err)
	}
}

func commitAndRead(t *testing.T, r receiver, p *Partial, b []byte) {
	t.Helper()
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	o, err := r.Open("lab", wire.Sum(b))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("%d bytes, %v, want %d", len(got), err, len(b))
	}
}

func TestPartial(t *testing.T) {
	b := pieceNoise(3*wire.PieceSize + 5)
	m := manifestOf(b)
	disk, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	for name, r := range map[string]receiver{"disk": disk, "memory": NewMemory()} {
		t.Run(name, func(t *testing.T) {
			p, err := r.Receive("lab", m)
			if err != nil {
				t.Fatal(err)
			}
			wrong := bytes.Clone(pieceOf(b, 1))
			wrong[7] ^= 1
			if _, err := p.Write(1, wrong); err != ErrWrongPiece {
				t.Errorf("Write of a wrong piece = %v", err)
			}
			for _, i := range []int{3, 0, 2} {
				writePiece(t, p, b, i)
			}
			if fresh, err := p.Write(0, pieceOf(b, 0)); fresh || err != nil {
				t.Errorf("Write of what is here = %v, %v", fresh, err)
			}
			buf := make([]byte, wire.PieceSize)
			if n, err := p.Read(3, buf); err != nil || !bytes.Equal(buf[:n], pieceOf(b, 3)) {
				t.Errorf("Read = %d bytes, %v", n, err)
			}
			if _, err := p.Read(1, buf); !errors.Is(err, ErrNotFound) {
				t.Errorf("Read of what is not here: %v", err)
			}
			if err := p.Commit(); err == nil {
				t.Error("Commit without a piece")
			}
			writePiece(t, p, b, 1)
			commitAndRead(t, r, p, b)
			p.Close()
			if got, err := r.Manifest(context.Background(), "lab", m.Digest); err != nil || !bytes.Equal(got.States, m.States) {
				t.Errorf("Manifest = %v, %v", got, err)
			}
			if _, err := r.Manifest(context.Background(), "other", m.Digest); !errors.Is(err, ErrNotFound) {
				t.Errorf("Manifest of another space: %v", err)
			}
		})
	}
}

// The manifest of what was put is known without reading it; else it is made by reading.
func TestManifestOfAnObject(t *testing.T) {
	b := pieceNoise(2*wire.PieceSize + 5)
	s := NewMemory()
	id, _, err := s.Put(context.Background(), "lab", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		m, err := s.Manifest(context.Background(), "lab", wire.Digest(id))
		if err != nil || !m.Whole() || !m.Check(1, pieceOf(b, 1)) {
			t.Fatalf("Manifest = %v, %v", m, err)
		}
		s.base().manifests = newManifests()
	}
}

// A manifest that replaces a false one keeps the pieces of which both say the same.
func TestPartialAdopt(t *testing.T) {
	b := pieceNoise(4 * wire.PieceSize)
	m := manifestOf(b)
	lie := bytes.Clone(b)
	lie[wire.PieceSize] ^= 1 // piece 1, and all states from there on
	f := manifestOf(lie)
	f.Digest = m.Digest
	p, err := NewMemory().Receive("lab", f)
	if err != nil {
		t.Fatal(err)
	}
	writePiece(t, p, b, 0)
	writePiece(t, p, lie, 1)
	lost, err := p.Adopt(m)
	if err != nil || len(lost) != 1 || lost[0] != 1 || !p.Has(0) || p.Has(1) {
		t.Fatalf("Adopt lost %v, %v", lost, err)
	}
	writePiece(t, p, b, 1)
}

// A piece that passed by a false manifest does not overwrite the right one that came meanwhile.
func TestPartialKeepsTheRightPiece(t *testing.T) {
	b := pieceNoise(2 * wire.PieceSize)
	m := manifestOf(b)
	lie := bytes.Clone(b)
	lie[5] ^= 1
	f := manifestOf(lie)
	f.Digest = m.Digest
	disk, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	for name, r := range map[string]receiver{"disk": disk, "memory": NewMemory()} {
		t.Run(name, func(t *testing.T) {
			p, err := r.Receive("lab", f)
			if err != nil {
				t.Fatal(err)
			}
			if !f.Check(0, pieceOf(lie, 0)) { // as Write does, which then goes on to place
				t.Fatal("the lie does not pass by its own manifest")
			}
			if _, err := p.Adopt(m); err != nil {
				t.Fatal(err)
			}
			writePiece(t, p, b, 0)
			if fresh, err := p.place(f, 0, pieceOf(lie, 0)); fresh || err != nil {
				t.Errorf("place = %v, %v", fresh, err)
			}
			writePiece(t, p, b, 1)
			commitAndRead(t, r, p, b)
		})
	}
}

// What has come is there after a restart, but for what the disk has spoilt.
func TestPartialResumes(t *testing.T) {
	dir := t.TempDir()
	b := pieceNoise(5*wire.PieceSize + 9)
	m := manifestOf(b)
	s, err := Open(dir, Options{MaxBytes: 100 << 20})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Receive("lab", m)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{5, 1, 2} {
		writePiece(t, p, b, i)
	}
	if q := s.Resume("lab", m.Digest, m.Size); q != nil {
		t.Error("two receive one blob")
	}
	s.Close() // without closing p, as when the process is killed
	name := filepath.Join(dir, "part", partName("lab", m.Digest, m.Size))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte{b[wire.PieceSize] ^ 1}, wire.PieceSize)
	f.Close()
	if s, err = Open(dir, Options{MaxBytes: 100 << 20}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Resume("lab", m.Digest, m.Size+1) != nil || s.Resume("other", m.Digest, m.Size) != nil {
		t.Error("another blob goes on with it")
	}
	if p = s.Resume("lab", m.Digest, m.Size); p == nil {
		t.Fatal("nothing is left")
	}
	for i, want := range []bool{false, false, true, false, false, true} {
		if p.Has(i) != want {
			t.Errorf("Has(%d) = %v", i, !want)
			continue
		}
		if !want {
			writePiece(t, p, b, i)
		}
	}
	commitAndRead(t, s, p, b)
	list, err := os.ReadDir(filepath.Join(dir, "part"))
	if err != nil || len(list) > 0 {
		t.Errorf("left in part/: %v, %v", list, err)
	}
	if s.pendingNow() != 0 {
		t.Errorf("%d bytes are still admitted", s.pendingNow())
	}
}

// What was left half way gives room to what comes in.
func TestPartialsGiveRoom(t *testing.T) {
	b := pieceNoise(3 * wire.PieceSize)
	s, err := Open(t.TempDir(), Options{MaxBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, err := s.Receive("lab", manifestOf(b))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Put(context.Background(), "lab", bytes.NewReader(b[:2<<20])); wire.CauseOf(err) != wire.CauseDiskFull {
		t.Errorf("Put beside it = %v, want that there is no room", err)
	}
	p.Close()
	if _, _, err := s.Put(context.Background(), "lab", bytes.NewReader(b[:2<<20])); err != nil {
		t.Error(err)
	}
	if s.Resume("lab", wire.Sum(b), uint64(len(b))) != nil {
		t.Error("it is still there")
	}
}

// What was left half way is kept for a day, in a process that goes on, too.
func TestPartialsGrowOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s, err := Open(dir, Options{MaxBytes: 100 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		leave := func(pieces int) {
			p, err := s.Receive("lab", manifestOf(pieceNoise(pieces*wire.PieceSize)))
			if err != nil {
				t.Fatal(err)
			}
			p.Close()
		}
		files := func() int {
			synctest.Wait()
			list, err := os.ReadDir(filepath.Join(dir, "part"))
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		leave(3)
		time.Sleep(leftFor / 2)
		leave(4)
		time.Sleep(leftFor/2 - time.Second)
		if n := files(); n != 4 {
			t.Errorf("%d files before the day was over, want 4", n)
		}
		time.Sleep(time.Second + checkpointEvery)
		if n := files(); n != 2 {
			t.Errorf("%d files after a day, want the 2 of the later one", n)
		}
		time.Sleep(leftFor)
		if n := files(); n != 0 || s.pendingNow() != 0 {
			t.Errorf("%d files, %d bytes admitted, want none", n, s.pendingNow())
		}
	})
}
