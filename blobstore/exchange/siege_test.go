package exchange

import (
	"bytes"
	"flag"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

var large = flag.Bool("large", false, "bring large blobs to many nodes, which takes gigabytes")

// besiegers returns what five holders do, none of which is of any use: the first sends wrong pieces, the second
// has a wrong manifest, one says that it has all and sends nothing, one never answers, and one sends a byte
// a second. The first two can be shown to lie.
func besiegers(data []byte) (do []func(Stream)) {
	wrong, empty, silent, trickle := playerOf(data), playerOf(data), playerOf(data), playerOf(data)
	wrong.piece = func(i int) []byte { return make([]byte, wrong.manifest.PieceLen(i)) }
	lie := bytes.Clone(data)
	for i := 0; i < len(lie); i += wire.PieceSize {
		lie[i] ^= 1
	}
	misled := playerOf(lie)
	misled.manifest.Digest = wrong.manifest.Digest
	empty.lends = false
	silent.late = 24 * time.Hour
	trickle.pieces = func(s Stream) bool {
		for _, b := range append(appendFound(nil, 0), onePiece(0, data[:wire.PieceSize])...) {
			time.Sleep(time.Second)
			if _, err := s.Write([]byte{b}); err != nil {
				break
			}
		}
		return true
	}
	for _, p := range []*player{wrong, misled, empty, silent, trickle} {
		do = append(do, p.serve)
	}
	return do
}

// Of eight holders five are hostile: every fetch ends whole, and those that were shown to lie three times
// are blocked. Nobody is sent more streams than lanes, which with them bounds the pieces in memory.
func TestBesieged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		b := f.node()
		open := openStreams{of: map[wire.PeerID]int{}}
		f.wrap = open.count(b.id)
		honest := []*node{f.node(), f.node(), f.node()}
		var hostile []wire.PeerID
		for range 5 {
			hostile = append(hostile, f.hostile(nil))
		}
		standing := func(p wire.PeerID) bool { return !b.member(p).isBlocked(time.Now()) }
		// A liar that is not asked before the blob is whole gets away with it that time.
		for i := 0; i < maxStrikes || slices.ContainsFunc(hostile[:2], standing) && i < 20; i++ {
			data := noise(uint64(i), playSize)
			var o wire.Object
			for _, h := range honest {
				o = h.put(t, lab, data)
			}
			f.mu.Lock()
			for j, do := range besiegers(data) {
				f.handlers[hostile[j]] = do
			}
			for _, h := range honest { // so late that each of the others is asked
				f.handlers[h.id] = func(s Stream) { time.Sleep(1500 * time.Millisecond); h.Serve(s) }
			}
			f.mu.Unlock()
			all := slices.Concat(hostile, []wire.PeerID{honest[0].id, honest[1].id, honest[2].id})
			r, err := b.fetch(o, all...)
			if err != nil || !bytes.Equal(b.read(t, o), data) {
				t.Fatalf("Fetch %d = %v", i, err)
			}
			for _, g := range r.Gone {
				if !slices.Contains(hostile[:2], g.Peer) {
					t.Errorf("Gone = %+v, of whom nothing can be shown", g)
				}
			}
		}
		for i, p := range hostile {
			if got, want := !standing(p), i < 2; got != want {
				t.Errorf("hostile holder %d is blocked: %v, want %v", i, got, want)
			}
		}
		for _, h := range honest {
			if m := b.member(h.id); m.strikes > 0 || m.isBlocked(time.Now()) {
				t.Error("an honest one is blamed")
			}
		}
		if most := open.most.Load(); most > lanes {
			t.Errorf("%d streams to one holder at once, want %d", most, lanes)
		}
		f.close(append(honest, b)...)
	})
}

// openStreams counts what a member has open to each holder.
type openStreams struct {
	mu   sync.Mutex // guards of
	of   map[wire.PeerID]int
	most atomic.Int64
}

func (c *openStreams) add(p wire.PeerID, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[p] += n
	c.most.Store(max(c.most.Load(), int64(c.of[p])))
}

func (c *openStreams) count(by wire.PeerID) func(s Stream, self, peer wire.PeerID) Stream {
	return func(s Stream, self, peer wire.PeerID) Stream {
		if self != by {
			return s
		}
		c.add(peer, 1)
		return countedStream{s, sync.OnceFunc(func() { c.add(peer, -1) })}
	}
}

type countedStream struct {
	Stream
	gone func()
}

func (s countedStream) Close() error { s.gone(); return s.Stream.Close() }
func (s countedStream) Reset()       { s.gone(); s.Stream.Reset() }

// A blob from three honest holders, alone and beside five hostile ones.
func TestBesiegedThroughput(t *testing.T) {
	mib := 16
	if *large {
		mib = 128
	}
	data := noise(1, mib<<20)
	run := func(hostile bool) (took time.Duration, heapMiB uint64) {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric(t)
			f.slow(8<<20, nil)
			n := f.node()
			honest := []*node{f.node(), f.node(), f.node()}
			var o wire.Object
			var ps []wire.PeerID
			for _, h := range honest {
				o = h.put(t, lab, data)
				ps = append(ps, h.id)
			}
			if hostile {
				for _, do := range besiegers(data) {
					ps = slices.Insert(ps, 0, f.hostile(do))
				}
			}
			runtime.GC()
			var after runtime.MemStats
			begun := time.Now()
			if _, err := n.fetch(o, ps...); err != nil {
				t.Error(err)
			}
			took = time.Since(begun)
			runtime.ReadMemStats(&after)
			heapMiB = after.HeapSys >> 20
			f.close(append(honest, n)...)
		})
		return took, heapMiB
	}
	calm, calmHeap := run(false)
	attacked, heap := run(true)
	t.Logf("%d MiB: %v from three honest holders, %v beside five hostile ones: %.0f %%; heap %d and %d MiB",
		mib, calm, attacked, 100*calm.Seconds()/attacked.Seconds(), calmHeap, heap)
}

// One hot input reaches a hundred nodes on equal links. It takes some 7 GB of memory.
func TestHundred(t *testing.T) {
	if !*large {
		t.Skip("takes 7 GB of memory: ask for it by -large")
	}
	synctest.Test(t, func(t *testing.T) {
		const nodes, know, rate, size = 100, 8, 2 << 20, 64 << 20
		f := newFabric(t)
		f.slow(rate, nil)
		seed := f.node()
		o := seed.put(t, lab, noise(1, size))
		var ns []*node
		for range nodes {
			ns = append(ns, f.node())
		}
		took := fetchAll(t, o, seed, ns, know)
		var out int64
		for _, s := range seed.Stats().Peers {
			out += s.Out
		}
		t.Logf("%d MiB to %d nodes: the last %.2fx one link (star %dx), seed sent %.2fx", size>>20, nodes,
			took.Seconds()*rate/size, nodes, float64(out)/size)
		f.close(append(ns, seed)...)
	})
}
