package worker

import (
	"fmt"
	"slices"

	"gaggle/wire"
)

// goOn accepts the next thunk of a lease's continuation, which needs outputs of the value that the
// lease just got and nothing else that is not here. The coordinator comes to the same thunk by
// itself when it hears of the value, and takes the lease over or cancels it. Called under w.mu.
func (w *Worker) goOn(l *lease, outs []wire.Object) {
	if len(l.Then) == 0 || slices.ContainsFunc(outs, func(o wire.Object) bool { return !o.Final() }) {
		return
	}
	x := l.Then[0]
	o := &wire.Offer{Lease: x.Lease, Space: l.Space, Name: x.Name, Hints: x.Hints, Root: x.Root, Lasts: l.Lasts, Then: l.Then[1:], Sign: l.Sign}
	enc, err := resolveNext(l.thunk, outs, x.Thunk)
	if err != nil {
		w.log.Error("the coordinator sent a continuation that does not fit; leaving it", "task", x.Name, "error", err)
		return
	}
	o.Thunk = enc
	w.accept(o)
	if next := w.leases[o.Lease]; next != nil {
		next.after = append(slices.Clone(l.after), l.Lease)
	}
}

// resolveNext replaces the pending inputs of a thunk by outputs of the one before.
func resolveNext(before *wire.Thunk, outs []wire.Object, enc []byte) ([]byte, error) {
	t, err := wire.DecodeThunk(enc)
	if err != nil {
		return nil, err
	}
	r, err := t.Resolve(func(_ wire.ThunkID, output string) (wire.Object, bool) {
		i, ok := before.OutputIndex(output)
		if !ok || i >= len(outs) {
			return wire.Object{}, false
		}
		return outs[i], true
	})
	if err != nil {
		return nil, fmt.Errorf("task before: %w", err)
	}
	_, enc = r.Encode()
	return enc, nil
}

// dropThen ends what goes on after a lease that is not here: one whose turn has not come, or one that
// has ended before the coordinator's word reached it. Called under w.mu.
func (w *Worker) dropThen(id wire.LeaseID) {
	for _, l := range w.leases {
		if slices.Contains(l.after, id) {
			l.cancel(errCancelled)
			return
		}
		if i := slices.IndexFunc(l.Then, func(x wire.Next) bool { return x.Lease == id }); i >= 0 {
			l.Then = l.Then[:i]
			return
		}
	}
}
