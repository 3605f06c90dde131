package blobstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"

	"gaggle/wire"
)

// A Memory is a Store without a disk, for tests and the simulator. It is safe for concurrent use.
// File, Resident, AddPath and Export are missing: they are about host paths.
type Memory struct {
	// MaxBytes and OnLost are as in Options. Set them before the first use.
	MaxBytes int64
	OnLost   func(wire.Space, []wire.Digest)

	once  sync.Once
	shelf *shelf

	mu     sync.Mutex // guards the fields below; never held while taking the shelf's locks
	data   map[wire.Digest][]byte
	claims map[string][]wire.Claim
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{data: map[wire.Digest][]byte{}, claims: map[string][]wire.Claim{}}
}

func (m *Memory) base() *shelf {
	m.once.Do(func() {
		m.shelf = newShelf(Options{MaxBytes: m.MaxBytes, OnLost: m.OnLost})
		m.shelf.load = m.loadTree
		m.shelf.isTree = func(d wire.Digest) bool { return bytes.HasPrefix(m.bytes(d), []byte(treeStart)) }
		m.shelf.unlink = func(d wire.Digest, _ []wire.Space, _ form) {
			m.mu.Lock()
			delete(m.data, d)
			m.mu.Unlock()
		}
	})
	return m.shelf
}

func (m *Memory) bytes(d wire.Digest) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data[d]
}

func (m *Memory) temp() (*os.File, error) { return nil, nil }

func (m *Memory) publish(space wire.Space, o incoming) error {
	h := m.base()
	st := h.stripe(o.digest)
	st.Lock()
	defer st.Unlock()
	m.mu.Lock()
	m.data[o.digest] = o.small
	m.mu.Unlock()
	o.form = plain
	return h.enter(space, o)
}

// Put is as in Store.
func (m *Memory) Put(ctx context.Context, space wire.Space, r io.Reader) (wire.BlobID, int64, error) {
	return put(ctx, m, space, r, plain)
}

// PutFile is as in Store.
func (m *Memory) PutFile(ctx context.Context, space wire.Space, f *os.File, size int64) (wire.BlobID, error) {
	return putFile(ctx, m, space, f, size, plain)
}

// PutTree is as in Store.
func (m *Memory) PutTree(ctx context.Context, space wire.Space, t *wire.Tree) (wire.TreeID, error) {
	return putTree(ctx, m, space, t)
}

// Create is as in Store.
func (m *Memory) Create(space wire.Space, want wire.Digest, size uint64) (*Writer, error) {
	return create(m, space, want, size)
}

// Open is as in Store.
func (m *Memory) Open(space wire.Space, d wire.Digest) (*Blob, error) {
	h := m.base()
	size, ok := h.stat(space, d)
	data := m.bytes(d)
	if !ok || int64(len(data)) != size {
		return nil, notFound(space, d)
	}
	reject := func() { m.Lose(d) }
	return newBlob(bytes.NewReader(data), size, d, reject, func() error { return nil }), nil
}

// Lose drops an object from all spaces, as a disk that went bad would, and tells OnLost.
func (m *Memory) Lose(d wire.Digest) {
	m.base().drop(d, "lost")
	m.base().settle()
}

func (m *Memory) loadTree(d wire.Digest) (*wire.Tree, error) {
	space, ok := m.base().anySpace(d)
	if !ok {
		return nil, fmt.Errorf("tree %s: %w", d, ErrNotFound)
	}
	return m.Tree(space, wire.TreeID(d))
}

// Stat is as in Store.
func (m *Memory) Stat(space wire.Space, d wire.Digest) (size int64, ok bool) {
	return m.base().stat(space, d)
}

// Tree is as in Store.
func (m *Memory) Tree(space wire.Space, id wire.TreeID) (*wire.Tree, error) {
	b, err := m.Open(space, wire.Digest(id))
	if err != nil {
		return nil, err
	}
	return decodeTree(b)
}

// Missing is as in Store.
func (m *Memory) Missing(space wire.Space, o wire.Object) ([]wire.Object, error) {
	return m.base().missing(space, o, true)
}

// Pin is as in Store.
func (m *Memory) Pin(space wire.Space, d wire.Digest, owner string) { m.base().pin(space, d, owner) }

// Unpin is as in Store.
func (m *Memory) Unpin(space wire.Space, d wire.Digest, owner string) {
	m.base().unpin(space, d, owner)
}

// Sync makes nothing durable; like Store's it fails, wrapping ErrNotFound, if something is not
// here.
func (m *Memory) Sync(ctx context.Context, space wire.Space, objs []wire.Object) error {
	_, _, err := m.base().present(space, objs)
	return err
}

// Hold is as in Store.
func (m *Memory) Hold(space wire.Space, o wire.Object) { m.base().hold(space, o) }

// Held is as in Store.
func (m *Memory) Held() iter.Seq2[wire.Space, wire.Object] { return m.base().holds() }

// AddClaim is as in Store.
func (m *Memory) AddClaim(c *wire.Claim) error {
	if err := c.Verify(); err != nil {
		return err
	}
	k := memoKey(c.Space, c.Thunk)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claims[k], _ = mergeClaim(m.claims[k], c)
	return nil
}

// DropClaim is as in Store.
func (m *Memory) DropClaim(space wire.Space, thunk wire.ThunkID, signer wire.PeerID) {
	k := memoKey(space, thunk)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claims[k], _ = withoutClaim(m.claims[k], signer)
}

// Claims is as in Store.
func (m *Memory) Claims(space wire.Space, thunk wire.ThunkID) ([]wire.Claim, error) {
	if !space.Valid() {
		return nil, wire.Errorf(wire.CauseInvalid, "", "%q cannot name a space", string(space))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]wire.Claim(nil), m.claims[memoKey(space, thunk)]...), nil
}

// Trim is as in Store.
func (m *Memory) Trim(ctx context.Context) (freed int64, err error) { return m.base().trimDown(ctx) }

// TrimTo is as in Store.
func (m *Memory) TrimTo(ctx context.Context, goal int64) (freed int64, err error) {
	return m.base().trim(ctx, max(0, goal))
}

// Used is as in Store.
func (m *Memory) Used() int64 { return m.base().usedNow() }

// Close does nothing.
func (m *Memory) Close() error { return nil }
