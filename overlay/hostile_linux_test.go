package overlay

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// datagram builds a UDP packet.
func datagram(from, to address, body string) []byte {
	p := packet{b: make([]byte, ipHead)}
	f, d := from.bytes(), to.bytes()
	copy(p.b[12:], d[:]) // answer turns them round
	copy(p.b[16:], f[:])
	r := p.answer(protoUDP, udpHead+len(body))
	u := r.b[ipHead:]
	binary.BigEndian.PutUint16(u, 9)
	binary.BigEndian.PutUint16(u[2:], 7777)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	copy(u[8:], body)
	return r.b
}

// sendRaw sends a packet as root in the box may.
func (b *box) sendRaw(p []byte) {
	b.do(func() error {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		var to [4]byte
		copy(to[:], p[16:20])
		if err := unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
			return err
		}
		if err := unix.BindToDevice(s, deviceName); err != nil {
			return err
		}
		return unix.Sendto(s, p, 0, &unix.SockaddrInet4{Addr: to})
	})
}

// receives opens a socket in the box that takes what comes to port 7777.
func (b *box) receives() net.PacketConn {
	var c net.PacketConn
	b.do(func() (err error) {
		c, err = net.ListenPacket("udp4", "0.0.0.0:7777")
		return err
	})
	b.t.Cleanup(func() { c.Close() })
	return c
}

// nextFrom wants the next datagram to be this one.
func nextFrom(t *testing.T, c net.PacketConn, want string) {
	t.Helper()
	buf := make([]byte, 2000)
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, from, err := c.ReadFrom(buf)
	if err != nil || string(buf[:n]) != want {
		t.Fatalf("%q from %v: %v, want %q", buf[:n], from, err, want)
	}
}

// wantDrops waits until that many packets were dropped for a reason.
func (m *machine) wantDrops(d Drop, n int) {
	m.t.Helper()
	ctx := soon(m.t)
	for m.Stats().Drops[d] < uint64(n) {
		if !pause(ctx, time.Millisecond) {
			m.t.Fatalf("%d packets were dropped as %s, want %d", m.Stats().Drops[d], d, n)
		}
	}
	if got := m.Stats().Drops[d]; got != uint64(n) {
		m.t.Errorf("%d packets were dropped as %s, want %d", got, d, n)
	}
}

// wantNone wants that nothing has come to the members of a network here.
func (m *machine) wantNone(vni uint32) {
	m.t.Helper()
	if n := m.Stats().Networks[vni].PacketsIn; n != 0 {
		m.t.Errorf("%d packets came to network %d", n, vni)
	}
}

// What a command with root's powers in its namespace sends reaches nobody but members, and comes from
// itself.
func TestSpoofedPackets(t *testing.T) {
	h := newHub(t)
	a, b := h.machine(t, 1), h.machine(t, 2)
	members := []wire.NetMember{a.member("bad", 0, 1), a.member("near", 0, 1), b.member("far", 0, 1)}
	learn(t, 7, members, a, b)
	learn(t, 8, members, a, b)
	bad, near, far, other := a.join(7, 0), a.join(7, 1), b.join(7, 2), a.join(8, 1)
	nearIn, farIn := near.receives(), far.receives()
	me := bad.e.addr
	for _, to := range []*box{near, far, other} {
		for _, from := range []address{near.e.addr, far.e.addr, me + 1, 127<<24 | 1, 169<<24 | 254<<16 | 257} {
			bad.sendRaw(datagram(from, to.e.addr, "spoofed"))
		}
	}
	bad.sendRaw(datagram(me, other.e.addr, "another network"))
	for _, to := range []address{10<<24 | 0xffffff, 0xffffffff, 224<<24 | 1, me | 0x7ff, me &^ 0x7ff, 169<<24 | 254<<16 | 257, 127<<24 | 1} {
		bad.sendRaw(datagram(me, to, "to many"))
	}
	options := append([]byte{0x46}, datagram(me, near.e.addr, "options")[1:]...)
	bad.sendRaw(append(options[:20:20], append([]byte{1, 1, 1, 0}, options[20:]...)...))
	bad.sendRaw(datagram(me, near.e.addr, "true"))
	bad.sendRaw(datagram(me, far.e.addr, "true"))
	nextFrom(t, nearIn, "true")
	nextFrom(t, farIn, "true")
	// Each packet was taken when the one after it has come.
	a.wantDrops(DropSpoofed, 3*5)
	for _, d := range []Drop{DropOutside, DropNotIPv4, DropAbsent} {
		if a.Stats().Drops[d] == 0 {
			t.Errorf("nothing was dropped as %s: %v", d, a.Stats().Drops)
		}
	}
	a.wantNone(8)
}

