package peer

import (
	"context"
	"time"

	"gaggle/wire"
)

// pingFor is how long a connection that is doubted may take for an exchange of certificates. It was silent
// before, and one that is only slow is replaced by another that is as good: what was on its way is asked for
// again from where it broke off.
const pingFor = time.Second

// Doubt has connections given up that lead nowhere any more while their peers can still be reached: where a
// host has several interfaces and the one in use is dead, QUIC notices after 30 s of silence, TCP later.
// It looks in the background at the connection to p, which was silent for longer than it should be, and at
// all others that have streams, since they may go the same way. Each that answers nothing is closed, if its
// peer answers a new dial, and there is a new one when that has happened.
func (h *Host) Doubt(p wire.PeerID) {
	h.mu.Lock()
	var doubted []*link
	for peer, ls := range h.peers {
		for _, l := range ls {
			if !l.relayed && (peer == p || l.streams.Load() > 0) {
				doubted = append(doubted, l)
			}
		}
	}
	h.mu.Unlock()
	for _, l := range doubted {
		if !h.begin() {
			return
		}
		go h.prove(l, func(ctx context.Context) bool {
			_, err := knock(ctx, h.mesh, l.peer, h.addrsOf(l.peer))
			return err == nil
		})
	}
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

// doubtOlder looks at the connections that a peer has beside the one which it has just dialled: it would
// not have if they were good. Called with mu held.
func (h *Host) doubtOlder(l *link, old []*link) {
	for _, o := range old {
		if !h.closed && !o.relayed && !o.inbound && !l.raced(o) {
			h.work.Add(1)
			go h.prove(o, func(context.Context) bool { return true })
		}
	}
}

// prove closes a connection on which nothing is answered, if the peer can be reached otherwise. It is
// called once for each count of work.
func (h *Host) prove(l *link, otherwise func(context.Context) bool) {
	defer h.work.Done()
	if !l.doubted.CompareAndSwap(false, true) {
		return
	}
	defer l.doubted.Store(false)
	ctx, cancel := context.WithTimeout(h.ctx, pingFor)
	err := h.showCert(ctx, l)
	cancel()
	if err == nil || h.ctx.Err() != nil || l.conn.IsClosed() || !otherwise(h.ctx) {
		return
	}
	h.log.Info("a connection is dead; connecting anew", "peer", l.peer, "addr", l.conn.RemoteMultiaddr())
	l.close()
	ctx, cancel = context.WithTimeout(h.ctx, dialTimeout)
	defer cancel()
	if _, err := h.reach(ctx, l.peer); err != nil { // which tells the peer, whom nothing reached either
		h.log.Debug("connecting anew", "peer", l.peer, "error", firstLine(err))
	}
}
