package worker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"gaggle/wire"
)

// A lease is one offer that the worker has accepted and not yet answered.
type lease struct {
	wire.Offer
	thunk  *wire.Thunk
	id     wire.ThunkID
	seq    uint64          // order of acceptance
	ctx    context.Context // ends with one of the causes below
	cancel context.CancelCauseFunc
	log    *runLog
	shown  phase
	seat   seat // once it is accepted only its own goroutine uses it

	accepted time.Time     // wall clock
	since    time.Duration // boot time of the acceptance
	queued   time.Duration // until it was fetched for
	fetching time.Duration // fetching and laying out
	fetched  int64         // bytes

	started bool // guarded by Worker.mu; the command runs or ran
	over    bool // guarded by Worker.mu; recalled, or answered

	after []wire.LeaseID // those before it of its continuation
}

// Why the context of a lease ended.
var (
	errRecalled  = errors.New("the coordinator took the lease back")
	errCancelled = errors.New("the coordinator cancelled the lease")
	errStopping  = errors.New("the node is shutting down")
	errPaused    = errors.New("the node takes no work for now")
	errExpired   = errors.New("the lease ran out before its turn came")
)

// accept takes an offer, or answers it at once. One that is known already was sent again on a new
// connection: its outcome follows anyway. Called under w.mu.
func (w *Worker) accept(o *wire.Offer) {
	if w.leases[o.Lease] != nil || w.outcomes[o.Lease] != nil {
		return
	}
	if w.stopping || w.draining || w.paused || w.cfg.Hello.Slots == 0 ||
		len(w.leases)+len(w.outcomes) >= maxLeases {
		if w.out != nil {
			w.out.recalled(o.Lease)
		}
		return
	}
	w.seq++
	l := &lease{Offer: *o, seq: w.seq, id: wire.ThunkID(wire.Sum(o.Thunk)), accepted: time.Now(),
		since: w.cfg.Boot()}
	l.ctx, l.cancel = context.WithCancelCause(w.ctx)
	t, err := w.decodeOffer(o)
	if err == nil {
		err = w.checkPlace(o, t)
	}
	if err != nil {
		w.answer(l, w.failed(l, nil, failureOf(err, wire.CauseInternal)))
		return
	}
	l.thunk = t
	w.join(l)
	l.seat = seat{gate: w.slots, places: o.Hints.Slots(w.cfg.Hello.Slots)}
	if o.Net != nil { // others wait for it, so that nothing may take its slot while it fetches
		l.seat.queue(l)
	}
	l.log = w.logs.open(logKey{o.Space, l.id})
	w.leases[o.Lease] = l
	w.spawn(func() { w.serve(l) })
}

// decodeOffer reads the thunk and checks that this node can run it, which the coordinator has done
// before: a refusal here is a mistake of one of the two.
func (w *Worker) decodeOffer(o *wire.Offer) (*wire.Thunk, error) {
	if !o.Space.Valid() {
		return nil, wire.Errorf(wire.CauseInternal, "",
			"the coordinator offers a thunk of the space %q", o.Space)
	}
	t, err := wire.DecodeThunk(o.Thunk)
	switch {
	case err != nil:
		return nil, err
	case !t.Resolved():
		return nil, wire.Errorf(wire.CauseInternal, "",
			"the coordinator offers a thunk whose inputs are not all known")
	case t.Builtin():
		return t, nil
	case w.cfg.Takes != nil && !w.cfg.Takes(o.Space):
		return nil, wire.Errorf(wire.CauseSandbox, "node doctor says there what is missing",
			"this node cannot bound the memory of tasks, and takes none of %s", o.Space)
	case !slices.Contains(w.cfg.Hello.Versions.ABIs, t.ABI):
		return nil, wire.Errorf(wire.CauseVersion, "update gaggle on this machine",
			"sandbox profile %d is not known here", t.ABI)
	case !slices.Contains(w.cfg.Hello.Versions.Platforms, t.Platform):
		return nil, wire.Errorf(wire.CauseNoPlatform, "",
			"a thunk for %s was offered to a node of %v", t.Platform, w.cfg.Hello.Versions.Platforms)
	}
	return t, nil
}

// serve brings a lease to its end.
func (w *Worker) serve(l *lease) {
	defer l.cancel(nil)
	o, err := w.attempt(l)
	if err == nil {
		w.mu.Lock()
		if w.answer(l, o) && o.result != nil {
			w.goOn(l, o.outputs)
		}
		w.mu.Unlock()
		w.recheck(l.Space, o.outputs)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch cause := context.Cause(l.ctx); {
	case cause == nil: // the attempt itself went wrong
		w.answer(l, w.failed(l, nil, failureOf(err, wire.CauseSandbox)))
	case l.started:
		w.stopped(l, cause)
	default:
		w.giveBack(l, cause)
	}
}

// giveBack returns a lease that has not started, as the coordinator asked or because this node
// will not run it. One that has started it leaves alone. Called under w.mu.
func (w *Worker) giveBack(l *lease, cause error) {
	if l.started || l.over {
		return
	}
	w.end(l)
	l.cancel(cause)
	if w.out != nil {
		w.out.recalled(l.Lease)
	}
}

// giveBackAll returns whatever has not started. Called under w.mu.
func (w *Worker) giveBackAll(cause error) {
	for _, l := range w.leases {
		w.giveBack(l, cause)
	}
}

// stopped reports a run that was killed on somebody's wish. It is not held: on a new connection
// the coordinator sees that the lease is gone. Called under w.mu.
func (w *Worker) stopped(l *lease, cause error) {
	w.end(l)
	f := &wire.Failure{Cause: wire.CauseCancelled, Message: cause.Error()}
	if errors.Is(cause, errStopping) {
		f.Cause = wire.CauseNodeLost
	}
	if w.out != nil {
		w.out.outcome(w.failed(l, nil, f))
	}
}

// start makes a lease that has a slot a running one, unless it is not wanted or valid any more.
func (w *Worker) start(l *lease) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case l.ctx.Err() != nil:
		return context.Cause(l.ctx)
	case w.expired(l):
		w.giveBack(l, errExpired)
		return errExpired
	}
	l.started = true
	if w.out != nil {
		w.out.started(l.Lease)
	}
	return nil
}

// expired reports whether so long has passed since the coordinator was last heard of that it has
// given the thunk to somebody else. Called under w.mu.
func (w *Worker) expired(l *lease) bool {
	return l.Lasts > 0 && w.cfg.Boot()-max(l.since, w.renewed) > l.Lasts
}

// answer ends a lease with an outcome, which is held until it is acknowledged. It reports false if
// the lease was over before. Called under w.mu.
func (w *Worker) answer(l *lease, o *outcome) bool {
	if l.over {
		return false // recalled at the same moment: the value, if there is one, is in the memo
	}
	w.end(l)
	o.seq = l.seq
	w.outcomes[l.Lease] = o
	if w.out != nil {
		w.out.outcome(o)
	}
	return true
}

// end takes a lease off the books. Called under w.mu.
func (w *Worker) end(l *lease) {
	if !l.over {
		w.part(l)
	}
	l.over = true
	delete(w.leases, l.Lease)
}

// moving returns the leases whose progress is to be told, in order of acceptance.
func (w *Worker) moving() []*lease {
	w.mu.Lock()
	defer w.mu.Unlock()
	ls := make([]*lease, 0, len(w.leases))
	for _, l := range w.leases {
		ls = append(ls, l)
	}
	slices.SortFunc(ls, func(a, b *lease) int { return cmp.Compare(a.seq, b.seq) })
	return ls
}
