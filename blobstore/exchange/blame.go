package exchange

import (
	"time"

	"gaggle/wire"
)

// vouched takes in a lender's manifest: the first one, or one in place of that of a member that has
// contradicted itself.
func (sw *swarm) vouched(l *lender, m *wire.Manifest) error {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.part == nil {
		p, err := sw.x.cfg.Store.Receive(sw.space, m)
		if err != nil {
			if sw.err == nil {
				sw.err = err
			}
			return err
		}
		sw.begin(p)
		sw.voucher = l.peer
	} else if sw.doubt {
		sw.adopt(l, m)
	}
	sw.tell()
	return nil
}

// adopt replaces the manifest. Who was not believed because of the old one is asked again. Called with
// mu held.
func (sw *swarm) adopt(l *lender, m *wire.Manifest) {
	lost, err := sw.part.Adopt(m)
	if err != nil && sw.err == nil {
		sw.err = err
	}
	sw.voucher, sw.doubt = l.peer, false
	sw.left += len(lost)
	sw.first = 0
	for _, i := range lost {
		sw.f.count(-int64(wire.PieceLen(sw.size, i)), wire.PeerID{})
	}
	for _, o := range sw.lenders {
		if o.out != nil && o.out.why == errProof {
			o.out = nil
			sw.staff(o)
		}
	}
	sw.tell()
}

// settle finds out who is to blame for a piece that does not pass. Four things can happen.
// The lender has vouched for the manifest itself: it has contradicted itself.
// The lender's own manifest says the same of the piece: likewise.
// Its manifest differs, and it has the piece that leads into the last state on which both agree: the
// manifest that we had is false, for nobody can make such a piece (see wire.Manifest), and who vouched
// for it has lied.
// Its manifest differs, and its piece does not lead there: it has lied. If it has no such piece, nothing
// is known, and it is asked no more unless the manifest turns out to be false.
// So each dispute costs one piece, and ends with a liar named or somebody left out.
func (sw *swarm) settle(a *lane, wrong *wrongError) {
	l := a.l
	sw.mu.Lock()
	voucher, current := sw.voucher, sw.part.Manifest()
	settled := l.out != nil
	sw.mu.Unlock()
	switch {
	case settled:
		return
	case current != wrong.manifest && !current.SameLink(wrong.manifest, wrong.piece):
		return // it was judged by a manifest that is gone
	case voucher == l.peer:
		sw.convict(l)
		return
	}
	theirs, err := a.manifest()
	if err != nil {
		sw.leaveOut(l)
		return
	}
	if theirs.SameLink(current, wrong.piece) {
		sw.convict(l)
		return
	}
	i, ok := current.Differ(theirs)
	if !ok {
		sw.convict(l)
		return
	}
	switch p := sw.proof(a, theirs, i); {
	case p == proven:
		sw.overturn(l, theirs)
	case p == disproven:
		sw.convict(l)
	case sw.part.Manifest() == current:
		sw.leaveOut(l)
	}
}

type proof int

const (
	unknown proof = iota
	proven
	disproven
)

// proof asks the lender for a piece and holds it against its own manifest.
func (sw *swarm) proof(a *lane, m *wire.Manifest, i int) proof {
	want := make([]byte, bitmapLen(sw.size))
	setBit(want, i)
	size, err := a.answer(appendPieces(nil, sw.blobID, 1, want))
	if err == nil && size != 0 {
		_, err = a.bitmap(size)
	}
	if err != nil {
		return unknown
	}
	_, n, err := a.head(want, 1)
	if err != nil || n < 0 {
		return unknown
	}
	buf := pieceBufs.Get().(*[wire.PieceSize]byte)
	defer pieceBufs.Put(buf)
	if _, err := a.st.read(buf[:n]); err != nil {
		return unknown
	}
	if err := a.end(); err != nil {
		return unknown
	}
	if m.Check(i, buf[:n]) {
		return proven
	}
	return disproven
}

// overturn adopts a manifest that was proven against the one we had.
func (sw *swarm) overturn(l *lender, m *wire.Manifest) {
	sw.mu.Lock()
	liar := sw.lenders[sw.voucher]
	if d, ok := sw.part.Manifest().Differ(m); ok && d > 0 {
		sw.adopt(l, m)
	}
	sw.mu.Unlock()
	if liar != nil && liar != l {
		sw.convict(liar)
	}
}

// leaveOut has a lender asked no more without blaming it.
func (sw *swarm) leaveOut(l *lender) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.ctx.Err() == nil {
		sw.dismiss(l, &outcome{verdict: broken, why: errProof})
	}
}

// convict has a lender that sent wrong bytes asked no more.
func (sw *swarm) convict(l *lender) {
	sw.mu.Lock()
	already := l.out != nil && l.out.wrong
	if l.out == nil || !already {
		l.out = nil
		sw.dismiss(l, &outcome{verdict: broken, wrong: true, why: errWrong})
	}
	if l.peer == sw.voucher {
		sw.doubt = true
		sw.begged = time.Time{}
	}
	sw.mu.Unlock()
	if already {
		return
	}
	sw.x.log.Warn("a peer sent wrong bytes", "peer", l.peer, "space", sw.space, "digest", sw.digest)
	if l.m.strike(sw.x.cfg.Now()) {
		sw.x.log.Warn("a peer is blocked for sending wrong bytes", "peer", l.peer, "for", blockedFor)
	}
}
