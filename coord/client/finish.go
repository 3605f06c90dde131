package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"gaggle/blobstore"
	"gaggle/wire"
)

// maxReports is how many failures are told in full: nobody reads more.
const maxReports = 20

// close does what is left when the coordinator has said how the job ended: it tells the
// failures, brings the targets here, writes them and lets go of them.
func (j *job) close(ctx context.Context, d *wire.Done) {
	end := &End{Counts: d.Counts, Error: d.Error, Out: j.rec.Out}
	end.Cancelled = d.Error != nil && d.Error.Cause == wire.CauseCancelled
	j.report(d.Failures)
	j.keepFailed(d.Failures)
	if end.Error == nil {
		end.Error = infrastructure(d.Failures)
		end.Told = end.Error != nil
	}
	if !j.rec.Detached {
		if err := j.deliver(ctx, d, end); err != nil && end.Error == nil {
			end.Error = asError(err)
		}
	}
	j.mu.Lock()
	means := j.board.Means()
	j.mu.Unlock()
	j.b.learn(j.rec.Name, means)
	j.letGo()
	j.finish(end)
}

// infrastructure returns why a job failed if no task is to blame, nil otherwise.
func infrastructure(failures []wire.FailedTask) *wire.Error {
	var why *wire.Error
	for i := range failures {
		f := &failures[i]
		switch {
		case f.Failure.Cause.Task():
			return nil
		case f.Failure.Cause != wire.CauseDependency && why == nil:
			why = wire.Errorf(f.Failure.Cause, f.Failure.Hint, "task %s: %s", f.Task, ending(&f.Failure))
		}
	}
	return why
}

// report tells failures with what a person needs in order to act on them.
func (j *job) report(failures []wire.FailedTask) {
	told := 0
	for i := range failures {
		f := &failures[i]
		if f.Failure.Cause == wire.CauseDependency || told == maxReports {
			continue
		}
		told++
		t := &FailedTask{Task: f.Task, Failure: f.Failure, Tried: len(f.Attempts) + 1, Again: j.rec.again(f.Task), Seek: j.rec.seek(f)}
		if th := j.thunkOf(f); th != nil {
			t.Command = th.Command
			for _, v := range th.Env {
				t.Env = append(t.Env, v.Name+"="+v.Value)
			}
		}
		j.tell(&Event{Failed: t})
	}
}

// thunkOf returns the thunk of a failed task: one of those submitted, or one of a sub-graph; nil if
// it is not known.
func (j *job) thunkOf(f *wire.FailedTask) *wire.Thunk {
	encoded := f.Encoded
	if encoded == nil {
		encoded = j.encoded[f.Thunk]
	}
	th, err := wire.DecodeThunk(encoded)
	if err != nil {
		return nil
	}
	return th
}

// deliver fetches the targets that were reached and writes them below rec.Out.
func (j *job) deliver(ctx context.Context, d *wire.Done, end *End) error {
	wanted, err := j.wanted(d, end)
	if err != nil || len(d.Targets) == 0 {
		return err
	}
	from := holders{space: j.link.space, peers: d.Peers, grant: d.Grant}
	w := &writer{store: j.b.store, space: j.link.space, out: j.rec.Out, replace: j.rec.Replace, tell: j.tell}
	for {
		if err := j.fetchTargets(ctx, from, d.Targets, end); err != nil {
			return fmt.Errorf("fetching the targets: %w", err)
		}
		err := j.prove(ctx, wanted, d)
		if err != nil {
			return err
		}
		if j.rec.Run != nil {
			err = w.writeRun(ctx, j.rec, d.Targets)
		} else {
			err = w.writeTargets(ctx, d.Targets)
		}
		end.Files += w.files
		w.files = 0
		if err == nil {
			break
		}
		// Reading found a target spoilt, and the store has dropped it: others hold it, or the
		// coordinator has it made again.
		if missing, _ := j.b.lacking(from.space, d.Targets); !errors.Is(err, blobstore.ErrNotFound) || len(missing) == 0 {
			return err
		}
		j.tell(&Event{Note: "a target was damaged in the store; getting it again"})
	}
	if _, err := j.link.ask(ctx, &wire.Request{Release: &wire.JobRef{Job: j.id}}); err != nil {
		j.b.log.Info("the coordinator was not told that the targets are here", "job", j.id, "error", err)
	}
	return nil
}

// wanted returns what was wanted of the job, after it has made sure that a job which ends with success
// delivers all of that.
func (j *job) wanted(d *wire.Done, end *End) (wants, error) {
	w, err := j.b.wanted(j.link, j.rec, j.tell)
	if err != nil || end.Error != nil || d.Counts.Failed > 0 {
		return w, err
	}
	whole := w
	if w == nil {
		whole = wantsOf(j.targets)
	}
	return w, whole.complete(j.link, j.rec, d.Targets, func(string) bool { return true })
}

// prove checks whose values the targets are. What can be had is had by then.
func (j *job) prove(ctx context.Context, wanted wants, d *wire.Done) error {
	j.kept.Wait()
	j.mu.Lock()
	if j.log != nil {
		_ = j.log.w.Flush() // it only spares questions
	}
	j.mu.Unlock()
	return j.b.prove(ctx, j.link, j.rec, wanted, d.Targets, j.tell)
}

