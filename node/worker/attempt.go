package worker

import (
	"bytes"
	"context"
	"errors"
	"time"

	"gaggle/blobstore"
	"gaggle/blobstore/exchange"
	"gaggle/sandbox"
	"gaggle/wire"
)

// attempt brings the thunk of a lease to an outcome. An error says that the node, not the thunk,
// kept it from one; if the lease's context has ended, that is why.
func (w *Worker) attempt(l *lease) (*outcome, error) {
	defer w.logs.end(l.log)
	defer l.seat.leave()
	if !l.again() {
		if v := w.remembered(l); v != nil {
			return w.valued(l, nil, v), nil
		}
	}
	if l.thunk.Builtin() {
		return w.attemptBuiltin(l)
	}
	staged, err := w.ready(l)
	if err != nil {
		return w.infrastructure(l, err, wire.CauseFetch)
	}
	defer staged.Release()
	if err := l.seat.take(l); err != nil {
		return nil, err
	}
	r, err := w.run(l, staged) // a member that waits for others keeps its slot, which it was promised
	l.seat.leave()
	if err != nil {
		w.keepSaid(l)
		return w.infrastructure(l, err, wire.CauseSandbox)
	}
	w.keepEnds(l, r)
	if r.Failure != nil {
		return w.failed(l, r, r.Failure), nil
	}
	v := wire.NewValue(r.Outputs)
	if err := v.Matches(l.thunk); err != nil {
		return nil, wire.Errorf(wire.CauseInternal, "", "the sandbox returned a wrong value: %v",
			err)
	}
	if f := w.differ(l, v); f != nil {
		return w.failed(l, r, f), nil
	}
	return w.valued(l, r, v), nil
}

// again reports whether a value is known, and the thunk is to run nevertheless.
func (l *lease) again() bool { return l.Expect != nil || l.Fresh }

// attemptBuiltin is attempt for commands that need no sandbox and no slot.
func (w *Worker) attemptBuiltin(l *lease) (*outcome, error) {
	if err := w.fetch(l); err != nil {
		return w.infrastructure(l, err, wire.CauseFetch)
	}
	if err := w.start(l); err != nil {
		return nil, err
	}
	in := l.thunk.Inputs[0].Object
	tree := func(id wire.TreeID) (*wire.Tree, error) { return w.cfg.Store.Tree(l.Space, id) }
	out, err := choose(tree, in, l.thunk.Command[1])
	if err != nil {
		return w.infrastructure(l, err, wire.CauseInternal)
	}
	return w.valued(l, nil, wire.NewValue([]wire.Object{out})), nil
}

// remembered returns the value that this very node has claimed for the thunk before, if all of it
// is still here. The claims of others are for the coordinator to judge.
func (w *Worker) remembered(l *lease) *wire.Value {
	claims, err := w.cfg.Store.Claims(l.Space, l.id)
	if err != nil {
		w.log.Warn("cannot read the memo", "thunk", l.id, "error", err)
		return nil
	}
	for i := range claims {
		v := &claims[i].Value
		if claims[i].Signer == w.self && v.Matches(l.thunk) == nil && w.whole(l.Space, v.Outputs) {
			return v
		}
	}
	return nil
}

func (w *Worker) whole(space wire.Space, objs []wire.Object) bool {
	for _, o := range objs {
		if missing, err := w.cfg.Store.Missing(space, o); err != nil || len(missing) > 0 {
			return false
		}
	}
	return true
}

// valued holds the outputs of a value and returns the outcome. The claim and the durability of
// the outputs follow: nobody waits for them here.
func (w *Worker) valued(l *lease, r *run, v *wire.Value) *outcome {
	for _, o := range v.Outputs {
		w.cfg.Store.Hold(l.Space, o)
	}
	if l.again() { // its first run has claimed it
		w.syncs.add(l.Space, v.Outputs)
	} else {
		w.syncs.addValue(l.Space, l.id, v)
	}
	return w.done(l, r, v)
}

// infrastructure tells an error that is not the end of the lease's context as a failed attempt. A
// full disk makes the node drain.
func (w *Worker) infrastructure(l *lease, err error, cause wire.Cause) (*outcome, error) {
	if l.ctx.Err() != nil {
		return nil, err
	}
	f := failureOf(err, cause)
	if f.Cause == wire.CauseDiskFull {
		w.drain()
	}
	w.log.Info("attempt failed", "task", l.Name, "thunk", l.id, "error", err)
	return w.failed(l, nil, f), nil
}

// stageTries is how often inputs that vanish between fetching and laying out are fetched again.
const stageTries = 3

// ready has root and inputs in the store and laid out.
func (w *Worker) ready(l *lease) (Staged, error) {
	for try := 1; ; try++ {
		if err := w.fetch(l); err != nil {
			return nil, err
		}
		begun := time.Now()
		staged, err := w.cfg.Executor.Stage(l.ctx, l.Space, l.thunk)
		l.fetching += time.Since(begun)
		if !errors.Is(err, blobstore.ErrNotFound) || try == stageTries {
			return staged, err
		}
	}
}

