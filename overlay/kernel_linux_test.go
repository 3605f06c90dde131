package overlay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gaggle/overlay/wired"
	"gaggle/wire"
)

// A site is a network namespace that stands for a machine's own.
type site struct {
	*box
	ns *os.File
}

func newSite(t testing.TB) *site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces and loading BPF programs needs root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("no /dev/net/tun")
	}
	s := &site{box: &box{t: t, calls: make(chan func())}}
	go func() {
		runtime.LockOSThread() // and left so
		for f := range s.calls {
			f()
		}
	}()
	t.Cleanup(func() { close(s.calls) })
	s.do(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			s.ns, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	})
	t.Cleanup(func() { s.ns.Close() })
	return s
}

// connect joins two sites by a cable: eth0 of the one and far0 of the other.
func connect(a, b *site, at, bt string) {
	a.t.Helper()
	a.netlink(func(m *batch) error {
		m.veth(int(b.ns.Fd()))
		return nil
	})
	here, there := netip.MustParseAddr(at).As4(), netip.MustParseAddr(bt).As4()
	end := func(name string, own, other [4]byte) func(*batch) error {
		return func(m *batch) error {
			i, err := net.InterfaceByName(name)
			if err != nil {
				return err
			}
			m.link(i.Index, 1500, 0)
			m.address(i.Index, own)
			body := []byte{unix.AF_INET, 32, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0}
			m.message(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body, func() {
				m.attribute(unix.RTA_OIF, number(i.Index), nil)
				m.attribute(unix.RTA_DST, other[:], nil)
				m.attribute(unix.RTA_PREFSRC, own[:], nil)
			})
			return nil
		}
	}
	a.netlink(end(deviceName, here, there))
	b.netlink(end(farName, there, here))
}

// netlink sends a batch in the site.
func (s *site) netlink(fill func(*batch) error) {
	s.t.Helper()
	s.do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var m batch
		if err := fill(&m); err != nil {
			return err
		}
		return m.do(fd)
	})
}

// on has a machine leave its packets to the kernel of a site.
func (m *machine) on(s *site, trusted ...string) *machine {
	m.t.Helper()
	var all []netip.Prefix
	for _, c := range trusted {
		all = append(all, netip.MustParsePrefix(c))
	}
	s.do(func() error { return m.UsePlane(all) })
	return m
}

const cidr = "192.168.77.0/24"

// twoSites are two machines that leave packets to the kernels of sites with a cable between them.
func twoSites(t testing.TB) (a, b *machine) {
	x, y := newSite(t), newSite(t)
	connect(x, y, "192.168.77.1", "192.168.77.2")
	h := newHub(t)
	return h.machine(t, 1).on(x, cidr), h.machine(t, 2).on(y, cidr)
}

// wantWay wants that there are routes of a way, all others but those of slots here none, and that
// packets went that way.
func (m *machine) wantWay(way wired.Way, routes int) {
	m.t.Helper()
	s := m.Stats()
	for w, n := range s.Routes {
		if w != wired.Local && w != way {
			m.t.Errorf("host %d has %d routes of way %s, want none", m.host, n, w)
		}
	}
	if t := s.Ways[way]; s.Routes[way] != routes || routes > 0 && (t.PacketsOut == 0 || t.PacketsIn == 0) {
		m.t.Errorf("host %d has %d routes by way %s, and %+v went there, want %d routes in use", m.host, s.Routes[way], way, t, routes)
	}
}

// wantOnly wants that packets went between hosts by one way and no other.
func (m *machine) wantOnly(way wired.Way) {
	m.t.Helper()
	for w, t := range m.Stats().Ways {
		if w := wired.Way(w); w != wired.Local && w != way && t != (Traffic{}) {
			m.t.Errorf("by way %s of host %d went %+v, want all by %s", w, m.host, t, way)
		}
	}
}

