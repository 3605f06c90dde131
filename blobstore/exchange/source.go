package exchange

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"gaggle/wire"
)

const (
	// maxWorkers bounds our streams to one holder for one space: enough to keep requests on the
	// way while answers come in, few enough to leave room under its StreamsPerPeer.
	maxWorkers = 4
	// maxBulk of them may be busy with large objects, so that small ones need not wait.
	maxBulk = 3
	// bulkSize is the size from which an object is asked for alone.
	bulkSize = 256 << 10
	// maxBatch and batchBytes bound what is asked in one request: a stalled holder delays no more.
	maxBatch   = 256
	batchBytes = 1 << 20
	// treeGuess is what an encoded tree is taken to have; its size is known only to holders.
	treeGuess = 8 << 10
	// busyLoad is the number of waiting asks from which another holder is preferred.
	busyLoad = 2 * maxBatch
)

type sourceKey struct {
	peer  wire.PeerID
	space wire.Space
}

// A source asks one peer for objects of one space, on a few streams, as long as somebody wants
// some.
type source struct {
	x *Exchange
	sourceKey
	member *member
	wake   chan struct{} // tells an idle worker to look; capacity maxWorkers

	mu      sync.Mutex // guards the fields below; may be taken while holding Exchange.mu
	small   []*ask     // in order of arrival
	bulk    []*ask
	workers int
	idle    int       // of the workers, those that wait
	bulky   int       // of the workers, those busy with a large object
	fed     time.Time // when something was answered, or asked first
}

// An ask is an object to be had from one holder. The worker that took it up calls into the
// flight until it closes done.
type ask struct {
	flight *flight
	offset uint64
	seek   bool // of a member that is fetching it, too
	done   chan struct{}

	// Set before done is closed.
	verdict verdict
	why     error // nil for found and notFound
}

// A verdict is how asking one holder ended.
type verdict int

const (
	found       verdict = iota // all bytes are with the flight
	notFound                   // it does not have the object
	unfit                      // it has something of another size
	busy                       // it has too much to do
	refused                    // it does not take our grant
	unreachable                // no stream could be opened
	broken                     // the stream broke off or stalled
	local                      // something failed here
	later                      // it is not ready
	packed                     // all bytes are to come, compressed
	elsewhere                  // another member fetches it for us
)

func (a *ask) end(v verdict, why error) {
	a.verdict, a.why = v, why
	close(a.done)
}

// abandon ends an ask that nobody waits for any more.
func (a *ask) abandon() { a.end(local, context.Cause(a.flight.ctx)) }

// source returns the source for a peer and space.
func (x *Exchange) source(k sourceKey) *source {
	m := x.member(k.peer)
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.sources[k]
	if s == nil {
		s = &source{x: x, sourceKey: k, member: m, wake: make(chan struct{}, maxWorkers), fed: time.Now()}
		x.sources[k] = s
	}
	return s
}

// load returns the number of asks that wait for the peer.
func (x *Exchange) load(k sourceKey) int {
	x.mu.Lock()
	s := x.sources[k]
	x.mu.Unlock()
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.small) + maxBatch*len(s.bulk)
}

// submit queues an ask and makes sure that a worker will take it up.
func (x *Exchange) submit(k sourceKey, a *ask) {
	s := x.source(k)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		a.end(local, context.Canceled)
		return
	}
	x.sources[k] = s // it may have been dropped since
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.flight.bulk() {
		s.bulk = append(s.bulk, a)
	} else {
		s.small = append(s.small, a)
	}
	if s.idle > 0 {
		select {
		case s.wake <- struct{}{}:
		default: // as many are awake as there can be
		}
	} else if s.workers < maxWorkers {
		s.workers++
		x.work.Add(1)
		go s.run()
	}
}

// run is one worker: it keeps a stream as long as there is something to ask now and then.
func (s *source) run() {
	defer s.x.work.Done()
	var st *session
	defer func() { st.close() }()
	for {
		batch := s.next()
		if batch == nil {
			return
		}
		s.spread()
		s.member.begin()
		st = s.carry(st, batch)
		s.member.end()
		if batch[0].flight.bulk() {
			s.mu.Lock()
			s.bulky--
			s.mu.Unlock()
		}
	}
}

// spread lets another worker see to what this one has left.
func (s *source) spread() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.small) == 0 && (len(s.bulk) == 0 || s.bulky >= maxBulk):
	case s.idle > 0:
		select {
		case s.wake <- struct{}{}:
		default:
		}
	case s.workers < maxWorkers:
		s.workers++
		s.x.work.Add(1) // this worker still counts, so Close waits
		go s.run()
	}
}

// next waits for asks. It returns nil when the worker should end, which is then discounted.
func (s *source) next() []*ask {
	timer := time.NewTimer(s.x.cfg.Limits.Idle)
	defer timer.Stop()
	for {
		s.mu.Lock()
		if batch := s.take(); batch != nil {
			s.mu.Unlock()
			return batch
		}
		s.idle++
		s.mu.Unlock()
		idle := true
		select {
		case <-s.wake:
			idle = false
		case <-timer.C:
		case <-s.x.ctx.Done():
		}
		if batch, over := s.after(idle); over {
			return batch
		}
	}
}

