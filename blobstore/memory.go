package blobstore

import (
	"context"
	"io"
	"iter"
	"os"

	"gaggle/wire"
)

// A Memory is a Store without a disk, for tests and the simulator. It is safe for concurrent use.
// File, Resident, AddPath and Export are missing: they are about host paths.
type Memory struct {
	// MaxBytes and OnLost are as in Options. Set them before the first use.
	MaxBytes int64
	OnLost   func(wire.Space, []wire.Digest)
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{} }

// Put is as in Store.
func (m *Memory) Put(ctx context.Context, space wire.Space, r io.Reader) (wire.BlobID, int64, error) {
	return wire.BlobID{}, 0, errNotBuilt
}

// PutFile is as in Store.
func (m *Memory) PutFile(ctx context.Context, space wire.Space, f *os.File, size int64) (wire.BlobID, error) {
	return wire.BlobID{}, errNotBuilt
}

// PutTree is as in Store.
func (m *Memory) PutTree(ctx context.Context, space wire.Space, t *wire.Tree) (wire.TreeID, error) {
	return wire.TreeID{}, errNotBuilt
}

// Create is as in Store.
func (m *Memory) Create(space wire.Space, want wire.Digest, size uint64) (*Writer, error) {
	return nil, errNotBuilt
}

// Open is as in Store.
func (m *Memory) Open(space wire.Space, d wire.Digest) (*Blob, error) { return nil, errNotBuilt }

// Stat is as in Store.
func (m *Memory) Stat(space wire.Space, d wire.Digest) (size int64, ok bool) { return 0, false }

// Tree is as in Store.
func (m *Memory) Tree(space wire.Space, id wire.TreeID) (*wire.Tree, error) { return nil, errNotBuilt }

// Missing is as in Store.
func (m *Memory) Missing(space wire.Space, o wire.Object) ([]wire.Object, error) {
	return nil, errNotBuilt
}

// Pin is as in Store.
func (m *Memory) Pin(space wire.Space, d wire.Digest, owner string) {}

// Unpin is as in Store.
func (m *Memory) Unpin(space wire.Space, d wire.Digest, owner string) {}

// Sync returns an error wrapping ErrNotFound if something is missing.
func (m *Memory) Sync(ctx context.Context, space wire.Space, objs []wire.Object) error {
	return errNotBuilt
}

// Hold is as in Store.
func (m *Memory) Hold(space wire.Space, o wire.Object) {}

// Held is as in Store.
func (m *Memory) Held() iter.Seq2[wire.Space, wire.Object] {
	return func(func(wire.Space, wire.Object) bool) {}
}

// AddClaim is as in Store.
func (m *Memory) AddClaim(c *wire.Claim) error { return errNotBuilt }

// Claims is as in Store.
func (m *Memory) Claims(space wire.Space, thunk wire.ThunkID) ([]wire.Claim, error) {
	return nil, errNotBuilt
}

// Trim is as in Store.
func (m *Memory) Trim(ctx context.Context) (freed int64, err error) { return 0, errNotBuilt }

// Used is as in Store.
func (m *Memory) Used() int64 { return 0 }

// Close does nothing.
func (m *Memory) Close() error { return nil }
