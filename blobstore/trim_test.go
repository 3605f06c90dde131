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
