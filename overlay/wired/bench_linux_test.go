package wired

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sizes are the numbers of endpoints that BenchmarkEndpoints makes; GAGGLE_ENDPOINTS sets others,
// GAGGLE_SLOW the largest for ways that take tens of milliseconds for each.
func sizes(env, otherwise string) (all []int) {
	text := os.Getenv(env)
	if text == "" {
		text = otherwise
	}
	for _, s := range strings.Fields(text) {
		if n, err := strconv.Atoi(s); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// A maker makes endpoints on one host that can reach one of another host.
type maker interface {
	// prepare does what is there before anybody wants endpoints.
	prepare(n int) error
	// make makes the next endpoint, or takes it, and returns its namespace and address. It is
	// called on a thread of the host's namespace.
	make(i int) (ns int, addr netip.Addr, err error)
	// peer is whom they talk to.
	peer() netip.Addr
	// remove gives all endpoints up; wait returns when the kernel has none of them left.
	remove() error
	wait() error
}

// BenchmarkEndpoints measures how long it takes from nothing, or from a pool, until each of N
// endpoints of a host has exchanged a first packet with one of another host, one after the
// other. Every way in one run.
func BenchmarkEndpoints(b *testing.B) {
	needRoot(b)
	slow := slices.Max(sizes("GAGGLE_SLOW", "100"))
	fmt.Printf("%-12s %5s %10s %10s %9s %9s %10s %10s\n", "way", "N", "total ms", "each us", "p50 us", "p99 us", "given up", "all gone ms")
	for _, n := range sizes("GAGGLE_ENDPOINTS", "1 10 50 100 1000") {
		for _, way := range []struct {
			name string
			slow bool
			new  func(a, b *host) maker
		}{
			{"warm", false, func(a, b *host) maker { return &ours{a: a, b: b, pool: true, routed: true} }},
			{"lazy", false, func(a, b *host) maker { return &ours{a: a, b: b, pool: true} }},
			{"lazy, flood", false, func(a, b *host) maker { return &ours{a: a, b: b, pool: true, flooded: true} }},
			{"empty pool", false, func(a, b *host) maker { return &ours{a: a, b: b, routed: true} }},
			{"fallback", false, func(a, b *host) maker { return &fallback{particle: particle{bridged: bridged{a: a, b: b}}} }},
			{"particle", false, func(a, b *host) maker { return &particle{bridged: bridged{a: a, b: b}} }},
			{"netlink", true, func(a, b *host) maker { return &cni{bridged: bridged{a: a, b: b}} }},
			{"ip", true, func(a, b *host) maker { return &commands{bridged: bridged{a: a, b: b}} }},
		} {
			if way.slow && n > slow {
				continue
			}
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(way.name, " ", "-"), n), func(b *testing.B) {
				for range b.N {
					x, y := bareHosts(b, 1500)
					measure(b, way.name, n, x, way.new(x, y))
				}
			})
		}
	}
}

