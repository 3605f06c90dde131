package wired

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// in runs f on a thread of its own in a network namespace.
func in(ns *os.File, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// newNS makes a network namespace; it lasts as long as the file is open.
func newNS() (ns *os.File, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			ns, err = os.Open("/proc/thread-self/ns/net")
		}
	}()
	<-done
	return ns, err
}

// dress does what the owner of a slot's namespace does: it gives eth0 its address and its only
// route, in one message.
func dress(ns *os.File, a netip.Addr) error {
	return in(ns, func() error {
		r, err := openRTNL()
		if err != nil {
			return err
		}
		defer r.close()
		index, err := indexOf(r, eth0)
		if err != nil {
			return err
		}
		return r.batch(dressing(index, a)...)
	})
}

func dressing(index int, a netip.Addr) []*message {
	address := a.As4()
	add := request(unix.RTM_NEWADDR, createNew)
	add.b = append(add.b, unix.AF_INET, 32, 0, 0)
	add.uint32s(uint32(index)).attr(unix.IFA_LOCAL, address[:]...).attr(unix.IFA_ADDRESS, address[:]...)
	route := request(unix.RTM_NEWROUTE, createNew)
	route.b = append(route.b, unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0)
	return []*message{setUp(1), quiet(index), setUp(index), add, route.number(unix.RTA_OIF, uint32(index))}
}

// A host is a namespace with a plane, and u0 to the other host.
type host struct {
	ns    *os.File
	plane *Plane
	at    netip.Addr // on u0
	n     byte       // in the addresses of its slots
}

// An endpoint is a bound slot.
type endpoint struct {
	host *host
	ns   *os.File
	slot *Slot
	addr netip.Addr
	vni  uint32
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes network namespaces and loads BPF programs")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("needs /dev/net/tun: ", err)
	}
}

// twoHosts are two namespaces joined by a veth of 1,500 bytes, each with a plane.
func twoHosts(t testing.TB, config Config) (a, b *host) {
	t.Helper()
	needRoot(t)
	a, b = bareHosts(t, 1500)
	config.Trusted = []netip.Prefix{netip.MustParsePrefix("192.168.77.0/24")}
	a.open(t, config)
	b.open(t, config)
	return a, b
}

func bareHosts(t testing.TB, mtu int) (a, b *host) {
	t.Helper()
	hosts := [2]*host{}
	for i := range hosts {
		ns, err := newNS()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ns.Close() })
		hosts[i] = &host{ns: ns, at: netip.AddrFrom4([4]byte{192, 168, 77, byte(i + 1)}), n: byte(i + 1)}
	}
	a, b = hosts[0], hosts[1]
	if err := in(a.ns, func() error { return join(b.ns, mtu) }); err != nil {
		t.Fatal("joining hosts: ", err)
	}
	for _, h := range hosts {
		if err := in(h.ns, func() error { return ownAddress("u0", h.at, 24) }); err != nil {
			t.Fatal("addressing hosts: ", err)
		}
	}
	return a, b
}

// join makes u0 here and in the other namespace.
func join(other *os.File, mtu int) error {
	r, err := openRTNL()
	if err != nil {
		return err
	}
	defer r.close()
	m := request(unix.RTM_NEWLINK, createNew).link(0, 0, 0).text(unix.IFLA_IFNAME, "u0").number(unix.IFLA_MTU, uint32(mtu))
	m.nest(unix.IFLA_LINKINFO, func() {
		m.attr(unix.IFLA_INFO_KIND, []byte("veth")...)
		m.nest(unix.IFLA_INFO_DATA, func() {
			m.nest(vethInfoPeer, func() {
				m.link(0, 0, 0).text(unix.IFLA_IFNAME, "u0").number(unix.IFLA_MTU, uint32(mtu)).number(unix.IFLA_NET_NS_FD, uint32(other.Fd()))
			})
		})
	})
	return r.batch(m)
}

func ownAddress(device string, at netip.Addr, bits byte) error {
	r, err := openRTNL()
	if err != nil {
		return err
	}
	defer r.close()
	i, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	a := at.As4()
	m := request(unix.RTM_NEWADDR, createNew)
	m.b = append(m.b, unix.AF_INET, bits, 0, 0)
	m.uint32s(uint32(i.Index)).attr(unix.IFA_LOCAL, a[:]...).attr(unix.IFA_ADDRESS, a[:]...)
	return r.batch(setUp(1), quiet(i.Index), m, setUp(i.Index))
}

