package overlay

import (
	"bufio"
	"context"
	"io"
	"sync"
	"time"

	"gaggle/wire"
)

const (
	// maxLane bounds the packets of one network that wait for the stream to one host: 8 of the largest.
	maxLane = 512 << 10
	// maxQueues bounds those of all networks that wait for all hosts.
	maxQueues = 64 << 20
	// turn is what a network may send before the next that shares a host has its turn.
	turn = 64 << 10
	// waitLane is how long an endpoint that sends is held up by a full lane before its packet is
	// dropped, and what follows at once until the lane moves on. To wait slows TCP down without a loss
	// where that is soon; what the endpoint sends to others waits with it. QUIC takes 30 to 50 ms to
	// notice the loss of what it sent last, however near the host is (RFC 9002, 6.2.1).
	waitLane = 100 * time.Millisecond
	// stallAfter is how long one write may take before the host is taken for stuck: what waits for
	// it is dropped, and what comes meanwhile at once.
	stallAfter = 2 * time.Second
	// openTimeout bounds the making of a stream. A dial over all addresses takes 20 s at most.
	openTimeout = 20 * time.Second
	// stallTimeout is how long a stream may take nothing before it is given up for a new one. A
	// laptop that changes networks is found dead by QUIC after 30 s.
	stallTimeout = 10 * time.Second
	// againAfter is how long a host that could not be reached is not tried again; what is for it
	// is dropped meanwhile.
	againAfter = time.Second
	// linkIdle is how long a stream is kept that nobody uses.
	linkIdle = time.Minute
	// maxGuest bounds the streams of frames that one peer has open here: a new one follows one
	// that it gave up, before we know.
	maxGuest = 4
)

// A link is the packets that go to one host, by a stream and, where both can, by datagrams beside it.
type link struct {
	agent *Agent
	peer  wire.PeerID
	kick  chan struct{} // capacity 1: something waits for the stream

	mu     sync.Mutex // guards the fields below, and the lanes
	lanes  *lanes     // for the stream
	beside *beside    // nil while there are no datagrams
	used   time.Time  // when a packet came last
	began  time.Time  // of the write under way; zero if there is none
	down   time.Time  // nothing is taken before
	ended  bool       // its goroutine has
}

func newLink(a *Agent, p wire.PeerID) *link {
	l := &link{agent: a, peer: p, kick: make(chan struct{}, 1)}
	l.lanes = newLanes(l, maxLane, turn)
	return l
}

// link returns the link to a peer, which it starts if need be; nil once the agent has ended.
func (a *Agent) link(p wire.PeerID) *link {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.links[p]; l != nil {
		return l
	}
	if a.peers == nil || a.ctx.Err() != nil {
		return nil
	}
	l := newLink(a, p)
	a.links[p] = l
	a.work.Go(l.run)
	return l
}

// send queues a packet for a peer, or drops it.
func (a *Agent) send(p wire.PeerID, n *network, k *packet) { a.sendWithin(p, n, k, waitLane) }

// sendWithin is send for who waits less where the lane is full.
func (a *Agent) sendWithin(p wire.PeerID, n *network, k *packet, patience time.Duration) {
	for range 2 { // a link may end just now
		l := a.link(p)
		if l == nil {
			break
		}
		if why, ok := l.pushWithin(n, k, patience); ok {
			return
		} else if why != DropUnreachable {
			a.count.dropBetween(n, p, why, 1)
			return
		}
	}
	a.count.dropBetween(n, p, DropUnreachable, 1)
}

// push queues a packet, or returns why not.
func (l *link) push(n *network, k *packet) (why Drop, ok bool) { return l.pushWithin(n, k, waitLane) }

func (l *link) pushWithin(net *network, k *packet, patience time.Duration) (why Drop, ok bool) {
	var late <-chan time.Time
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.beside != nil && !l.ended && k.datagram() {
		l.used = time.Now()
		return DropQueue, l.beside.push(net, k)
	}
	for {
		now := time.Now()
		switch {
		case l.ended || now.Before(l.down):
			return DropUnreachable, false
		case !l.began.IsZero() && now.Sub(l.began) > stallAfter:
			l.lanes.clear()
			return DropQueue, false
		}
		l.used = now
		n := l.lanes.of(net)
		if l.lanes.room(n, k) {
			return DropQueue, l.lanes.add(n, k) && wake(l.kick)
		}
		if n.full || patience <= 0 {
			return DropQueue, false
		}
		if late == nil {
			t := time.NewTimer(patience)
			defer t.Stop()
			late = t.C
		}
		if moved := n.awaited(); !l.wait(moved, late) {
			n.full = n.moved == moved
			return DropQueue, false
		}
	}
}

// wake tells who waits for a channel of capacity 1 that there is something to do.
func wake(kick chan<- struct{}) bool {
	select {
	case kick <- struct{}{}:
	default:
	}
	return true
}

// wait waits until a lane has moved on, without mu. It returns false if that takes too long.
func (l *link) wait(moved <-chan struct{}, late <-chan time.Time) bool {
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-moved:
		return true
	case <-late:
		return false
	case <-l.agent.ctx.Done():
		return false
	}
}

// take returns the frames that are to be written next, nil if nothing waits.
func (l *link) take() (n *lane, b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lanes.take()
}

