package exchange

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

const (
	// swarmFrom is the size from which a blob is fetched in pieces: below it there is nothing to share.
	swarmFrom = 2 * wire.PieceSize
	// maxSwarms bounds the blobs fetched in pieces at once, and maxLenders the peers asked for one:
	// twice the holders that an offer names, since those who ask us are asked in turn. With lanes they
	// bound the pieces in memory, 128 MiB at the very worst.
	maxSwarms  = 4
	maxLenders = 2 * wire.MaxHolders
	// lanes is how many streams there are to a lender: while one waits the other has something to do.
	lanes = 2
	// farLanes are to a lender that is alone and far away: its answers to two are taken before the next
	// requests get there. At 100 Mbit/s and 150 ms 8 MiB take 1.45 times one link, which is two round
	// trips more, and 32 MiB 1.11 (TestFarLender); with two lanes 8 MiB took 2.12 and 64 MiB 1.39.
	farLanes = 4
	// farTrip is a round trip from which a lender is far, unless less than a piece goes in it.
	farTrip = 50 * time.Millisecond
	// stuckFor is how long nothing may come in from anybody before a swarm gives up. Of a manifest that a
	// holder says it is making, nothing comes as long as it reads the blob, at makingRate if it is slow.
	stuckFor   = time.Minute
	makingRate = 32 << 20 // bytes per second
	// queuedFor is how long instead, while a holder says that it sends pieces to too many others: on a
	// metered link a piece takes half a minute, and each of them has its turn.
	queuedFor = 10 * time.Minute
	// forlornFor is how long to wait when no holder is left and nobody else has told of a piece that we
	// lack: companions that have nothing either would tell each other "later" for ever.
	forlornFor = 5 * time.Second
)

// A swarm fetches one blob in pieces, from all who have some of them, and lends meanwhile what it has.
//
//	seed: all        ------ pieces that nobody else has --------> us
//	others that are fetching it  <-- pieces either has, HAVE -->  us
//
// Each lender has lanes, goroutines with a stream each. A lane reserves the pieces that it will ask
// for (pick.go), asks, and gives up what did not come. Which of them is sent the lender chooses.
type swarm struct {
	x *Exchange
	lotKey
	f       *flight
	ctx     context.Context // ends when all pieces are here or the swarm fails
	cancel  context.CancelFunc
	ended   chan struct{}  // closed when finish returns
	work    sync.WaitGroup // lanes
	readers sync.WaitGroup // of part, on behalf of peers

	mu      sync.Mutex // guards the fields below
	part    *blobstore.Partial
	closing bool        // nobody may begin to read part, or to be asked
	voucher wire.PeerID // who gave the manifest; zero if it was kept from an earlier time
	liable  bool        // the voucher had told that it has all
	doubt   bool        // the voucher has contradicted itself
	begged  time.Time   // when somebody was asked for the manifest
	left    int         // pieces missing
	first   int         // there is none missing before it
	asked   [][2]*order // for each piece, who was asked for it
	count   []uint16    // for each piece, how many lenders that lack some have it
	lenders map[wire.PeerID]*lender
	changed chan struct{} // closed, and replaced, when there is news
	last    time.Time     // when a piece came
	fed     time.Time     // when bytes of one did
	hoped   time.Time     // when there was somebody who has, or holds, what we lack
	queued  time.Time     // when a holder had too much to do
	typical time.Duration // that an order takes
	err     error         // of our own store
}

// An order is what one lane has asked for and not got yet.
type order struct {
	by     *lender
	pieces []int
	since  time.Time
	last   time.Time // when the last bytes came; guarded by swarm.mu
}

// A lender is a member that is asked for pieces. Guarded by swarm.mu.
type lender struct {
	peer     wire.PeerID
	m        *member
	named    bool   // as a holder; else it may have nothing yet
	full     bool   // it has said that it has all
	have     []byte // which pieces it has, if it is not full; nil if it has not said yet
	lanes    int
	polling  bool // one of the lanes asks what it has
	begged   bool // one of them asks for the manifest
	making   bool // it has said that it is making it
	bound    int  // how many pieces it may choose from
	fails    int  // in a row
	empty    int  // answers in a row without a piece
	evasions int  // disputes that could not be settled
	until    time.Time
	out      *outcome // it is asked no more
	old      bool     // it knows nothing of pieces
}

