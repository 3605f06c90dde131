//go:build unix

package exchange

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"gaggle/blobstore"
	"gaggle/wire"
)

// serverTLS returns the configuration of a server with a certificate of its own.
func serverTLS(b *testing.B) *tls.Config {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"raw"}}
}

// tlsSend sends the bytes over TLS on TCP, and discards them at the other end.
func tlsSend(b *testing.B, data []byte) time.Duration {
	b.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS(b))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Write(data)
		c.Close()
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"raw"}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	begun := time.Now()
	if n, err := io.Copy(io.Discard, c); err != nil || n != int64(len(data)) {
		b.Fatalf("%d bytes, %v", n, err)
	}
	return time.Since(begun)
}

// rawSend sends the bytes over a quic-go stream with libp2p's windows, and discards them at the
// other end: what QUIC itself gives on this machine.
func rawSend(b *testing.B, data []byte) time.Duration {
	b.Helper()
	conf := &quic.Config{MaxStreamReceiveWindow: 10 << 20, MaxConnectionReceiveWindow: 15 << 20}
	l, err := quic.ListenAddr("127.0.0.1:0", serverTLS(b), conf)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	ctx := context.Background()
	go func() {
		c, err := l.Accept(ctx)
		if err != nil {
			return
		}
		s, err := c.OpenStream()
		if err != nil {
			return
		}
		s.Write(data)
		s.Close()
	}()
	c, err := quic.DialAddr(ctx, l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"raw"}}, conf)
	if err != nil {
		b.Fatal(err)
	}
	defer c.CloseWithError(0, "")
	begun := time.Now()
	s, err := c.AcceptStream(ctx)
	if err != nil {
		b.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, s); err != nil || n != int64(len(data)) {
		b.Fatalf("%d bytes, %v", n, err)
	}
	return time.Since(begun)
}

// BenchmarkBulk fetches 256 MiB from store to store on disk, over QUIC and over TCP, and sends as much
// over quic-go and over TLS. The holder knows the manifest, as of what it has just put.
func BenchmarkBulk(b *testing.B) {
	const size = 256 << 20
	data := noise(1, size)
	for name, listen := range map[string][]string{"QUIC": overQUIC, "TCP": overTCP} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			var raw, ours, rawCPU, oursCPU, tls, tlsCPU time.Duration
			for range b.N {
				c0 := cpu()
				raw += rawSend(b, data)
				rawCPU += cpu() - c0
				c0 = cpu()
				tls += tlsSend(b, data)
				tlsCPU += cpu() - c0
				x, y := overlay(b, listen)
				disk(b, x)
				to := disk(b, y)
				o := x.putDisk(b, data)
				begun := time.Now()
				c0 = cpu()
				if _, err := y.fetch(o, x.id); err != nil {
					b.Fatal(err)
				}
				ours += time.Since(begun)
				oursCPU += cpu() - c0
				if _, ok := to.Stat(lab, o.Digest); !ok {
					b.Fatal("not there")
				}
			}
			b.ReportMetric(float64(raw)/float64(ours), "x-quic-go")
			b.ReportMetric(float64(tls)/float64(ours), "x-TLS")
			b.ReportMetric(float64(oursCPU)/float64(rawCPU), "x-CPU")
			b.ReportMetric(float64(oursCPU)/float64(tlsCPU), "x-CPU-TLS")
			b.ReportMetric(4*oursCPU.Seconds()/float64(b.N), "CPU-s/GiB")
			b.ReportMetric(4*rawCPU.Seconds()/float64(b.N), "CPU-s/GiB-quic-go")
			b.ReportMetric(4*tlsCPU.Seconds()/float64(b.N), "CPU-s/GiB-TLS")
			b.ReportMetric(float64(b.N)*size/1e6/ours.Seconds(), "MB/s-fetch")
		})
	}
}

// cpu returns the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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

// BenchmarkRequests fetches 4 KiB objects one at a time and 64 at a time, and asks as often over HTTP/2,
// as net/http does it.
func BenchmarkRequests(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			x, y := overlay(b, overQUIC)
			objs := make([]wire.Object, b.N)
			for i := range objs {
				objs[i] = x.put(b, lab, noise(uint64(i), 4096))
			}
			ours := inFlight(callers, b.N, func(i int) error {
				_, err := y.fetch(objs[i], x.id)
				return err
			})
			body := noise(1, 4096)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }))
			s.EnableHTTP2 = true
			s.StartTLS()
			defer s.Close()
			c := s.Client()
			http2 := inFlight(callers, b.N, func(int) error {
				r, err := c.Get(s.URL)
				if err != nil {
					return err
				}
				defer r.Body.Close()
				_, err = io.Copy(io.Discard, r.Body)
				return err
			})
			for _, e := range []error{ours.err, http2.err} {
				if e != nil {
					b.Fatal(e)
				}
			}
			b.ReportMetric(float64(b.N)/ours.took.Seconds(), "objects/s")
			b.ReportMetric(float64(http2.took)/float64(ours.took), "x-HTTP/2")
		})
	}
}

// A flown is how many requests at once went.
type flown struct {
	took time.Duration
	err  error
}

// inFlight makes n requests, so many at a time.
func inFlight(callers, n int, do func(i int) error) (f flown) {
	work := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	begun := time.Now()
	for range callers {
		wg.Go(func() {
			for i := range work {
				if err := do(i); err != nil {
					mu.Lock()
					f.err = err
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	f.took = time.Since(begun)
	return f
}
