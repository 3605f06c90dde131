package peer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"gaggle/wire"
)

const (
	// pendingFor is how long a connection may stay without certificates: long enough to join.
	pendingFor = 30 * time.Second
	// maxPending bounds inbound connections without certificates.
	maxPending = 256
	// maxAsking bounds what a peer may ask for at once without being a member: it shows one certificate
	// after the other, and may renew one meanwhile.
	maxAsking = 4
	// maxEarly bounds streams of one connection that wait for its certificates.
	maxEarly = 16
	// idleFor is how long a connection without streams is kept: a new one costs two round trips,
	// an idle one keep-alives every 15 s, which keep a laptop's radio awake.
	idleFor = 10 * time.Minute
	// sweepEvery is how often idle connections are looked for.
	sweepEvery = time.Minute
)

// A link is one libp2p connection and what its peer has shown on it.
type link struct {
	host    *Host
	conn    network.Conn
	peer    wire.PeerID
	inbound bool
	relayed bool
	pending *time.Timer   // closes the connection if it stays without certificates
	ready   chan struct{} // closed when certificates were exchanged
	ended   chan struct{} // closed when the connection is gone
	turn    chan struct{} // capacity 1: held while we show our certificate

	streams  atomic.Int64 // open ones that we gave out
	writing  atomic.Int64 // of those, in Write
	used     atomic.Int64 // Unix nanoseconds, when a stream was last closed
	early    atomic.Int64 // streams that wait for the certificates
	direct   atomic.Int64 // Unix nanoseconds, when a relayed pair last tried for a direct connection
	rtt      atomic.Int64 // nanoseconds that the last exchange of certificates took, 0 if we began none
	measured atomic.Int64 // Unix nanoseconds, when one was begun for that
	punched  atomic.Bool  // direct, and made while there was a relayed one
	read     atomic.Int64 // bytes that came on them
	doubted  atomic.Bool  // somebody looks whether anything is answered on it
	knocked  atomic.Int64 // Unix nanoseconds, when its peer last did not answer a stranger
	zstd     atomic.Bool  // the peer has said that it reads compressed answers

	telling atomic.Bool  // the peer tells us of revocations
	asking  atomic.Int64 // exchanges of certificates and requests to join that the peer has begun

	mu     sync.Mutex // guards the fields below
	cert   *wire.Certificate
	beside *Datagrams // nil until wanted
}

// shown returns the peer's certificate, nil if it has shown none.
func (l *link) shown() *wire.Certificate {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cert
}

func (l *link) close() { _ = l.conn.Close() }

