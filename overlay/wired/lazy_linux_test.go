package wired

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// waitFor tries until something is so, which tests do only where the kernel does it later.
func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// miss receives one packet without a route.
func (h *host) miss(t *testing.T) Frame {
	t.Helper()
	f, err := h.plane.RecvMiss(make([]byte, 2048))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMissIsSentAgain(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), b.endpoint(t, 7)
	p, q := x.udp(t), y.udp(t)
	sendUDP(t, p, y.addr, "first")
	f := a.miss(t)
	if f.Why != Miss || f.VNI != 7 || f.Slot != x.slot.Number() || netip.AddrFrom4([4]byte(f.Packet[16:])) != y.addr {
		t.Fatalf("missed %+v", f)
	}
	meet(t, Direct, x, y)
	if err := a.plane.Resend(f); err != nil {
		t.Fatal(err)
	}
	wantUDP(t, q, x.addr, "first")
	sendUDP(t, q, x.addr, "answer")
	wantUDP(t, p, y.addr, "answer")

	// A frame of a slot that has changed its network meanwhile is nobody's.
	f.raw[vnetHead+9]++
	if err := a.plane.Resend(f); err != nil {
		t.Fatal(err)
	}
	wantDrops(t, a, 0, Unbound, 1)
}

func TestStranger(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), b.endpoint(t, 7)
	q := y.udp(t)
	if err := a.plane.Route(7, y.addr, To{Way: Direct, Host: b.plane.Here()[0]}); err != nil {
		t.Fatal(err)
	}
	sendUDP(t, x.udp(t), y.addr, "hello")
	f := b.miss(t)
	if f.Why != Stranger || f.VNI != 7 || f.Slot != y.slot.Number() || f.Remote != a.at {
		t.Fatalf("missed %+v", f)
	}
	// It is checked again: from this host it must be.
	if err := b.plane.Route(7, x.addr, To{Way: Direct, Host: netip.MustParseAddrPort("192.168.77.9:7071")}); err != nil {
		t.Fatal(err)
	}
	if err := b.plane.Resend(f); err != nil {
		t.Fatal(err)
	}
	wantDrops(t, b, y.slot.Number(), Spoofed, 1)
	if err := b.plane.Route(7, x.addr, To{Way: Direct, Host: a.plane.Here()[0]}); err != nil {
		t.Fatal(err)
	}
	if err := b.plane.Resend(f); err != nil {
		t.Fatal(err)
	}
	wantUDP(t, q, x.addr, "hello")
}

func TestMissesAreBounded(t *testing.T) {
	a, _ := twoHosts(t, Config{Misses: 16})
	x, z := a.endpoint(t, 7), a.endpoint(t, 8)
	p := x.udp(t)
	for range 500 {
		sendUDP(t, p, netip.MustParseAddr("10.77.0.1"), "flood")
	}
	sendUDP(t, z.udp(t), netip.MustParseAddr("10.77.0.1"), "alone")
	seen := 0
	for f := a.miss(t); f.Slot != z.slot.Number(); f = a.miss(t) {
		seen++
	}
	dropped := int(drops(t, a, x.slot.Number())[Rate])
	if seen+dropped != 500 || dropped == 0 || seen < 16 {
		t.Errorf("%d of 500 misses seen and %d dropped, where a window has 16", seen, dropped)
	}
}

func TestNowhere(t *testing.T) {
	a, _ := twoHosts(t, Config{})
	a.answering(t)
	x := a.endpoint(t, 7)
	nobody := netip.MustParseAddr("10.77.0.1")
	if err := a.plane.Route(7, nobody, To{Way: Nowhere}); err != nil {
		t.Fatal(err)
	}
	if err := dial(x, nobody); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("dialling an address that nobody has: %v, want %v", err, unix.EHOSTUNREACH)
	}
	wantDrops(t, a, x.slot.Number(), Refused, 1)
	if err := a.plane.Unroute(7, nobody); err != nil {
		t.Fatal(err)
	}
	wantLost(t, a, nobody, Refused, 1) // also when the route is no more
}