// talk has one exchange bytes with two over TCP, which it finds by name, and datagrams of some sizes.
func talk(t *testing.T, one, two *box, name string) {
	t.Helper()
	two.listen(80, echo)
	var server net.PacketConn
	two.do(func() (err error) {
		server, err = net.ListenPacket("udp4", "0.0.0.0:53000")
		return err
	})
	t.Cleanup(func() { server.Close() })
	go sayBack(server)
	if got, err := one.lookUp("udp", name); err != nil || !slices.Equal(got, []string{two.e.Addr().String()}) {
		t.Fatalf("%s is at %v, %v, want %v", name, got, err, two.e.Addr())
	}
	c, err := one.dial("tcp", two.addr(80))
	if err != nil {
		t.Fatal(err)
	}
	checkEcho(t, c, 3<<20)
	u, err := one.dial("udp", two.addr(53000))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	for _, size := range []int{1, 1372, 1423, 9000} { // fragments from the third on
		want := bytes.Repeat([]byte{byte(size)}, size)
		if _, err := u.Write(want); err != nil {
			t.Fatal(err)
		}
		n, err := u.Read(buf)
		if err != nil || !bytes.Equal(buf[:n], want) {
			t.Fatalf("%d of %d bytes came back: %v", n, size, err)
		}
	}
}

