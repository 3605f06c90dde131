package exchange

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

// words are what prose is made of.
var words = sync.OnceValue(func() []string {
	r := rand.New(rand.NewPCG(1, 1))
	all := make([]string, 3000)
	for i := range all {
		all[i] = fmt.Sprintf("%x ", r.Uint64()>>(4*(6+r.IntN(8))))
	}
	return all
})

// prose returns bytes that shrink to about a third.
func prose(seed uint64, n int) []byte {
	r, words := rand.New(rand.NewPCG(seed, 1)), words()
	b := make([]byte, 0, n+20)
	for len(b) < n {
		b = append(b, words[min(r.IntN(len(words)), r.IntN(len(words)))]...)
	}
	return b[:n]
}

// On a slow link what shrinks is sent compressed, whole and in pieces, through members that fetch the same,
// and arrives as it was. What does not shrink, and all for an older version, is sent as it is.
func TestCompress(t *testing.T) {
	const rate = 1.25e6 // 10 Mbit/s
	for _, c := range []struct {
		name  string
		old   bool
		bytes func(seed uint64, n int) []byte
		most  float64 // of what is sent, times what is fetched
	}{
		{"prose", false, prose, 0.7},
		{"prose for older versions", true, prose, 1},
		{"noise", false, noise, 1.001},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t)
				f.old = c.old
				f.slow(rate, nil)
				seed := f.node()
				var entries []wire.Entry
				total := 0
				for i, n := range append([]int{0, 1, 100, chunk, chunk + 1, 300 << 10, 2<<20 + 9}, sizes(100)...) {
					o := seed.put(t, lab, c.bytes(uint64(i), n))
					entries = append(entries, wire.Entry{Name: fmt.Sprint(i), Object: o})
					total += n
				}
				top := seed.putTree(t, entries...)
				ns := []*node{f.node(), f.node()}
				begun := time.Now()
				fetchAll(t, top, seed, ns, 1)
				took := time.Since(begun)
				var all PeerStats
				for _, n := range append(ns, seed) {
					if !n.has(top) {
						t.Error("not whole")
					}
					for _, p := range n.Stats().Peers {
						all.Add(p)
					}
				}
				if all.In > all.Out || all.InSaved > all.OutSaved { // what breaks off is sent and does not come
					t.Errorf("counted %+v", all)
				}
				sent := float64(all.In) / float64(all.In+all.InSaved)
				t.Logf("sent %.2f of the bytes, %.2fx the time of one link", sent, took.Seconds()*rate/float64(total))
				if sent > c.most {
					t.Errorf("%.2f of the bytes were sent, want %.2f", sent, c.most)
				}
				if (c.most >= 1) != (all.InSaved == 0) {
					t.Errorf("%d bytes saved", all.InSaved)
				}
				f.close(append(ns, seed)...)
			})
		})
	}
}

func sizes(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = 2000 + i*40
	}
	return all
}

// A tree of sources over 10 Mbit/s, with and without compression.
func TestCompressGainsTime(t *testing.T) {
	took := map[bool]time.Duration{}
	for _, old := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric(t)
			f.old = old
			f.slow(1.25e6, nil)
			seed, n := f.node(), f.node()
			var entries []wire.Entry
			for i, size := range sizes(200) {
				entries = append(entries, wire.Entry{Name: fmt.Sprint(i), Object: seed.put(t, lab, prose(uint64(i), size))})
			}
			took[old] = fetchAll(t, seed.putTree(t, entries...), seed, []*node{n}, 0)
			f.close(seed, n)
		})
	}
	t.Logf("%v, without %v", took[false], took[true])
	if took[false] > took[true]*3/4 { // virtual time, in which compressing takes none
		t.Errorf("%v, without %v", took[false], took[true])
	}
}

