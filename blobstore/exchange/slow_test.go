package exchange

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

// A holder may be so slow that one piece takes minutes: bytes that come are a sign of life.
func TestVerySlowHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		a, b := f.node(), f.node()
		data := noise(1, playSize)
		f.slow(1<<30, map[wire.PeerID]float64{a.id: 20 << 10}) // two lanes: 100 s for a piece
		o := a.put(t, lab, data)
		if _, err := b.fetch(o, a.id); err != nil || !bytes.Equal(b.read(t, o), data) {
			t.Errorf("Fetch = %v", err)
		}
		f.close(a, b)
	})
}

// A slowStore takes long to make a manifest.
type slowStore struct {
	Store
	takes  time.Duration
	making atomic.Int64 // calls that would read the blob
}

func (s *slowStore) Manifest(ctx context.Context, space wire.Space, d wire.Digest) (*wire.Manifest, error) {
	if ctx.Err() == nil {
		s.making.Add(1)
	}
	timer := time.NewTimer(s.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Store.Manifest(ctx, space, d)
}

// The only holder reads a large blob to make its manifest, which takes more than a minute: it is waited
// for, and asking again makes nothing twice.
func TestManifestTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		var slow *slowStore
		a, b := f.node(func(c *Config) { slow = &slowStore{Store: c.Store, takes: 90 * time.Second}; c.Store = slow }), f.node()
		data := noise(1, playSize)
		o := a.put(t, lab, data)
		if _, err := b.fetch(o, a.id); err != nil || !bytes.Equal(b.read(t, o), data) {
			t.Errorf("Fetch = %v", err)
		}
		if n := slow.making.Load(); n != 1 {
			t.Errorf("the manifest was made %d times", n)
		}
		f.close(a, b)
	})
}

// Who says for ever that it is making the manifest is given up.
func TestManifestNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		b := f.node()
		p := playerOf(noise(1, playSize))
		p.states = func(s Stream) bool { s.Write([]byte{ansLater}); return true }
		begun := time.Now()
		_, err := b.fetch(wire.FileObject(wire.BlobID(p.manifest.Digest), playSize, false), f.hostile(p.serve))
		wantCause(t, err, wire.CauseFetch)
		if took := time.Since(begun); took > 2*stuckFor+30*time.Second {
			t.Errorf("took %v", took)
		}
		f.close(b)
	})
}

// While manifests are made for others, a blob whose manifest is there is lent at once.
func TestManifestKeepsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		a, b := f.node(), f.node()
		big, small := noise(1, playSize), noise(2, playSize)
		slow, quick := a.put(t, lab, big), a.put(t, lab, small)
		a.cfg.Store = &oneSlow{Store: a.store, of: slow.Digest}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		var ns []*node
		for range maxMaking + 4 {
			n := f.node()
			ns = append(ns, n)
			wg.Go(func() { _, _ = n.Fetch(ctx, lab, held(slow, a.id), nil) })
		}
		time.Sleep(10 * time.Second)
		begun := time.Now()
		if _, err := b.fetch(quick, a.id); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("took %v", took)
		}
		cancel()
		wg.Wait()
		f.close(append(ns, a, b)...)
	})
}

// A oneSlow never has the manifest of one blob.
type oneSlow struct {
	Store
	of wire.Digest
}

func (s *oneSlow) Manifest(ctx context.Context, space wire.Space, d wire.Digest) (*wire.Manifest, error) {
	if d == s.of { // and remembers none
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Store.Manifest(ctx, space, d)
}

// Who has only some pieces, sends a few and then stalls keeps the others only for moments.
func TestPartialHolderStalls(t *testing.T) {
	for _, sole := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric(t)
			b, honest := f.node(), f.node()
			data := noise(1, playSize)
			o := honest.put(t, lab, data)
			p := playerOf(data)
			p.have = []byte{0b00111}
			p.pieces = func(s Stream) bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				if p.sent == 0 {
					return false
				}
				s.Write(append(appendFound(nil, 1), p.have...)) // and no more
				return true
			}
			stalls := func(s Stream) { p.serve(s); io.Copy(io.Discard, s) }
			peers := []wire.PeerID{f.hostile(stalls)}
			if !sole {
				peers = append(peers, honest.id)
			}
			begun := time.Now()
			_, err := b.fetch(o, peers...)
			took := time.Since(begun)
			t.Log(took)
			if sole {
				wantCause(t, err, wire.CauseFetch)
			} else if err != nil || !bytes.Equal(b.read(t, o), data) {
				t.Errorf("Fetch = %v", err)
			}
			if took > 10*time.Second && !sole || took > 2*stuckFor {
				t.Errorf("took %v", took)
			}
			f.close(b, honest)
		})
	}
}
