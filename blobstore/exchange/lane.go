package exchange

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

const (
	// absentFor is how long a peer that is not known to have anything yet is left alone.
	absentFor = 500 * time.Millisecond
	// maxAbsent is how often in a row it may have nothing.
	maxAbsent = 60
	// manifestWait is how long one lender may take for the manifest before another is asked, too.
	manifestWait = time.Second
)

// A lane asks one lender for pieces, one order at a time, on a stream of its own.
type lane struct {
	sw *swarm
	l  *lender
	st *session
	// whole says that the last answer told that all is there, before what else it sent.
	whole bool
}

// A task is what a lane is to ask next.
type task struct {
	kind byte // reqManifest or reqPieces
	want []byte
	most int // 0 is to ask what the lender has
	o    *order
}

func (a *lane) run() {
	defer a.sw.work.Done()
	defer func() { a.st.close() }()
	for {
		t, ok := a.next()
		if !ok {
			return
		}
		if err := a.carry(t); err != nil {
			a.drop()
			if !a.failed(err) {
				return
			}
		}
	}
}

// drop gives up the stream.
func (a *lane) drop() {
	if a.st != nil {
		a.st.s.Reset()
		a.st.close()
		a.st = nil
	}
}

// next waits for something to ask. It returns false when the lane should end.
func (a *lane) next() (task, bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	sw := a.sw
	for {
		sw.mu.Lock()
		if sw.ctx.Err() != nil || a.l.out != nil || a.l.lanes > sw.lanesTo(a.l) {
			a.l.lanes--
			sw.mu.Unlock()
			return task{}, false
		}
		t, wait := a.look(time.Now())
		changed := sw.changed
		sw.mu.Unlock()
		if wait == 0 {
			return t, true
		}
		timer.Reset(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-sw.ctx.Done():
		}
	}
}

// look returns what to ask now, or how long to wait. Called with sw.mu held.
func (a *lane) look(now time.Time) (t task, wait time.Duration) {
	sw, l := a.sw, a.l
	switch {
	case now.Before(l.until):
		return t, l.until.Sub(now)
	case sw.x.cfg.Relayed(l.peer) && sw.direct():
		return t, pollEach
	case sw.part == nil || sw.doubt && l.peer != sw.voucher:
		if wait := sw.begged.Add(manifestWait).Sub(now); wait > 0 {
			return t, wait
		}
		if !l.named && now.Sub(sw.last) < manifestWait { // it may have none yet
			return t, manifestWait
		}
		if l.begged { // it is at it
			return t, manifestWait
		}
		sw.begged, l.begged = now, true
		return task{kind: reqManifest}, 0
	}
	o := &order{by: l, since: now, last: now}
	if want, most := sw.reserve(l, o); most > 0 {
		return task{reqPieces, want, most, o}, 0
	}
	if !l.full && !l.polling {
		l.polling = true
		return task{kind: reqPieces, want: make([]byte, bitmapLen(sw.size))}, 0
	}
	return t, pollEach
}

// direct reports whether somebody who has all is reached without a relay. Called with mu held.
func (sw *swarm) direct() bool {
	for _, l := range sw.lenders {
		if l.full && l.out == nil && !sw.x.cfg.Relayed(l.peer) {
			return true
		}
	}
	return false
}

// carry asks, on another stream if the one that is there was closed by the lender as idle.
func (a *lane) carry(t task) error {
	for {
		used := a.st != nil
		if used && a.sw.x.renewed(a.sw.space, a.st) {
			a.st.close()
			a.st, used = nil, false
		}
		err := a.ask(t)
		if err == nil || !used || a.st == nil || a.st.answered || errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		a.drop()
	}
}

func (a *lane) ask(t task) error {
	if t.kind == reqManifest {
		m, whole, err := a.testimony()
		a.sw.mu.Lock()
		a.sw.begged, a.l.begged = time.Time{}, false
		if err == nil || err == errLater { // else it was the end of the swarm that ended the question
			a.l.making = err == errLater
		}
		a.sw.mu.Unlock()
		if err != nil {
			return err
		}
		return a.sw.vouched(a.l, m, whole)
	}
	if t.most == 0 {
		defer func() {
			a.sw.mu.Lock()
			a.l.polling = false
			a.sw.mu.Unlock()
		}()
		_, err := a.pieces(t)
		return err
	}
	a.l.m.begin()
	got, err := a.pieces(t)
	a.l.m.end()
	a.sw.ordered(a.l, t.o, got, err)
	return err
}

var (
	errAbsent = errors.New("it does not have it")
	errLies   = errors.New("it sent what was not asked for")
)

