package exchange

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"gaggle/blobstore"
	"gaggle/wire"
)

const (
	// maxRounds is how often the holders of an object are gone through without getting further,
	// which is bulkSize bytes.
	maxRounds = 3
	// busyFor is how long a holder that says it is busy is asked again while nothing comes, see queuedFor.
	busyFor = queuedFor
	// firstPause lies between the first two rounds; each further one is twice as long, up to maxPause.
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
)

// A flightKey names what is fetched once for all who want it. Two that differ in the size they
// believe in want different things.
type flightKey struct {
	space  wire.Space
	digest wire.Digest
	tree   bool
	size   uint64 // 0 for a tree: it counts the files below, not its encoding
}

// A flight brings one object into the store.
type flight struct {
	x *Exchange
	flightKey
	ctx    context.Context // ends when nobody waits
	cancel context.CancelFunc

	mu      sync.Mutex // guards the fields below; may be taken while holding Exchange.mu
	waiters []*waiter
	holders []wire.PeerID // to ask, best first
	got     uint64        // bytes that arrived of the current try
	over    bool          // nobody may join

	// Of the goroutine that runs the flight, or of the worker it waits for.
	w      *blobstore.Writer
	by     []wire.PeerID            // who sent the bytes in w
	solo   bool                     // take all bytes from one holder
	alone  bool                     // companions were of no use
	faults map[wire.PeerID]*outcome // of those who failed

	// Set before the waiters are told.
	err    error
	moved  int64       // bytes that arrived, also in vain
	sender wire.PeerID // of the last bytes, if err is nil
}

// An outcome is how asking one holder ended.
type outcome struct {
	verdict verdict
	wrong   bool // it sent wrong bytes; such a one is asked no more
	why     error
	round   int // when
}

func (o *outcome) final() bool {
	return o.wrong || o.verdict == notFound || o.verdict == unfit
}

// A waiter is a part of one Fetch that waits for a flight.
type waiter struct {
	fetch    *fetch
	item     item
	leader   bool // the flight was begun for it
	flight   *flight
	reported int64 // bytes counted in the fetch's progress; guarded by its mu
}

// join makes w wait for the object from these members or from those of others who want it.
func (x *Exchange) join(k flightKey, from *wire.Held, w *waiter) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.flights[k]
	if f == nil || !f.add(from, w) {
		f = &flight{x: x, flightKey: k, faults: map[wire.PeerID]*outcome{}}
		f.ctx, f.cancel = context.WithCancel(x.ctx)
		w.leader = true
		f.add(from, w)
		if !x.beginLocked() {
			f.err = context.Canceled
			f.cancel()
			f.tell()
			return
		}
		x.flights[k] = f
		if !k.tree {
			x.byDigest[lendKey{k.space, k.digest}] = f
		}
		go f.run()
	}
}

// add returns false if the flight is over.
func (f *flight) add(from *wire.Held, w *waiter) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return false
	}
	for _, p := range from.Peers {
		if !slices.Contains(f.holders, p) && p != f.x.cfg.Self {
			f.holders = append(f.holders, p)
		}
	}
	w.flight = f
	f.waiters = append(f.waiters, w)
	return true
}

// leave takes a waiter out. Without any the flight ends.
func (w *waiter) leave() {
	f := w.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiters = slices.DeleteFunc(f.waiters, func(o *waiter) bool { return o == w })
	if len(f.waiters) == 0 {
		f.over = true
		f.cancel()
	}
}

func (f *flight) run() {
	defer f.x.work.Done()
	defer f.cancel()
	f.err = f.bring()
	for !f.finish() {
		f.err = f.bring() // somebody joined who knows more holders
	}
	f.x.mu.Lock()
	if f.x.flights[f.flightKey] == f {
		delete(f.x.flights, f.flightKey)
	}
	if k := (lendKey{f.space, f.digest}); f.x.byDigest[k] == f {
		delete(f.x.byDigest, k)
	}
	f.x.mu.Unlock()
	f.tell()
}

// finish closes the flight to joiners, unless it failed and there is one more holder to ask.
func (f *flight) finish() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil && f.ctx.Err() == nil && wire.CauseOf(f.err) == wire.CauseFetch {
		for _, p := range f.holders {
			if f.faults[p] == nil {
				return false
			}
		}
	}
	f.over = true
	return true
}

// tell lets the waiters know that the flight has ended.
func (f *flight) tell() {
	f.mu.Lock()
	ws := f.waiters
	f.waiters = nil
	f.mu.Unlock()
	for _, w := range ws {
		w.fetch.ended <- w // has room for all
	}
}

