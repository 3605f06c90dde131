package overlay

import (
	"errors"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gaggle/overlay/wired"
	"gaggle/sandbox"
	"gaggle/wire"
)

// A device takes packets to and from a namespace.
type device interface {
	// Read waits for a packet that the namespace sends, which is good until the next call. After
	// Stop it returns what was sent before, then io.EOF.
	Read() (packet, error)
	// Write has the namespace receive a packet.
	Write(p packet) error
	Stop()
	io.Closer
}

// A binder is a device of a plane that has to know the network, too.
type binder interface {
	bind(n *network, at address) error
	// unbind cuts the device off; it is bound no second time.
	unbind()
}

// An endpoint is a namespace with an address. It is a sandbox.Cable.
type endpoint struct {
	agent *Agent
	host  uint16
	slot  uint16
	addr  address
	space *sandbox.Namespace
	dev   device
	names *names

	net     atomic.Pointer[network] // nil: nothing comes in and nothing goes out
	refuses bucket                  // of packets that go nowhere
	reading sync.WaitGroup
}

// Addr is as in sandbox.Cable.
func (e *endpoint) Addr() netip.Addr { return e.addr.ip() }

// maxBurying bounds the devices that are removed at once: each has a thread wait for the kernel.
const maxBurying = 16

// Close is as in sandbox.Cable. Nothing reaches the endpoint when it returns; what it is made of goes in
// the background, for the kernel takes some 30 ms to remove a TUN device, and a result would wait for it.
func (e *endpoint) Close() error {
	a := e.agent
	e.net.Store(nil)
	e.dev.Stop()
	a.slots[e.slot].CompareAndSwap(e, nil)
	end := func() error { return errors.Join(e.dev.Close(), e.space.Close()) }
	a.mu.Lock()
	closed := a.ctx.Err() != nil
	if !closed {
		a.work.Go(func() {
			a.burying <- struct{}{}
			defer func() { <-a.burying }()
			if err := end(); err != nil {
				a.log.Warn("closing a network", "addr", e.Addr(), "error", err)
			}
		})
	}
	a.mu.Unlock()
	if closed {
		return end()
	}
	return nil
}

// takeSlot gives an endpoint a number that has rested longest.
func (a *Agent) takeSlot(e *endpoint) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.host == 0 {
		return wire.Errorf(wire.CauseSandbox, "the coordinator gives it one if it is of this version", "this node has no number among those with networks")
	}
	for range MaxSlot {
		a.last = a.last%MaxSlot + 1
		e.slot = a.last
		if a.slots[a.last].CompareAndSwap(nil, e) {
			e.host, e.addr = a.host, addressOf(a.host, a.last)
			return nil
		}
	}
	return wire.Errorf(wire.CauseSandbox, "", "all %d addresses of this node are in use", MaxSlot)
}

// start begins to move packets.
func (e *endpoint) start() error {
	names, err := e.serveNames()
	if err != nil {
		return err
	}
	if d, ok := e.dev.(binder); ok {
		if err := d.bind(e.net.Load(), e.addr); err != nil {
			names.close()
			return err
		}
	}
	e.names = names
	e.reading.Go(e.read)
	return nil
}

// drainFor bounds how long what a command sent last may hold up its end.
const drainFor = time.Second

// stop ends that, when all that was sent has gone out.
func (e *endpoint) stop() {
	e.names.close()
	e.dev.Stop()
	defer time.AfterFunc(drainFor, func() { e.net.Store(nil) }).Stop()
	e.reading.Wait()
}

const (
	// After lostBurst packets that went nowhere an endpoint is not read from for lostRest: one that sends to
	// whom there is not, as fast as it can, has the kernel drop it then, which costs others nothing.
	lostBurst = 64
	lostRest  = 5 * time.Millisecond
)

func (e *endpoint) read() {
	lost := 0
	for {
		p, err := e.dev.Read()
		if err != nil {
			if err != io.EOF {
				e.agent.log.Warn("reading what a task sends", "addr", e.Addr(), "error", err)
			}
			return
		}
		if e.send(p) {
			continue
		}
		if lost++; lost%lostBurst == 0 {
			pause(e.agent.ctx, lostRest)
		}
	}
}

// send moves a packet of the endpoint's on, or drops it and returns false.
func (e *endpoint) send(p packet) bool {
	a, n := e.agent, e.net.Load()
	switch {
	case n == nil:
		a.count.drop(DropUnbound)
		return false
	case !p.ipv4():
		a.count.dropOf(n, DropNotIPv4)
		return false
	case p.src() != e.addr:
		a.count.dropOf(n, DropSpoofed)
		return false
	}
	host, slot, ok := p.dst().split()
	peer, there := n.hosts[host]
	switch {
	case !ok || !there:
		a.count.dropOf(n, DropOutside)
		e.refuse(p, codeNetwork)
		return false
	case peer != a.self:
		n.count.sent(peer, wired.Agent, len(p.b))
		a.send(peer, n, &p)
	case host != e.host:
		a.count.dropOf(n, DropAbsent)
		e.refuse(p, codePort)
		return false
	default:
		n.count.sent(peer, wired.Local, len(p.b))
		if !a.deliver(n, slot, p) {
			e.refuse(p, codePort)
			return false
		}
	}
	return true
}

// deliver gives a packet to an endpoint of the network, if that has the slot.
func (a *Agent) deliver(n *network, slot uint16, p packet) bool {
	e := a.slots[slot].Load()
	if e == nil || e.net.Load() != n || e.addr != p.dst() { // the last: laid under another number of ours
		a.count.dropOf(n, DropAbsent)
		return false
	}
	if err := e.dev.Write(p); err != nil {
		a.count.dropOf(n, DropDevice)
		return true
	}
	from, way := n.peerAt(p.src()), wired.Agent
	if from == a.self {
		way = wired.Local
	}
	n.count.received(from, way, len(p.b))
	return true
}

// refuse tells the endpoint's own command that a packet of it goes nowhere.
func (e *endpoint) refuse(p packet, code byte) {
	if !e.refuses.take(time.Now()) {
		return
	}
	if r, ok := p.refusal(code); ok {
		_ = e.dev.Write(r) // it is dropped like any that finds no room
	}
}

// refusalsPerSecond bounds the packets that an endpoint or a peer makes us answer.
const refusalsPerSecond = 200

// A bucket lets refusalsPerSecond through. The zero bucket is full.
type bucket struct {
	mu   sync.Mutex // guards the fields below
	left float64
	last time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last.IsZero() {
		b.left = refusalsPerSecond
	} else {
		b.left = min(refusalsPerSecond, b.left+now.Sub(b.last).Seconds()*refusalsPerSecond)
	}
	b.last = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