// after ends a worker's wait: it goes on with a batch, or ends if it was idle too long.
func (s *source) after(idle bool) (batch []*ask, over bool) {
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle--
	if batch = s.take(); batch != nil {
		return batch, true
	}
	if !idle {
		return nil, false
	}
	if s.workers--; s.workers == 0 && s.x.sources[s.sourceKey] == s {
		delete(s.x.sources, s.sourceKey)
	}
	return nil, true
}

// take removes what one worker should ask next. Called with mu held.
func (s *source) take() []*ask {
	working := s.workers - s.idle - s.bulky
	if len(s.bulk) > 0 && s.bulky < maxBulk && (len(s.small) == 0 || working > 1) {
		a := s.bulk[0]
		s.bulk = s.bulk[1:]
		s.bulky++
		return []*ask{a}
	}
	n, bytes := 0, uint64(0)
	for n < min(len(s.small), maxBatch) && (n == 0 || bytes < batchBytes && s.small[n].seek == s.small[0].seek) {
		bytes += s.small[n].flight.guess()
		n++
	}
	if n == 0 {
		return nil
	}
	batch := s.small[:n:n]
	s.small = s.small[n:]
	return batch
}

// carry asks for a batch and ends every ask in it. It returns the session to go on with, nil if
// that is broken.
func (s *source) carry(st *session, batch []*ask) *session {
	batch = dropAbandoned(batch)
	if len(batch) == 0 {
		return st
	}
	used := st != nil
	if used && s.x.renewed(s.space, st) {
		st.close()
		st, used = nil, false
	}
	if st == nil {
		var err error
		if st, err = s.x.open(s.x.ctx, s.peer, s.space, s.member); err != nil {
			s.fail(batch, unreachable, err)
			return nil
		}
	}
	n, err := st.ask(batch)
	if n > 0 {
		s.mu.Lock()
		s.fed = time.Now()
		s.mu.Unlock()
	}
	if err == nil {
		return st
	}
	st.s.Reset()
	st.close()
	rest := batch[n:]
	switch {
	case err == errGivenUp:
		return s.carry(nil, rest)
	case used && n == 0 && !st.answered && !errors.Is(err, os.ErrDeadlineExceeded):
		return s.carry(nil, rest) // the holder had closed the idle stream
	case verdictOf(err) == busy:
		s.postpone(rest, err)
		return nil
	}
	s.fail(rest, verdictOf(err), err)
	return nil
}

// postpone asks a busy holder again, after a pause, for what nobody else is known to have, as long as it
// answers something now and then. The other asks fail at once. Were each to try again by itself, a tree's
// would keep the holder busy with being told so.
func (s *source) postpone(batch []*ask, err error) {
	s.mu.Lock()
	patient := time.Since(s.fed) < busyFor
	s.mu.Unlock()
	var again, others []*ask
	for _, a := range batch {
		if patient && !a.seek && a.flight.sole() {
			again = append(again, a)
		} else {
			others = append(others, a)
		}
	}
	s.fail(others, busy, err)
	if again = pause(again, maxPause/4+rand.N(maxPause/2)); len(again) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if again[0].flight.bulk() {
		s.bulk = append(again, s.bulk...)
	} else {
		s.small = append(again, s.small...)
	}
}

// pause waits so long, but ends each ask as soon as nobody waits for it any more, and returns the others.
func pause(batch []*ask, most time.Duration) []*ask {
	left := make(chan *ask, len(batch))
	for _, a := range batch {
		stop := context.AfterFunc(a.flight.ctx, func() { left <- a })
		defer stop()
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	for len(batch) > 0 {
		select {
		case <-timer.C:
			return batch
		case a := <-left:
			batch = slices.DeleteFunc(batch, func(b *ask) bool { return a == b })
			a.abandon()
		}
	}
	return nil
}

func verdictOf(err error) verdict {
	var r *refusedError
	switch {
	case errors.As(err, &r):
		return refused
	case errors.Is(err, errBusy):
		return busy
	}
	return broken
}

// fail ends asks that the peer is to blame for, and makes us ask it last for a while.
func (s *source) fail(batch []*ask, v verdict, err error) {
	if s.x.ctx.Err() != nil {
		v, err = local, context.Canceled
	}
	if v == unreachable || v == broken {
		s.x.log.Debug("a holder failed", "peer", s.peer, "error", err)
		s.x.blame(s.peer, s.member, err)
	}
	for _, a := range batch {
		a.end(v, err)
	}
}

// dropAbandoned ends the asks that nobody waits for any more, and those for what another member turned
// out to fetch first.
func dropAbandoned(batch []*ask) []*ask {
	kept := batch[:0]
	for _, a := range batch {
		if a.flight.ctx.Err() != nil {
			a.abandon()
			continue
		}
		if !a.seek && !a.flight.ours() {
			a.end(elsewhere, nil)
			continue
		}
		kept = append(kept, a)
	}
	return kept
}
