package wired

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// wantDrops waits until the programs have dropped n packets for a reason, and wants no other.
func wantDrops(t *testing.T, h *host, slot int, want Reason, n uint64) {
	t.Helper()
	var d, all Drops
	all[want] = n
	waitFor(t, "packets to be dropped", func() bool {
		d = drops(t, h, slot)
		return d[want] >= n
	})
	if d != all {
		t.Errorf("dropped %v, want %d of %v", d, n, want)
	}
}

// wantLost wants that the route to an address, or routes that were there before, lost so many packets.
func wantLost(t *testing.T, h *host, dst netip.Addr, want Reason, n uint64) {
	t.Helper()
	live, past, err := h.plane.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	var lost, all Drops
	all[want] = n
	for _, s := range slices.Concat(live, past) {
		if s.Dst == dst {
			lost.Add(s.Lost, Drops{})
		}
	}
	if lost != all {
		t.Errorf("the route to %s lost %v, want %d of %v", dst, lost, n, want)
	}
}

func TestSameAddressInTwoNetworks(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x7, x8 := a.endpoint(t, 7), a.endpoint(t, 8)
	y7, y8 := b.lay(t), b.lay(t)
	if err := in(y8.ns, func() error { return ownAddress(eth0, y7.addr, 32) }); err != nil {
		t.Fatal(err)
	}
	y8.addr = y7.addr
	y7.bind(t, 7)
	y8.bind(t, 8)
	meet(t, Direct, x7, y7)
	meet(t, Direct, x8, y8)
	p7, p8, q7, q8 := x7.udp(t), x8.udp(t), y7.udp(t), y8.udp(t)
	sendUDP(t, p7, y7.addr, "of 7")
	wantUDP(t, q7, x7.addr, "of 7")
	wantNoUDP(t, q8)
	sendUDP(t, p8, y8.addr, "of 8")
	wantUDP(t, q8, x8.addr, "of 8")
	wantNoUDP(t, q7)
	sendUDP(t, q7, x7.addr, "to 7")
	wantUDP(t, p7, y7.addr, "to 7")
	wantNoUDP(t, p8)
}

func TestAddressIsTakenOnce(t *testing.T) {
	a, _ := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), a.lay(t)
	if err := a.plane.Bind(y.slot, 7, x.addr); !errors.Is(err, ErrTaken) {
		t.Errorf("binding another slot to %v: %v, want %v", x.addr, err, ErrTaken)
	}
	if err := a.plane.Route(7, x.addr, To{Way: Agent}); !errors.Is(err, ErrTaken) {
		t.Errorf("routing %v elsewhere: %v, want %v", x.addr, err, ErrTaken)
	}
	y.bind(t, 7) // its own is free
	a.plane.Unbind(y.slot)
	if err := a.plane.Bind(y.slot, 8, y.addr); !errors.Is(err, ErrSpent) {
		t.Errorf("binding a slot again: %v, want %v", err, ErrSpent)
	}
}

func TestSpoofedSource(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), b.endpoint(t, 7)
	meet(t, Direct, x, y)
	forged := netip.MustParseAddr("10.9.9.9")
	if err := in(x.ns, func() error { return ownAddress(eth0, forged, 32) }); err != nil {
		t.Fatal(err)
	}
	q := y.udp(t)
	from := func(src netip.Addr) {
		t.Helper()
		err := in(x.ns, func() error {
			c, err := net.DialUDP("udp4", &net.UDPAddr{IP: src.AsSlice()}, &net.UDPAddr{IP: y.addr.AsSlice(), Port: 7})
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("of " + src.String()))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	from(forged)
	wantDrops(t, a, x.slot.Number(), Source, 1)
	// The other host knows that x lives elsewhere: what comes from here in its name is not of x.
	if err := b.plane.Route(7, x.addr, To{Way: Direct, Host: netip.MustParseAddrPort("192.168.77.9:7071")}); err != nil {
		t.Fatal(err)
	}
	from(x.addr)
	wantDrops(t, b, y.slot.Number(), Spoofed, 1)
	wantLost(t, b, x.addr, Spoofed, 1)
	wantNoUDP(t, q)
}

// wireFrame is a packet of VXLAN to host b, from an address of the outer network.
func wireFrame(b *host, outer netip.Addr, vni uint32, src, dst netip.Addr) []byte {
	in := frameOf([]byte{8, 0}, src, dst)
	p := make([]byte, 20+8+8, 36+len(in))
	p = append(p, in...)
	putIPv4(p, 17, outer, b.at)
	port := b.plane.Here()[0].Port()
	copy(p[20:], []byte{0x80, 0, byte(port >> 8), byte(port), byte((len(p) - 20) >> 8), byte(len(p) - 20), 0, 0, 8, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0})
	return append([]byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 8, 0}, p...)
}

