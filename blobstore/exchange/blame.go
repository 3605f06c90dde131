package exchange

import (
	"time"

	"gaggle/wire"
)

// vouched takes in a lender's manifest: the first one, or one in place of that of a member that has
// contradicted itself.
// whole says that the lender had told that it has all when it was asked for it, see settle.
func (sw *swarm) vouched(l *lender, m *wire.Manifest, whole bool) error {
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
		sw.voucher, sw.liable = l.peer, whole
		sw.staff(l) // how far it is was not known before
	} else if sw.doubt {
		sw.adopt(l, m, whole)
	}
	sw.tell()
	return nil
}

// adopt replaces the manifest. Who was not believed because of the old one is asked again. Called with
// mu held.
func (sw *swarm) adopt(l *lender, m *wire.Manifest, whole bool) {
	lost, err := sw.part.Adopt(m)
	if err != nil && sw.err == nil {
		sw.err = err
	}
	sw.voucher, sw.liable, sw.doubt = l.peer, whole, false
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

// settle finds out who is to blame for a piece that does not pass. Three things can happen.
// The lender's own manifest says the same of the piece: it has contradicted itself.
// Its manifest differs, and it has the piece that leads into the last state on which both agree: the
// manifest that we had is false, for nobody can make such a piece (see wire.Manifest).
// Its manifest differs, and its piece does not lead there: it has lied. If it has no such piece, nothing
// is known, and it is asked no more unless the manifest turns out to be false.
// So each dispute costs one piece, and ends with a liar named or somebody left out.
//
// Only who has told that it has all is named: its manifest is made of those bytes. Who has a part passes
// on what it was told itself, may have learned better between two answers, and is left out.
func (sw *swarm) settle(a *lane, wrong *wrongError) {
	l := a.l
	sw.mu.Lock()
	d := dispute{sw.voucher, sw.liable, sw.part.Manifest()}
	settled := l.out != nil
	sw.mu.Unlock()
	switch {
	case settled:
		return
	case d.manifest != wrong.manifest && !d.manifest.SameLink(wrong.manifest, wrong.piece):
		return // it was judged by a manifest that is gone
	case d.voucher == l.peer && d.liable && a.whole:
		sw.convict(l)
		return
	}
	theirs, err := a.manifest()
	if err != nil {
		a.evaded()
		return
	}
	i, differ := d.manifest.Differ(theirs)
	if !differ || theirs.SameLink(d.manifest, wrong.piece) {
		a.blame()
		return
	}
	switch p, err := sw.proof(a, theirs, i); {
	case err != nil:
		a.evaded()
	case p == proven:
		sw.overturn(a, theirs, d)
	case p == disproven:
		a.blame()
	case sw.part.Manifest() == d.manifest:
		sw.leaveOut(l)
	}
}

// A dispute is what was so when it began: others may settle it meanwhile.
type dispute struct {
	voucher  wire.PeerID
	liable   bool
	manifest *wire.Manifest
}

// blame has a lender asked no more that has contradicted itself.
func (a *lane) blame() {
	if a.whole {
		a.sw.convict(a.l)
	} else {
		a.sw.leaveOut(a.l)
	}
}

// evaded takes in that a dispute could not be settled because asking failed. That happens to honest
// lenders, too: it is asked again, but not for ever, since each dispute costs a piece.
func (a *lane) evaded() {
	a.drop()
	a.sw.mu.Lock()
	a.l.evasions++
	many := a.l.evasions >= lanes*maxRounds
	a.l.until = time.Now().Add(absentFor)
	a.sw.mu.Unlock()
	if many {
		a.sw.leaveOut(a.l)
	}
}

type proof int

const (
	unknown proof = iota
	proven
	disproven
)

// proof asks the lender for a piece and holds it against its own manifest.
func (sw *swarm) proof(a *lane, m *wire.Manifest, i int) (proof, error) {
	want := make([]byte, bitmapLen(sw.size))
	setBit(want, i)
	if _, err := a.holdings(appendPieces(nil, sw.blobID, 1, want)); err != nil {
		return unknown, err
	}
	_, n, err := a.head(want, 1)
	if err != nil {
		return unknown, err
	}
	if n < 0 && a.whole {
		return unknown, errBusy
	}
	if n < 0 {
		return unknown, nil
	}
	buf := pieceBufs.Get().(*[wire.PieceSize]byte)
	defer pieceBufs.Put(buf)
	if _, err := a.st.read(buf[:n]); err != nil {
		return unknown, err
	}
	p := buf[:wire.PieceLen(sw.size, i)]
	if err := a.st.inflate(p, n); err != nil {
		return disproven, nil
	}
	if err := a.end(); err != nil {
		return unknown, err
	}
	if m.Check(i, p) {
		return proven, nil
	}
	return disproven, nil
}

// overturn adopts a manifest that was proven against the one we had, unless that is gone already. Who
// has vouched for the old one has lied.
func (sw *swarm) overturn(a *lane, m *wire.Manifest, d dispute) {
	sw.mu.Lock()
	gone := sw.part.Manifest() != d.manifest
	if !gone {
		sw.adopt(a.l, m, a.whole)
	}
	liar := sw.lenders[d.voucher]
	sw.mu.Unlock()
	if !gone && d.liable && liar != nil && liar != a.l {
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
	sw.doubted(l)
}

// doubted has others asked for the manifest if it is this lender's. Called with mu held.
func (sw *swarm) doubted(l *lender) {
	if l.peer == sw.voucher {
		sw.doubt = true
		sw.begged = time.Time{}
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
	sw.doubted(l)
	sw.mu.Unlock()
	if already {
		return
	}
	sw.x.struck(l.peer, sw.lotKey)
}