// bring asks holder after holder, in rounds, until one has sent the object.
func (f *flight) bring() error {
	if _, here := f.x.cfg.Store.Stat(f.space, f.digest); here {
		return nil // since the waiter looked, an earlier flight has landed
	}
	defer func() { f.drop() }()
	if !f.tree && f.size >= swarmFrom {
		if whole, err := f.swarmed(); !whole {
			return err
		}
	}
	if done, err := f.borrow(); done || err != nil {
		return err
	}
	begun, pause := time.Now(), firstPause
	for round := 1; ; round++ {
		before := f.moved
		for {
			p, ok := f.choose(round)
			if !ok {
				break
			}
			if done, err := f.try(p, round); done || err != nil {
				return err
			}
		}
		if f.moved > before {
			begun = time.Now()
		}
		if f.moved-before >= bulkSize && !f.solo {
			round, pause = 0, firstPause
			clearRounds(f.faults)
		}
		if !f.hopeful(round, time.Since(begun)) {
			return f.failure()
		}
		timer := time.NewTimer(pause)
		select {
		case <-f.ctx.Done():
			timer.Stop()
			return context.Cause(f.ctx)
		case <-timer.C:
		}
		pause = min(2*pause, maxPause)
	}
}

// sole reports whether nobody else is known to ask.
func (f *flight) sole() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.holders) == 1
}

func clearRounds(m map[wire.PeerID]*outcome) {
	for _, o := range m {
		o.round = 0
	}
}

// choose returns the holder to ask next in this round: the first in order, but those that lately
// stalled after the others, and one that has much to do only if all have.
func (f *flight) choose(round int) (best wire.PeerID, ok bool) {
	f.mu.Lock()
	holders := slices.Clone(f.holders)
	f.mu.Unlock()
	now := f.x.cfg.Now()
	rank := 3
	for _, p := range holders {
		if o := f.faults[p]; o != nil && (o.final() || o.round >= round) {
			continue
		}
		m := f.x.member(p)
		if m.isBlocked(now) {
			f.fault(p, &outcome{verdict: refused, why: errBlocked, round: round})
			continue
		}
		r := 0
		if m.isAvoided(now) {
			r = 2
		} else if f.x.load(sourceKey{p, f.space}) >= busyLoad {
			r = 1
		}
		if r < rank {
			best, rank, ok = p, r, true
		}
	}
	return best, ok
}

var errBlocked = errors.New("it sent wrong bytes lately and is asked nothing for ten minutes")

// fault records a failure. That a holder sent wrong bytes or said that it has nothing stays.
func (f *flight) fault(p wire.PeerID, o *outcome) {
	if old := f.faults[p]; old != nil && old.final() {
		old.round = o.round
		return
	}
	f.faults[p] = o
}

// try asks one holder. It returns true when the object is in the store; an error is final.
func (f *flight) try(p wire.PeerID, round int) (bool, error) {
	if f.solo || f.tree { // what a tree's size is each holder may claim anew
		f.drop()
	}
	begun := time.Now()
	a := &ask{flight: f, offset: f.received(), done: make(chan struct{})}
	f.x.submit(sourceKey{p, f.space}, a)
	<-a.done
	if f.ctx.Err() != nil {
		return false, context.Cause(f.ctx)
	}
	switch a.verdict {
	case found:
		if !f.bulk() {
			f.x.waited(time.Since(begun))
		}
		return f.commit(p, round)
	case elsewhere:
		return f.borrow()
	case local:
		if errors.Is(a.why, context.Canceled) {
			return false, a.why
		}
		return false, storeError(a.why)
	}
	if a.why == errInflate {
		f.lied(p, errInflate, round)
		return false, nil
	}
	f.fault(p, &outcome{verdict: a.verdict, why: a.why, round: round})
	return false, nil
}

// lied has a holder that sent wrong bytes struck.
func (f *flight) lied(p wire.PeerID, why error, round int) {
	f.fault(p, &outcome{verdict: broken, wrong: true, why: why, round: round})
	f.x.struck(p, lotKey{f.space, blobID{f.digest, f.size}})
}

// commit publishes the object if its bytes are right. If not, and all came from one holder, that
// holder is struck; else nobody knows who lied, and all are asked again, alone.
func (f *flight) commit(p wire.PeerID, round int) (bool, error) {
	f.x.stores <- struct{}{}
	err := f.w.Commit()
	<-f.x.stores
	alone := !slices.ContainsFunc(f.by, func(o wire.PeerID) bool { return o != p })
	if err == nil {
		f.w, f.sender = nil, p
		f.mu.Lock()
		f.got = 0 // drop has nothing to take back
		f.mu.Unlock()
		return true, nil
	}
	f.drop()
	if wire.CauseOf(err) != wire.CauseInvalid {
		return false, storeError(err)
	}
	if !alone {
		f.solo = true
		clearRounds(f.faults)
		return false, nil
	}
	f.lied(p, errWrong, round)
	return false, nil
}

