package exchange

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

// Members that ask for pieces and are dead, or silent, have few of the turns: an honest one waits for one of
// them for moments, however many they are.
func TestDeadFetchersHoldNoTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		f.slow(8<<20, nil)
		a, b := f.node(), f.node()
		const mib = 16
		o := a.put(t, lab, noise(1, mib<<20))
		over := make(chan struct{})
		var floods sync.WaitGroup
		for range 24 {
			dead := f.hostile(func(s Stream) { io.Copy(io.Discard, s) })
			for range maxQueueEach {
				floods.Go(func() { askAndVanish(f, dead, a.id, blobID{o.Digest, o.Size}, over) })
			}
		}
		time.Sleep(20 * time.Second) // they have shown what they are
		begun := time.Now()
		if _, err := b.fetch(o, a.id); err != nil {
			t.Error(err)
		}
		slower := time.Since(begun).Seconds() * 8 / mib
		t.Logf("%.2fx one link", slower)
		if slower > 2 {
			t.Errorf("%.2fx the time of one link beside dead members, want 2", slower)
		}
		close(over)
		f.close(a, b)
		floods.Wait()
	})
}

// askAndVanish asks a holder for pieces and takes none, again and again, until over.
func askAndVanish(f *fabric, self, holder wire.PeerID, id blobID, over chan struct{}) {
	grant := wire.SignGrant(coordKey, lab, self, time.Now().Add(time.Hour))
	want := bytes.Repeat([]byte{0xff}, bitmapLen(id.size))
	for {
		s, err := f.dialer(self).Open(context.Background(), holder, wire.ProtocolBlob)
		if err != nil {
			return
		}
		s.Write(appendPieces(appendOpen(nil, grant), id, maxPieces, want))
		select {
		case <-time.After(1500 * time.Millisecond):
			s.Reset()
		case <-over:
			s.Reset()
			return
		}
	}
}

// With a small bound on uploads every fetcher gets the blob, in the time that the bound wants for all.
func TestMaxUploadIsShared(t *testing.T) {
	const nodes = 10
	for _, c := range []struct {
		rate        int64
		files, size int
	}{
		{64 << 10, 1, 2 << 20},                           // in pieces
		{64 << 10, 1, 1 << 20}, {32 << 10, 1, 200 << 10}, // whole
		{32 << 10, 100, 5000},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric(t)
			a := f.node(func(cfg *Config) { cfg.MaxUpload = c.rate })
			var entries []wire.Entry
			for i := range c.files {
				entries = append(entries, wire.Entry{Name: fmt.Sprint(i), Object: a.put(t, lab, noise(uint64(i), c.size))})
			}
			o := a.putTree(t, entries...)
			var ns []*node
			var wg sync.WaitGroup
			took := make([]time.Duration, nodes)
			begun := time.Now()
			for i := range nodes {
				n := f.node()
				ns = append(ns, n)
				wg.Go(func() {
					if _, err := n.Fetch(context.Background(), lab, held(o, a.id), nil); err != nil {
						t.Error(err)
					}
					took[i] = time.Since(begun)
				})
			}
			wg.Wait()
			all := time.Duration(float64(nodes*c.files*c.size) / float64(c.rate) * float64(time.Second))
			t.Logf("%d files of %d bytes at %d KiB/s: took %v to %v of %v", c.files, c.size, c.rate>>10, slices.Min(took), slices.Max(took), all)
			if last := slices.Max(took); last > all*5/4 {
				t.Errorf("the last took %v, want at most a quarter more than %v", last, all)
			}
			f.close(append(ns, a)...)
		})
	}
}

// What is given up while its only holder is busy ends at once, and what others want goes on.
func TestGivenUpWhileTheHolderIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		b := f.node()
		var told atomic.Int64
		bad := f.hostile(func(s Stream) {
			requests(s, func([]wish, uint64) bool {
				told.Add(1)
				s.Write([]byte{ansBusy})
				return false
			})
		})
		var giveUp []context.CancelFunc
		for i := range 3 {
			data := noise(uint64(i), 1000)
			o := wire.FileObject(wire.BlobID(wire.Sum(data)), 1000, false)
			ctx, cancel := context.WithCancel(t.Context())
			giveUp = append(giveUp, cancel)
			go b.Fetch(ctx, lab, held(o, bad), nil)
		}
		for i, cancel := range giveUp {
			before := told.Load()
			time.Sleep(time.Minute)
			if told.Load() == before {
				t.Errorf("the holder was asked for %d objects no more", len(giveUp)-i)
			}
			cancel()
			synctest.Wait()
			b.mu.Lock()
			if got, want := len(b.flights), len(giveUp)-1-i; got != want {
				t.Errorf("%d objects are under way, want %d", got, want)
			}
			b.mu.Unlock()
		}
		f.close(b)
	})
}