// open has a stream to the lender.
func (a *lane) open() (err error) {
	if a.st == nil {
		if a.st, err = a.sw.x.open(a.sw.ctx, a.l.peer, a.sw.space, a.l.m); err != nil {
			a.st = nil
			return &unreachableError{err}
		}
		// What ends the swarm ends what its lanes wait for.
		st := a.st
		stop := context.AfterFunc(a.sw.ctx, st.s.Reset)
		inner := st.stop
		st.stop = func() bool {
			ended, closed := !stop(), !inner() // both, or the exchange keeps the stream
			return !ended && !closed
		}
	}
	return nil
}

type unreachableError struct{ error }

// answer sends a request and reads the head of the answer.
func (a *lane) answer(req []byte) (size uint64, err error) {
	if err := a.open(); err != nil {
		return 0, err
	}
	return a.reply(a.st.send(req))
}

// reply reads the head of an answer to a request; sent is the error of sending that.
func (a *lane) reply(sent error) (size uint64, err error) {
	size, v, err := a.st.head()
	switch {
	case err != nil && sent != nil && !a.st.answered:
		return 0, sent
	case err != nil:
		return 0, err
	case v == notFound:
		return 0, errAbsent
	case v == later:
		return 0, errLater
	case v == packed:
		return 0, errLies
	}
	return size, nil
}

// manifest asks for the lender's manifest.
func (a *lane) manifest() (*wire.Manifest, error) {
	size, err := a.answer(appendManifest(nil, a.sw.blobID))
	if err != nil {
		return nil, err
	}
	return a.states(size)
}

// testimony asks a holder first whether it has all, in one go with the manifest; from others a manifest
// is hearsay.
func (a *lane) testimony() (m *wire.Manifest, whole bool, err error) {
	a.sw.mu.Lock()
	named := a.l.named
	a.sw.mu.Unlock()
	if !named {
		m, err = a.manifest()
		return m, false, err
	}
	if err = a.open(); err != nil {
		return nil, false, err
	}
	begun := time.Now()
	ask := appendPieces(nil, a.sw.blobID, 0, make([]byte, bitmapLen(a.sw.size)))
	if _, err = a.holdings(appendManifest(ask, a.sw.blobID)); err != nil {
		return nil, false, err
	}
	a.l.m.answered(time.Since(begun))
	if err = a.end(); err != nil {
		return nil, false, err
	}
	size, err := a.reply(nil)
	if err != nil {
		return nil, false, err
	}
	m, err = a.states(size)
	return m, a.whole, err
}

// states reads a manifest.
func (a *lane) states(size uint64) (m *wire.Manifest, err error) {
	m = &wire.Manifest{Digest: a.sw.digest, Size: a.sw.size}
	if size != uint64(32*(m.Pieces()-1)) {
		return nil, malformed("manifest of %d bytes for a blob of %d", size, m.Size)
	}
	m.States, err = a.st.plain(int(size))
	return m, err
}

