package peer

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/quic-go/quic-go"
)

// This file alone knows that a direct connection is one of quic-go, and that the datagrams of QUIC
// (RFC 9221) on it are nobody's. libp2p enables them for WebTransport, which reads those of its own
// connections only, and promises neither: TestDatagrams tells if that changes.

// quic returns the QUIC connection of a link, nil if it is over TCP or relayed.
func (l *link) quic() *quic.Conn {
	var q *quic.Conn
	if l.relayed || !l.conn.As(&q) {
		return nil
	}
	return q
}

// Datagrams go beside the streams of a direct connection: each may be lost, and waits for no stream.
// They are safe for concurrent use. Two who receive share what comes.
type Datagrams struct {
	link *link
	conn *quic.Conn
	next chan []byte
}

// ErrTooLarge says that a datagram does not fit into a packet of its connection now.
var ErrTooLarge = errors.New("too large for a datagram")

// Datagrams returns those of the connection that the stream is on, nil if it has none: it is over TCP,
// or relayed. The peer must have said that it reads them, as nobody else does.
func (s *Stream) Datagrams() *Datagrams { return s.link.datagrams() }

func (l *link) datagrams() *Datagrams {
	q := l.quic()
	if q == nil || !q.ConnectionState().SupportsDatagrams.Remote {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.beside == nil {
		if !l.host.begin() {
			return nil
		}
		l.beside = &Datagrams{link: l, conn: q, next: make(chan []byte)}
		go l.beside.run()
	}
	return l.beside
}

// Send sends a datagram, when those before it have gone and streams have had their turn. The error is
// ErrTooLarge, of ctx, or of the connection.
func (d *Datagrams) Send(ctx context.Context, b []byte) error {
	if len(b) > sureDatagram && len(b) > d.most() {
		return ErrTooLarge
	}
	select {
	case d.next <- bytes.Clone(b):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.conn.Context().Done():
		return context.Cause(d.conn.Context())
	}
}

// Receive returns the next datagram that has come. What nobody receives is dropped, from the 129th on.
func (d *Datagrams) Receive(ctx context.Context) ([]byte, error) { return d.conn.ReceiveDatagram(ctx) }

// sureDatagram fits into every packet of QUIC, which has 1,200 bytes (RFC 9000, section 14).
const sureDatagram = 1100

// hugeDatagram fits into no packet.
var hugeDatagram = make([]byte, 1<<16)

// most returns how large a datagram may be: 1,243 bytes at first, and 1,404 when QUIC has found out that
// the way takes packets of 1,441; it looks no closer.
func (d *Datagrams) most() int {
	var e *quic.DatagramTooLargeError
	if errors.As(d.conn.SendDatagram(hugeDatagram), &e) {
		return int(e.MaxDatagramPayloadSize)
	}
	return 0
}

// run hands datagrams to QUIC, which keeps who brings one waiting while it has 32, until the connection
// ends.
func (d *Datagrams) run() {
	defer d.link.host.work.Done()
	ended := d.conn.Context().Done()
	var t turns
	for {
		select {
		case b := <-d.next:
			for !d.may(&t, len(b)) {
				select {
				case <-time.After(turnEvery):
				case <-ended:
					return
				}
			}
			_ = d.conn.SendDatagram(b) // it may be lost
		case <-ended:
			return
		}
	}
}

func (d *Datagrams) may(t *turns, n int) bool {
	streams := d.link.writing.Load() > 0
	s := d.conn.ConnectionStats()
	return t.may(time.Now(), n, s.BytesSent, streams, streamPatience+2*s.SmoothedRTT)
}

const (
	// datagramTurn is what datagrams may take before streams have as much, 11 of the largest: at 10
	// Mbit/s a stream waits for 13 ms.
	datagramTurn = 16 << 10
	// maxDatagramTurn is what they may take when streams let their turns pass, twice as much each time: such a
	// stream waits for its reader, for as long as that likes. One that begins then waits for this much, once.
	maxDatagramTurn = 1 << 20
	// datagramCost is what QUIC adds to each.
	datagramCost = 40
	// streamPatience and two round trips, in which QUIC sends twice what its window is, bound how long
	// datagrams wait for streams, which may wait for their readers and not for the path.
	streamPatience = 20 * time.Millisecond
	// turnEvery is how often it is looked whether streams have had their turn.
	turnEvery = time.Millisecond
)

// turns has the datagrams of a connection and its streams share the path while both have something to
// send. QUIC puts a datagram first into each packet, so who floods would stop all streams to a host,
// those of files as well. The zero turns are the beginning.
type turns struct {
	used uint64    // bytes of datagrams in this turn
	mark uint64    // what the connection had sent when it began
	over time.Time // when it was used up; zero before
	size uint64    // bytes of datagrams that make a turn, if more than datagramTurn
}

// may reports whether a datagram of n bytes may go now, and counts it then. sent is what the connection
// has sent in all; streams says whether one waits to write.
func (t *turns) may(now time.Time, n int, sent uint64, streams bool, patience time.Duration) bool {
	if !streams {
		*t = turns{}
		return true
	}
	if size := max(t.size, datagramTurn); t.used >= size {
		if t.over.IsZero() {
			t.over = now
		}
		passed := sent-t.mark < 2*t.used
		if passed && now.Sub(t.over) <= patience {
			return false
		}
		*t = turns{}
		if passed {
			t.size = min(2*size, maxDatagramTurn)
		}
	}
	if t.used == 0 {
		t.mark = sent
	}
	t.used += uint64(n + datagramCost)
	return true
}
