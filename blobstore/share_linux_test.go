package blobstore

import "testing"

// Of a file system that does not tell what is free nothing is known: it is not taken for full, or a store
// there would be halved again and again.
func TestShareOfADiskThatSaysNothing(t *testing.T) {
	for _, dir := range []string{"/proc", "/no/such/directory"} {
		if half, known := share(dir, 1<<30); known {
			t.Errorf("share(%s) = %d, and should be unknown", dir, half)
		}
	}
	dir := t.TempDir()
	free, known := FreeBytes(dir)
	if !known || free <= 0 {
		t.Skipf("the disk of %s has %d bytes free (known: %v)", dir, free, known)
	}
	if half, known := share(dir, 1<<50); !known || half < 1<<49 {
		t.Errorf("share() = %d, %v of a disk with %d bytes free", half, known, free)
	}
}