// Only links are compressed for that are known to be much slower than compressing is.
func TestSlow(t *testing.T) {
	var c compressor
	for rate, want := range map[float64]bool{0: false, 64 << 10: true, 1.25e6: true, 10e6: true, 20e6: false, 125e6: false, 1e9: false} {
		if got := c.slow(rate); got != want {
			t.Errorf("slow(%g) = %v, want %v", rate, got, want)
		}
	}
	for range 20 {
		c.took(1<<20, time.Second) // a busy machine
	}
	if c.slow(1.25e6) {
		t.Error("compressed at 1 MiB/s for a link of 10 Mbit/s")
	}
}

// What is not compressed because others are at it, or it is not worth it, is as it was.
func TestShrinkOrNot(t *testing.T) {
	var c compressor
	c.init()
	try := func(name string, p []byte, shrinks bool) {
		t.Helper()
		was := bytes.Clone(p)
		n := c.shrink(p, 1e6)
		if shrinks != (n < len(p)) {
			t.Errorf("%s: %d bytes became %d", name, len(p), n)
		}
		if n < len(p) {
			if err := c.inflate(p, n); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if !bytes.Equal(p, was) {
			t.Errorf("%s: other bytes", name)
		}
	}
	try("nothing", nil, false)
	try("little", make([]byte, minRun-1), false)
	try("noise", noise(1, 1<<20), false)
	try("noise that goes on in prose", append(noise(1, probeLen), prose(1, 100<<10)...), false)
	try("prose that goes on in noise", append(prose(1, probeLen), noise(1, maxRun-probeLen)...), false)
	for _, n := range []int{minRun, 4000, probeLen, probeLen + 1, runLen, maxRun} {
		try("prose", append([]byte{}, prose(1, n)...), n > minRun)
		try("zeroes", make([]byte, n), true)
	}
	try("too long", make([]byte, maxRun+1), false)
	synctest.Test(t, func(t *testing.T) {
		c.init()
		for range cap(c.out) {
			c.out <- struct{}{}
		}
		begun := time.Now()
		try("others are at it", make([]byte, 1e6), false)
		if waited := time.Since(begun); waited != time.Second/2 {
			t.Errorf("waited %v for others, want half of what sending takes", waited)
		}
	})
}

// Lenders that send pieces as damaged frames are named and asked no more.
func TestHostileCompressedPieces(t *testing.T) {
	data := noise(1, playSize)
	for name, run := range map[string][]byte{
		"a bomb":     frame(make([]byte, maxRun+1)),
		"too short":  frame(make([]byte, maxRun-1)),
		"garbage":    noise(3, 900),
		"no frame":   {1},
		"unfinished": frame(prose(1, maxRun))[:900],
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t)
				honest, b := f.node(func(c *Config) { c.MaxUpload = 1 << 20 }), f.node()
				p := playerOf(data)
				p.piece = func(int) []byte { return run }
				bad := f.hostile(p.serve)
				o := honest.put(t, lab, data)
				r, err := b.Fetch(context.Background(), lab, held(o, bad, honest.id), nil)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(b.read(t, o), data) {
					t.Error("other bytes")
				}
				if len(r.Gone) != 1 || r.Gone[0].Peer != bad || !r.Gone[0].Wrong {
					t.Errorf("Gone = %+v", r.Gone)
				}
				f.close(honest, b)
			})
		})
	}
}

// One bad frame among the answers to one request is one strike, and the others are asked for again.
func TestBadFrameIsOneStrike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		honest, b := f.node(), f.node()
		var objs []wire.Held
		var spoilt atomic.Bool
		bad := f.hostile(func(s Stream) {
			requests(s, func(ws []wish, _ uint64) bool {
				for range ws {
					if spoilt.Swap(true) {
						s.Write([]byte{ansNotFound})
						continue
					}
					s.Write(append(binary.AppendUvarint(appendPacked(nil, 1000), 10), noise(1, 10)...))
				}
				return true
			})
		})
		for i := range 50 {
			objs = append(objs, held(honest.put(t, lab, noise(uint64(i), 1000)), bad, honest.id)...)
		}
		r, err := b.Fetch(context.Background(), lab, objs, nil)
		if err != nil {
			t.Fatal(err)
		}
		wrong := 0
		for _, g := range r.Gone {
			if g.Wrong {
				wrong++
			}
		}
		if m := b.member(bad); wrong != 1 || m.strikes != 1 || m.isBlocked(time.Now()) {
			t.Errorf("%d named as wrong, %d strikes", wrong, m.strikes)
		}
		f.close(honest, b)
	})
}

