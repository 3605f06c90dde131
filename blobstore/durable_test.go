package blobstore

import (
	"errors"
	"slices"
	"testing"

	"gaggle/wire"
)

// undurable lists the objects that Sync would have to flush.
func undurable(s *Store) (out []wire.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.table.all {
		if e := &s.table.all[i]; e.forms != e.synced {
			out = append(out, e.digest)
		}
	}
	return out
}

// TestSyncOfWhatIsDurable: a tree that was found durable is not gone through again, until something
// in it may not be.
func TestSyncOfWhatIsDurable(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	f := mustPut(t, s, anna, []byte("x"))
	low := mustTree(t, s, anna, entryOf("x", f))
	top := mustTree(t, s, anna, entryOf("low", low))
	opened := 0
	load := s.load
	s.load = func(d wire.Digest) (*wire.Tree, error) { opened++; return load(d) }
	sync := func(space wire.Space, o wire.Object, wantOpened int) {
		t.Helper()
		opened = 0
		if err := s.Sync(t.Context(), space, []wire.Object{o}); err != nil {
			t.Fatal(err)
		}
		if opened != wantOpened {
			t.Errorf("Sync opened %d trees, want %d", opened, wantOpened)
		}
		if left := undurable(s); len(left) > 0 {
			t.Errorf("after Sync %v are not durable", left)
		}
	}
	sync(anna, top, 2)
	sync(anna, top, 0)
	// Another root with the same tree below is all that is new of it.
	other := mustTree(t, s, anna, entryOf("again", low))
	sync(anna, other, 1)

	// What joins another space has names there that are not durable.
	if err := s.Sync(t.Context(), ben, []wire.Object{top}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Sync in a space that has not got it = %v", err)
	}
	mustPut(t, s, ben, []byte("x"))
	if left := undurable(s); !slices.Contains(left, f.Digest) {
		t.Errorf("not durable are %v, want the file that another space has, too", left)
	}
	sync(anna, top, 2)

	// A program is another file than the same bytes that are none.
	_, release, err := s.File(anna, f.Digest, true)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if left := undurable(s); !slices.Contains(left, f.Digest) {
		t.Errorf("not durable are %v, want the file that became a program", left)
	}
	sync(anna, other, 2)

	s.drop(f.Digest, "test")
	s.settle()
	if err := s.Sync(t.Context(), anna, []wire.Object{top}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Sync of a tree without its file = %v", err)
	}
	mustPut(t, s, anna, []byte("x"))
	sync(anna, top, 2)
}
