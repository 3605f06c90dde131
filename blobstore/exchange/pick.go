package exchange

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"gaggle/wire"
)

const (
	// silentFor is how long nothing may come of an order before another lender is asked, too.
	silentFor = 1500 * time.Millisecond
	// maxChoice bounds the pieces that a lender may choose from, and pickWindow those looked at.
	maxChoice  = 64
	pickWindow = 8192
	// pollEach is how often a lender is asked what it has if there is nothing to ask it for.
	pollEach = 250 * time.Millisecond
	// outrunBy is how many times faster a lender that has all must be than all that have a part, for it
	// to send what they have, too. Where all links are alike it is at most as fast.
	outrunBy = 4
	// orderTime is about how long an order should take, so that it ends before others are missed.
	orderTime = 500 * time.Millisecond
)

// counted notes that what a lender has is another bitmap now. Called with mu held.
func (sw *swarm) counted(l *lender, old, now []byte) {
	if sw.part == nil {
		return
	}
	for i := range sw.count {
		if old != nil && bit(old, i) {
			sw.count[i]--
		}
		if now != nil && bit(now, i) {
			sw.count[i]++
		}
	}
}

// says takes in what a lender has; nil is all.
func (sw *swarm) says(l *lender, have []byte) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if l.out != nil {
		return
	}
	sw.counted(l, l.have, have)
	l.have, l.full = have, have == nil
}

// reserve returns the pieces that a lane may ask its lender for, and how many of them. Nothing is
// returned if there are none. Called with mu held.
func (sw *swarm) reserve(l *lender, o *order) (want []byte, most int) {
	if sw.part == nil || !l.full && l.have == nil {
		return nil, 0
	}
	now := time.Now()
	choice := sw.choice(l, now, 0)
	if len(choice) == 0 { // what others were asked for, and may not give
		choice = sw.choice(l, now, 1)
	}
	if len(choice) == 0 {
		return nil, 0
	}
	most = sw.most(l, len(choice))
	want = make([]byte, bitmapLen(sw.size))
	for _, i := range choice {
		setBit(want, i)
		o.pieces = append(o.pieces, i)
		a := &sw.asked[i]
		if a[0] == nil {
			a[0] = o
		} else {
			a[1] = o
		}
	}
	return want, most
}

// most returns how many pieces one order is for: what comes in orderTime.
func (sw *swarm) most(l *lender, n int) int {
	k := int(l.m.pace() * orderTime.Seconds() / wire.PieceSize)
	return max(1, min(k, maxPieces, n, sw.left/(2*lanes)))
}

// choice returns pieces that a lender has and we have not, the rarest first, of which others were asked
// for so many. Of one that has all only those are wanted that no other lender has, so that it sends
// each once; unless that leaves nothing for a while, or the others are much slower.
func (sw *swarm) choice(l *lender, now time.Time, others int) []int {
	for sw.first < len(sw.asked) && sw.part.Has(sw.first) {
		sw.first++
	}
	spare := l.full && others == 0 && !sw.hungry(now) && !sw.outruns(l)
	var all []int
	for i := sw.first; i < min(len(sw.asked), sw.first+pickWindow); i++ {
		if sw.part.Has(i) || !l.full && !bit(l.have, i) || spare && sw.count[i] > 0 {
			continue
		}
		a := &sw.asked[i]
		switch {
		case others == 0 && a[0] == nil && a[1] == nil:
		case others == 1 && (a[0] == nil) != (a[1] == nil) && sw.late(a, l, now):
		default:
			continue
		}
		all = append(all, i)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(sw.count[a], sw.count[b]) })
	n := 1
	if others == 0 {
		share := 8
		if l.full {
			share = 2
		}
		n = max(n, min(l.bound, len(all)/share))
	}
	return all[:min(n, len(all))]
}

// hungry reports whether nothing has come in for a while.
func (sw *swarm) hungry(now time.Time) bool {
	return now.Sub(sw.last) > silentFor && now.Sub(sw.fed) > silentFor/2
}

// outruns reports whether a lender is much faster than all those together that have a part: their
// pieces would be the last to come, long after it has nothing left to do. Nothing is known of those
// that have sent nothing yet. Called with mu held.
func (sw *swarm) outruns(l *lender) bool {
	var others float64
	for _, o := range sw.lenders {
		if o == l || o.full || o.out != nil || o.have == nil {
			continue
		}
		rate := o.m.pace()
		if rate == 0 {
			return false
		}
		others += rate
	}
	return others < l.m.pace()/outrunBy
}

// late reports whether a piece is to be asked for a second time: nothing comes of the first, or there
// is nothing else left to do and it takes much longer than usual.
func (sw *swarm) late(a *[2]*order, l *lender, now time.Time) bool {
	o := a[0]
	if o == nil {
		o = a[1]
	}
	if o.by == l {
		return false
	}
	return now.Sub(o.last) > silentFor || sw.typical > 0 && now.Sub(o.since) > max(3*sw.typical, silentFor/4)
}

// release gives up what an order has not brought. Called with mu held.
func (sw *swarm) release(o *order) {
	for _, i := range o.pieces {
		a := &sw.asked[i]
		if a[0] == o {
			a[0] = nil
		}
		if a[1] == o {
			a[1] = nil
		}
	}
}

// ordered takes in how an order ended: how many pieces it brought, and took how long.
func (sw *swarm) ordered(l *lender, o *order, got int, err error) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	sw.release(o)
	now := time.Now()
	switch {
	case err != nil:
	case got > 0:
		took := now.Sub(o.since)
		if sw.typical == 0 {
			sw.typical = took
		}
		sw.typical += (took - sw.typical) / 8
		l.bound, l.empty, l.fails = min(2*l.bound, maxChoice), 0, 0
	default:
		// It has too much to do, or only says that it has what it has not: it keeps others from
		// fewer pieces, and is asked less often.
		l.bound, l.empty = max(1, l.bound/2), l.empty+1
		if l.named {
			sw.queued = now
		}
		pause := min(firstPause<<min(l.empty, 6), maxPause)
		l.until = now.Add(pause/2 + rand.N(pause))
	}
	sw.tell()
}
