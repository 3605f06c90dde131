package blobstore

import (
	"testing"

	"gaggle/wire"
)

// TestTrimRefilled fills the store again while a trim runs: what came in meanwhile is not in use,
// so there is room for the next object.
func TestTrimRefilled(t *testing.T) {
	s := NewMemory()
	s.MaxBytes = 10 * charge(4096)
	seed, told := uint64(0), false
	fill := func() {
		for s.Used()+charge(4096) <= s.MaxBytes {
			seed++
			mustPut(t, s, anna, noise(seed, 4096))
		}
	}
	s.OnLost = func(wire.Space, []wire.Digest) {
		told = true
		fill()
	}
	s.Hold(anna, mustPut(t, s, anna, noise(0, 4096)))
	fill()
	mustPut(t, s, anna, noise(1000, 4096))
	if !told {
		t.Fatal("the held object, longest unused, did not go")
	}
	mustPut(t, s, anna, noise(1001, 4096))
}

// TestTrimTo drops what is not pinned from a store without bound, the longest unused first.
func TestTrimTo(t *testing.T) {
	s := NewMemory()
	one := charge(4096)
	kept := mustPut(t, s, anna, noise(0, 4096))
	s.Pin(anna, kept.Digest, "job")
	old, young := mustPut(t, s, anna, noise(1, 4096)), mustPut(t, s, anna, noise(2, 4096))
	if freed, err := s.TrimTo(t.Context(), 2*one); freed != one || err != nil {
		t.Errorf("to two of three objects: freed %d, %v, want %d", freed, err, one)
	}
	if _, ok := s.Stat(anna, old.Digest); ok {
		t.Error("the object unused for longest is still there")
	}
	if _, ok := s.Stat(anna, young.Digest); !ok {
		t.Error("an object went that need not")
	}
	if freed, err := s.TrimTo(t.Context(), 0); freed != one || err != nil || s.Used() != one {
		t.Errorf("to nothing: freed %d, %v, and %d is taken, want %d and the pinned one", freed, err, s.Used(), one)
	}
}

// TestTrimReleased unpins everything while a trim runs that then falls short.
func TestTrimReleased(t *testing.T) {
	s := NewMemory()
	s.MaxBytes = 10 * charge(4096)
	var pinned []wire.Digest
	s.OnLost = func(wire.Space, []wire.Digest) {
		for _, d := range pinned {
			s.Unpin(anna, d, "job")
		}
		pinned = nil
	}
	s.Hold(anna, mustPut(t, s, anna, noise(0, 4096)))
	for i := range 9 {
		o := mustPut(t, s, anna, noise(uint64(1+i), 4096))
		s.Pin(anna, o.Digest, "job")
		pinned = append(pinned, o.Digest)
	}
	mustPut(t, s, anna, noise(100, 8192)) // more than the held object leaves
	if pinned != nil {
		t.Fatal("the only object that was not pinned did not go")
	}
}