func (h *host) open(t testing.TB, config Config) {
	t.Helper()
	err := in(h.ns, func() (err error) {
		h.plane, err = Open(config)
		return err
	})
	if err != nil {
		t.Fatal("opening the plane: ", err)
	}
	t.Cleanup(func() {
		if err := h.plane.Close(); err != nil {
			t.Error("closing the plane: ", err)
		}
	})
}

// lay makes a slot with its namespace and address, bound to nothing.
func (h *host) lay(t testing.TB) *endpoint {
	t.Helper()
	ns, err := newNS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	s, err := h.plane.Lay(ns)
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{host: h, ns: ns, slot: s, addr: netip.AddrFrom4([4]byte{10, h.n, byte(s.Number() >> 8), byte(s.Number())})}
	if err := dress(ns, e.addr); err != nil {
		t.Fatal("dressing: ", err)
	}
	return e
}

func (h *host) endpoint(t testing.TB, vni uint32) *endpoint {
	t.Helper()
	e := h.lay(t)
	e.bind(t, vni)
	return e
}

func (e *endpoint) bind(t testing.TB, vni uint32) {
	t.Helper()
	if err := e.host.plane.Bind(e.slot, vni, e.addr); err != nil {
		t.Fatal(err)
	}
	e.vni = vni
}

// meet routes two endpoints of different hosts to each other.
func meet(t testing.TB, way Way, a, b *endpoint) {
	t.Helper()
	for _, e := range [][2]*endpoint{{a, b}, {b, a}} {
		to := To{Way: way}
		if way == Direct || way == External {
			to.Host = e[1].host.plane.Here()[0]
		}
		if err := e[0].host.plane.Route(e[0].vni, e[1].addr, to); err != nil {
			t.Fatal(err)
		}
	}
}

func (e *endpoint) udp(t testing.TB) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := in(e.ns, func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero, Port: 7})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func sendUDP(t testing.TB, c *net.UDPConn, to netip.Addr, text string) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort([]byte(text), netip.AddrPortFrom(to, 7)); err != nil {
		t.Fatal(err)
	}
}

// wantUDP expects a datagram; what was sent on these hosts comes at once or never.
func wantUDP(t testing.TB, c *net.UDPConn, from netip.Addr, text string) {
	t.Helper()
	b := make([]byte, 2048)
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, a, err := c.ReadFromUDPAddrPort(b)
	if err != nil || a.Addr() != from || string(b[:n]) != text {
		t.Fatalf("received %q of %v (%v), want %q of %v", b[:n], a, err, text, from)
	}
}

// wantNoUDP expects that nothing has come; it is asked for after something that was sent later has
// come or was counted.
func wantNoUDP(t testing.TB, c *net.UDPConn) {
	t.Helper()
	b := make([]byte, 2048)
	if err := c.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		n, _, err := unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT)
		if err != unix.EAGAIN {
			t.Errorf("received %q (%v), want nothing", b[:max(n, 0)], err)
		}
	})
}

// pour sends size bytes by TCP from a to b and checks that they come.
func pour(t testing.TB, a, b *endpoint, size int) {
	t.Helper()
	var l net.Listener
	err := in(b.ns, func() (err error) {
		l, err = net.Listen("tcp4", "0.0.0.0:80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i * i >> 7)
	}
	got := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- err
			return
		}
		defer c.Close()
		all, err := io.ReadAll(c)
		if err == nil && !bytes.Equal(all, want) {
			err = fmt.Errorf("%d bytes came, not the %d that were sent", len(all), size)
		}
		got <- err
	}()
	var c net.Conn
	err = in(a.ns, func() (err error) {
		c, err = net.DialTimeout("tcp4", netip.AddrPortFrom(b.addr, 80).String(), 20*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Write(want)
	if err := errors.Join(err, c.Close(), <-got); err != nil {
		t.Fatal(err)
	}
}

func drops(t testing.TB, h *host, slot int) Drops {
	t.Helper()
	d, err := h.plane.Drops(slot)
	if err != nil {
		t.Fatal(err)
	}
	all, err := h.plane.AllDrops()
	if err != nil {
		t.Fatal(err)
	}
	for r, n := range d {
		if all[slot][r] < n {
			t.Errorf("%d were dropped as %v by slot %d, but by all slots at once %d", n, Reason(r), slot, all[slot][r])
		}
	}
	return d
}
