package blobstore

import (
	"context"
	"fmt"
	"io"
	"sync"

	"gaggle/wire"
)

// maxManifests bounds the manifests kept in memory: 64 MiB of states are those of 2 TiB of blobs.
const maxManifests = 64 << 20

// manifests keeps those of blobs that came in or were asked for lately, the oldest first to go. All of
// them are true: they were made of bytes that hash to the digest.
type manifests struct {
	making chan struct{} // capacity 1: held by who makes one, which reads a whole blob

	mu    sync.Mutex // guards the fields below
	of    map[wire.Digest]*wire.Manifest
	order []wire.Digest
	bytes int
}

func newManifests() *manifests {
	return &manifests{making: make(chan struct{}, 1), of: map[wire.Digest]*wire.Manifest{}}
}

func (k *manifests) get(d wire.Digest) *wire.Manifest {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.of[d]
}

func (k *manifests) put(m *wire.Manifest) {
	if m.Size <= wire.PieceSize {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of[m.Digest] != nil {
		return
	}
	k.of[m.Digest] = m
	k.order = append(k.order, m.Digest)
	k.bytes += len(m.States)
	for k.bytes > maxManifests && len(k.order) > 1 {
		old := k.of[k.order[0]]
		delete(k.of, old.Digest)
		k.order, k.bytes = k.order[1:], k.bytes-len(old.States)
	}
}

// Manifest returns the manifest of an object that is here. One that is not remembered takes reading
// all of it, one object at a time: if ctx has ended already nothing is read. The error is as of Open, or
// of ctx.
func (s *Store) Manifest(ctx context.Context, space wire.Space, d wire.Digest) (*wire.Manifest, error) {
	return s.shelf.manifest(ctx, space, d, s.Open)
}

func (h *shelf) manifest(ctx context.Context, space wire.Space, d wire.Digest, open func(wire.Space, wire.Digest) (*Blob, error)) (*wire.Manifest, error) {
	if _, ok := h.stat(space, d); !ok {
		return nil, notFound(space, d)
	}
	if m := h.manifests.get(d); m != nil {
		return m, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case h.manifests.making <- struct{}{}:
		defer func() { <-h.manifests.making }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if m := h.manifests.get(d); m != nil {
		return m, nil
	}
	b, err := open(space, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	hash := wire.NewPieceHash()
	buf := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(buf)
	for err == nil {
		if err = ctx.Err(); err != nil {
			return nil, err
		}
		var n int
		n, err = b.Read(buf[:])
		hash.Write(buf[:n])
	}
	if err != io.EOF {
		return nil, err
	}
	m := hash.Manifest()
	h.manifests.put(m)
	return m, nil
}

// ReadPiece reads piece i into p and checks it. If the bytes are wrong the object is dropped and the
// error wraps ErrNotFound. It is for any number of goroutines.
func (b *Blob) ReadPiece(m *wire.Manifest, i int, p []byte) error {
	n, err := b.r.ReadAt(p[:m.PieceLen(i)], int64(i)*wire.PieceSize)
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading object %s: %w", b.want, err)
	}
	if !m.Check(i, p[:n]) {
		return b.corrupt()
	}
	return nil
}