func measure(b *testing.B, name string, n int, on *host, m maker) {
	if err := m.prepare(n); errors.Is(err, errors.ErrUnsupported) {
		b.Skip(name, ": ", err)
	} else if err != nil {
		b.Fatal(name, ": ", err)
	}
	first := make([]time.Duration, n)
	var total time.Duration
	err := in(on.ns, func() error {
		begun := time.Now()
		for i := range n {
			t := time.Now()
			ns, addr, err := m.make(i)
			if err != nil {
				return err
			}
			if err := exchange(ns, addr, m.peer()); err != nil {
				return fmt.Errorf("endpoint %d at %s: %w", i, addr, err)
			}
			if err := unix.Setns(int(on.ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			first[i] = time.Since(t)
		}
		total = time.Since(begun)
		return nil
	})
	if err != nil {
		b.Fatal(name, ": ", err)
	}
	begun := time.Now()
	if err := m.remove(); err != nil {
		b.Fatal(name, ": removing: ", err)
	}
	given := time.Since(begun)
	if err := m.wait(); err != nil {
		b.Fatal(name, ": waiting: ", err)
	}
	gone := time.Since(begun)
	slices.Sort(first)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	fmt.Printf("%-12s %5d %10.2f %10.1f %9.0f %9.0f %10.2f %10.1f\n", name, n, us(total)/1e3, us(total)/float64(n),
		us(first[n/2]), us(first[n*99/100]), us(given)/1e3, us(gone)/1e3)
	b.ReportMetric(us(total)/1e3, "ms")
	b.ReportMetric(us(first[n/2]), "p50-us")
	b.ReportMetric(us(first[n*99/100]), "p99-us")
}

// exchange moves the thread into a namespace and has a datagram come back from its peer. One that
// is lost is sent again after 1 ms, in favour of ways that lose some.
func exchange(ns int, from, peer netip.Addr) error {
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 1000}); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
		return err
	}
	var b [64]byte
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: peer.As4(), Port: 7})
		if err == nil {
			_, err = unix.Write(fd, []byte("hello"))
		}
		if err == nil {
			if n, e := unix.Read(fd, b[:]); e == nil && string(b[:n]) == "hello" {
				return nil
			}
		}
	}
	return fmt.Errorf("no answer of %s: %w", peer, errors.Join(err, os.ErrDeadlineExceeded))
}

// echo answers datagrams in a namespace until stop.
func echo(ns *os.File) (stop func(), err error) {
	fd := -1
	err = in(ns, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: 7})
	})
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		b := make([]byte, 2048)
		for {
			n, from, err := unix.Recvfrom(fd, b, 0)
			if err == nil && n > 0 {
				err = unix.Sendto(fd, b[:n], 0, from)
			}
			if err != nil && err != unix.EINTR || n == 0 {
				return
			}
		}
	}()
	return func() {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		<-done
		unix.Close(fd)
	}, nil
}

// ours makes endpoints of this package.
type ours struct {
	a, b         *host
	pool, routed bool
	flooded      bool // another tenant sends to addresses that nobody has, as fast as it can
	ready        []*endpoint
	used         []*endpoint
	far          *endpoint
	stop         func()
	calm         func()
	agents       chan error
}

func (o *ours) peer() netip.Addr { return o.far.addr }

func (o *ours) prepare(n int) error {
	for _, h := range []*host{o.a, o.b} {
		err := in(h.ns, func() (err error) {
			h.plane, err = Open(Config{Trusted: trusted})
			return err
		})
		if err != nil {
			return err
		}
	}
	o.agents = make(chan error, 2)
	for _, h := range []*host{o.a, o.b} {
		go func() { o.agents <- o.agent(h) }()
	}
	var err error
	if o.far, err = fresh(o.b); err == nil {
		if err = o.b.plane.Bind(o.far.slot, 7, o.far.addr); err == nil {
			o.stop, err = echo(o.far.ns)
		}
	}
	if err == nil {
		err = o.warmUp()
	}
	for i := 0; o.pool && i < n && err == nil; i++ {
		var e *endpoint
		e, err = fresh(o.a)
		o.ready = append(o.ready, e)
	}
	if err == nil && o.flooded {
		err = o.flood()
	}
	return err
}

func (o *ours) flood() error {
	e, err := fresh(o.a)
	if err != nil {
		return err
	}
	o.used = append(o.used, e)
	if err := o.a.plane.Bind(e.slot, 8, e.addr); err != nil {
		return err
	}
	var c *net.UDPConn
	err = in(e.ns, func() (err error) {
		c, err = net.ListenUDP("udp4", nil)
		return err
	})
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := uint32(0); ; i++ {
			to := netip.AddrFrom4([4]byte{10, 250, byte(i >> 8), byte(i)})
			if _, err := c.WriteToUDPAddrPort([]byte("flood"), netip.AddrPortFrom(to, 7)); err != nil {
				return
			}
		}
	}()
	o.calm = func() {
		c.Close()
		<-done
	}
	return nil
}