func TestKernelsMovePackets(t *testing.T) {
	a, b := twoSites(t)
	learn(t, 7, []wire.NetMember{a.member("load", 0, 1), b.member("web", 0, 1), a.member("more", 0, 1)}, a, b)
	one, two, three := a.join(7, 0), b.join(7, 1), a.join(7, 2)
	talk(t, one, two, "web")
	a.wantWay(wired.Direct, 1)
	b.wantWay(wired.Direct, 1)
	c, err := three.dial("tcp", two.addr(80))
	if err != nil {
		t.Fatal(err)
	}
	checkEcho(t, c, 1<<10)
	b.wantWay(wired.Direct, 2)
	if c, err = one.dial("tcp", two.addr(80)); err != nil {
		t.Fatal(err)
	}
	// What is forgotten on one side only, or on both, comes back with the next packet.
	for _, all := range [][]*machine{{a}, {b}, {a, b}} {
		for _, m := range all {
			m.plane.Load().forget(7)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
	// The agents moved none of it, and nothing that was counted goes with its route.
	a.wantOnly(wired.Direct)
	b.wantOnly(wired.Direct)
	before, there := a.Stats(), b.Stats()
	sent, got := before.Networks[7].Pairs[b.id][wired.Direct], there.Networks[7].Pairs[a.id][wired.Direct]
	if sent.PacketsOut == 0 || sent.BytesOut < 3<<20 || got.BytesIn < 3<<20 {
		t.Errorf("host 1 has sent %+v to host 2, which received %+v", sent, got)
	}
	if before.Missed == 0 || before.Found.Count == 0 || before.Named.Count == 0 {
		t.Errorf("of first packets %d missed, %d routes were found and %d names", before.Missed, before.Found.Count, before.Named.Count)
	}
	a.Forget(7)
	waitUntil(t, "the routes to go with the network", func() bool { return a.Stats().Routes[wired.Direct] == 0 })
	after := a.Stats()
	if n := after.Routes[wired.Local]; n != 0 {
		t.Errorf("%d slots are bound to a network that has ended", n)
	}
	if w := after.Networks[7].Pairs[b.id][wired.Direct]; w.PacketsOut < sent.PacketsOut || w.PacketsIn < sent.PacketsIn || after.Ways[wired.Direct] != w {
		t.Errorf("after its end %+v went, %+v before it, and %+v in all", w, sent, after.Ways[wired.Direct])
	}
}

// What the kernel drops counts for the network of its slot, also after it has left, and for no other.
func TestKernelsDrops(t *testing.T) {
	a := newHub(t).machine(t, 1).on(newSite(t))
	members := []wire.NetMember{a.member("bad", 0, 1), a.member("near", 0, 1)}
	learn(t, 7, members, a)
	learn(t, 8, members, a)
	for round := 1; round <= 2; round++ { // each in a slot of its own
		bad, near := a.join(7, 0), a.join(7, 1)
		other := a.join(8, 0)
		near.listen(80, echo)
		for range 3 {
			bad.sendRaw(datagram(near.e.addr, other.e.addr, "spoofed"))
		}
		c, err := bad.dial("tcp", near.addr(80))
		if err != nil {
			t.Fatal(err)
		}
		checkEcho(t, c, 1<<10)
		check := func() {
			t.Helper()
			s := a.Stats()
			if n := s.Networks[7].Kernel[wired.Source]; n != uint64(3*round) || s.Kernel[wired.Source] != n {
				t.Errorf("%d packets of network 7 were dropped for their source, %d in all, want %d", n, s.Kernel[wired.Source], 3*round)
			}
			other := s.Networks[8].Kernel
			other[wired.Protocol], other[wired.Unbound] = 0, 0 // a kernel looks for others by IPv6, as soon as eth0 is up
			if other != (wired.Drops{}) {
				t.Errorf("of network 8 was dropped %v, want nothing", other)
			}
			if w := s.Networks[7].Pairs[a.id][wired.Local]; w.PacketsOut == 0 || w != s.Ways[wired.Local] {
				t.Errorf("on this host went %+v, in all networks %+v", w, s.Ways[wired.Local])
			}
		}
		check()
		bad.out()
		near.out()
		other.out()
		check()
	}
}

// Who is not there refuses at once, and what was connected to it is reset.
func TestNobodyThereByKernel(t *testing.T) {
	a, b := twoSites(t)
	members := []wire.NetMember{a.member("a", 0, 1), b.member("b", 0, 1), b.member("c", 0, 1)}
	learn(t, 7, members, a, b)
	learn(t, 8, members, a, b)
	one, two, three := a.join(7, 0), b.join(7, 1), b.join(8, 2)
	two.listen(80, func(c net.Conn) { echo(c) })
	three.listen(80, echo)
	c, err := one.dial("tcp", two.addr(80))
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []struct {
		what, addr string
		want       error
	}{
		{"no such slot there", addressOf(2, 2000).ip().String() + ":80", syscall.ECONNREFUSED},
		{"no such slot here", addressOf(1, 2000).ip().String() + ":80", syscall.ECONNREFUSED},
		{"another network", three.addr(80), syscall.ECONNREFUSED},
		{"no such host", addressOf(3, 1).ip().String() + ":80", syscall.ENETUNREACH},
		{"outside", "192.0.2.1:80", syscall.EHOSTUNREACH},
	} {
		if _, err := one.dial("tcp", to.addr); !errors.Is(err, to.want) {
			t.Errorf("%s: %v, want %v", to.what, err, to.want)
		}
	}
	two.out()
	for err == nil {
		_, err = c.Write([]byte("hello"))
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("after the other has gone: %v, want a reset", err)
	}
}

// The agent carries for hosts without a plane, and those that do not trust each other.
func TestKernelAndAgent(t *testing.T) {
	for _, c := range []struct {
		name    string
		trusted string // by the other; "": it has no plane
	}{{"no plane", ""}, {"no trust", "192.168.78.0/24"}} {
		t.Run(c.name, func(t *testing.T) {
			x, y := newSite(t), newSite(t)
			connect(x, y, "192.168.77.1", "192.168.77.2")
			h := newHub(t)
			a, b := h.machine(t, 1).on(x, cidr), h.machine(t, 2)
			if c.trusted != "" {
				b.on(y, c.trusted)
			}
			learn(t, 7, []wire.NetMember{a.member("a", 0, 1), b.member("b", 0, 1)}, a, b)
			one, two := a.join(7, 0), b.join(7, 1)
			talk(t, one, two, "b")
			talk(t, two, one, "a")
			a.wantWay(wired.Agent, 1)
			a.wantOnly(wired.Agent)
			if c.trusted != "" {
				b.wantWay(wired.Agent, 1)
			}
		})
	}
}

// What the kernel does not hand to the agent, because it is too much, is counted for the two hosts.
func TestKernelsLosses(t *testing.T) {
	h := newHub(t)
	a, b := h.machine(t, 1).on(newSite(t)), h.machine(t, 2)
	learn(t, 7, []wire.NetMember{a.member("a", 0, 1), b.member("b", 0, 1)}, a, b)
	one, two := a.join(7, 0), b.join(7, 1)
	talk(t, one, two, "b")
	end := one.flood([][]byte{datagram(one.e.addr, two.e.addr, "one of many")})
	lost := func() Losses { return a.Stats().Networks[7].Losses[b.id] }
	waitUntil(t, "packets to be dropped", func() bool { return lost().Kernel[wired.Rate] > 0 })
	end()
	n := lost().Kernel[wired.Rate]
	one.out() // and its routes
	if got := lost().Kernel[wired.Rate]; got < n || got > a.Stats().Kernel[wired.Rate] {
		t.Errorf("%d packets to the other host were dropped when %d had been, of all %d", got, n, a.Stats().Kernel[wired.Rate])
	}
}

// Two machines that are in different networks only may have the same number, and so their endpoints
// the same address. A third is in both networks.
func TestSameAddressByKernel(t *testing.T) {
	x, y, z := newSite(t), newSite(t), newSite(t)
	connect(x, y, "192.168.77.1", "192.168.77.2")
	connect(y, z, "192.168.77.130", "192.168.77.131")
	h := newHub(t)
	a, b, c := h.machine(t, 1).on(x, cidr), h.machine(t, 2).on(y, cidr), h.machine(t, 1).on(z, cidr)
	learn(t, 7, []wire.NetMember{a.member("far", 0, 1), b.member("near", 0, 1)}, a, b)
	learn(t, 8, []wire.NetMember{c.member("far", 0, 1), b.member("near", 0, 1)}, c, b)
	boxes := map[uint32][2]*box{7: {b.join(7, 1), a.join(7, 0)}, 8: {b.join(8, 1), c.join(8, 0)}}
	if at, bt := boxes[7][1].e.Addr(), boxes[8][1].e.Addr(); at != bt {
		t.Fatalf("addresses are %v and %v, want the same", at, bt)
	}
	for vni, p := range boxes {
		p[1].listen(81, func(c net.Conn) { c.Write(binary.BigEndian.AppendUint32(nil, vni)) })
	}
	for vni, p := range boxes {
		talk(t, p[0], p[1], "far")
		c, err := p[0].dial("tcp", p[1].addr(81))
		if err != nil {
			t.Fatal(err)
		}
		var b [4]byte
		if _, err := c.Read(b[:]); err != nil || binary.BigEndian.Uint32(b[:]) != vni {
			t.Errorf("network %d reaches network %d (%v)", vni, binary.BigEndian.Uint32(b[:]), err)
		}
	}
	a.wantWay(wired.Direct, 1)
	b.wantWay(wired.Direct, 2)
	c.wantWay(wired.Direct, 1)
}

func TestDatagramsAreCutUp(t *testing.T) {
	p := packet{b: make([]byte, ipHead+udpHead+250)}
	copy(p.b, []byte{0x45, 0, 1, 22, 0, 0, 0x40, 0, 64, protoUDP, 0, 0, 10, 0, 8, 1, 10, 0, 16, 1, 1, 1, 2, 2})
	for i := range p.b[ipHead+udpHead:] {
		p.b[ipHead+udpHead+i] = byte(i)
	}
	var body []byte
	for _, q := range datagrams(p, wired.Offload{Sum: true, Cut: wired.CutUDP, Segment: 100}) {
		if !q.ipv4() || !q.sound() || q.kind != kindSum || checksum(q.b[:ipHead], 0) != 0 {
			t.Fatalf("%x is no packet", q.b)
		}
		// As the kernel completes it.
		sum := checksum(q.b[ipHead:], 0)
		binary.BigEndian.PutUint16(q.b[ipHead+6:], sum)
		pseudo := append(slices.Clone(q.b[12:20]), 0, protoUDP, q.b[ipHead+4], q.b[ipHead+5])
		if got := checksum(append(pseudo, q.b[ipHead:]...), 0); got != 0 {
			t.Errorf("a datagram's sum is wrong by %x", got)
		}
		body = append(body, q.b[ipHead+udpHead:]...)
	}
	if !bytes.Equal(body, p.b[ipHead+udpHead:]) {
		t.Errorf("%d bytes are left of 250", len(body))
	}
}

// waitUntil tries until something is so that is done beside.
func waitUntil(t testing.TB, what string, is func() bool) {
	t.Helper()
	for ctx := soon(t); !is(); {
		if !pause(ctx, firstLook) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
