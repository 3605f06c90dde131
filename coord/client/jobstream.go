package client

import (
	"context"
	"io"
	"time"

	"gaggle/wire"
)

// isAccepted reports whether the coordinator has the job.
func (j *job) isAccepted() bool {
	select {
	case <-j.accepted:
		return true
	default:
		return false
	}
}

// isKnown reports whether the coordinator has, or had, at least a part of the job. It is followed for
// as long as it takes then: its tasks run.
func (j *job) isKnown() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.heard || j.isAccepted()
}

// follow opens one stream about the job and reads it to its end. The job is submitted on the
// first, and attached to on those after it was accepted.
func (j *job) follow(ctx context.Context) error {
	rw, err := j.link.Open(ctx)
	if err != nil {
		return err
	}
	defer rw.Close()
	stop := context.AfterFunc(ctx, func() { rw.Close() })
	defer stop()
	j.mu.Lock()
	sub := j.submit
	j.mu.Unlock()
	if sub == nil {
		if err := j.count(ctx); err != nil {
			return err
		}
		if err := wire.WriteFrame(rw, &wire.Request{Attach: &wire.JobRef{Job: j.id}}); err != nil {
			return err
		}
		return j.read(ctx, rw)
	}
	// The coordinator may refuse before it has read all, so writing must not hold up reading.
	wrote := make(chan error, 1)
	go func() {
		err := sub.write(rw)
		if err != nil {
			rw.Close()
		}
		wrote <- err
	}()
	err = j.read(ctx, rw)
	rw.Close()
	if writeErr := <-wrote; err == nil {
		return writeErr
	}
	return err
}

// count learns how many tasks a job has that was submitted before.
func (j *job) count(ctx context.Context) error {
	r, err := j.link.ask(ctx, &wire.Request{Status: &wire.JobRef{Job: j.id}})
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range r.Jobs {
		j.started.Tasks, j.started.Begun = s.Counts.Tasks, s.Begun
		j.board.Counts.Tasks = s.Counts.Tasks
	}
	return nil
}

// chunkBytes is how much of a job travels in one frame, well below wire.MaxFrame with one thunk
// of wire.MaxThunk on top.
const chunkBytes = 1 << 20

func (s *submission) write(w io.Writer) error {
	if err := wire.WriteFrame(w, &wire.Request{Submit: &s.head}); err != nil {
		return err
	}
	for rest := s.tasks; ; {
		n, size := 0, 0
		for n < len(rest) && n < wire.MaxBatch && size < chunkBytes {
			size += len(rest[n].Thunk)
			n++
		}
		if err := wire.WriteFrame(w, &wire.SubmitChunk{Tasks: rest[:n], End: n == len(rest)}); err != nil {
			return err
		}
		if n == len(rest) {
			return nil
		}
		rest = rest[n:]
	}
}

// read takes the responses about the job until one ends it.
func (j *job) read(ctx context.Context, r io.Reader) error {
	frames := wire.NewFrameReader(r)
	var early wire.Done // parts of the end
	for {
		var r wire.Response
		if err := frames.Read(&r); err != nil {
			return wire.Errorf(wire.CauseUnreachable, "", "the connection to the coordinator broke: %v", err)
		}
		if r.Error != nil {
			return r.Error
		}
		j.isBack()
		switch {
		case r.Accepted != nil:
			if t := j.rec.Trust; t != wire.TrustAny && r.Accepted.Trust != t {
				j.unheeded()
				return wire.Errorf(wire.CauseVersion, "update the coordinator, or submit without --trust", "the coordinator is of a version that believes every node, not as --trust %s asks", t)
			}
			if j.rec.Trust != wire.TrustAny && !r.Accepted.Proves {
				if j.isSubmitting() {
					j.unheeded()
				}
				return wire.Errorf(wire.CauseVersion, "update the coordinator, or submit without --trust", "the coordinator is of a version that cannot show whose values it took, which --trust %s asks for", j.rec.Trust)
			}
			j.accept()
			if j.rec.Detached && j.link.name != "" { // it needs this machine no more
				j.letGo()
				j.finish(&End{})
				return errJobOver
			}
		case r.Part != nil:
			early.Targets = append(early.Targets, r.Part.Targets...)
			early.Failures = append(early.Failures, r.Part.Failures...)
		case r.Done != nil:
			r.Done.Targets = append(early.Targets, r.Done.Targets...)
			r.Done.Failures = append(early.Failures, r.Done.Failures...)
			if !j.isAccepted() {
				j.accept()
			}
			j.close(ctx, r.Done)
			return errJobOver
		}
		if len(r.Notices) > 0 {
			j.notice(ctx, r.Notices)
		}
	}
}

// isSubmitting reports whether the coordinator is told of the job for the first time.
func (j *job) isSubmitting() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.submit != nil
}

// unheeded has a job stopped that the coordinator took without its policy of trust.
func (j *job) unheeded() {
	j.b.work.Go(func() {
		ctx, enough := context.WithTimeout(j.b.ctx, answerTimeout)
		defer enough()
		_, _ = j.link.ask(ctx, &wire.Request{Cancel: &wire.JobRef{Job: j.id}}) // nobody fetches its targets anyway
	})
}

// accept notes that the coordinator has the job.
func (j *job) accept() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.isAccepted() { // attached again: the states of all tasks follow
		j.started.Counts, j.started.Tasks = wire.Counts{}, j.board.Counts.Tasks
		j.board = NewBoard(j.started, time.Now())
		again := *j.started
		j.tellLocked(&Event{Started: &again})
		return
	}
	if j.submit != nil {
		j.started.Tasks, j.started.Kinds = len(j.submit.tasks), j.submit.kinds
		j.submit = nil // the room of 10^5 thunks
	}
	if err := j.b.dir.saveRecord(j.rec); err != nil {
		j.b.log.Error("a job is not recorded; get and logs will not know it", "error", err)
	}
	// What was told before it was accepted stands on the board already.
	started := *j.started
	started.Counts, started.Snapshot = j.board.Counts, j.board.Snapshot()
	j.tellLocked(&Event{Started: &started})
	close(j.accepted)
}