// A peer that is on a network, and one that is not, can send nothing that is not theirs.
func TestHostilePeer(t *testing.T) {
	h := newHub(t)
	a, b, rogue, stranger := h.machine(t, 1), h.machine(t, 2), h.machine(t, 3), h.machine(t, 4)
	learn(t, 7, []wire.NetMember{a.member("one", 0, 1), b.member("two", 0, 1), rogue.member("bad", 0, 1)}, a, b)
	learn(t, 8, []wire.NetMember{a.member("one", 0, 1), b.member("two", 0, 1)}, a, b)
	one, eight := a.join(7, 0), a.join(8, 0)
	in := one.receives()
	send := func(m *machine, vni uint32, p packet) {
		ctx := soon(t)
		for {
			s, err := m.peers.Open(ctx, a.id, ProtocolFrames)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Write(appendFrame(nil, vni, &p))
			s.Reset()
			if err == nil { // or the streams before it were not gone yet, and there may be few
				return
			}
			if !pause(ctx, time.Millisecond) {
				t.Fatal(err)
			}
		}
	}
	to, true3 := one.e.addr, addressOf(3, 1)
	plain := func(from, to address) packet { return packet{b: datagram(from, to, "bad")} }
	for _, from := range []address{addressOf(2, 1), addressOf(1, 1), to, addressOf(4, 1), 127<<24 | 1} {
		send(rogue, 7, plain(from, to))
	}
	send(rogue, 8, plain(true3, eight.e.addr))
	send(stranger, 7, plain(addressOf(4, 1), to))
	send(stranger, 7, plain(addressOf(2, 1), to))
	a.wantDrops(DropForeign, 5+1+2)
	send(rogue, 7, plain(true3, eight.e.addr))
	a.wantDrops(DropAbsent, 1)
	send(rogue, 9, plain(true3, to))
	a.wantDrops(DropUnknown, 1)
	for _, there := range []address{addressOf(2, 1), addressOf(1, 0), 10<<24 | 0xffffff, 127<<24 | 1} {
		send(rogue, 7, plain(true3, there))
	}
	a.wantDrops(DropOutside, 4)
	for _, p := range []packet{{}, {b: []byte("no packet at all, but long enough")}, {kind: kindCut | kindSum, segment: 1000, b: plain(true3, to).b},
		{kind: kindSum, segment: 1, b: plain(true3, to).b}, {kind: kindCut, segment: 100, b: plain(true3, to).b}, {kind: 0xff, b: plain(true3, to).b}} {
		send(rogue, 7, p)
	}
	a.wantDrops(DropMalformed, 6)
	good := packet{b: datagram(true3, to, "good")}
	send(rogue, 7, good)
	nextFrom(t, in, "good")
	a.wantNone(8)
	for _, q := range []question{{VNI: 8, Members: []int{0}}, {VNI: 7, Members: []int{1}}, {VNI: 7, Members: []int{-1}}, {VNI: 7, Members: []int{99}}, {VNI: 99}} {
		if r, err := rogue.ask(soon(t), a.id, q); err == nil {
			t.Errorf("%+v is answered: %+v", q, r)
		}
	}
	if r, err := stranger.ask(soon(t), a.id, question{VNI: 7, Members: []int{0}}); err == nil {
		t.Errorf("a stranger is answered: %+v", r)
	}
	if r, err := rogue.ask(soon(t), a.id, question{VNI: 7, Members: []int{0}}); err != nil || len(r.Addrs) != 1 || r.Addrs[0] != to {
		t.Errorf("a host of the network is answered %+v, %v", r, err)
	}
}

// An agent that lies about where its members are is not believed.
func TestLyingAgent(t *testing.T) {
	h := newHub(t)
	a, liar := h.machine(t, 1), h.machine(t, 2)
	learn(t, 7, []wire.NetMember{a.member("one", 0, 1), liar.member("two", 0, 1)}, a)
	liar.peers.Handle(ProtocolAsk, func(s Stream) {
		var q question
		if wire.NewFrameReader(s).Read(&q) == nil {
			wire.WriteFrame(s, &answer{Addrs: []address{addressOf(1, 77)}})
		}
		s.Close()
	})
	n := a.network(7)
	if got := a.lookUpAt(brief(t), n, liar.id, []int{1}); len(got) != 0 {
		t.Errorf("the liar's member is found at %v", got)
	}
	liar.peers.Handle(ProtocolAsk, func(s Stream) {
		s.Read(make([]byte, 1000))
		io.Copy(s, strings.NewReader("\xff\xff\xff\xff\xff\xff\xff\xff"))
		s.Close()
	})
	if r, err := a.ask(soon(t), liar.id, question{VNI: 7, Members: []int{1}}); err == nil {
		t.Errorf("nonsense is taken for %+v", r)
	}
}