// TestHostWithoutAnAddress speaks, from the trusted network, for a member that the agent reaches.
func TestHostWithoutAnAddress(t *testing.T) {
	a, b := twoHosts(t, Config{})
	y := b.endpoint(t, 7)
	member := netip.MustParseAddr("10.9.0.1")
	if err := b.plane.Route(7, member, To{Way: Agent}); err != nil {
		t.Fatal(err)
	}
	q := y.udp(t)
	for i, outer := range []netip.Addr{netip.IPv4Unspecified(), a.at} {
		if err := in(a.ns, func() error { return sendRaw("u0", wireFrame(b, outer, 7, member, y.addr)) }); err != nil {
			t.Fatal(err)
		}
		wantDrops(t, b, y.slot.Number(), Spoofed, uint64(i+1))
	}
	wantNoUDP(t, q)
}

func TestWrongNetwork(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), b.endpoint(t, 9)
	q := y.udp(t)
	if err := a.plane.Route(7, y.addr, To{Way: Direct, Host: b.plane.Here()[0]}); err != nil {
		t.Fatal(err)
	}
	if err := b.plane.Route(9, x.addr, To{Way: Direct, Host: a.plane.Here()[0]}); err != nil {
		t.Fatal(err)
	}
	sendUDP(t, x.udp(t), y.addr, "of another network")
	wantDrops(t, b, 0, Absent, 1)
	wantNoUDP(t, q)
}

func TestRouteToASlotOfAnotherNetwork(t *testing.T) {
	a, _ := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), a.endpoint(t, 8)
	// As if the route of a slot that has gone were still there when its number serves again.
	err := a.plane.objects.Routes.Put(planeKey{Vni: 7, Ip: be(y.addr)}, &planeRoute{Kind: uint32(Local), Dev: uint32(a.plane.claim.index(y.slot.Number()))})
	if err != nil {
		t.Fatal(err)
	}
	q := y.udp(t)
	sendUDP(t, x.udp(t), y.addr, "of another network")
	wantDrops(t, a, x.slot.Number(), Unrouted, 1)
	wantNoUDP(t, q)
}

func TestSameHost(t *testing.T) {
	a, _ := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), a.endpoint(t, 7)
	pour(t, x, y, 1<<18)
	pour(t, y, x, 1<<18)
}

// raw sends a frame as it is.
func (e *endpoint) raw(t *testing.T, frame []byte) {
	t.Helper()
	if err := in(e.ns, func() error { return sendRaw(eth0, frame) }); err != nil {
		t.Fatal(err)
	}
}

func sendRaw(device string, frame []byte) error {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index, Halen: 6})
}

// frameOf makes a frame to everybody, with what stands between addresses and packet.
func frameOf(kind []byte, src, dst netip.Addr) []byte {
	b := append([]byte{255, 255, 255, 255, 255, 255}, SlotMAC...)
	b = append(b, kind...)
	packet := make([]byte, 40)
	putIPv4(packet, 17, src, dst)
	return append(b, packet...)
}

