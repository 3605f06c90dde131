package overlay

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/sandbox"
	"gaggle/wire"
)

// manyEndpoints are nearly all that a node can have.
const manyEndpoints = 2000

// BenchmarkManyEndpoints lays manyEndpoints, has them join networks of a thousand each, talk with one
// other, leave and go, and prints what one takes of time and memory. Nothing may be left.
func BenchmarkManyEndpoints(b *testing.B) {
	for name, plane := range map[string]bool{"kernel": true, "TUN devices": false} {
		b.Run(name, func(b *testing.B) {
			s := newSite(b)
			a := newHub(b).machine(b, 1)
			if plane {
				a.on(s)
			}
			for b.Loop() {
				many(b, a, s)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func many(b *testing.B, a *machine, s *site) {
	before := usageOf(b, s)
	var cables [manyEndpoints]sandbox.Cable
	began := time.Now()
	each := func(unit string) {
		b.ReportMetric(float64(time.Since(began).Microseconds())/manyEndpoints, unit)
		began = time.Now()
	}
	for i := range cables {
		n, err := apart(namespace)
		if err != nil {
			b.Fatalf("namespace %d: %v", i, err)
		}
		if cables[i], err = a.Lay(n); err != nil {
			b.Fatalf("endpoint %d: %v", i, err)
		}
	}
	each("us-lay")
	laid := usageOf(b, s)
	began = time.Now()
	const networks, size = 2, manyEndpoints / 2
	for k := range networks {
		var members []wire.NetMember
		for i := range size {
			members = append(members, a.member("x", i, size))
		}
		learn(b, uint32(7+k), members, a)
	}
	leave := make([]func(), len(cables))
	for i, c := range cables {
		var err error
		if leave[i], err = a.Member(uint32(7+i%networks), i/networks).Join(c); err != nil {
			b.Fatal(err)
		}
	}
	each("us-join")
	for i := range cables {
		exchange(b, cables[i].(*endpoint), cables[(i+networks)%len(cables)].(*endpoint))
	}
	each("us-exchange")
	bound := usageOf(b, s)
	b.ReportMetric(bound.less(laid).resident/manyEndpoints, "kB-bound")
	b.ReportMetric(laid.less(before).resident/manyEndpoints, "kB-laid")
	b.ReportMetric(bound.less(before).kernel/manyEndpoints, "kB-kernel")
	b.ReportMetric(bound.less(before).files/manyEndpoints, "files")
	began = time.Now()
	for _, f := range leave {
		f()
	}
	each("us-leave")
	var closing sync.WaitGroup
	for some := range slices.Chunk(cables[:], manyEndpoints/64) { // as slots do, each its own
		closing.Go(func() {
			for _, c := range some {
				if err := c.Close(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	closing.Wait()
	waitUntil(b, "interfaces to go", func() bool { return s.interfaces() == before.interfaces })
	for k := range networks {
		a.Forget(uint32(7 + k))
	}
	waitUntil(b, "goroutines and files to go", func() bool {
		after := usageOf(b, s)
		return after.files <= before.files && after.goroutines <= before.goroutines
	})
	each("us-close")
	if st := a.Stats(); st.Endpoints != 0 || len(st.Routes) != 0 {
		b.Errorf("%d endpoints and routes %v are left", st.Endpoints, st.Routes)
	}
}

// apart calls f on a thread of its own.
func apart[T any](f func() (T, error)) (v T, err error) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and left so
		v, err = f()
		close(done)
	}()
	<-done
	return v, err
}

// exchange has one endpoint send another a datagram.
func exchange(b *testing.B, from, to *endpoint) {
	in := socketIn(b, to)
	defer unix.Close(in)
	out := socketIn(b, from)
	defer unix.Close(out)
	if err := unix.Bind(in, &unix.SockaddrInet4{Port: 7777}); err != nil {
		b.Fatal(err)
	}
	if err := unix.Sendto(out, []byte("hello"), 0, &unix.SockaddrInet4{Port: 7777, Addr: to.addr.bytes()}); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 10)
	limit := unix.NsecToTimeval((20 * time.Second).Nanoseconds())
	if err := unix.SetsockoptTimeval(in, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		b.Fatal(err)
	}
	if n, err := unix.Read(in, buf); err != nil || string(buf[:n]) != "hello" {
		b.Fatalf("%s sent to %s: %q, %v", from.Addr(), to.Addr(), buf[:max(n, 0)], err)
	}
}

// socketIn opens a UDP socket in the namespace of an endpoint.
func socketIn(b *testing.B, e *endpoint) int {
	s, err := apart(func() (int, error) {
		if err := unix.Setns(int(e.space.NS.Fd()), unix.CLONE_NEWNET); err != nil {
			return 0, err
		}
		return unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// A usage is what this process and a site have; memory in kB.
type usage struct {
	resident, kernel, files, goroutines float64
	interfaces                          int
}

func (u usage) less(v usage) usage {
	return usage{u.resident - v.resident, u.kernel - v.kernel, u.files - v.files, u.goroutines - v.goroutines, u.interfaces - v.interfaces}
}

func usageOf(b *testing.B, s *site) (u usage) {
	b.Helper()
	debug.FreeOSMemory()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		b.Fatal(err)
	}
	u.interfaces = s.interfaces()
	u.files, u.goroutines = float64(len(files)), float64(runtime.NumGoroutine())
	u.resident = field(b, "/proc/self/status", "VmRSS:")
	for _, of := range []string{"Slab:", "Percpu:", "KernelStack:"} {
		u.kernel += field(b, "/proc/meminfo", of)
	}
	return u
}

// interfaces returns how many the site has.
func (s *site) interfaces() (n int) {
	s.do(func() error {
		all, err := net.Interfaces()
		n = len(all)
		return err
	})
	return n
}

// field returns a number of kB of a file of /proc.
func field(b *testing.B, file, name string) (kB float64) {
	b.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, name+" %f kB", &kB); err == nil {
			return kB
		}
	}
	b.Fatalf("%s has no %s", file, name)
	return 0
}