// Whatever a peer sends, no more is made of it than was announced.
func FuzzInflate(f *testing.F) {
	f.Add(uint32(1000), frame(prose(1, 1000)))
	f.Add(uint32(1000), frame(make([]byte, 999)))
	f.Add(uint32(1000), frame(make([]byte, 1050)))
	f.Add(uint32(10), frame(make([]byte, maxRun)))
	f.Add(uint32(10), hugeWindow)
	f.Add(uint32(maxRun), append(frame(make([]byte, 100)), frame(make([]byte, maxRun-100))...))
	var c compressor
	c.init()
	f.Fuzz(func(t *testing.T, size uint32, b []byte) {
		size %= maxRun + 1
		n := min(len(b), int(size))
		room := bytes.Repeat([]byte{0xee}, int(size)+100)
		copy(room, b[:n])
		p := room[:size]
		err := c.inflate(p, n)
		if err != nil && !bytes.Equal(p[:n], b[:n]) {
			t.Error("damaged bytes were changed")
		}
		if !bytes.Equal(room[size:], bytes.Repeat([]byte{0xee}, 100)) {
			t.Error("written beyond")
		}
	})
}

func FuzzRunLen(f *testing.F) {
	f.Add(10, []byte{1})
	f.Add(300, []byte{0xac, 0x02})
	f.Add(300, []byte{0})
	f.Fuzz(func(t *testing.T, of int, b []byte) {
		n, err := readRunLen(bufio.NewReader(bytes.NewReader(b)), min(max(of, 0), maxRun))
		if err == nil && (n <= 0 || n > of) {
			t.Errorf("a run of %d bytes for %d", n, of)
		}
	})
}

// BenchmarkCompress compresses runs of one object and inflates them.
func BenchmarkCompress(b *testing.B) {
	for _, kind := range []struct {
		name string
		data []byte
	}{{"prose", prose(1, runLen)}, {"noise", noise(1, runLen)}} {
		b.Run(kind.name, func(b *testing.B) {
			var c compressor
			c.init()
			p := make([]byte, runLen)
			n := 0
			b.SetBytes(runLen)
			for b.Loop() {
				copy(p, kind.data)
				n = c.shrink(p, 1e6)
			}
			b.ReportMetric(runLen/float64(n), "x")
		})
	}
	b.Run("inflate", func(b *testing.B) {
		var c compressor
		c.init()
		z := frame(prose(1, runLen))
		p := make([]byte, runLen)
		b.SetBytes(runLen)
		for b.Loop() {
			copy(p, z)
			if err := c.inflate(p, len(z)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFastLink fetches 64 MiB that would shrink, in pieces and as a tree of 16 KiB files, between two
// members on loopback, and tells which part of it was saved by compressing: none should be worth it.
func BenchmarkFastLink(b *testing.B) {
	const size, file = 64 << 20, 16 << 10
	data := prose(1, size)
	for _, whole := range []bool{true, false} {
		b.Run(fmt.Sprintf("whole %v", whole), func(b *testing.B) {
			b.SetBytes(size)
			var all PeerStats
			for range b.N {
				b.StopTimer()
				x, y := overlay(b, overQUIC)
				var want []wire.Held
				if whole {
					want = held(x.put(b, lab, data), x.id)
				} else {
					for at := 0; at < size; at += file {
						want = append(want, held(x.put(b, lab, data[at:at+file]), x.id)...)
					}
				}
				b.StartTimer()
				if _, err := y.Fetch(b.Context(), lab, want, nil); err != nil {
					b.Fatal(err)
				}
				for _, p := range y.Stats().Peers {
					all.Add(p)
				}
			}
			b.ReportMetric(float64(all.InSaved)/float64(all.In+all.InSaved), "saved")
		})
	}
}
