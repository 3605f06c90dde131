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