// opened enters a new connection. libp2p calls it before any stream arrives on it.
func (h *Host) opened(c network.Conn) {
	p, err := wire.PeerFromBytes([]byte(c.RemotePeer()))
	l := &link{
		host: h, conn: c, peer: p, inbound: c.Stat().Direction == network.DirInbound, relayed: relayed(c),
		ready: make(chan struct{}), ended: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	l.used.Store(time.Now().UnixNano())
	h.mu.Lock()
	refused := err != nil || h.closed || l.inbound && h.pending >= maxPending
	if !refused {
		h.links[c] = l
		known := func(o *link) bool { return o.relayed }
		l.punched.Store(!l.relayed && slices.ContainsFunc(h.peers[p], known))
		if l.inbound {
			h.pending++
		}
		l.pending = time.AfterFunc(pendingFor, l.close)
	}
	h.mu.Unlock()
	if !refused {
		h.adopt(l)
	}
	if refused && h.begin() {
		// Closing calls back here, so it must not be done here.
		go func() {
			defer h.work.Done()
			l.close()
		}()
	}
}

// gone forgets a connection that has ended.
func (h *Host) gone(c network.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen.forget(c)
	l := h.links[c]
	if l == nil {
		return
	}
	delete(h.links, c)
	l.pending.Stop()
	close(l.ended)
	ls := h.peers[l.peer]
	i := slices.Index(ls, l)
	if i < 0 {
		if l.inbound {
			h.pending--
		}
		return
	}
	if ls = slices.Delete(slices.Clone(ls), i, i+1); len(ls) > 0 {
		h.peers[l.peer] = ls
		return
	}
	delete(h.peers, l.peer)
	h.told.tell(l.peer, false)
}

// enter records the certificate that the peer has shown on a connection, and that ours was taken.
func (h *Host) enter(l *link, c *wire.Certificate) {
	l.mu.Lock()
	l.cert = c
	l.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	ls := h.peers[l.peer]
	if h.links[l.conn] != l || slices.Contains(ls, l) || h.revoked.of(l.peer) != nil {
		return // it ended, was known, or was revoked after it was judged
	}
	l.pending.Stop()
	h.seen.admit(l.conn)
	if l.inbound {
		h.pending--
		h.replace(l, ls)
		h.doubtOlder(l, ls)
	}
	h.peers[l.peer] = append(slices.Clone(ls), l)
	close(l.ready)
	if len(ls) == 0 {
		h.told.tell(l.peer, true)
	}
}

// replace closes the older connections that the same peer has dialled: it would not have dialled
// again if it still had them. Without this a member that restarted, or whose address changed,
// would count as reachable by its dead connection until that times out. A direct one that follows a
// relayed one leaves that to the streams on it. Called with mu held.
func (h *Host) replace(l *link, old []*link) {
	for _, o := range old {
		if !o.inbound || h.closed || o.relayed && !l.relayed || l.raced(o) {
			continue
		}
		h.work.Add(1)
		go func() {
			defer h.work.Done()
			o.close()
		}()
	}
}

// racedFor is how far apart connections are that one dial may make: libp2p tries TCP a quarter of a
// second after QUIC, and on a loaded machine both get there.
const racedFor = 2 * time.Second

// raced reports whether two connections seem to be of one dial, over QUIC and over TCP. The peer has
// both and may use either; the one that it does not is closed when it is idle.
func (l *link) raced(o *link) bool {
	apart := l.conn.Stat().Opened.Sub(o.conn.Stat().Opened).Abs()
	return !l.relayed && !o.relayed && (l.way() == WayTCP) != (o.way() == WayTCP) && apart < racedFor
}

func (h *Host) linkOf(c network.Conn) *link {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links[c]
}

// certified returns the newest connection to p on which certificates were exchanged, a relayed one
// only if there is no other, or nil.
func (h *Host) certified(p wire.PeerID) *link {
	h.mu.Lock()
	defer h.mu.Unlock()
	var relayed *link
	for _, l := range slices.Backward(h.peers[p]) {
		switch {
		case l.conn.IsClosed():
		case !l.relayed:
			return l
		case relayed == nil:
			relayed = l
		}
	}
	return relayed
}

// Shown returns the certificate that a connected member showed last, nil if it is not connected.
func (h *Host) Shown(p wire.PeerID) *wire.Certificate {
	if l := h.certified(p); l != nil {
		return l.shown()
	}
	return nil
}

// admit reports whether a stream that the peer opened may be handled: its certificate has been
// shown, or is within certTimeout, and holds.
func (h *Host) admit(l *link) bool {
	select {
	case <-l.ready:
	default:
		if l.early.Add(1) > maxEarly {
			l.early.Add(-1)
			return false
		}
		defer l.early.Add(-1)
		ctx, cancel := context.WithTimeout(h.ctx, certTimeout)
		defer cancel()
		select {
		case <-l.ready:
		case <-l.ended:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return !h.outdated(l.shown()) && h.Revoked(l.peer) == nil
}

// outdated reports whether a certificate that held once has run out since.
func (h *Host) outdated(c *wire.Certificate) bool {
	return h.now().Add(-wire.MaxClockSkew).Unix() > c.Expires
}

// sweep closes connections that nobody has used for idleFor.
func (h *Host) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case now := <-tick.C:
			h.keepPlace(now)
			for _, l := range h.idle(now) {
				l.close()
			}
		}
	}
}

// idle returns the certified links without streams for too long.
func (h *Host) idle(now time.Time) (out []*link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ls := range h.peers {
		direct := slices.ContainsFunc(ls, func(l *link) bool { return !l.relayed })
		for _, l := range ls {
			keep := idleFor
			if l.relayed && direct {
				keep = leaveRelay
			}
			if l.streams.Load() == 0 && l.used.Load() < now.Add(-keep).UnixNano() {
				out = append(out, l)
			}
		}
	}
	return out
}