// swarmed fetches the blob in pieces. If whole is true, it could not, and there is a holder that may send
// it whole: one of an older version, or one that has not got the manifest done.
func (f *flight) swarmed() (whole bool, err error) {
	select {
	case f.x.turns <- struct{}{}:
		defer func() { <-f.x.turns }()
	case <-f.ctx.Done():
		return false, context.Cause(f.ctx)
	}
	sw := &swarm{
		x: f.x, lotKey: lotKey{f.space, blobID{f.digest, f.size}}, f: f, ended: make(chan struct{}), closing: true,
		lenders: map[wire.PeerID]*lender{}, changed: make(chan struct{}),
	}
	sw.ctx, sw.cancel = context.WithCancel(f.ctx)
	defer sw.cancel()
	if !sw.enrol() {
		return false, context.Cause(f.ctx)
	}
	p := f.x.cfg.Store.Resume(f.space, f.digest, f.size)
	sw.mu.Lock()
	if p != nil {
		sw.begin(p)
	}
	sw.closing = false
	sw.last, sw.hoped = time.Now(), time.Now()
	sw.mu.Unlock()
	if p != nil {
		sw.resumed()
	}
	sw.watch()
	sw.cancel()
	sw.work.Wait()
	return sw.finish()
}

// enrol makes sw the swarm of its blob. The one of an earlier flight that was given up may still be
// ending and has the partial blob until then. It returns false if this flight is given up meanwhile.
func (sw *swarm) enrol() bool {
	x := sw.x
	for {
		x.mu.Lock()
		old := x.swarms[sw.lotKey]
		if old == nil {
			x.swarms[sw.lotKey] = sw
		}
		x.mu.Unlock()
		if old == nil {
			return true
		}
		select {
		case <-old.ended:
		case <-sw.ctx.Done():
			return false
		}
	}
}

// leave gives the blob's name up.
func (sw *swarm) leave() {
	sw.x.mu.Lock()
	delete(sw.x.swarms, sw.lotKey)
	sw.x.mu.Unlock()
	close(sw.ended)
}

// begin takes a partial blob to be filled. Called before sw is shared, or with mu held.
func (sw *swarm) begin(p *blobstore.Partial) {
	sw.part = p
	n := p.Manifest().Pieces()
	sw.asked, sw.count = make([][2]*order, n), make([]uint16, n)
	for i := range n {
		if !p.Has(i) {
			sw.left++
		}
	}
	for _, l := range sw.lenders {
		sw.counted(l, nil, l.have)
	}
}

// resumed counts what was kept from an earlier time as progress.
func (sw *swarm) resumed() {
	for i, have := range sw.part.Have() {
		if have {
			sw.f.count(int64(wire.PieceLen(sw.size, i)), wire.PeerID{})
		}
	}
}

// enter lets a peer's server read the partial blob until leave is called; nil if there is none yet, or
// no more.
func (sw *swarm) enter() (part *blobstore.Partial, leave func()) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.part == nil || sw.closing {
		return nil, nil
	}
	sw.readers.Add(1)
	return sw.part, sw.readers.Done
}

// have returns which pieces are here.
func (sw *swarm) have() []bool {
	part, leave := sw.enter()
	if part == nil {
		return make([]bool, wire.Pieces(sw.size))
	}
	defer leave()
	return part.Have()
}

// news returns what is closed at the next change.
func (sw *swarm) news() <-chan struct{} {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	return sw.changed
}

// tell wakes who waits for news. Called with mu held.
func (sw *swarm) tell() {
	close(sw.changed)
	sw.changed = make(chan struct{})
}

