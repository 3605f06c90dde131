package overlay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"gaggle/overlay/wired"
	"gaggle/sandbox"
	"gaggle/wire"
)

// A kernel is the kernel's plane as the agent uses it. The plane moves what has a route. Packets that
// have none come to misses, and find in path_linux.go looks where they go; what the plane cannot send
// comes to carry, and goes by the link.
type kernel struct {
	agent  *Agent
	plane  *wired.Plane
	frames sync.Pool // *[]byte of wired.Room and maxPacket

	mu     sync.Mutex // guards the fields below
	asking map[place]*asking
	pairs  map[wire.PeerID]*pairing // as many as the mesh has hosts

	tally sync.Mutex // held while what the plane has counted is taken over; guards the field below
	past  ByWay      // over routes of networks that are no more

	dropping sync.Mutex // guards what networks and slots have dropped; the last to be taken
}

// A place is an address in a network.
type place struct {
	vni uint32
	at  address
}

const (
	// routeIdle is how long a route is kept that no packet uses, to look for such every expireEvery.
	routeIdle   = time.Minute
	expireEvery = 15 * time.Second
)

// UsePlane leaves packets to the kernel from now on, which sends those to hosts in the trusted networks
// as they are, in the clear, and below the host's INPUT and OUTPUT rules. It is called once, before
// the first Lay, by a thread in the network namespace of the trusted interfaces. It takes what
// wired.Open does: root, in short.
func (a *Agent) UsePlane(trusted []netip.Prefix) error {
	p, err := wired.Open(wired.Config{Trusted: trusted, Log: a.log})
	if err != nil {
		return wire.Errorf(wire.CauseSandbox, "node doctor says more",
			"the kernel cannot move the packets of networks: %v", err)
	}
	k := &kernel{agent: a, plane: p, asking: map[place]*asking{}, pairs: map[wire.PeerID]*pairing{}}
	k.frames.New = func() any { b := make([]byte, wired.Room+maxPacket); return &b }
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil || !a.plane.CompareAndSwap(nil, k) {
		return errors.Join(wire.Errorf(wire.CauseInternal, "", "the agent has a plane, or has ended"), p.Close())
	}
	a.work.Go(k.misses)
	a.work.Go(k.carry)
	a.work.Go(k.expire)
	a.work.Go(k.watch)
	return nil
}

// PlaneTroubles says what would be in UsePlane's way, or make the plane slow. It changes nothing.
func PlaneTroubles(trusted []netip.Prefix) ([]Trouble, error) {
	var all []Trouble
	for _, t := range wired.Troubles(wired.Config{Trusted: trusted}) {
		all = append(all, Trouble(t))
	}
	return all, nil
}

func (k *kernel) close() error { return k.plane.Close() }

func (k *kernel) here() planeAt { return planeAt{k.plane.Here(), k.plane.MTU()} }

// expire takes idle routes away until the agent ends, and over what the plane has counted.
func (k *kernel) expire() {
	for pause(k.agent.ctx, expireEvery) {
		k.agent.Stats()
		if _, err := k.plane.Expire(routeIdle); err != nil {
			k.agent.log.Warn("taking idle routes away", "error", err)
		}
	}
}

func (k *kernel) forget(vni uint32) {
	if err := k.plane.Forget(vni); err != nil {
		k.agent.log.Warn("taking routes of a network away", "vni", vni, "error", err)
	}
}

// receive calls f with what recv reads until the plane or the agent ends. f says whether it keeps the
// frame; size is of a buffer.
func (k *kernel) receive(recv func([]byte) (wired.Frame, error), size int, f func(wired.Frame) (kept bool)) {
	b := make([]byte, size)
	for {
		switch frame, err := recv(b); {
		case err == nil:
			if f(frame) {
				b = make([]byte, size)
			}
		case errors.Is(err, wired.ErrClosed):
			return
		default:
			k.agent.log.Warn("reading frames of the kernel's plane", "error", err)
			if !pause(k.agent.ctx, askAgain) {
				return
			}
		}
	}
}

func (k *kernel) misses() { k.receive(k.plane.RecvMiss, wired.Room+k.plane.MTU(), k.hold) }

// carry takes the packets whose route leads to the agent. No network waits for the lane of another:
// where that is full the packet is dropped at once.
func (k *kernel) carry() {
	k.receive(k.plane.Recv, wired.Room+wired.MaxPacket, func(f wired.Frame) bool {
		a, n := k.agent, k.agent.network(f.VNI)
		p := packetOf(f)
		switch {
		case n == nil || n.ended.Load():
			a.count.drop(DropUnbound)
			return false
		case !p.ipv4():
			a.count.dropOf(n, DropNotIPv4)
			return false
		}
		host, _, ok := p.dst().split()
		peer, there := n.hosts[host]
		if !ok || !there || peer == a.self {
			a.count.dropOf(n, DropOutside)
			return false
		}
		n.count.sent(peer, wired.Agent, len(p.b))
		for _, q := range datagrams(p, f.Offload) {
			a.sendWithin(peer, n, &q, 0)
		}
		return false
	})
}

// packetOf returns a frame's packet. One that is to be cut up into datagrams is for datagrams to finish.
func packetOf(f wired.Frame) packet {
	p := packet{b: f.Packet}
	if f.Sum {
		p.kind |= kindSum
	}
	if f.Cut == wired.CutTCP {
		p.kind |= kindCut
		p.segment = f.Segment
		if f.ECN {
			p.kind |= kindECN
		}
	}
	return p
}

