package peer

import (
	"context"
	"time"

	"gaggle/wire"
)

const (
	// answerIn is how long a connection over QUIC may take to show that it leads somewhere, twice: before
	// a stranger knocks at its peer, and again once that was answered. Four round trips, or twice what the
	// stranger's handshake took, if that is more: as a packet or two may be lost.
	answerIn = 500 * time.Millisecond
	// answerInTCP is the same over TCP, which does not tell what was acknowledged: an answer waits behind
	// all that was written before.
	answerInTCP = 3 * time.Second
	// maxKnocks bounds strangers under way, each of which is a libp2p host: at peers that somebody waits for,
	// and as many at others, which may be all there are.
	maxKnocks = 2
	// knockAgain is when a stranger knocks again at a peer that did not answer one and that nobody waits for:
	// by then QUIC has noticed that a connection is dead.
	knockAgain = 30 * time.Second
	// protoNobody is handled nowhere. That a peer says so is as good an answer as any.
	protoNobody = "/gaggle/nobody/1"
)

// knocks has room for the strangers under way.
type knocks struct{ waited, others chan struct{} }

func newKnocks() knocks {
	return knocks{waited: make(chan struct{}, maxKnocks), others: make(chan struct{}, maxKnocks)}
}

// Doubt has connections given up that lead nowhere any more while their peers can still be reached: where a
// host has several interfaces and the one in use is dead, QUIC notices after 30 s of silence, TCP later.
// It looks in the background at the connection to p, which was silent for longer than it should be, and at
// all others that have streams, since they may go the same way. One is closed if nothing shows that it
// leads somewhere while its peer answers a new dial, and there is a new one when that has happened.
func (h *Host) Doubt(p wire.PeerID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for peer, ls := range h.peers {
		for _, l := range ls {
			if peer == p || l.streams.Load() > 0 {
				h.doubt(l, func(before sign) (time.Duration, bool) { return h.answersStranger(l, before, peer == p) })
			}
		}
	}
}

// doubtOlder looks at the connections that a peer has beside the one which it has just dialled: it would
// not have if they were good. Called with mu held.
func (h *Host) doubtOlder(l *link, old []*link) {
	for _, o := range old {
		if !o.inbound && !l.raced(o) {
			h.doubt(o, func(sign) (time.Duration, bool) { return 0, true })
		}
	}
}

// doubt has a direct connection proved in the background, unless that is being done. Called with mu held.
func (h *Host) doubt(l *link, otherwise func(before sign) (time.Duration, bool)) {
	if h.closed || l.relayed || !l.doubted.CompareAndSwap(false, true) {
		return
	}
	h.work.Go(func() {
		defer l.doubted.Store(false)
		h.prove(l, otherwise)
	})
}

// prove closes a connection on which nothing is answered, before and after it turned out that the peer can
// be reached otherwise, which took as long as otherwise says.
func (h *Host) prove(l *link, otherwise func(before sign) (time.Duration, bool)) {
	before := l.heard()
	if l.answers(h.ctx, before, 0) {
		return
	}
	took, ok := otherwise(before)
	// The first question may have been asked while there was no way at all, or this host too busy to see
	// the answer; the second is asked when there is one.
	if !ok || l.answers(h.ctx, before, 2*took) || h.ctx.Err() != nil {
		return
	}
	h.log.Info("a connection is dead; connecting anew", "peer", l.peer, "addr", l.conn.RemoteMultiaddr())
	l.close()
	ctx, cancel := context.WithTimeout(h.ctx, dialTimeout)
	defer cancel()
	if _, err := h.reach(ctx, l.peer); err != nil { // which tells the peer, whom nothing reached either
		h.log.Debug("connecting anew", "peer", l.peer, "error", firstLine(err))
	}
}

// answersStranger reports whether the peer of a link that is silent since before answers a new dial, when
// it is its turn, and how long that took.
func (h *Host) answersStranger(l *link, before sign, waited bool) (time.Duration, bool) {
	turn := h.knocks.others
	if waited {
		turn = h.knocks.waited
	} else if time.Since(time.Unix(0, l.knocked.Load())) < knockAgain {
		return 0, false
	}
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-l.ended:
		return 0, false
	case <-h.ctx.Done():
		return 0, false
	}
	if l.heard() != before {
		return 0, false
	}
	took, err := knock(h.ctx, h.mesh, l.peer, h.addrsOf(l.peer))
	if err != nil {
		l.knocked.Store(time.Now().UnixNano())
	}
	return took, err == nil
}

// addrsOf returns where a peer may be reached.
func (h *Host) addrsOf(p wire.PeerID) (addrs []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.book[p] {
		addrs = append(addrs, a.String())
	}
	return addrs
}

// A sign is of life: it differs from an earlier one if the link led somewhere since.
type sign struct {
	read             int64         // bytes, by those who have streams
	last, mean, vary time.Duration // what QUIC has measured of round trips, anew with each packet acknowledged
}

func (l *link) heard() sign {
	if q := l.quic(); q != nil {
		s := q.ConnectionStats()
		return sign{l.read.Load(), s.LatestRTT, s.SmoothedRTT, s.MeanDeviation}
	}
	return sign{read: l.read.Load()}
}

// answers reports whether something has shown that the link leads somewhere since before, or does within a
// time of at least patience, in which its peer is asked something; or else that it has ended.
func (l *link) answers(ctx context.Context, before sign, patience time.Duration) bool {
	if q := l.quic(); q != nil {
		patience = max(patience, answerIn, 4*q.ConnectionStats().SmoothedRTT)
	} else {
		patience = max(patience, answerInTCP)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return l.heard() != before || l.ask(ctx) || l.heard() != before || l.conn.IsClosed()
}

// ask asks the peer something and reports whether it has answered.
func (l *link) ask(ctx context.Context) bool {
	s, rw, err := openRaw(ctx, l.conn, protoNobody)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
		defer stop()
		_, _ = rw.Read(make([]byte, 1)) // fails, as nobody handles it there
		_ = s.Reset()
	}
	return ctx.Err() == nil
}
