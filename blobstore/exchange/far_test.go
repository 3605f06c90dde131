package exchange

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

// A farPipe is a slowPipe whose bytes arrive some time after they have passed the links. Like QUIC it lets
// as many be on their way as the links take.
type farPipe struct {
	slowPipe
	delay time.Duration
	way   chan parcel

	mu    sync.Mutex // guards the field below
	ended bool
}

type parcel struct {
	b  []byte
	at time.Time // when they arrive
}

func (p *farPipe) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		k := min(len(b), 64<<10)
		at := p.passed(k)
		time.Sleep(time.Until(at))
		err = p.send(parcel{bytes.Clone(b[:k]), at.Add(p.delay)})
		n, b = n+k, b[k:]
	}
	return n, err
}

func (p *farPipe) send(c parcel) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return io.ErrClosedPipe
	}
	p.way <- c // has room for more than is ever on its way
	return nil
}

// deliver ends with the stream.
func (p *farPipe) deliver() {
	var err error
	for c := range p.way {
		if time.Sleep(time.Until(c.at)); err == nil {
			_, err = p.pipe.Write(c.b)
		}
	}
	p.pipe.Close()
}

func (p *farPipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.ended = true
		close(p.way)
	}
	return nil
}

func (p *farPipe) Reset() {
	p.pipe.Close()
	p.Close()
}

func (p *farPipe) SetWriteDeadline(time.Time) error { return nil }

// far is slow for links that are so far apart.
func (f *fabric) far(rate float64, rtt time.Duration) {
	f.slow(rate, nil)
	slow := f.wrap
	f.wrap = func(s Stream, self, peer wire.PeerID) Stream {
		p := &farPipe{slowPipe: slow(s, self, peer).(slowPipe), delay: rtt / 2, way: make(chan parcel, 4096)}
		f.wg.Go(p.deliver)
		return p
	}
}

// A link of 100 Mbit/s is used even if its ends are far apart.
func TestFarLender(t *testing.T) {
	const rate = 12.5e6
	for _, c := range []struct {
		mib, files int // one blob, or as much in so many files
		rtt        time.Duration
		slower     float64 // at most
	}{
		{8, 1, 0, 1.1}, {8, 1, 150 * time.Millisecond, 1.6}, {32, 1, 150 * time.Millisecond, 1.3},
		{8, 512, 150 * time.Millisecond, 2.5}, {8, 8, 150 * time.Millisecond, 2.5},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric(t)
			f.far(rate, c.rtt)
			seed, n := f.node(), f.node()
			var entries []wire.Entry
			for i := range c.files {
				o := seed.put(t, lab, noise(uint64(i), c.mib<<20/c.files))
				entries = append(entries, wire.Entry{Name: fmt.Sprint(i), Object: o})
			}
			o := entries[0].Object
			if c.files > 1 {
				o = seed.putTree(t, entries...)
			}
			slower := fetchAll(t, o, seed, []*node{n}, 0).Seconds() * rate / float64(c.mib<<20)
			t.Logf("%d MiB in %d files, %v: %.2fx one link", c.mib, c.files, c.rtt, slower)
			if slower > c.slower {
				t.Errorf("%d MiB in %d files, %v: %.2fx one link, want %.2f", c.mib, c.files, c.rtt, slower, c.slower)
			}
			f.close(seed, n)
		})
	}
}
