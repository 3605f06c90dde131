package exchange

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

// Two honest holders show the same manifest to be false: the second one finds that of the first in its
// place, which is not to blame.
func TestDisputeSettledTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		b := f.node()
		data := noise(1, playSize)
		lie := bytes.Clone(data)
		lie[wire.PieceSize] ^= 1
		truth, false1 := playerOf(data).manifest, playerOf(lie).manifest
		false1.Digest = truth.Digest
		part, err := b.store.Receive(lab, false1)
		if err != nil {
			t.Fatal(err)
		}
		sw := &swarm{
			x: b.Exchange, lotKey: lotKey{lab, blobID{truth.Digest, truth.Size}}, f: &flight{x: b.Exchange},
			lenders: map[wire.PeerID]*lender{}, changed: make(chan struct{}),
		}
		sw.ctx, sw.cancel = context.WithCancel(context.Background())
		sw.begin(part)
		var ls []*lane
		for i := range 3 {
			id := wire.PeerOf(detKey(byte(100 + i)))
			l := &lender{peer: id, m: b.member(id), lanes: lanes}
			sw.lenders[id] = l
			ls = append(ls, &lane{sw: sw, l: l, whole: true})
		}
		d := dispute{voucher: ls[0].l.peer, liable: true, manifest: false1}
		sw.voucher = d.voucher
		again := *truth // as another lane reads it
		sw.overturn(ls[1], truth, d)
		sw.overturn(ls[2], &again, d)
		for i, want := range []bool{true, false, false} {
			if o := ls[i].l.out; (o != nil) != want {
				t.Errorf("lender %d: %+v, want blamed %v", i, o, want)
			}
		}
		if sw.part.Manifest() != truth {
			t.Error("not the manifest that was shown to be true first")
		}
		sw.cancel()
		part.Close()
		f.close(b)
	})
}

// Who has a part of a blob and passes on a manifest that is false is not named as a liar.
func TestHearsayIsNoLie(t *testing.T) {
	for _, named := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric(t)
			data := noise(1, playSize)
			lie := bytes.Clone(data)
			lie[2*wire.PieceSize] ^= 1
			honest, b := f.node(), f.node()
			o := honest.put(t, lab, data)
			fooled := playerOf(lie)
			fooled.manifest.Digest = o.Digest
			fooled.have = []byte{1 << 0} // right by both
			id := f.hostile(fooled.serve)
			f.mu.Lock()
			f.handlers[honest.id] = func(s Stream) { time.Sleep(3 * time.Second); honest.Serve(s) }
			f.mu.Unlock()
			want := held(o, honest.id)
			if named {
				want = held(o, id, honest.id)
			} else {
				want[0].Coming = []wire.PeerID{id}
			}
			r, err := b.Fetch(context.Background(), lab, want, nil)
			if err != nil || !bytes.Equal(b.read(t, o), data) {
				t.Fatalf("Fetch = %v", err)
			}
			if len(r.Gone) != 0 {
				t.Errorf("Gone = %+v", r.Gone)
			}
			f.close(honest, b)
		})
	}
}

// The only honest holder cuts off the first answer to a dispute: it is asked again.
func TestDisputeBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		data := noise(1, playSize)
		lie := bytes.Clone(data)
		lie[2*wire.PieceSize] ^= 1
		b := f.node()
		o := wire.FileObject(wire.BlobID(wire.Sum(data)), playSize, false)
		liar, honest := playerOf(lie), playerOf(data)
		liar.manifest.Digest, liar.lends = o.Digest, false
		var cut atomic.Bool
		honest.states = func(s Stream) bool { return !cut.Swap(true) }
		bad := f.hostile(liar.serve)
		good := f.hostile(func(s Stream) { time.Sleep(1500 * time.Millisecond); honest.serve(s) })
		if _, err := b.fetch(o, bad, good); err != nil || !bytes.Equal(b.read(t, o), data) {
			t.Fatalf("Fetch = %v", err)
		}
		if !cut.Load() {
			t.Error("there was no dispute")
		}
		f.close(b)
	})
}

