package overlay

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"slices"
	"sync/atomic"
	"testing"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

const quicListen = "/ip4/127.0.0.1/udp/0/quic-v1"

// twoOverQUIC are machines over QUIC, of which the second has its frames taken by take.
func twoOverQUIC(t *testing.T, take func(*peer.Stream)) (a, b *machine, n *network) {
	t.Helper()
	hosts, ms := overPeers(t, 2, quicListen)
	hosts[1].Handle(ProtocolFrames, take)
	a, b = ms[0], ms[1]
	learn(t, 7, []wire.NetMember{a.member("a", 0, 1), b.member("b", 0, 1)}, a, b)
	return a, b, a.network(7)
}

// segment builds a TCP segment.
func segment(from, to address, size int) packet {
	p := datagram(from, to, string(make([]byte, size)))
	p[9], p[ipHead+12] = protoTCP, 5<<4
	return packet{b: p}
}

// A datagram does not wait for TCP of the same network, whose stream nobody reads.
func TestDatagramsOvertake(t *testing.T) {
	t.Parallel()
	came := make(chan []byte)
	a, b, n := twoOverQUIC(t, func(s *peer.Stream) {
		s.Write([]byte{readsDatagrams})
		for {
			p, err := s.Datagrams().Receive(soon(t))
			if err != nil {
				return
			}
			came <- p
		}
	})
	full := segment(addressOf(1, 1), addressOf(2, 1), 60_000)
	l := a.link(b.id)
	for pushed := 0; pushed < 700_000; { // QUIC takes 512 KiB that nobody reads
		if _, ok := l.push(numbered(7), &full); ok {
			pushed += len(full.b)
		}
	}
	waitForDatagrams(t, l)
	for i := range byte(20) {
		p := packet{b: datagram(addressOf(1, 1), addressOf(2, 1), string(i))}
		for got := []byte(nil); !bytes.Equal(got, datagramOf(appendFrame(nil, 7, &p))); {
			a.send(b.id, n, &p)
			select {
			case got = <-came:
			case <-soon(t).Done():
				t.Fatal("a datagram waits for a stream that nobody reads")
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lanes.waits() {
		t.Error("no TCP waits, so nothing was overtaken")
	}
}

// An agent of an older version gets all by the stream, and so does one that says something else.
func TestNoDatagramsUnasked(t *testing.T) {
	t.Parallel()
	for name, says := range map[string][]byte{"older": nil, "other": {7}} {
		frames := make(chan []byte)
		a, b, n := twoOverQUIC(t, func(s *peer.Stream) {
			s.Write(says)
			for {
				head := make([]byte, frameHead)
				if _, err := io.ReadFull(s, head); err != nil {
					return
				}
				f := append(head, make([]byte, binary.BigEndian.Uint16(head))...)
				if _, err := io.ReadFull(s, f[frameHead:]); err != nil {
					return
				}
				frames <- f
			}
		})
		for i := range byte(50) {
			p := packet{b: datagram(addressOf(1, 1), addressOf(2, 1), string(i))}
			a.send(b.id, n, &p)
			if got := <-frames; !bytes.Equal(got, appendFrame(nil, 7, &p)) {
				t.Fatalf("%s: the stream has %x", name, got)
			}
		}
		if got := a.Stats().Datagrams; got != 0 {
			t.Errorf("%s: %d datagrams are sent", name, got)
		}
	}
}

// What is large, or part of what is, goes by the stream, and so does TCP.
func TestWhichAreDatagrams(t *testing.T) {
	p := packet{b: datagram(addressOf(1, 1), addressOf(2, 1), "small")}
	if !p.datagram() {
		t.Error("a small packet of UDP is none")
	}
	part := packet{b: slices.Clone(p.b)}
	part.b[6] = 0x20
	if part.datagram() {
		t.Error("a part of one is")
	}
	if s := segment(addressOf(1, 1), addressOf(2, 1), 100); s.datagram() {
		t.Error("a segment of TCP is")
	}
	came := make(chan int)
	a, b, n := twoOverQUIC(t, func(s *peer.Stream) {
		s.Write([]byte{readsDatagrams})
		in := make([]byte, frameHead+ipHead+udpHead+1430)
		for {
			if _, err := io.ReadFull(s, in); err != nil {
				return
			}
			came <- frameHead + int(binary.BigEndian.Uint16(in))
		}
	})
	large := packet{b: datagram(addressOf(1, 1), addressOf(2, 1), string(make([]byte, 1430)))}
	for range 2 { // before datagrams are agreed on, and after
		a.send(b.id, n, &large)
		if got := <-came; got != frameHead+len(large.b) {
			t.Fatalf("a frame of %d bytes comes, want %d", got, frameHead+len(large.b))
		}
		waitForDatagrams(t, a.link(b.id))
	}
	if got := a.Stats().Datagrams; got != 0 {
		t.Errorf("%d datagrams are sent", got)
	}
}

// waitForDatagrams waits until the other end of a link has said that it reads them.
func waitForDatagrams(t *testing.T, l *link) {
	t.Helper()
	waitUntil(t, "the other to say that it reads datagrams", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.beside != nil
	})
}

// The networks that share a host take turns with datagrams, and drop their own.
func TestNetworksTakeTurnsBeside(t *testing.T) {
	l := waiting(t)
	q := &beside{newLanes(l, maxBeside, besideTurn), make(chan struct{}, 1)}
	l.beside = q
	p := packet{b: datagram(addressOf(1, 1), addressOf(2, 1), string(make([]byte, 1000)))}
	pushed := 0
	for {
		why, ok := l.push(numbered(7), &p)
		if !ok {
			if why != DropQueue {
				t.Errorf("dropped as %s", why)
			}
			break
		}
		pushed++
	}
	if want := maxBeside / (len(p.b) + frameHead); pushed != want {
		t.Errorf("%d packets wait, want %d", pushed, want)
	}
	if _, ok := l.push(numbered(8), &p); !ok {
		t.Error("a flood keeps another network from a host")
	}
	first, b := q.take()
	q.done(first, b)
	if second, _ := q.take(); first.net.vni != 7 || len(b) > besideTurn || second.net.vni != 8 {
		t.Errorf("network %d sends %d bytes, then network %d", first.net.vni, len(b), second.net.vni)
	}
	l.done(q.of(numbered(8)), nil, nil)
}

// What a peer sends as datagrams is looked at as what comes by the stream is.
func TestHostileDatagrams(t *testing.T) {
	hosts, ms := overPeers(t, 2, quicListen)
	a, rogue := ms[0], ms[1]
	learn(t, 7, []wire.NetMember{a.member("one", 0, 1), rogue.member("bad", 0, 1)}, a)
	learn(t, 8, []wire.NetMember{a.member("one", 0, 1)}, a)
	one, eight := a.join(7, 0), a.join(8, 0)
	in := one.receives()
	s, err := hosts[1].Open(soon(t), a.id, ProtocolFrames)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	plain := func(from, to address) []byte { return datagram(from, to, "bad") }
	frame := func(vni uint32, p packet) []byte { return appendFrame(nil, vni, &p) }
	to, me := one.e.addr, addressOf(2, 1)
	s.Write(frame(7, packet{b: plain(addressOf(1, 1), to)})) // begins the stream
	a.wantDrops(DropForeign, 1)
	said := make([]byte, 1)
	if _, err := io.ReadFull(s, said); err != nil || said[0] != readsDatagrams {
		t.Fatalf("it says %x, %v", said, err)
	}
	frame = func(vni uint32, p packet) []byte { return datagramOf(appendFrame(nil, vni, &p)) }
	good := frame(7, packet{b: datagram(me, to, "good")})
	for _, c := range []struct {
		what string
		b    []byte
		why  Drop
	}{
		{"empty", nil, DropMalformed},
		{"too short", good[:datagramHead-1], DropMalformed},
		{"no packet", good[:datagramHead], DropMalformed},
		{"half of one", good[:len(good)-3], DropMalformed},
		{"more than one", append(slices.Clone(good), 0), DropMalformed},
		{"no IPv4", frame(7, packet{b: []byte("no packet at all, but long enough")}), DropMalformed},
		{"to be cut up", frame(7, packet{kind: kindCut | kindSum, segment: 100, b: plain(me, to)}), DropMalformed},
		{"of unknown kind", frame(7, packet{kind: 0xff, b: plain(me, to)}), DropMalformed},
		{"of another host", frame(7, packet{b: plain(addressOf(1, 2), to)}), DropForeign},
		{"of a network that is not the peer's", frame(8, packet{b: plain(me, eight.e.addr)}), DropForeign},
		{"of no network", frame(9, packet{b: plain(me, to)}), DropUnknown},
		{"for another network's endpoint", frame(7, packet{b: plain(me, eight.e.addr)}), DropAbsent},
		{"for another host", frame(7, packet{b: plain(me, addressOf(2, 2))}), DropOutside},
	} {
		before := a.Stats().Drops[c.why]
		waitUntil(t, "a datagram "+c.what+" to be dropped as "+c.why.String(), func() bool {
			if err := s.Datagrams().Send(soon(t), c.b); err != nil {
				t.Fatal(err)
			}
			return a.Stats().Drops[c.why] > before
		})
	}
	a.wantNone(7)
	a.wantNone(8)
	lost := a.Stats().Networks[7].Losses[rogue.id].Agent
	if lost[DropForeign] < 2 || lost[DropOutside] == 0 || lost[DropUnknown] != 0 {
		t.Errorf("of network 7 from that host were dropped %v", lost)
	}
	for range 10_000 { // a flood
		s.Datagrams().Send(soon(t), frame(9, packet{b: plain(me, to)}))
	}
	waitUntil(t, "a good one to come through", func() bool { // some are lost in the flood
		s.Datagrams().Send(soon(t), good)
		return a.Stats().Networks[7].PacketsIn > 0
	})
	nextFrom(t, in, "good")
}

// Datagrams of tasks go so where both sides can, both ways, and by the stream where they cannot.
func TestDatagramsOverTheMesh(t *testing.T) {
	for name, c := range map[string]struct {
		listen string
		beside bool
	}{"QUIC": {quicListen, true}, "TCP": {"/ip4/127.0.0.1/tcp/0", false}, "relayed": {"", false}} {
		t.Run(name, func(t *testing.T) {
			_, ms := overPeers(t, 2, c.listen)
			learn(t, 7, []wire.NetMember{ms[0].member("a", 0, 1), ms[1].member("b", 0, 1)}, ms...)
			a, b := ms[0].join(7, 0), ms[1].join(7, 1)
			in := a.receives()
			go sayBack(in)
			u, err := b.dial("udp", a.addr(7777))
			if err != nil {
				t.Fatal(err)
			}
			exchange := func(size int) {
				t.Helper()
				if _, err := u.Write(make([]byte, size)); err != nil {
					t.Fatal(err)
				}
				if n, err := u.Read(make([]byte, size)); err != nil || n != size {
					t.Fatal(n, err)
				}
			}
			for range 50 {
				exchange(5)
			}
			if !c.beside {
				if x, y := ms[0].Stats().Datagrams, ms[1].Stats().Datagrams; x != 0 || y != 0 {
					t.Errorf("%d and %d packets went as datagrams", x, y)
				}
				return
			}
			// The largest, too, when QUIC has found out how large packets may be.
			for _, size := range []int{5, deviceMTU - ipHead - udpHead} {
				x, y := ms[0].Stats().Datagrams, ms[1].Stats().Datagrams
				for ctx := soon(t); ms[0].Stats().Datagrams == x || ms[1].Stats().Datagrams == y; exchange(size) {
					if ctx.Err() != nil {
						t.Fatalf("nothing of %d bytes goes as a datagram", size)
					}
				}
			}
			for d, n := range ms[0].Stats().Drops {
				if d := Drop(d); n > 0 && d != DropNotIPv4 { // the kernel's own, of IPv6
					t.Errorf("%d packets are dropped as %s", n, d)
				}
			}
		})
	}
}

// agingPeers open streams of which the first is superseded once that is said.
type agingPeers struct {
	Peers
	old  atomic.Bool
	open atomic.Int32
}

type agingStream struct {
	Stream
	old func() bool
}

func (s agingStream) Superseded() bool { return s.old() }

func (p *agingPeers) Open(ctx context.Context, to wire.PeerID, protocol string) (Stream, error) {
	s, err := p.Peers.Open(ctx, to, protocol)
	if err != nil {
		return nil, err
	}
	first := p.open.Add(1) == 1
	return agingStream{s, func() bool { return first && p.old.Load() }}, nil
}

// Packets for a pair that was relayed go over its direct connection once there is one.
func TestBetterConnectionIsTaken(t *testing.T) {
	h := newHub(t)
	b := h.machine(t, 2)
	id := newPeer(t)
	peers := &agingPeers{Peers: hubPeers{h, id}}
	a := newMachine(t, 1, Config{Self: id, Peers: peers})
	learn(t, 7, []wire.NetMember{a.member("a", 0, 1), b.member("b", 0, 1)}, a, b)
	n := a.network(7)
	p := packet{b: datagram(addressOf(1, 1), addressOf(2, 1), "hello")}
	for i, opened := range []int32{1, 1, 2, 2} {
		peers.old.Store(i >= 2)
		a.send(b.id, n, &p)
		b.wantDrops(DropAbsent, i+1) // it has come, for nobody
		if got := peers.open.Load(); got != opened {
			t.Errorf("after %d packets %d streams were opened, want %d", i+1, got, opened)
		}
	}
}