// fetchTries is how often targets are fetched before they are given up: holders come back under
// other addresses, and what all have lost the coordinator has made again. With pauses of up to
// retryMost, a minute.
const fetchTries = 15

// fetchTargets brings the targets here. After a failure it asks the coordinator anew who has them.
func (j *job) fetchTargets(ctx context.Context, from holders, targets []wire.Target, end *End) error {
	said, pauses := "", backoff{}
	for try := 1; ; try++ {
		want, err := j.b.lacking(from.space, targets)
		if err != nil || len(want) == 0 {
			return err
		}
		if try > 1 {
			from, want = j.holdersNow(ctx, from, want)
		}
		moved, err := j.link.Fetch(ctx, from, want, func(f Fetching) { j.tell(&Event{Fetching: &f}) })
		end.Fetched += moved
		if err == nil {
			j.link.announce(want)
			return nil
		}
		if try == fetchTries || wire.CauseOf(err) == wire.CauseDiskFull {
			return err
		}
		if why := asError(err).Message; why != said {
			said = why
			j.tell(&Event{Note: "waiting for the targets: " + why})
		}
		if err := pauses.wait(ctx); err != nil {
			return err
		}
	}
}

// announce tells the coordinator that fetched targets are here, too: should the nodes lose them,
// they need not be made again for this user.
func (l *link) announce(fetched []wire.Held) {
	for part := range slices.Chunk(fetched, wire.MaxBatch) {
		objs := make([]wire.Object, len(part))
		for i, h := range part {
			objs[i] = h.Object
		}
		l.worker.Announce(l.space, objs)
	}
}

// holdersNow asks who has the objects at present. What cannot be learned stays as it was.
func (j *job) holdersNow(ctx context.Context, from holders, want []wire.Held) (holders, []wire.Held) {
	for i := 0; i < len(want); i += wire.MaxBatch {
		part := want[i:min(i+wire.MaxBatch, len(want))]
		req := &wire.Where{Space: from.space}
		for _, h := range part {
			req.Objects = append(req.Objects, h.Object)
		}
		r, err := j.link.ask(ctx, &wire.Request{Where: req})
		if err != nil || len(r.Found) != len(part) {
			continue
		}
		copy(part, r.Found)
		from.peers, from.grant = append(from.peers, r.Peers...), r.Grant
	}
	return from, want
}

// lacking returns what of the targets is not whole in the store.
func (b *backend) lacking(space wire.Space, targets []wire.Target) (want []wire.Held, err error) {
	for _, t := range targets {
		missing, err := b.store.Missing(space, t.Held.Object)
		if err != nil {
			return nil, err
		}
		if len(missing) > 0 {
			want = append(want, t.Held)
		}
	}
	return want, nil
}

// A writer puts targets on the user's disk: below one directory, each whole or not at all.
type writer struct {
	store   *blobstore.Store
	space   wire.Space
	out     string
	replace bool
	tell    func(*Event)
	files   int
	written map[string]bool // targets by path
}

// each calls write for every target that is not written yet. All are tried.
func (w *writer) each(targets []wire.Target, write func(wire.Target) error) error {
	if w.written == nil {
		w.written = map[string]bool{}
	}
	var errs []error
	for _, t := range targets {
		if w.written[t.Path] {
			continue
		}
		err := write(t)
		w.written[t.Path] = err == nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (w *writer) writeTargets(ctx context.Context, targets []wire.Target) error {
	return w.each(targets, func(t wire.Target) error {
		if err := w.write(ctx, t.Held.Object, t.Path); err != nil {
			return fmt.Errorf("writing target %s: %w", t.Path, err)
		}
		return nil
	})
}

// write exports an object to a slash-separated path below the directory. A symlink there that
// leads out of it is refused.
func (w *writer) write(ctx context.Context, o wire.Object, p string) error {
	if err := wire.CheckPath(p); err != nil {
		return err
	}
	if err := os.MkdirAll(w.out, 0o777); err != nil {
		return err
	}
	root, err := os.OpenRoot(w.out)
	if err != nil {
		return err
	}
	defer root.Close()
	if parent := path.Dir(p); parent != "." {
		if err := root.MkdirAll(filepath.FromSlash(parent), 0o777); err != nil {
			return fmt.Errorf("making its directory: %w", err)
		}
	}
	dst := filepath.Join(w.out, filepath.FromSlash(p))
	if err := w.store.Export(ctx, w.space, o, dst, blobstore.ExportOptions{Replace: w.replace}); err != nil {
		return err
	}
	n, err := w.count(o)
	if err != nil {
		return err
	}
	w.files += n
	w.tell(&Event{Written: &Written{Path: dst, Files: n, Bytes: int64(o.Size)}})
	return nil
}

// count returns how many files an object is.
func (w *writer) count(o wire.Object) (int, error) {
	switch o.Kind {
	case wire.File, wire.Exec, wire.Symlink:
		return 1, nil
	}
	t, err := w.store.Tree(w.space, wire.TreeID(o.Digest))
	if err != nil {
		return 0, err
	}
	total := 0
	for i := range t.Entries {
		n, err := w.count(t.Entries[i].Object)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}