func offloadOf(p *packet) wired.Offload {
	o := wired.Offload{Sum: p.kind&kindSum != 0, ECN: p.kind&kindECN != 0, Segment: p.segment}
	if p.kind&kindCut != 0 {
		o.Cut = wired.CutTCP
	}
	return o
}

// datagrams cuts a packet up that is to become datagrams, which the kernel of the other host need not know.
func datagrams(p packet, o wired.Offload) []packet {
	const head = ipHead + udpHead
	if o.Cut != wired.CutUDP || o.Segment == 0 || p.proto() != protoUDP || len(p.b) < head {
		return []packet{p}
	}
	var all []packet
	for body := p.b[head:]; len(body) > 0; {
		n := min(len(body), int(o.Segment))
		b := append(append(make([]byte, 0, head+n), p.b[:head]...), body[:n]...)
		body = body[n:]
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[10:], 0)
		binary.BigEndian.PutUint16(b[10:], checksum(b[:ipHead], 0))
		binary.BigEndian.PutUint16(b[ipHead+4:], uint16(udpHead+n))
		// What is there while the sum is to be completed is that of the pseudo header, not inverted.
		pseudo := make([]byte, 0, 12)
		pseudo = append(pseudo, b[12:20]...)
		pseudo = append(pseudo, 0, protoUDP, b[ipHead+4], b[ipHead+5])
		binary.BigEndian.PutUint16(b[ipHead+6:], ^checksum(pseudo, 0))
		all = append(all, packet{kind: kindSum, b: b})
	}
	return all
}

// A kernelSlot is the device of an endpoint. What its namespace sends does not come by Read, but by
// the kernel's frames.
type kernelSlot struct {
	k    *kernel
	slot *wired.Slot
	stop chan struct{} // closed by Stop
	once sync.Once

	mu   sync.Mutex // guards the fields below
	net  *network   // that it is bound to, or was
	at   address
	told map[wire.PeerID]bool // hosts that may have a route here

	dropped wired.Drops // of its number, before it was bound or as they were taken over; guarded by the kernel's dropping
}

// lay makes a slot in the namespace.
func (k *kernel) lay(n *sandbox.Namespace) (device, error) {
	if n.Tun != nil {
		err := n.Tun.Close()
		n.Tun = nil
		if err != nil {
			return nil, fmt.Errorf("closing a TUN device that is not used: %w", err)
		}
	}
	s, err := k.plane.Lay(n.NS)
	if err != nil {
		return nil, err
	}
	return &kernelSlot{k: k, slot: s, stop: make(chan struct{}), told: map[wire.PeerID]bool{}}, nil
}

func (s *kernelSlot) bind(n *network, at address) error {
	s.mu.Lock()
	s.net, s.at = n, at
	s.mu.Unlock()
	if n == nil {
		return errNetworkEnded
	}
	s.countDrops(nil) // others had the number before
	return s.k.plane.Bind(s.slot, n.vni, at.ip())
}

func (s *kernelSlot) unbind() {
	s.mu.Lock()
	n := s.net
	s.mu.Unlock()
	s.k.plane.Unbind(s.slot)
	s.countDrops(n)
}

// Read waits for Stop, then for those packets that still wait for their route.
func (s *kernelSlot) Read() (packet, error) {
	<-s.stop
	s.mu.Lock()
	n, at := s.net, s.at
	s.mu.Unlock()
	s.k.drain(place{n.vni, at})
	s.unbind()
	s.mu.Lock()
	told := s.told
	s.told = nil
	s.mu.Unlock()
	s.k.tellGone(n, at, told)
	return packet{}, io.EOF
}

// Write is as in device. Who the packet is from was looked at by the agent.
func (s *kernelSlot) Write(p packet) error {
	s.mu.Lock()
	n := s.net
	s.mu.Unlock()
	if n == nil {
		return errNetworkEnded
	}
	buf := s.k.frames.Get().(*[]byte)
	defer s.k.frames.Put(buf)
	b := (*buf)[:wired.Room+len(p.b)]
	copy(b[wired.Room:], p.b)
	// Not Deliver, which wants the route back to lead to the agent: the two hosts may change their
	// ways just now, or this one has forgotten its route.
	return s.k.plane.Answer(n.vni, b, offloadOf(&p))
}

// Stop is as in device.
func (s *kernelSlot) Stop() { s.once.Do(func() { close(s.stop) }) }

// Close is as in device.
func (s *kernelSlot) Close() error {
	s.Stop()
	s.unbind()
	return nil
}

// tell notes that a peer may have a route here. It returns false if the endpoint goes.
func (s *kernelSlot) tell(p wire.PeerID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told != nil {
		s.told[p] = true
	}
	return s.told != nil
}

// bound returns the device of an endpoint that is on the network now; nil if there is none.
func (k *kernel) bound(n *network, at address) *kernelSlot {
	_, slot, ok := at.split()
	if !ok {
		return nil
	}
	e := k.agent.slots[slot].Load()
	if e == nil || e.net.Load() != n || e.addr != at {
		return nil
	}
	s, _ := e.dev.(*kernelSlot)
	return s
}