// warmUp has the hosts know each other's Ethernet addresses.
func (o *ours) warmUp() error {
	e, err := fresh(o.a)
	if err != nil {
		return err
	}
	o.used = append(o.used, e)
	if err := errors.Join(o.a.plane.Bind(e.slot, 7, e.addr), o.route(7, e.addr, o.far.addr)); err != nil {
		return err
	}
	return in(e.ns, func() error { return exchange(int(e.ns.Fd()), e.addr, o.far.addr) })
}

// agent does what agents do at a miss, without the round trip between them.
func (o *ours) agent(h *host) error {
	b := make([]byte, 2048)
	for {
		f, err := h.plane.RecvMiss(b)
		if err != nil {
			return err
		}
		near, far := netip.AddrFrom4([4]byte(f.Packet[12:])), netip.AddrFrom4([4]byte(f.Packet[16:]))
		if near == o.far.addr {
			near, far = far, near
		}
		if f.VNI == 7 {
			err = o.route(f.VNI, near, far)
		} else { // looked up in vain
			err = h.plane.Route(f.VNI, far, To{Way: Nowhere})
		}
		if err := errors.Join(err, h.plane.Resend(f)); err != nil {
			return err
		}
	}
}

func (o *ours) route(vni uint32, near, far netip.Addr) error {
	return errors.Join(o.a.plane.Route(vni, far, To{Way: Direct, Host: o.b.plane.Here()[0]}),
		o.b.plane.Route(vni, near, To{Way: Direct, Host: o.a.plane.Here()[0]}))
}

// fresh makes a slot in a namespace that is made for it, as a pool does.
func fresh(h *host) (e *endpoint, err error) {
	err = in(h.ns, func() error {
		e, err = freshHere(h)
		return err
	})
	return e, err
}

func freshHere(h *host) (*endpoint, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	s, err := h.plane.Lay(ns)
	if err != nil {
		return nil, err
	}
	e := &endpoint{host: h, ns: ns, slot: s, addr: netip.AddrFrom4([4]byte{10, h.n, byte(s.Number() >> 8), byte(s.Number())})}
	r, err := openRTNL()
	if err != nil {
		return nil, err
	}
	defer r.close()
	index, err := indexOf(r, eth0)
	if err != nil {
		return nil, err
	}
	return e, r.batch(dressing(index, e.addr)...)
}

// indexOf looks up an interface of the thread's namespace by one cheap call.
func indexOf(r *rtnl, name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var i struct {
		name  [unix.IFNAMSIZ]byte
		index int32
		_     [20]byte
	}
	copy(i.name[:], name)
	err = ioctl(fd, unix.SIOCGIFINDEX, unsafe.Pointer(&i))
	return int(i.index), err
}

func (o *ours) make(i int) (int, netip.Addr, error) {
	var e *endpoint
	var err error
	if o.pool {
		e = o.ready[i]
	} else {
		if e, err = freshHere(o.a); err != nil {
			return 0, netip.Addr{}, err
		}
	}
	o.used = append(o.used, e)
	err = o.a.plane.Bind(e.slot, 7, e.addr)
	if err == nil && o.routed {
		err = o.route(7, e.addr, o.far.addr)
	} else if err == nil { // both directions miss
		err = o.a.plane.Unroute(7, o.far.addr)
	}
	return int(e.ns.Fd()), e.addr, err
}

func (o *ours) remove() error {
	if o.calm != nil {
		o.calm()
	}
	for _, e := range o.used {
		o.a.plane.Unbind(e.slot)
		if err := o.b.plane.Unroute(7, e.addr); err != nil {
			return err
		}
	}
	return nil
}

func (o *ours) wait() error {
	for {
		o.a.plane.mu.Lock()
		left := len(o.a.plane.slots)
		o.a.plane.mu.Unlock()
		if left == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for _, e := range o.used {
		e.ns.Close()
	}
	o.stop()
	o.far.ns.Close()
	err := errors.Join(o.a.plane.Close(), o.b.plane.Close())
	for range cap(o.agents) {
		if e := <-o.agents; !errors.Is(e, ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}