// A resetCounter counts the streams that are reset.
type resetCounter struct {
	Stream
	n *atomic.Int64
}

func (s resetCounter) Reset() { s.n.Add(1); s.Stream.Reset() }

// A swarm that is over leaves no stream for the end of the exchange to reset.
func TestSwarmKeepsNoStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		var resets atomic.Int64
		a, b := f.node(), f.node()
		f.wrap = func(s Stream, _, _ wire.PeerID) Stream { return resetCounter{s, &resets} }
		o := a.put(t, lab, noise(1, playSize))
		if _, err := b.fetch(o, a.id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		before := resets.Load()
		b.Close()
		synctest.Wait()
		if n := resets.Load() - before; n != 0 {
			t.Errorf("%d streams were kept", n)
		}
		f.close(a, b)
	})
}

// The only holder is of an older version and the companions have nothing either: the blob comes whole from
// it, soon.
func TestCompanionsWithoutHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		data := noise(1, playSize)
		o := wire.FileObject(wire.BlobID(wire.Sum(data)), playSize, false)
		old := f.hostile(liar(data)) // which sends the right bytes
		coming := f.hostile(func(s Stream) {
			requests := make([]byte, 1<<10)
			for {
				if _, err := s.Read(requests); err != nil {
					return
				}
				s.Write([]byte{ansLater})
			}
		})
		b := f.node()
		want := held(o, old)
		want[0].Coming = []wire.PeerID{coming}
		begun := time.Now()
		if _, err := b.Fetch(context.Background(), lab, want, nil); err != nil || !bytes.Equal(b.read(t, o), data) {
			t.Fatalf("Fetch = %v", err)
		}
		if took := time.Since(begun); took > stuckFor/2 {
			t.Errorf("took %v", took)
		}
		f.close(b)
	})
}

// A blob is wanted again while the swarm of a fetch that was given up ends: the new one waits for it, and
// its entry stays.
func TestSwarmWaitsForTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		a, b := f.node(), f.node()
		o := a.put(t, lab, noise(1, playSize))
		k := lotKey{lab, blobID{o.Digest, o.Size}}
		before := &swarm{x: b.Exchange, lotKey: k, ended: make(chan struct{})}
		before.ctx = context.Background()
		before.enrol()
		done := make(chan error, 1)
		go func() {
			_, err := b.fetch(o, a.id)
			done <- err
		}()
		time.Sleep(time.Minute)
		if len(done) != 0 || b.swarms[k] != before {
			t.Error("the new one did not wait")
		}
		before.leave()
		if err := <-done; err != nil {
			t.Error(err)
		}
		f.close(a, b)
	})
}

// Lending finds pieces spoilt: they are fetched again.
func TestSpoiltPieceIsFetchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		b := f.node()
		data := noise(1, playSize)
		m := playerOf(data).manifest
		part, err := b.store.Receive(lab, m)
		if err != nil {
			t.Fatal(err)
		}
		sw := &swarm{x: b.Exchange, lotKey: lotKey{lab, blobID{m.Digest, m.Size}}, f: &flight{x: b.Exchange}}
		sw.begin(part)
		for i := 1; i < m.Pieces(); i++ {
			if _, err := part.Write(i, data[i*wire.PieceSize:][:m.PieceLen(i)]); err != nil {
				t.Fatal(err)
			}
		}
		sw.left, sw.first = 0, m.Pieces() // as if piece 0 had come and was lost since
		if sw.sound() || sw.left != 1 || sw.first != 0 || sw.closing {
			t.Errorf("left %d, first %d, closing %v", sw.left, sw.first, sw.closing)
		}
		if _, err := part.Write(0, data[:wire.PieceSize]); err != nil {
			t.Fatal(err)
		}
		if sw.left = 0; !sw.sound() || !sw.closing {
			t.Error("it is not whole")
		}
		part.Close()
		f.close(b)
	})
}