// done ends what take began. A host that could not be reached is left alone for a while.
func (l *link) done(n *lane, b []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lanes.done(n, b)
	l.began, l.down = time.Time{}, time.Time{}
	if err != nil {
		l.down = time.Now().Add(againAfter)
		l.lanes.lost(n.net, frames(b))
		l.lanes.clear()
	}
}

// run writes what waits until the link has been idle for long, or the agent ends.
func (l *link) run() {
	var s Stream
	defer func() {
		if s != nil {
			s.Reset()
		}
		l.drop()
	}()
	idle := time.NewTicker(linkIdle)
	defer idle.Stop()
	for {
		select {
		case <-l.kick:
		case <-idle.C:
			if l.retire() {
				return
			}
		case <-l.agent.ctx.Done():
			return
		}
		for n, b := l.take(); b != nil; n, b = l.take() {
			var err error
			s, err = l.write(s, b)
			if err != nil && l.agent.ctx.Err() == nil {
				l.agent.log.Info("packets for a host are dropped", "peer", l.peer, "error", err)
			}
			l.done(n, b, err)
		}
	}
}

// write writes frames to the stream, or to a new one if that fails, from the first on: it may be that
// the old one delivered them, too, which IP allows.
func (l *link) write(s Stream, b []byte) (Stream, error) {
	if s != nil && s.Superseded() { // the pair was relayed, and is not any more
		_ = s.Close()
		s = nil
	}
	for again := true; ; again = false {
		if s == nil {
			ctx, cancel := context.WithTimeout(l.agent.ctx, openTimeout)
			var err error
			s, err = l.agent.peers.Open(ctx, l.peer, ProtocolFrames)
			cancel()
			if err != nil {
				return nil, err
			}
			opened := s
			l.agent.work.Go(func() { l.sendBeside(opened) })
		}
		end := context.AfterFunc(l.agent.ctx, s.Reset)
		err := l.writeAll(s, b)
		end()
		if err == nil {
			return s, nil
		}
		s.Reset()
		if s = nil; !again {
			return nil, err
		}
	}
}

// writeAll writes b, at no less than a floor rate of 1.6 KB/s.
func (l *link) writeAll(s Stream, b []byte) error {
	const part = 16 << 10
	for len(b) > 0 {
		now := time.Now()
		l.mu.Lock()
		l.began = now
		l.mu.Unlock()
		if err := s.SetWriteDeadline(now.Add(stallTimeout)); err != nil {
			return err
		}
		n, err := s.Write(b[:min(len(b), part)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// retire ends an idle link. It returns false if something came lately.
func (l *link) retire() bool {
	l.agent.mu.Lock()
	defer l.agent.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lanes.waits() || time.Since(l.used) < linkIdle {
		return false
	}
	l.ended = true
	delete(l.agent.links, l.peer)
	return true
}

// drop ends the link with all that waits.
func (l *link) drop() {
	l.agent.mu.Lock()
	defer l.agent.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.agent.links[l.peer] == l {
		delete(l.agent.links, l.peer)
	}
	l.lanes.clear()
}

// A guest is a peer whose packets come here.
type guest struct {
	streams int
	asks    int
	refused bucket
}

// enter counts something that a peer has open, up to most. leave must be called if it returns a
// guest.
func (a *Agent) enter(p wire.PeerID, of func(*guest) *int, most int) (g *guest, leave func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return nil, nil
	}
	g = a.guests[p]
	if g == nil {
		g = new(guest)
		a.guests[p] = g
	}
	if *of(g) >= most {
		return nil, nil
	}
	*of(g)++
	a.work.Add(1)
	return g, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		*of(g)--
		if g.streams == 0 && g.asks == 0 && a.guests[p] == g {
			delete(a.guests, p)
		}
		a.work.Done()
	}
}

// serveFrames takes the packets that a peer sends.
func (a *Agent) serveFrames(s Stream) {
	g, leave := a.enter(s.Peer(), func(g *guest) *int { return &g.streams }, maxGuest)
	if g == nil {
		s.Reset()
		return
	}
	defer leave()
	defer a.takeBeside(s, g)()
	defer s.Reset()
	defer context.AfterFunc(a.ctx, s.Reset)()
	const readBuffer = 64 << 10
	in := bufio.NewReaderSize(s, readBuffer)
	buf := make([]byte, frameHead+maxPacket)
	for {
		if _, err := io.ReadFull(in, buf[:frameHead]); err != nil {
			return
		}
		length, vni, p := readHead(buf)
		p.b = buf[frameHead:][:length]
		if _, err := io.ReadFull(in, p.b); err != nil {
			return
		}
		if !p.ipv4() || !p.sound() { // not from a program of ours
			a.count.drop(DropMalformed)
			return
		}
		a.take(s.Peer(), g, vni, p)
	}
}

// take takes one packet from a peer.
func (a *Agent) take(from wire.PeerID, g *guest, vni uint32, p packet) {
	n := a.network(vni)
	if n == nil {
		a.count.drop(DropUnknown)
		return
	}
	if !n.onHost(p.src(), from) {
		a.count.dropBetween(n, from, DropForeign, 1)
		return
	}
	if !n.onHost(p.dst(), a.self) {
		a.count.dropBetween(n, from, DropOutside, 1)
		return
	}
	_, slot, _ := p.dst().split()
	if !a.deliver(n, slot, p) && g.refused.take(time.Now()) {
		if r, ok := p.refusal(codePort); ok {
			a.sendWithin(from, n, &r, 0) // the packets of others wait behind this one
		}
	}
}