// pieces asks for pieces and takes in what comes.
func (a *lane) pieces(t task) (got int, err error) {
	have, err := a.holdings(appendPieces(nil, a.sw.blobID, t.most, t.want))
	if err == errLater {
		a.sw.wait(a.l)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	a.sw.says(a.l, have)
	if t.most == 0 {
		return 0, a.end()
	}
	want := slices.Clone(t.want)
	buf := pieceBufs.Get().(*[wire.PieceSize]byte)
	defer pieceBufs.Put(buf)
	for {
		i, n, err := a.head(want, t.most-got)
		if err != nil || n < 0 {
			return got, err
		}
		want[i/8] &^= 1 << (i % 8)
		if err := a.read(t.o, buf[:n]); err != nil {
			return got, err
		}
		p := buf[:wire.PieceLen(a.sw.size, i)]
		if err := a.st.inflate(p, n); err != nil {
			return got, err
		}
		if err := a.take(i, p); err != nil {
			return got, err
		}
		got++
	}
}

// holdings asks for pieces and reads which of them the lender has; nil is all.
func (a *lane) holdings(req []byte) (have []byte, err error) {
	size, err := a.answer(req)
	if err != nil {
		return nil, err
	}
	if size != 0 && size != uint64(bitmapLen(a.sw.size)) {
		return nil, malformed("bitmap of %d bytes", size)
	}
	if a.whole = size == 0; !a.whole {
		have, err = a.st.plain(int(size))
	}
	return have, err
}

// end reads the end of an answer without pieces.
func (a *lane) end() error {
	if i, err := readUvarint(a.st.r); err != nil || i != 0 {
		return cmpErr(err, errLies)
	}
	return nil
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// head reads which piece follows, of those wanted, and how long it is on the wire; n is -1 if none does.
func (a *lane) head(want []byte, most int) (i, n int, err error) {
	if err := a.st.within(a.sw.x.cfg.Limits.FirstByte); err != nil {
		return 0, 0, err
	}
	at, err := readUvarint(a.st.r)
	if err != nil {
		return 0, 0, err
	}
	if at == 0 {
		return 0, -1, nil
	}
	if pieces := uint64(wire.Pieces(a.sw.size)); at > pieces || most == 0 || !bit(want, int(at-1)) {
		return 0, 0, errLies
	}
	i = int(at - 1)
	n, err = readRunLen(a.st.r, wire.PieceLen(a.sw.size, i))
	return i, n, err
}

// read fills p, noting that the order is alive.
func (a *lane) read(o *order, p []byte) error {
	for len(p) > 0 {
		n, err := a.st.read(p[:min(len(p), chunk)])
		if err != nil {
			return err
		}
		p = p[n:]
		a.sw.mu.Lock()
		o.last = time.Now()
		a.sw.fed = o.last
		a.sw.mu.Unlock()
	}
	return nil
}

// take brings a piece into the store.
func (a *lane) take(i int, p []byte) error {
	sw := a.sw
	m := sw.part.Manifest()
	fresh, err := sw.part.Write(i, p)
	if err == blobstore.ErrWrongPiece {
		sw.arrived(len(p), false, a.l)
		return &wrongError{i, m}
	}
	if err != nil {
		sw.fail(err)
		return err
	}
	a.l.m.asked.Add(1)
	sw.arrived(len(p), fresh, a.l)
	return nil
}

// A wrongError is a piece that does not pass.
type wrongError struct {
	piece    int
	manifest *wire.Manifest // by this one
}

func (e *wrongError) Error() string { return fmt.Sprintf("piece %d is not what it should be", e.piece) }

// arrived counts bytes of a piece.
func (sw *swarm) arrived(n int, fresh bool, l *lender) {
	sw.mu.Lock()
	sw.f.moved += int64(n)
	if fresh {
		sw.left--
		sw.last = time.Now()
		sw.f.sender = l.peer
		sw.tell()
	}
	sw.mu.Unlock()
	if fresh {
		sw.f.count(int64(n), l.peer)
	}
}

// fail ends the swarm for a reason of our own.
func (sw *swarm) fail(err error) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.err == nil {
		sw.err = err
	}
	sw.tell()
}

// wait leaves a lender alone for a moment.
func (sw *swarm) wait(l *lender) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	l.until = time.Now().Add(absentFor)
}

// failed takes in why asking failed, and reports whether the lane should go on.
func (a *lane) failed(err error) bool {
	sw, l := a.sw, a.l
	var wrong *wrongError
	if errors.As(err, &wrong) {
		sw.settle(a, wrong)
		return true
	}
	if err == errInflate {
		sw.convict(l)
		return true // next ends it
	}
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.ctx.Err() != nil {
		return true // next ends it
	}
	var refusal *refusedError
	var far *unreachableError
	now := time.Now()
	switch {
	case errors.As(err, &refusal):
		if l.old = refusal.why.Cause == wire.CauseInvalid; l.old {
			err = errOld
		}
		sw.dismiss(l, &outcome{verdict: refused, why: err})
	case err == errAbsent && l.named:
		sw.dismiss(l, &outcome{verdict: notFound})
	case err == errAbsent, err == errLater:
		l.until = now.Add(absentFor)
		if l.fails++; err == errAbsent && l.fails > maxAbsent {
			sw.dismiss(l, &outcome{verdict: notFound})
		}
	case errors.Is(err, errBusy):
		l.until = now.Add(time.Second)
		if l.named {
			sw.queued = now
		}
		if l.lanes > 1 {
			l.lanes--
			return false
		}
	case errors.As(err, &far):
		l.m.avoid(sw.x.cfg.Now())
		l.until = now.Add(firstPause)
		if l.fails++; l.fails >= lanes*2 {
			sw.dismiss(l, &outcome{verdict: unreachable, why: far.error})
		}
	default:
		sw.x.blame(l.peer, l.m, err)
		l.fails++
		l.until = now.Add(firstPause << min(l.fails, 5))
		if l.fails >= lanes*maxRounds || err == errLies || wire.CauseOf(err) == wire.CauseInvalid {
			sw.dismiss(l, &outcome{verdict: broken, why: err})
		}
	}
	return true
}
