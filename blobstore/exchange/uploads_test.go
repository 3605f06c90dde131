package exchange

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
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
	for _, rate := range []int64{128 << 10, 256 << 10} {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric(t)
			a := f.node(func(c *Config) { c.MaxUpload = rate })
			const nodes, mib = 10, 4
			o := a.put(t, lab, noise(1, mib<<20))
			var ns []*node
			var wg sync.WaitGroup
			var mu sync.Mutex
			var took []time.Duration
			for range nodes {
				n := f.node()
				ns = append(ns, n)
				wg.Go(func() {
					begun := time.Now()
					if _, err := n.Fetch(context.Background(), lab, held(o, a.id), nil); err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					took = append(took, time.Since(begun))
				})
			}
			all := time.Duration(nodes*mib<<20/rate) * time.Second
			time.Sleep(all / 2)
			var in []int64
			for _, n := range ns {
				in = append(in, n.Stats().Peers[a.id].In>>10)
			}
			slices.Sort(in)
			wg.Wait()
			t.Logf("half way KiB %v; took %v to %v of %v", in, slices.Min(took), slices.Max(took), all)
			if last := slices.Max(took); last > all*5/4 {
				t.Errorf("the last took %v, want at most a quarter more than %v", last, all)
			}
			f.close(append(ns, a)...)
		})
	}
}
