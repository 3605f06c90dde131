package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/multiformats/go-multistream"

	"gaggle/wire"
)

const (
	// maxNews bounds the revocations that wait for one peer; of more it is told all that are known.
	maxNews = 64
	// tellAgain is how long to wait before a peer that did not listen is told again, doubled each time
	// up to maxTellAgain: it may have had maxTellers others to listen to, or a slow disk.
	tellAgain    = time.Second
	maxTellAgain = time.Minute
	// maxTellers bounds the members that tell us of revocations at once, of which each may do so once
	// on a connection: who holds places without saying anything must not keep the coordinator from it.
	// Others are told to come again by the end of their stream.
	maxTellers = 128
)

// A debt is what a peer is yet to be told of revocations. As long as a Host has one for a peer, one
// goroutine pays it. Guarded by the Host's mu.
type debt struct {
	news [][]byte
	all  bool // all that are known, and to be told what we lack
}

// spread has every connected member but one told of some revocations.
func (h *Host) spread(news [][]byte, but wire.PeerID) {
	h.mu.Lock()
	peers := slices.Collect(maps.Keys(h.peers))
	h.mu.Unlock()
	for _, p := range peers {
		if p != but {
			h.owe(p, debt{news: news})
		}
	}
}

// compare exchanges revocations with a peer that showed another digest than ours. A peer of an older
// version shows none.
func (h *Host) compare(l *link, theirs []byte) {
	if len(theirs) > 0 && !bytes.Equal(theirs, h.revoked.known()) {
		h.owe(l.peer, debt{all: true})
	}
}

// owe has a peer told, in the background, after what it is being told.
func (h *Host) owe(p wire.PeerID, more debt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	d := h.debts[p]
	if d == nil {
		d = &debt{}
		h.debts[p] = d
		h.work.Go(func() { h.pay(p) })
	}
	d.all = d.all || more.all || len(d.news)+len(more.news) > maxNews
	if d.news = append(d.news, more.news...); d.all {
		d.news = nil
	}
}

// due takes what a peer is to be told. There being nothing left ends the debt.
func (h *Host) due(p wire.PeerID) (m wire.Revocations, ok bool) {
	h.mu.Lock()
	d := h.debts[p]
	m = wire.Revocations{Entries: d.news, All: d.all}
	if ok = m.All || len(m.Entries) > 0; ok {
		*d = debt{}
	} else {
		delete(h.debts, p)
	}
	h.mu.Unlock()
	if m.All {
		m.Entries = h.revoked.list(nil)
	}
	return m, ok
}

// pay tells a peer what it is to be told until it knows all of it. If the connection ends first it
// gives up: on the next one digests are compared, and what was learned meanwhile shows there.
func (h *Host) pay(p wire.PeerID) {
	pause := tellAgain
	for m, ok := h.due(p); ok; m, ok = h.due(p) {
		l := h.certified(p)
		if l == nil || h.Revoked(p) != nil || h.Revoked(h.ID()) != nil {
			continue // nobody is there, or nobody listens to the other
		}
		if h.tellRevoked(l, m) {
			pause = tellAgain
			continue
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-l.ended:
		case <-h.ctx.Done():
		}
		again.Stop()
		pause = min(2*pause, maxTellAgain)
		h.owe(p, debt{all: true})
	}
}

// tellRevoked sends revocations to a peer and takes in what it answers. It reports whether that is
// done with: the peer knows them, or is of a version that does not want to.
func (h *Host) tellRevoked(l *link, m wire.Revocations) (done bool) {
	var answer wire.Revocations
	err := h.tell(l, m, &answer)
	done = err == nil || errors.Is(err, multistream.ErrNotSupported[string]{})
	if err == nil {
		err = h.learn(answer.Entries, l.peer)
	}
	if err != nil && h.ctx.Err() == nil {
		h.log.Info("revocations were not exchanged", "peer", l.peer, "error", firstLine(err))
	}
	return done
}

// tell is the exchange of one frame each. It waits for the end of the peer's, after which the peer
// takes the next.
func (h *Host) tell(l *link, m wire.Revocations, answer *wire.Revocations) error {
	ctx, cancel := context.WithTimeout(h.ctx, certTimeout)
	defer cancel()
	s, rw, err := openRaw(ctx, l.conn, wire.ProtocolRevoked)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	if err = wire.WriteFrame(rw, m); err == nil {
		err = wire.NewFrameReader(io.LimitReader(rw, maxRevokedFrame)).Read(answer)
	}
	if err != nil {
		_ = s.Reset()
		return err
	}
	_, _ = rw.Read(make([]byte, 1)) // the answer is here, however this ends
	_ = rw.Close()
	return nil
}

// serveRevoked is the handler of wire.ProtocolRevoked.
func (h *Host) serveRevoked(s *Stream) {
	if !s.link.telling.CompareAndSwap(false, true) {
		return // it is reset
	}
	select {
	case h.tellers <- struct{}{}:
	default:
		s.link.telling.Store(false)
		return
	}
	err := h.answerRevoked(s)
	<-h.tellers
	s.link.telling.Store(false) // before the end of the stream: who sees that may begin another
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		h.log.Info("a peer broke off telling of revocations", "peer", s.Peer(), "error", fmt.Sprint(err))
	}
}

// answerRevoked takes in what a peer tells, and says what it lacks.
func (h *Host) answerRevoked(s *Stream) error {
	var m, answer wire.Revocations
	if err := s.SetDeadline(time.Now().Add(certTimeout)); err != nil {
		return err
	}
	if err := wire.NewFrameReader(io.LimitReader(s, maxRevokedFrame)).Read(&m); err != nil {
		return err
	}
	if err := h.learn(m.Entries, s.Peer()); err != nil {
		return err
	}
	if m.All {
		answer.Entries = h.revoked.list(m.Entries)
	}
	return wire.WriteFrame(s, answer)
}