// watch has lenders asked until the blob is whole, nobody is left to ask, or somebody gives up.
func (sw *swarm) watch() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		sw.hire()
		changed := sw.news()
		if sw.over() && sw.sound() {
			return
		}
		select {
		case <-sw.ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

// over reports whether there is nothing more to be done.
func (sw *swarm) over() bool {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.err != nil || sw.part != nil && sw.left == 0 {
		return true
	}
	asked := false
	for _, l := range sw.lenders {
		if l.out == nil {
			asked = true
			if l.named || sw.promises(l) {
				sw.hoped = time.Now()
			}
		}
	}
	return !asked || sw.stuck() || time.Since(sw.hoped) >= forlornFor
}

// stuck reports whether nothing has come for too long. Bytes of a piece count, since on a slow link one
// takes minutes; Limits.Stall bounds how slow. Called with mu held.
func (sw *swarm) stuck() bool {
	long := stuckFor
	switch {
	case sw.part == nil && sw.making():
		long += time.Duration(float64(sw.size) / makingRate * float64(time.Second))
	case time.Since(sw.queued) < stuckFor/2:
		long = queuedFor
	}
	return time.Since(sw.last) >= long && time.Since(sw.fed) >= long
}

// making reports whether a holder makes the manifest. Called with mu held.
func (sw *swarm) making() bool {
	for _, l := range sw.lenders {
		if l.making && l.named && l.out == nil {
			return true
		}
	}
	return false
}

// promises reports whether a lender has told of a piece that we lack. Called with mu held.
func (sw *swarm) promises(l *lender) bool {
	if l.full || l.have == nil || sw.part == nil {
		return l.full
	}
	for i, here := range sw.part.Have() {
		if !here && bit(l.have, i) {
			return true
		}
	}
	return false
}

// sound reports whether all pieces that have come are still there: lending finds those that the disk has
// spoilt. They are counted as missing again.
func (sw *swarm) sound() bool {
	sw.mu.Lock()
	whole := sw.err == nil && sw.part != nil && sw.left == 0
	sw.closing = sw.closing || whole
	sw.mu.Unlock()
	if !whole {
		return true
	}
	sw.readers.Wait()
	sw.mu.Lock()
	defer sw.mu.Unlock()
	for i, here := range sw.part.Have() {
		if !here {
			sw.left++
			sw.f.count(-int64(wire.PieceLen(sw.size, i)), wire.PeerID{})
		}
	}
	sw.first = 0
	sw.closing = sw.left == 0
	return sw.left == 0
}

// hire begins to ask those that the flight has been told of.
func (sw *swarm) hire() {
	sw.f.mu.Lock()
	holders := slices.Clone(sw.f.holders)
	sw.f.mu.Unlock()
	for _, p := range holders {
		sw.lender(p, true)
	}
	for _, p := range sw.f.companions() {
		sw.lender(p, false)
	}
}

// meet takes note of a peer that asks us for pieces: it is fetching the blob, too.
func (sw *swarm) meet(p wire.PeerID) { sw.lender(p, false) }

// lender begins to ask a peer, unless it is asked already.
func (sw *swarm) lender(p wire.PeerID, named bool) {
	m := sw.x.member(p)
	blocked, relayed := m.isBlocked(sw.x.cfg.Now()), sw.x.cfg.Relayed(p)
	sw.mu.Lock()
	defer sw.mu.Unlock()
	l := sw.lenders[p]
	switch {
	case p == sw.x.cfg.Self || sw.closing || sw.ctx.Err() != nil:
		return
	case l != nil:
		l.named = l.named || named
		return
	case !named && (relayed || blocked || len(sw.lenders) >= maxLenders):
		return
	}
	l = &lender{peer: p, m: m, named: named, full: named, bound: maxPieces}
	sw.lenders[p] = l
	if blocked {
		l.out = &outcome{verdict: refused, why: errBlocked}
		return
	}
	sw.staff(l)
}

// lanesTo returns how many lanes a lender should have. Called with mu held.
func (sw *swarm) lanesTo(l *lender) int {
	if len(sw.lenders) == 1 && l.m.far() {
		return farLanes
	}
	return lanes
}

// staff starts the lanes of a lender. Called with mu held.
func (sw *swarm) staff(l *lender) {
	for l.lanes < sw.lanesTo(l) {
		l.lanes++
		sw.work.Add(1)
		go (&lane{sw: sw, l: l}).run()
	}
}

// dismiss has a lender asked no more. Called with mu held.
func (sw *swarm) dismiss(l *lender, o *outcome) {
	if l.out != nil {
		return
	}
	l.out = o
	sw.counted(l, l.have, nil)
	l.have, l.full = nil, false
	sw.tell()
}

// finish commits the blob, or says why there is none. All lanes have ended.
func (sw *swarm) finish() (whole bool, err error) {
	defer sw.leave()
	sw.mu.Lock()
	sw.closing = true
	sw.mu.Unlock()
	sw.readers.Wait()
	done := sw.part != nil && sw.part.Whole()
	if done {
		sw.x.stores <- struct{}{}
		err = sw.part.Commit()
		<-sw.x.stores
	} else if sw.part != nil {
		sw.part.Close()
	}
	old := false
	for p, l := range sw.lenders {
		old = old || l.named && (l.old || l.making && sw.part == nil)
		if l.out == nil {
			l.out = &outcome{verdict: broken, why: errStuck}
		}
		if l.named {
			sw.f.fault(p, l.out)
		}
	}
	switch {
	case done && err == nil:
		sw.f.mu.Lock()
		sw.f.got = 0
		sw.f.mu.Unlock()
		return false, nil
	case err != nil:
		return false, storeError(err)
	case sw.err != nil:
		return false, storeError(sw.err)
	case sw.f.ctx.Err() != nil:
		return false, context.Cause(sw.f.ctx)
	}
	sw.f.drop()
	return old, sw.f.failure()
}

var (
	errStuck = errors.New("no piece of it came for a minute")
	errOld   = errors.New("it knows nothing of pieces")
	errProof = errors.New("what it says of the pieces differs from what others say")
)