func TestTheWorldIsRefused(t *testing.T) {
	a, _ := twoHosts(t, Config{})
	a.answering(t)
	x := a.endpoint(t, 7)
	for _, dst := range []netip.Addr{netip.MustParseAddr("8.8.8.8"), a.at} {
		if err := dial(x, dst); !errors.Is(err, unix.EHOSTUNREACH) {
			t.Errorf("dialling %v: %v, want %v", dst, err, unix.EHOSTUNREACH)
		}
	}
	wantDrops(t, a, x.slot.Number(), Outside, 2)
}

func dial(e *endpoint, to netip.Addr) error {
	return in(e.ns, func() error {
		c, err := net.DialTimeout("tcp4", netip.AddrPortFrom(to, 80).String(), 20*time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// carry plays both agents: what one plane's slots send by them it delivers to the other.
func carry(t *testing.T, from, to *host) (largest *atomic.Int64) {
	var done sync.WaitGroup
	largest = new(atomic.Int64)
	done.Go(func() {
		b := make([]byte, Room+MaxPacket)
		for {
			f, err := from.plane.Recv(b)
			if errors.Is(err, ErrClosed) {
				return
			}
			if err == nil {
				largest.Store(max(largest.Load(), int64(len(f.Packet))))
				err = to.plane.Deliver(f.VNI, f.raw, f.Offload)
			}
			if err != nil {
				t.Error("carrying: ", err)
				return
			}
		}
	})
	t.Cleanup(func() {
		if err := errors.Join(from.plane.Close(), to.plane.Close()); err != nil {
			t.Error(err)
		}
		done.Wait()
	})
	return largest
}

func TestAgentCarries(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), b.endpoint(t, 7)
	meet(t, Agent, x, y)
	there := carry(t, a, b)
	carry(t, b, a)
	p, q := x.udp(t), y.udp(t)
	sendUDP(t, p, y.addr, "ping")
	wantUDP(t, q, x.addr, "ping")
	sendUDP(t, q, x.addr, "pong")
	wantUDP(t, p, y.addr, "pong")
	pour(t, x, y, 1<<20)
	if there.Load() <= int64(a.plane.MTU()) {
		t.Errorf("the largest packet has %d bytes: TCP does not come in large pieces", there.Load())
	}
}

func TestAgentAnswers(t *testing.T) {
	a, _ := twoHosts(t, Config{})
	x := a.endpoint(t, 7)
	p := x.udp(t)
	nobody := netip.MustParseAddr("10.77.0.1")
	if err := a.plane.Route(7, nobody, To{Way: Agent}); err != nil {
		t.Fatal(err)
	}
	sendUDP(t, p, nobody, "who are you?")
	f, err := a.plane.Recv(make([]byte, Room+MaxPacket))
	if err != nil || f.Why != Carry || f.VNI != 7 {
		t.Fatalf("received %+v (%v)", f, err)
	}
	// The same back: sums stay right where source and destination change places.
	for i := range 4 {
		f.Packet[12+i], f.Packet[16+i] = f.Packet[16+i], f.Packet[12+i]
	}
	for i := range 2 {
		f.Packet[20+i], f.Packet[22+i] = f.Packet[22+i], f.Packet[20+i]
	}
	if err := a.plane.Unroute(7, nobody); err != nil {
		t.Fatal(err)
	}
	if err := a.plane.Deliver(7, f.raw, f.Offload); err != nil { // its source is nowhere
		t.Fatal(err)
	}
	wantDrops(t, a, x.slot.Number(), Unrouted, 1)
	if err := a.plane.Answer(8, f.raw, f.Offload); err != nil { // no slot of that network has the address
		t.Fatal(err)
	}
	wantDrops(t, a, 0, Absent, 1)
	wantNoUDP(t, p)
	if err := a.plane.Answer(7, f.raw, f.Offload); err != nil {
		t.Fatal(err)
	}
	wantUDP(t, p, nobody, "who are you?")
}

func TestLargePacketIsRefused(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), b.endpoint(t, 7)
	meet(t, Direct, x, y)
	if err := a.plane.Route(7, y.addr, To{Way: Direct, Host: b.plane.Here()[0], MTU: 1230}); err != nil {
		t.Fatal(err)
	}
	p := x.udp(t)
	gone := make(chan error, 1)
	go func() {
		_, err := a.plane.RecvMiss(make([]byte, 2048)) // answers
		gone <- err
	}()
	large := string(make([]byte, 1300))
	q := y.udp(t)
	waitFor(t, "the slot to be told, and to send fragments", func() bool {
		sendUDP(t, p, y.addr, large)
		_ = q.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		n, err := q.Read(make([]byte, 2048))
		return err == nil && n == len(large)
	})
	small := string(make([]byte, 1230-28))
	sendUDP(t, p, y.addr, small)
	wantUDP(t, q, x.addr, small)
	pour(t, x, y, 1<<18)
	if err := a.plane.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; !errors.Is(err, ErrClosed) {
		t.Errorf("RecvMiss after Close: %v, want %v", err, ErrClosed)
	}
}

// answering has a host in RecvMiss until it closes.
func (h *host) answering(t *testing.T) {
	gone := make(chan error, 1)
	go func() {
		f, err := h.plane.RecvMiss(make([]byte, 2048))
		if err == nil {
			err = fmt.Errorf("missed %+v", f)
		}
		gone <- err
	}()
	t.Cleanup(func() {
		h.plane.Close()
		if err := <-gone; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func TestTry(t *testing.T) {
	a, b := twoHosts(t, Config{})
	a.answering(t)
	b.answering(t)
	ctx := context.Background()
	if way, err := a.plane.Try(ctx, b.plane.Here()[0]); err != nil || way != Direct {
		t.Errorf("Try = %v, %v, want %v", way, err, Direct)
	}
	if _, err := a.plane.Try(ctx, netip.MustParseAddrPort("192.0.2.1:7071")); !errors.Is(err, ErrUntrusted) {
		t.Errorf("Try of an untrusted host: %v, want %v", err, ErrUntrusted)
	}
	if _, err := a.plane.Try(ctx, netip.MustParseAddrPort("192.168.77.9:7071")); !errors.Is(err, ErrNoWay) {
		t.Errorf("Try of nobody: %v, want %v", err, ErrNoWay)
	}
	if all, err := b.plane.Routes(); err != nil || len(all) > 0 {
		t.Errorf("being asked left routes %v (%v)", all, err)
	}
	// Where the programs cannot send, the kernel's device can.
	if err := b.plane.Check(ctx, a.plane.Here()[0], External); err != nil {
		t.Errorf("trying %v: %v", External, err)
	}
}

// What went over a route is told once when the route has gone, and before as long as it is there.
func TestTraffic(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x, y := a.endpoint(t, 7), b.endpoint(t, 7)
	meet(t, Direct, x, y)
	p, q := x.udp(t), y.udp(t)
	over := func(want int) {
		t.Helper()
		live, past, err := a.plane.Traffic()
		if err != nil {
			t.Fatal(err)
		}
		of := func(all []Stat) (n int) {
			for _, s := range all {
				if s.Dst == y.addr {
					if s.SentBytes != s.SentPackets*32 || s.ReceivedBytes != s.ReceivedPackets*32 || s.Way != Direct {
						t.Errorf("%+v, want datagrams of 4 bytes", s)
					}
					n += int(s.SentPackets + s.ReceivedPackets)
				}
			}
			return n
		}
		if l, g := of(live), of(past); l*g != 0 || l+g != want {
			t.Errorf("%d packets by the route and %d by such that are no more, want %d together", l, g, want)
		}
	}
	sendUDP(t, p, y.addr, "ping")
	wantUDP(t, q, x.addr, "ping")
	sendUDP(t, q, x.addr, "pong")
	wantUDP(t, p, y.addr, "pong")
	over(2)
	over(2)
	if err := a.plane.Route(7, y.addr, To{Way: Direct, Host: b.plane.Here()[0]}); err != nil { // in the old one's place
		t.Fatal(err)
	}
	over(2)
	over(0)
	sendUDP(t, p, y.addr, "ping")
	wantUDP(t, q, x.addr, "ping")
	if err := a.plane.Unroute(7, y.addr); err != nil {
		t.Fatal(err)
	}
	over(1)
	over(0)
}

func TestExpire(t *testing.T) {
	a, b := twoHosts(t, Config{})
	x, y, z := a.endpoint(t, 7), b.endpoint(t, 7), b.endpoint(t, 7)
	meet(t, Direct, x, y)
	meet(t, Direct, x, z)
	old := func(e *endpoint) {
		key := planeKey{Vni: 7, Ip: be(e.addr)}
		var r planeRoute
		if err := a.plane.objects.Routes.Lookup(key, &r); err != nil {
			t.Fatal(err)
		}
		r.Used -= 100
		if err := a.plane.objects.Routes.Put(key, &r); err != nil {
			t.Fatal(err)
		}
	}
	old(y)
	old(z)
	p, q := x.udp(t), y.udp(t)
	sendUDP(t, p, y.addr, "used")
	wantUDP(t, q, x.addr, "used")
	if n, err := a.plane.Expire(50 * time.Second); n != 1 || err != nil {
		t.Errorf("Expire = %d, %v, want 1", n, err)
	}
	all, err := a.plane.Routes()
	if err != nil || len(all) != 2 {
		t.Fatalf("routes %v (%v), want x's and y's", all, err)
	}
	for _, s := range all {
		if s.Dst == y.addr && (s.SentPackets != 1 || s.Way != Direct || s.Host != b.at) {
			t.Errorf("route %+v", s)
		}
	}
	if err := a.plane.Forget(7); err != nil {
		t.Fatal(err)
	}
	if all, err := a.plane.Routes(); err != nil || len(all) != 1 || all[0].Dst != x.addr {
		t.Errorf("routes %v (%v), want x's", all, err)
	}
}

func TestChecksum(t *testing.T) {
	b := make([]byte, ipHeader)
	putIPv4(b, 1, netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.4.5.6"))
	if checksum(b) != 0 || binary.BigEndian.Uint16(b[2:]) != ipHeader {
		t.Errorf("header %x does not sum to 0", b)
	}
}

func TestOffloadFitsThePacket(t *testing.T) {
	src, dst := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1")
	frame := func(protocol byte, size int) []byte {
		b := make([]byte, Room+size)
		putIPv4(b[Room:], protocol, src, dst)
		if protocol == 6 && size >= 40 {
			b[Room+ipHeader+12] = 5 << 4
		}
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		o    Offload
		ok   bool
	}{
		{"nothing to do", frame(1, 28), Offload{}, true},
		{"checksum of UDP", frame(17, 28), Offload{Sum: true}, true},
		{"checksum of TCP", frame(6, 40), Offload{Sum: true}, true},
		{"TCP", frame(6, 4000), Offload{Sum: true, Cut: CutTCP, Segment: 1360, ECN: true}, true},
		{"UDP", frame(17, 4000), Offload{Sum: true, Cut: CutUDP, Segment: 1360}, true},
		{"checksum of ICMP", frame(1, 28), Offload{Sum: true}, false},
		{"short TCP", frame(6, 30), Offload{Sum: true}, false},
		{"TCP without a header", make([]byte, Room+40), Offload{Sum: true}, false},
		{"TCP as UDP", frame(6, 4000), Offload{Sum: true, Cut: CutUDP, Segment: 1360}, false},
		{"UDP as TCP", frame(17, 4000), Offload{Sum: true, Cut: CutTCP, Segment: 1360}, false},
		{"segments of nothing", frame(6, 4000), Offload{Sum: true, Cut: CutTCP}, false},
		{"segments without checksum", frame(6, 4000), Offload{Cut: CutTCP, Segment: 1360}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			putHeader(c.b, deliver, 7)
			if err := c.o.put(c.b); (err == nil) != c.ok {
				t.Fatalf("put: %v, want ok: %v", err, c.ok)
			}
			if got := parseOffload(c.b); c.ok && got != c.o {
				t.Errorf("%+v after %+v", got, c.o)
			}
		})
	}
}