// fetch has root and inputs whole in the store, and reports those that the coordinator thought
// were not here.
func (w *Worker) fetch(l *lease) error {
	want, err := w.wanted(l)
	if err != nil {
		return err
	}
	if len(want) > 0 {
		if err := w.fetches.enter(l.ctx, l.Hints.Priority, l.seq, 1); err != nil {
			return err
		}
		begun := time.Now()
		l.queued = begun.Sub(l.accepted)
		err = w.fetchFrom(l.ctx, l, want)
		w.fetches.leave(1)
		l.fetching += time.Since(begun)
		if err != nil {
			return err
		}
	}
	var had []wire.Object
	for _, h := range l.Holders {
		if w.whole(l.Space, []wire.Object{h.Object}) {
			had = append(had, h.Object)
		}
	}
	w.hold(l.Space, had)
	return nil
}

// hold reports objects as held, without making them durable: others hold them, too.
func (w *Worker) hold(space wire.Space, objs []wire.Object) {
	for _, o := range objs {
		w.cfg.Store.Hold(space, o)
	}
	w.tell(func(out *outbox) { out.have(space, objs) })
	w.recheck(space, objs)
}

// wanted returns what of root and inputs is not whole here, with the holders from the offer.
func (w *Worker) wanted(l *lease) (want []wire.Held, err error) {
	from := make(map[wire.Digest]wire.Held, len(l.Holders))
	for _, h := range l.Holders {
		from[h.Object.Digest] = wire.Held{Peers: h.Peers[:min(len(h.Peers), wire.MaxHolders)], Coming: h.Coming[:min(len(h.Coming), wire.MaxHolders)]}
	}
	need := make([]wire.Object, 0, len(l.thunk.Inputs)+1)
	if !l.thunk.Builtin() {
		root := wire.DirObject(l.thunk.Root, 0)
		if l.Root != nil {
			root.Size = l.Root.Size
		}
		need = append(need, root)
	}
	for _, in := range l.thunk.Inputs {
		need = append(need, in.Object)
	}
	seen := make(map[wire.Object]bool, len(need))
	for _, o := range need {
		if seen[o] {
			continue
		}
		seen[o] = true
		missing, err := w.cfg.Store.Missing(l.Space, o)
		if err != nil {
			return nil, err
		}
		if len(missing) > 0 {
			h := from[o.Digest]
			h.Object = o
			want = append(want, h)
		}
	}
	return want, nil
}

// fetchFrom fetches and passes on what the exchange learned on the way.
func (w *Worker) fetchFrom(ctx context.Context, l *lease, want []wire.Held) error {
	report, err := w.cfg.Exchange.Fetch(ctx, l.Space, want, func(p exchange.Progress) {
		l.shown.set("fetch", p.Done, p.Total, p.From)
	})
	l.fetched += report.Bytes
	w.Learned(report)
	return err
}

// run takes the slot that the caller has and executes the thunk.
func (w *Worker) run(l *lease, staged Staged) (*run, error) {
	if err := w.awaitOthers(l); err != nil {
		return nil, err
	}
	if err := w.start(l); err != nil {
		return nil, err
	}
	l.shown.set("run", 0, 0, wire.PeerID{})
	sink := &storeSink{store: w.cfg.Store, space: l.Space, shown: &l.shown}
	r := &run{begun: time.Now()}
	var err error
	r.Report, err = staged.Run(l.ctx, sandbox.Spec{
		Limits: sandbox.Limits{Wall: l.Hints.Deadline(), MemBytes: l.Hints.Memory()},
		Stdout: l.log.writer(false),
		Stderr: l.log.writer(true),
		Sink:   sink,
		Again:  l.again() && l.Net == nil, // a member of a gang has not run before
		Net:    w.membership(l),
	})
	r.storing = sink.spent()
	return r, err
}

// keepEnds stores the ends of the streams, which the receipt names and coord logs shows. A store
// that cannot take them takes nothing else either, which is noticed elsewhere.
func (w *Worker) keepEnds(l *lease, r *run) {
	r.stdout, r.stderr = w.keepEnd(l, r.Stdout), w.keepEnd(l, r.Stderr)
	l.log.keep(r.stdout, r.stderr)
}

// keepSaid is keepEnds for a run that was cut short, of which there is no report: who cancels a
// task that hangs wants to see what it said.
func (w *Worker) keepSaid(l *lease) {
	if stdout, stderr := l.log.said(); len(stdout)+len(stderr) > 0 {
		l.log.keep(w.keepEnd(l, stdout), w.keepEnd(l, stderr))
	}
}

func (w *Worker) keepEnd(l *lease, b []byte) wire.Object {
	if len(b) == 0 {
		return wire.Object{}
	}
	id, n, err := w.cfg.Store.Put(w.ctx, l.Space, bytes.NewReader(b))
	if err != nil {
		w.log.Info("cannot keep the end of an output stream", "thunk", l.id, "error", err)
		return wire.Object{}
	}
	return wire.FileObject(id, uint64(n), false)
}
