package worker

import (
	"errors"
	"time"

	"gaggle/sandbox"
	"gaggle/wire"
)

// An outcome is what became of a lease: a result or a failed attempt, and its receipt.
type outcome struct {
	seq     uint64 // of the lease
	fresh   bool   // of an offer that was
	result  *wire.Result
	outputs []wire.Object // of result
	attempt *wire.Attempt // if result is nil
	receipt wire.Receipt
}

func (o *outcome) lease() wire.LeaseID {
	if o.result != nil {
		return o.result.Lease
	}
	return o.attempt.Lease
}

// bytes is about what the outcome takes in a frame.
func (o *outcome) bytes() int {
	const fixed = 512 // ids, numbers, keys and the receipt
	if o.result != nil {
		return fixed + len(o.result.Value)
	}
	f := &o.attempt.Failure
	return fixed + len(f.Message) + len(f.Hint) + len(f.Stdout) + len(f.Stderr)
}

// A run is what is known of one execution beyond its lease.
type run struct {
	sandbox.Report
	begun          time.Time // wall clock
	storing        time.Duration
	stdout, stderr wire.Object // kept ends
}

// done returns the outcome of a lease whose thunk has the value v. r is nil if nothing had to run.
func (w *Worker) done(l *lease, r *run, v *wire.Value) *outcome {
	digest, enc := v.Encode()
	if r != nil {
		w.ends.ran.Add(1)
	} else {
		w.ends.known.Add(1)
	}
	o := &outcome{fresh: l.Fresh, outputs: v.Outputs, receipt: receipt(l, r)}
	o.receipt.Value = digest
	o.result = &wire.Result{Lease: l.Lease, Space: l.Space, Thunk: l.id, Value: enc,
		Fetched: l.fetched, Fresh: l.Fresh}
	if l.Sign {
		o.result.Signature = wire.SignClaim(w.cfg.Key, l.Space, l.id, v).Signature
	}
	if r != nil {
		o.result.Run, o.result.PeakMem = r.Run, r.PeakMem
	}
	return o
}

// failed returns the outcome of a lease that gave no value. r is nil if nothing ran.
func (w *Worker) failed(l *lease, r *run, f *wire.Failure) *outcome {
	w.ends.failed.Add(1)
	f.Node, f.NodeName = w.self, w.cfg.Hello.Name
	f.Stdout, f.Stderr = tail(f.Stdout), tail(f.Stderr)
	o := &outcome{fresh: l.Fresh, receipt: receipt(l, r)}
	o.receipt.Cause, o.receipt.Exit, o.receipt.Signal = f.Cause, int64(f.Exit), int64(f.Signal)
	if f.Cause != wire.CauseExit {
		o.receipt.Exit = -1
	}
	o.attempt = &wire.Attempt{Lease: l.Lease, Space: l.Space, Thunk: l.id, Failure: *f}
	if r != nil {
		o.attempt.Run, o.attempt.PeakMem = r.Run, r.PeakMem
	}
	return o
}

func tail(b []byte) []byte { return b[max(0, len(b)-wire.MaxTail):] }

func receipt(l *lease, r *run) wire.Receipt {
	c := wire.Receipt{
		Space: l.Space, Thunk: l.id, Started: l.accepted.UnixMicro(),
		Queue: l.queued.Microseconds(), Fetch: l.fetching.Microseconds(), FetchBytes: l.fetched,
	}
	if r != nil {
		c.Started = r.begun.UnixMicro()
		c.Run, c.Store, c.CPU = r.Run.Microseconds(), r.storing.Microseconds(), r.CPU.Microseconds()
		c.PeakMem, c.Stdout, c.Stderr = r.PeakMem, r.stdout, r.stderr
	}
	return c
}

// failureOf tells an error as a failure; cause is for errors that have none of their own.
func failureOf(err error, cause wire.Cause) *wire.Failure {
	e := wire.AsError(err)
	f := &wire.Failure{Cause: e.Cause, Message: e.Message, Hint: e.Hint}
	var inner *wire.Error
	if errors.As(err, &inner) {
		f.Hint = inner.Hint
	}
	if f.Cause == wire.CauseUnknown || f.Cause == wire.CauseNotFound {
		f.Cause = cause
	}
	return f
}
