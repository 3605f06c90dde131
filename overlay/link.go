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
	// maxQueue bounds the packets that wait for one host: 16 of the largest.
	maxQueue = 1 << 20
	// maxQueues bounds those that wait for all hosts.
	maxQueues = 64 << 20
	// waitQueue is how long an endpoint that sends is held up by a full queue before its packet is
	// dropped. To wait slows TCP down without a loss; the stream below loses nothing, so whoever
	// drops only makes it send again what it has sent.
	waitQueue = 200 * time.Millisecond
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

// A link is the packets that go to one host.
type link struct {
	agent *Agent
	peer  wire.PeerID
	kick  chan struct{} // capacity 1: something is queued

	mu      sync.Mutex    // guards the fields below
	queue   []byte        // frames
	spare   []byte        // the other of two buffers
	drained chan struct{} // closed and replaced when the queue was taken
	down    time.Time     // nothing is taken before
	ended   bool          // its goroutine has
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
	l := &link{agent: a, peer: p, kick: make(chan struct{}, 1), drained: make(chan struct{})}
	a.links[p] = l
	a.work.Go(l.run)
	return l
}

// send queues a packet for a peer, or drops it.
func (a *Agent) send(p wire.PeerID, n *network, k *packet) {
	for range 2 { // a link may end just now
		l := a.link(p)
		if l == nil {
			break
		}
		if l.push(n.vni, k) {
			return
		}
	}
	a.count.drop(DropUnreachable)
}

// push queues a packet. It returns false if the link has ended; a packet that is dropped it counts.
func (l *link) push(vni uint32, k *packet) bool {
	need := frameHead + len(k.b)
	var late <-chan time.Time
	l.mu.Lock()
	for !l.ended && len(l.queue)+need > maxQueue {
		drained := l.drained
		l.mu.Unlock()
		if late == nil {
			t := time.NewTimer(waitQueue)
			defer t.Stop()
			late = t.C
		}
		select {
		case <-drained:
		case <-late:
			l.agent.count.drop(DropQueue)
			return true
		case <-l.agent.ctx.Done():
			return false
		}
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	switch {
	case l.ended:
		return false
	case !l.down.IsZero() && time.Now().Before(l.down):
		l.agent.count.drop(DropUnreachable)
		return true
	case l.agent.count.queued.Add(int64(need)) > maxQueues:
		l.agent.count.queued.Add(int64(-need))
		l.agent.count.drop(DropQueue)
		return true
	}
	l.queue = appendFrame(l.queue, vni, k)
	select {
	case l.kick <- struct{}{}:
	default:
	}
	return true
}

// take returns what is queued.
func (l *link) take() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.queue
	l.queue, l.spare = l.spare[:0], nil
	close(l.drained)
	l.drained = make(chan struct{})
	return b
}

// done gives the room of what take returned back. A host that could not be reached is left alone for
// a while.
func (l *link) done(b []byte, err error) {
	l.agent.count.queued.Add(int64(-len(b)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spare = b[:0]
	l.down = time.Time{}
	if err != nil {
		l.down = time.Now().Add(againAfter)
	}
}

// run writes what is queued until the link has been idle for long, or the agent ends.
func (l *link) run() {
	var s Stream
	defer func() {
		if s != nil {
			s.Reset()
		}
		l.drop()
	}()
	idle := time.NewTimer(linkIdle)
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
		idle.Reset(linkIdle)
		b := l.take()
		if len(b) == 0 {
			l.done(b, nil)
			continue
		}
		var err error
		s, err = l.write(s, b)
		if err != nil && l.agent.ctx.Err() == nil {
			l.agent.log.Info("packets for a host are dropped", "peer", l.peer, "error", err)
			l.agent.count.drop(DropUnreachable)
		}
		l.done(b, err)
	}
}

// write writes frames to the stream, or to a new one if that fails, from the first on: it may be that
// the old one delivered them, too, which IP allows.
func (l *link) write(s Stream, b []byte) (Stream, error) {
	for again := true; ; again = false {
		if s == nil {
			ctx, cancel := context.WithTimeout(l.agent.ctx, openTimeout)
			var err error
			s, err = l.agent.peers.Open(ctx, l.peer, ProtocolFrames)
			cancel()
			if err != nil {
				return nil, err
			}
		}
		err := writeAll(s, b)
		if err == nil {
			return s, nil
		}
		s.Reset()
		if s = nil; !again {
			return nil, err
		}
	}
}

// writeAll writes b, at no less than a floor rate of 6.5 KB/s.
func writeAll(s Stream, b []byte) error {
	for len(b) > 0 {
		part := b[:min(len(b), 64<<10)]
		if err := s.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil {
			return err
		}
		if _, err := s.Write(part); err != nil {
			return err
		}
		b = b[len(part):]
	}
	return nil
}

// retire ends an idle link. It returns false if something was queued just now.
func (l *link) retire() bool {
	l.agent.mu.Lock()
	defer l.agent.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 {
		return false
	}
	l.ended = true
	delete(l.agent.links, l.peer)
	return true
}

// drop ends the link with all that is queued.
func (l *link) drop() {
	l.agent.mu.Lock()
	defer l.agent.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.agent.links[l.peer] == l {
		delete(l.agent.links, l.peer)
	}
	l.agent.count.queued.Add(int64(-len(l.queue)))
	l.queue = nil
	close(l.drained)
	l.drained = make(chan struct{})
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
		a.count.drop(DropForeign)
		return
	}
	if !n.onHost(p.dst(), a.self) {
		a.count.drop(DropOutside)
		return
	}
	_, slot, _ := p.dst().split()
	if !a.deliver(n, slot, p) && g.refused.take(time.Now()) {
		if r, ok := p.refusal(codePort); ok {
			a.send(from, n, &r)
		}
	}
}
