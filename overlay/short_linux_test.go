package overlay

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/overlay/wired"
	"gaggle/wire"
)

// A shortPath is how a test has short connections go.
type shortPath struct {
	name  string
	boxes func(t testing.TB) (one, two *box, ms []*machine)
}

var shortPaths = []shortPath{
	{"mesh", meshPair(quicListen)},
	{"mesh-tcp", meshPair("/ip4/127.0.0.1/tcp/0")},
	{"mesh-relayed", meshPair("")},
	{"agent-same-host", func(t testing.TB) (one, two *box, ms []*machine) {
		m := newHub(t).machine(t, 1)
		learnPair(t, m, m)
		return m.join(7, 0), m.join(7, 1), []*machine{m}
	}},
	{"kernel", func(t testing.TB) (one, two *box, ms []*machine) {
		a, b := twoSites(t)
		learnPair(t, a, b)
		return a.join(7, 0), b.join(7, 1), []*machine{a, b}
	}},
	{"kernel-same-host", func(t testing.TB) (one, two *box, ms []*machine) {
		a, _ := twoSites(t)
		learnPair(t, a, a)
		return a.join(7, 0), a.join(7, 1), []*machine{a}
	}},
}

// meshPair is two hosts whose agents carry all packets over the mesh, as overPeers connects them.
func meshPair(listen string) func(t testing.TB) (one, two *box, ms []*machine) {
	return func(t testing.TB) (one, two *box, ms []*machine) {
		_, ms = overPeers(t, 2, listen)
		learnPair(t, ms[0], ms[1])
		return ms[0].join(7, 0), ms[1].join(7, 1), ms
	}
}

// learnPair tells two machines, which may be the same, of network 7 with a member on each.
func learnPair(t testing.TB, a, b *machine) {
	members := []wire.NetMember{a.member("a", 0, 1), b.member("b", 0, 1)}
	learn(t, 7, members, a)
	if b != a {
		learn(t, 7, members, b)
	}
}

// inside calls f in goroutines that are in the box's namespace, and waits for them.
func (b *box) inside(n int, f func()) {
	b.t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			done := make(chan struct{})
			go func() {
				defer close(done)
				runtime.LockOSThread() // and left so
				if err := unix.Setns(int(b.e.space.NS.Fd()), unix.CLONE_NEWNET); err != nil {
					b.t.Error(err)
					return
				}
				f()
			}()
			<-done
		})
	}
	all.Wait()
}

// meet makes n connections, 32 at once, over each of which a byte goes and one comes back.
func meet(t testing.TB, one, two *box, n int) {
	t.Helper()
	var left, failed atomic.Int64
	left.Store(int64(n))
	addr := two.addr(80)
	one.inside(32, func() {
		for left.Add(-1) >= 0 {
			if err := once(addr); err != nil && failed.Add(1) <= 3 {
				t.Error(err)
			}
		}
	})
	if bad := failed.Load(); bad > 0 {
		t.Fatalf("%d of %d connections failed", bad, n)
	}
}

func once(addr string) error {
	c, err := net.DialTimeout("tcp4", addr, 20*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write([]byte{42}); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err == nil && (len(b) != 1 || b[0] != 42) {
		err = fmt.Errorf("%d bytes come back, %v", len(b), b)
	}
	return err
}

// serveOnce has a box say back the first byte of each connection.
func (b *box) serveOnce(port int) {
	b.listen(port, func(c net.Conn) {
		var one [1]byte
		if _, err := io.ReadFull(c, one[:]); err == nil {
			c.Write(one[:])
		}
	})
}

// descriptors counts those of the process.
func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// Short connections all succeed and leave nothing: no packets in queues, no routes but the pair's, no
// descriptors and goroutines.
func TestShortConnections(t *testing.T) {
	for _, p := range shortPaths {
		t.Run(p.name, func(t *testing.T) {
			one, two, ms := p.boxes(t)
			two.serveOnce(80)
			meet(t, one, two, 50) // what is made once
			files, routines := descriptors(t), runtime.NumGoroutine()
			meet(t, one, two, 500)
			for _, m := range ms {
				waitUntil(t, "the queues to be empty", func() bool { return m.Stats().Queued == 0 })
				s := m.Stats()
				for d, n := range s.Drops {
					if d := Drop(d); n > 0 && d != DropNotIPv4 {
						t.Errorf("host %d drops %d packets as %s", m.host, n, d)
					}
				}
				for w, n := range s.Routes {
					if w != wired.Local && n > 1 {
						t.Errorf("host %d has %d routes of way %s", m.host, n, w)
					}
				}
			}
			waitUntil(t, "descriptors and goroutines to be as many as before", func() bool {
				return descriptors(t) <= files && runtime.NumGoroutine() <= routines
			})
		})
	}
}

// BenchmarkShortConnections makes 10,000 connections on each path.
func BenchmarkShortConnections(b *testing.B) {
	const n = 10_000
	for _, p := range shortPaths {
		b.Run(p.name, func(b *testing.B) {
			one, two, _ := p.boxes(b)
			two.serveOnce(80)
			meet(b, one, two, 50)
			var before, after runtime.MemStats
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				files, began := descriptors(b), time.Now()
				meet(b, one, two, n)
				took := time.Since(began)
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(n/took.Seconds(), "connections/s")
				b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1e3, "kB-more")
				b.ReportMetric(float64(descriptors(b)-files), "descriptors-more")
			}
		})
	}
}