var errWrong = errors.New("it sent wrong bytes")

// storeError dresses a failure of our own store.
func storeError(err error) error {
	if wire.CauseOf(err) == wire.CauseDiskFull {
		return err
	}
	return wire.Errorf(wire.CauseFetch, "see the log of this node; its store may be damaged", "an object cannot be stored: %v", err)
}

// hopeful reports whether another round makes sense.
func (f *flight) hopeful(round int, took time.Duration) bool {
	for _, o := range f.faults {
		switch {
		case o.final() || o.why == errBlocked || o.verdict == unreachable && round >= 2:
		case o.verdict == busy && took < busyFor, o.verdict != busy && round < maxRounds:
			return true
		}
	}
	return false
}

// failure names the object and the peers tried.
func (f *flight) failure() error {
	var tried []string
	f.mu.Lock()
	holders := slices.Clone(f.holders)
	f.mu.Unlock()
	for _, p := range holders {
		if o := f.faults[p]; o != nil {
			tried = append(tried, fmt.Sprintf("%s: %s", p, o.reason()))
		}
	}
	if len(tried) == 0 {
		return wire.Errorf(wire.CauseFetch, "bring back the machine that made it, or run the job again",
			"fetching %s: nobody is known to hold it", f.name())
	}
	return wire.Errorf(wire.CauseFetch, "check that these machines are up and can be reached from this one",
		"fetching %s: tried %s", f.name(), strings.Join(tried, "; "))
}

func (o *outcome) reason() string {
	switch {
	case o.wrong || o.why != nil && o.verdict != unfit && o.verdict != broken:
		return firstLine(o.why)
	case o.verdict == notFound:
		return "it does not have it"
	case o.verdict == broken:
		return "the transfer broke off (" + firstLine(o.why) + ")"
	}
	return firstLine(o.why)
}

func firstLine(err error) string {
	if err == nil {
		return "no reason"
	}
	s, _, _ := strings.Cut(err.Error(), "\n")
	return s[:min(len(s), 300)]
}

func (f *flight) name() string {
	if f.tree {
		return "directory " + wire.TreeID(f.digest).String()
	}
	return fmt.Sprintf("%s (%d bytes)", wire.BlobID(f.digest), f.size)
}

// bulk reports whether the object is asked for alone.
func (f *flight) bulk() bool { return !f.tree && f.size >= bulkSize }

// guess returns about how many bytes the object has.
func (f *flight) guess() uint64 {
	if f.tree {
		return treeGuess
	}
	return f.size
}

// The methods below are called by the worker that has an ask of the flight.

// fits checks the size that a holder announces. It does no more: an honest holder has another
// size if whoever named the object lied about it.
func (f *flight) fits(size uint64) error {
	switch {
	case f.tree && size > wire.MaxObject:
		return fmt.Errorf("its directory of %d bytes exceeds the bound of %d", size, wire.MaxObject)
	case !f.tree && size != f.size:
		return fmt.Errorf("it has %d bytes under this name, not %d", size, f.size)
	}
	return nil
}

// ready makes room for an object of this size.
func (f *flight) ready(size uint64) (err error) {
	if f.w == nil {
		f.w, err = f.x.cfg.Store.Create(f.space, f.digest, size)
	}
	return err
}

// take writes bytes that p has sent.
func (f *flight) take(b []byte, p wire.PeerID) error {
	f.moved += int64(len(b))
	if f.ctx.Err() != nil && f.bulk() {
		return context.Cause(f.ctx)
	}
	if !slices.Contains(f.by, p) {
		f.by = append(f.by, p)
	}
	if _, err := f.w.Write(b); err != nil {
		return err
	}
	f.count(int64(len(b)), p)
	return nil
}

// count notes bytes that arrived, or with a negative number those dropped, and tells the
// waiters of those of a large object.
func (f *flight) count(n int64, p wire.PeerID) {
	f.mu.Lock()
	f.got = uint64(int64(f.got) + n)
	ws := f.waiters
	if !f.bulk() {
		ws = nil
	}
	ws = slices.Clone(ws)
	f.mu.Unlock()
	for _, w := range ws {
		w.fetch.moved(w, n, p)
	}
}

func (f *flight) received() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got
}

// drop forgets the bytes of the current try, if any.
func (f *flight) drop() {
	if f.w != nil {
		f.w.Abort()
		f.w = nil
	}
	f.by = nil
	if got := f.received(); got > 0 {
		f.count(-int64(got), wire.PeerID{})
	}
}
