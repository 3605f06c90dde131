package worker

import (
	"bytes"
	"context"
	"os"
	"sync/atomic"
	"time"

	"gaggle/wire"
)

// A storeSink puts the outputs of one run into the store.
type storeSink struct {
	store storeObjects
	space wire.Space
	shown *phase
	nanos atomic.Int64
	bytes atomic.Int64
}

// PutFile is as in sandbox.Sink.
func (s *storeSink) PutFile(ctx context.Context, f *os.File, size int64) (wire.BlobID, error) {
	defer s.count(time.Now())
	s.shown.set("store", s.bytes.Add(size), 0, wire.PeerID{})
	return s.store.PutFile(ctx, s.space, f, size)
}

// PutBytes is as in sandbox.Sink.
func (s *storeSink) PutBytes(ctx context.Context, b []byte) (wire.BlobID, error) {
	defer s.count(time.Now())
	id, _, err := s.store.Put(ctx, s.space, bytes.NewReader(b))
	return id, err
}

// PutTree is as in sandbox.Sink.
func (s *storeSink) PutTree(ctx context.Context, t *wire.Tree) (wire.TreeID, error) {
	defer s.count(time.Now())
	return s.store.PutTree(ctx, s.space, t)
}

func (s *storeSink) count(begun time.Time) { s.nanos.Add(int64(time.Since(begun))) }

// spent returns the time that storing took.
func (s *storeSink) spent() time.Duration { return time.Duration(s.nanos.Load()) }
