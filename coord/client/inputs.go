package client

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

// inputs puts the local files of a graph into the store and tells the command how that goes. It
// is a graph.Files.
type inputs struct {
	store *blobstore.Store
	space wire.Space
	send  func(*Event) error
	from  *sources

	mu    sync.Mutex // guards the fields below
	sum   blobstore.AddProgress
	shown time.Time
	err   error // of send: the command is gone
}

// showEvery is the least time between two events about the same progress.
const showEvery = 100 * time.Millisecond

// Add hashes a file or directory.
func (f *inputs) Add(ctx context.Context, path string) (wire.Object, error) {
	var before blobstore.AddProgress
	o, err := f.store.AddPath(ctx, f.space, path, blobstore.AddOptions{Progress: func(p blobstore.AddProgress) {
		f.add(path, blobstore.AddProgress{Files: p.Files - before.Files, Bytes: p.Bytes - before.Bytes})
		before = p
	}})
	return f.from.note(path, func(ctx context.Context) (wire.Object, error) {
		return f.store.AddPath(ctx, f.space, path, blobstore.AddOptions{})
	}, o, err)
}

func (f *inputs) add(path string, p blobstore.AddProgress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sum.Files += p.Files
	f.sum.Bytes += p.Bytes
	if now := time.Now(); now.Sub(f.shown) >= showEvery && f.err == nil {
		f.shown = now
		f.err = f.send(&Event{Hashing: &Hashing{Files: f.sum.Files, Bytes: f.sum.Bytes, Path: path}})
	}
}

// last tells the sum, if there was anything, and whether the command still listens.
func (f *inputs) last() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && f.sum.Files > 0 {
		f.err = f.send(&Event{Hashing: &Hashing{Files: f.sum.Files, Bytes: f.sum.Bytes}})
	}
	return f.err
}

// Put stores a text of the graph.
func (f *inputs) Put(ctx context.Context, data []byte) (wire.Object, error) {
	put := func(ctx context.Context) (wire.Object, error) {
		id, size, err := f.store.Put(ctx, f.space, bytes.NewReader(data))
		return wire.FileObject(id, uint64(size), false), err
	}
	o, err := put(ctx)
	return f.from.note("a text of the graph", put, o, err)
}

// Find returns an object that the graph names by its CID, if this machine has all of it.
func (f *inputs) Find(_ context.Context, o wire.Object) (wire.Object, error) {
	missing, err := f.store.Missing(f.space, o)
	if err != nil {
		return o, err
	}
	if len(missing) > 0 {
		return o, fmt.Errorf("%s %s is not in this machine's store: %w", o.Kind, o.CID(), fs.ErrNotExist)
	}
	if o.Kind == wire.Dir {
		t, err := f.store.Tree(f.space, wire.TreeID(o.Digest))
		if err != nil {
			return o, err
		}
		o.Size = t.Size()
		return o, nil
	}
	size, ok := f.store.Stat(f.space, o.Digest)
	if !ok {
		return o, fmt.Errorf("%s %s is not in this machine's store: %w", o.Kind, o.CID(), fs.ErrNotExist)
	}
	o.Size = uint64(size)
	return o, nil
}
