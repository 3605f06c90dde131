//go:build unix

package exchange

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

// BenchmarkBulk fetches 256 MiB from store to store on disk, over QUIC and over TCP, and sends as much
// over quic-go, over TLS and by bitswap, each in turn. The holder knows the manifest, as of what it has
// just put.
func BenchmarkBulk(b *testing.B) {
	const size = 256 << 20
	data := noise(1, size)
	for _, c := range []struct {
		name   string
		listen []string
	}{{"QUIC", overQUIC}, {"TCP", overTCP}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(size)
			var ours, raw, tls, theirs spent
			for range b.N {
				raw.add(rawSend(b, data))
				tls.add(tlsSend(b, data))
				ours.add(fetchDisk(b, c.listen, data))
				r := bitswap(b, "bulk", strings.ToLower(c.name), fmt.Sprint(size>>20))
				theirs.add(r.spent())
			}
			for other, s := range map[string]spent{"quic-go": raw, "TLS": tls, "bitswap": theirs} {
				if s.took == 0 {
					continue
				}
				b.ReportMetric(float64(s.took)/float64(ours.took), "x-"+other)
				b.ReportMetric(float64(ours.cpu)/float64(s.cpu), "x-CPU-"+other)
				b.ReportMetric(s.perGiB(b.N*size), "CPU-s/GiB-"+other)
			}
			b.ReportMetric(ours.perGiB(b.N*size), "CPU-s/GiB")
			b.ReportMetric(float64(b.N)*size/1e6/ours.took.Seconds(), "MB/s-fetch")
		})
	}
}

// fetchDisk fetches the bytes from a store on disk to another one.
func fetchDisk(b *testing.B, listen []string, data []byte) spent {
	b.Helper()
	x, y := overlay(b, listen)
	disk(b, x)
	to := disk(b, y)
	o := x.putDisk(b, data)
	s := timed(b, func() error {
		_, err := y.fetch(o, x.id)
		return err
	})
	if _, ok := to.Stat(lab, o.Digest); !ok {
		b.Fatal("not there")
	}
	return s
}

// disk gives a node a store on disk.
func disk(b *testing.B, n *node) *blobstore.Store {
	b.Helper()
	s, err := blobstore.Open(b.TempDir(), blobstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	n.cfg.Store = s
	return s
}

func (n *node) putDisk(b *testing.B, data []byte) wire.Object {
	b.Helper()
	id, size, err := n.cfg.Store.(*blobstore.Store).Put(context.Background(), lab, bytes.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	return wire.FileObject(id, uint64(size), false)
}

// BenchmarkSmall fetches 4 KiB objects, 64 calls at a time, and as one tree.
func BenchmarkSmall(b *testing.B) {
	b.Run("64 callers", func(b *testing.B) {
		x, y := overlay(b, overQUIC)
		objs := make([]wire.Object, b.N)
		for i := range objs {
			objs[i] = x.put(b, lab, noise(uint64(i), 4096))
		}
		work := make(chan wire.Object)
		var wg sync.WaitGroup
		b.ResetTimer()
		for range 64 {
			wg.Go(func() {
				for o := range work {
					if _, err := y.fetch(o, x.id); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for _, o := range objs {
			work <- o
		}
		close(work)
		wg.Wait()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
	})
	for _, onDisk := range []bool{false, true} {
		name := "one call"
		if onDisk {
			name = "one call, on disk"
		}
		b.Run(name, func(b *testing.B) {
			x, y := overlay(b, overQUIC)
			if onDisk {
				disk(b, y)
			}
			want := make([]wire.Held, b.N)
			for i := range want {
				want[i] = wire.Held{Object: x.put(b, lab, noise(uint64(i), 4096)), Peers: []wire.PeerID{x.id}}
			}
			b.ResetTimer()
			if _, err := y.Fetch(context.Background(), lab, want, nil); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
		})
	}
}

// BenchmarkRequests fetches 4 KiB objects one at a time and 64 at a time, a thousand a round, and asks as
// often over HTTP/2, as net/http does it, on streams of quic-go, and by bitswap.
func BenchmarkRequests(b *testing.B) {
	const n = 1000
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			s, q := newHTTP2(b), dialQUIC(b, listenQUIC(b))
			var ours, http2, raw, theirs spent
			for range b.N {
				x, y := overlay(b, overQUIC)
				objs := make([]wire.Object, n)
				for i := range objs {
					objs[i] = x.put(b, lab, noise(uint64(i), 4096))
				}
				fetch := func(i int) error {
					_, err := y.fetch(objs[i], x.id)
					return err
				}
				for _, r := range []struct {
					sum *spent
					ask func(int) error
				}{{&ours, fetch}, {&http2, func(int) error { return askHTTP2(s) }}, {&raw, func(int) error { return q.ask(b.Context()) }}} {
					r.sum.add(timed(b, func() error { return inFlight(callers, n, r.ask) }))
				}
				theirs.add(bitswap(b, "requests", fmt.Sprint(callers), fmt.Sprint(n)).spent())
			}
			b.ReportMetric(float64(b.N)*n/ours.took.Seconds(), "objects/s")
			for other, s := range map[string]spent{"HTTP/2": http2, "quic-go": raw, "bitswap": theirs} {
				if s.took > 0 {
					b.ReportMetric(float64(s.took)/float64(ours.took), "x-"+other)
				}
			}
		})
	}
}

// BenchmarkFirstContact takes the median of fetching 4 KiB from a member that there is no connection to yet:
// dialling, certificates, grant and object. Others dial and ask.
func BenchmarkFirstContact(b *testing.B) {
	var ours, raw, http2 []time.Duration
	l, s := listenQUIC(b), newHTTP2(b)
	for i := range b.N {
		x, y := overlay(b, overQUIC)
		o := x.put(b, lab, noise(uint64(i), 4096))
		ours = append(ours, timed(b, func() error {
			_, err := y.fetch(o, x.id)
			return err
		}).took)
		raw = append(raw, timed(b, func() error {
			return dialQUIC(b, l).ask(b.Context())
		}).took)
		http2 = append(http2, timed(b, func() error { return askHTTP2(s) }).took)
		s.Client().CloseIdleConnections()
		s.CloseClientConnections()
		x.Close()
		y.Close()
	}
	theirs := bitswap(b, "first", fmt.Sprint(b.N)).spent().took
	our := median(ours)
	b.ReportMetric(our.Seconds()*1e3, "ms-first")
	for other, took := range map[string]time.Duration{"HTTP/2": median(http2), "quic-go": median(raw), "bitswap": theirs} {
		if took > 0 {
			b.ReportMetric(float64(our)/float64(took), "x-time-"+other)
		}
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// inFlight makes n requests, so many at a time.
func inFlight(callers, n int, do func(i int) error) error {
	work, failed := make(chan int), make(chan error, callers)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			var err error
			for i := range work {
				err = cmp.Or(err, do(i))
			}
			failed <- err
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}