func TestWhatASlotMayNotSend(t *testing.T) {
	a, b := twoHosts(t, Config{})
	ip := []byte{8, 0}
	t.Run("unassigned", func(t *testing.T) {
		x := a.lay(t)
		n := uint64(0)
		for _, dst := range []netip.Addr{b.at, a.at, netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("10.1.0.1")} {
			x.raw(t, frameOf(ip, x.addr, dst))
			n++
		}
		wantDrops(t, a, x.slot.Number(), Unbound, n)
	})
	x, y := a.endpoint(t, 7), b.endpoint(t, 7)
	meet(t, Direct, x, y)
	for _, c := range []struct {
		name  string
		frame []byte
		want  Reason
	}{
		{"ARP", frameOf([]byte{8, 6}, x.addr, y.addr), Protocol},
		{"IPv6", frameOf([]byte{0x86, 0xdd}, x.addr, y.addr), Protocol},
		{"VLAN tag", frameOf([]byte{0x81, 0, 0, 5, 8, 0}, x.addr, y.addr), Protocol},
		{"short", frameOf(ip, x.addr, y.addr)[:30], Protocol},
		{"broadcast", frameOf(ip, x.addr, netip.MustParseAddr("255.255.255.255")), Outside},
		{"multicast", frameOf(ip, x.addr, netip.MustParseAddr("224.0.0.1")), Outside},
		{"the world", frameOf(ip, x.addr, netip.MustParseAddr("8.8.8.8")), Outside},
		{"its host", frameOf(ip, x.addr, a.at), Outside},
		{"loopback", frameOf(ip, x.addr, netip.MustParseAddr("127.0.0.1")), Outside},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := drops(t, a, x.slot.Number())[c.want]
			x.raw(t, c.frame)
			waitFor(t, "it to be dropped as "+c.want.String(), func() bool {
				return drops(t, a, x.slot.Number())[c.want] == before+1
			})
		})
	}
	t.Run("after it was unbound", func(t *testing.T) {
		s, err := a.plane.Routes()
		if err != nil || len(s) != 2 {
			t.Fatalf("routes %v (%v), want its own and y's", s, err)
		}
		before := drops(t, a, x.slot.Number())[Unbound]
		if err := a.plane.objects.Slots.Put(uint32(x.slot.Number()), &planeSlot{}); err != nil { // as Unbind, which also removes the device
			t.Fatal(err)
		}
		x.raw(t, frameOf(ip, x.addr, y.addr))
		waitFor(t, "it to be dropped as unbound", func() bool {
			return drops(t, a, x.slot.Number())[Unbound] == before+1
		})
	})
}

func TestExhausted(t *testing.T) {
	a, _ := twoHosts(t, Config{})
	a.plane.mu.Lock()
	a.plane.free = a.plane.free[:2]
	a.plane.mu.Unlock()
	x := a.lay(t)
	a.lay(t)
	ns, err := newNS()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if _, err := a.plane.Lay(ns); !errors.Is(err, ErrExhausted) {
		t.Fatalf("a third slot of two: %v, want %v", err, ErrExhausted)
	}
	a.plane.Unbind(x.slot)
	waitFor(t, "a number to be free", func() bool {
		s, err := a.plane.Lay(ns)
		return err == nil && s.Number() == x.slot.Number()
	})
}

func TestNamespaceWithAnEth0(t *testing.T) {
	a, _ := twoHosts(t, Config{})
	x := a.lay(t)
	if _, err := a.plane.Lay(x.ns); err == nil || errors.Is(err, ErrExhausted) {
		t.Errorf("a second slot in a namespace: %v", err)
	}
	if n := len(a.devices(t)); n != 3 {
		t.Errorf("%d devices, want the TAPs and the first slot", n)
	}
}

func TestShareOfRoutes(t *testing.T) {
	a, _ := twoHosts(t, Config{})
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)}) }
	for i := range MaxShare {
		if err := a.plane.Route(7, at(i), To{Way: Nowhere}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.plane.Route(7, at(MaxShare), To{Way: Nowhere}); !errors.Is(err, ErrManyRoutes) {
		t.Errorf("one route more than a network's share: %v, want %v", err, ErrManyRoutes)
	}
	if err := a.plane.Route(7, at(0), To{Way: Agent}); err != nil {
		t.Errorf("replacing one: %v", err)
	}
	if err := a.plane.Route(8, at(0), To{Way: Nowhere}); err != nil {
		t.Errorf("another network's: %v", err)
	}
	a.endpoint(t, 7)
	if err := a.plane.Unroute(7, at(1)); err != nil {
		t.Fatal(err)
	}
	if err := a.plane.Route(7, at(MaxShare), To{Way: Nowhere}); err != nil {
		t.Errorf("in the room of another: %v", err)
	}
}

// TestManySlotsGoWithTheirNamespaces removes slots whose devices are gone already: each is an
// answer, and the socket has no room for all.
func TestManySlotsGoWithTheirNamespaces(t *testing.T) {
	a, _ := twoHosts(t, Config{})
	var all []*Slot
	for n := range 1000 {
		all = append(all, &Slot{n: n + 1})
	}
	if err := a.plane.removeSlots(all); err != nil {
		t.Error(err)
	}
}
