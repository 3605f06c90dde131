package overlay

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// Datagrams go beside a stream, on its connection: each may be lost, and waits for no stream.
type Datagrams interface {
	// Send sends one, when those before it have gone; peer.ErrTooLarge if it does not fit now.
	Send(ctx context.Context, b []byte) error
	// Receive returns the next that has come.
	Receive(ctx context.Context) ([]byte, error)
}

const (
	// readsDatagrams is what who takes a stream of frames writes to it if it reads frames from the
	// datagrams of its connection, too. Agents of older versions write nothing.
	readsDatagrams = 1
	// maxBeside bounds the datagrams of one network that wait for one host: 50 ms at 10 Mbit/s.
	maxBeside = 64 << 10
	// besideTurn is what a network may send as datagrams before the next has its turn.
	besideTurn = 4 << 10
)

// datagramHead is the length of what stands before a packet in a datagram: kind and VNI of its frame. With
// the rest of a frame's head the largest packets of a TUN device would not fit.
const datagramHead = 4

// datagramOf makes a frame a datagram, in its place.
func datagramOf(frame []byte) []byte {
	b := frame[frameHead-datagramHead:]
	copy(b, frame[2:2+datagramHead])
	return b
}

// datagram reports whether a packet may overtake others and be lost, as its program knows: UDP or ICMP
// in one piece. Of what had to be cut up each part is needed, and the stream loses none.
func (p *packet) datagram() bool {
	return (p.proto() == protoUDP || p.proto() == protoICMP) && !p.fragment()
}

// beside are the packets that wait to go to a host as datagrams. Guarded by the link's mu.
type beside struct {
	*lanes
	kick chan struct{} // capacity 1: something waits
}

// push queues a packet. It returns false if it is dropped: UDP is not to wait.
func (q *beside) push(net *network, k *packet) bool {
	n := q.of(net)
	return q.room(n, k) && q.add(n, k) && wake(q.kick)
}

// sendBeside sends datagrams for as long as a stream lives whose taker has said that it reads them.
func (l *link) sendBeside(s Stream) {
	d := s.Datagrams()
	if d == nil {
		return
	}
	var said [1]byte
	if _, err := io.ReadFull(s, said[:]); err != nil || said[0] != readsDatagrams {
		return
	}
	ctx, end := context.WithCancel(l.agent.ctx)
	defer end()
	l.agent.work.Go(func() {
		_, _ = s.Read(said[:]) // it says no more before it ends
		end()
	})
	q := &beside{newLanes(l, maxBeside, besideTurn), make(chan struct{}, 1)}
	l.mu.Lock()
	l.beside = q
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		q.clear()
		if l.beside == q {
			l.beside = nil
		}
	}()
	for {
		select {
		case <-q.kick:
		case <-ctx.Done():
			return
		}
		if err := l.empty(ctx, q, d); err != nil {
			return
		}
	}
}

// empty sends what waits to go as datagrams.
func (l *link) empty(ctx context.Context, q *beside, d Datagrams) (err error) {
	for {
		l.mu.Lock()
		n, b := q.take()
		l.mu.Unlock()
		if b == nil {
			return nil
		}
		for left := b; len(left) > 0; {
			size := frameHead + int(binary.BigEndian.Uint16(left))
			if err = l.sendDatagram(ctx, d, n.net, left[:size:size]); err != nil {
				q.lost(n.net, frames(left))
				break
			}
			left = left[size:]
		}
		l.mu.Lock()
		q.done(n, b)
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// sendDatagram sends a frame, by the stream if it is too large.
func (l *link) sendDatagram(ctx context.Context, d Datagrams, net *network, frame []byte) error {
	_, _, k := readHead(frame)
	k.b = frame[frameHead:]
	err := d.Send(ctx, datagramOf(frame))
	switch {
	case err == nil:
		l.agent.count.beside.Add(1)
	case errors.Is(err, peer.ErrTooLarge):
		if !l.pushStream(net, &k) {
			l.agent.count.dropBetween(net, l.peer, DropQueue, 1)
		}
		return nil
	}
	return err
}

// pushStream queues a packet for the stream. It returns false if there is no room.
func (l *link) pushStream(net *network, k *packet) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.lanes.of(net)
	return !l.ended && l.lanes.room(n, k) && l.lanes.add(n, k) && wake(l.kick)
}

// takeBeside takes frames from the datagrams of a stream's connection, and says so on the stream, until
// the function that it returns is called.
func (a *Agent) takeBeside(s Stream, g *guest) (end func()) {
	d := s.Datagrams()
	if d == nil {
		return func() {}
	}
	ctx, end := context.WithCancel(a.ctx)
	a.work.Go(func() {
		if _, err := s.Write([]byte{readsDatagrams}); err != nil {
			return
		}
		for {
			b, err := d.Receive(ctx)
			if err != nil {
				return
			}
			a.takeDatagram(s.Peer(), g, b)
		}
	})
	return end
}

// takeDatagram takes what should be one packet.
func (a *Agent) takeDatagram(from wire.PeerID, g *guest, b []byte) {
	if len(b) < datagramHead {
		a.count.drop(DropMalformed)
		return
	}
	p := packet{kind: kind(b[0]), b: b[datagramHead:]}
	if !p.ipv4() || !p.sound() {
		a.count.drop(DropMalformed)
		return
	}
	a.take(from, g, binary.BigEndian.Uint32(b)&0xffffff, p)
}
