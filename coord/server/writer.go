package server

import (
	"context"
	"fmt"
	"time"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// commit is the rows of one batch and the actions that wait for them.
type commit struct {
	rows   []sched.Row
	after  []sched.Action
	urgent bool // a person waits for it
}

func (c *commit) add(next commit) {
	c.rows, c.after = append(c.rows, next.rows...), append(c.after, next.after...)
	c.urgent = c.urgent || next.urgent
}

const (
	// commitPause is how long the writer lets rows gather after a commit, unless one is urgent: a
	// commit takes two flushes of the disk whatever is in it, and small thunks end by the thousand.
	commitPause = 10 * time.Millisecond
	// maxCommit is how many rows are written at once, but for those of one batch.
	maxCommit = 64 * wire.MaxBatch
	// fullRetry is how often it is tried whether a full disk has room.
	fullRetry = time.Second
)

// writeRows makes the rows of waiting batches durable in one transaction and then lets go what
// waited for them. A full disk is waited out. A journal that fails ends the server: it may promise
// nothing any more.
func (s *Server) writeRows(fail context.CancelCauseFunc) error {
	var failed error
	var pause <-chan time.Time // since the last commit
	for c := range s.write {
		s.gather(&c, pause)
		for todo := []commit{c}; failed == nil && len(todo) > 0; {
			var more []commit
			if more, failed = s.record(todo[0]); failed == nil {
				s.letGo(todo[0])
			}
			todo = append(todo[1:], more...)
		}
		if failed != nil {
			s.stop(failed, fail)
			for range s.write { // keep the loop from blocking until it sees the end
			}
			return failed
		}
		pause = time.After(commitPause)
	}
	return nil
}

// stop ends the server because of the journal.
func (s *Server) stop(failed error, fail context.CancelCauseFunc) {
	e := wire.AsError(failed)
	s.cfg.Logger.Error("the coordinator's tables cannot be written; stopping", "error", e.Message, "do", e.Hint)
	s.mu.Lock()
	s.trouble = e
	s.mu.Unlock()
	fail(failed)
}

// record writes the rows of a commit. While there is no room it tries again, and returns what came
// meanwhile. That is bounded by the tasks that were accepted before, for no job is accepted then. At the
// server's end it gives up.
func (s *Server) record(c commit) (more []commit, err error) {
	if err = s.cfg.Journal.Write(c.rows); wire.CauseOf(err) != wire.CauseDiskFull {
		return nil, recording(err)
	}
	s.full(wire.AsError(err))
	defer s.full(nil)
	retry := time.NewTicker(fullRetry)
	defer retry.Stop()
	for {
		open := true
		select {
		case next, ok := <-s.write:
			if open = ok; !ok {
				break
			}
			if n := len(more); n > 0 && len(more[n-1].rows) < maxCommit {
				more[n-1].add(next)
			} else {
				more = append(more, next)
			}
			continue
		case <-retry.C:
		}
		if err = s.cfg.Journal.Write(c.rows); wire.CauseOf(err) != wire.CauseDiskFull || !open {
			return more, recording(err)
		}
	}
}

func recording(err error) error {
	if err != nil {
		err = fmt.Errorf("recording: %w", err)
	}
	return err
}

// full says that nothing can be recorded, and why, or with nil that it can again.
func (s *Server) full(why *wire.Error) {
	note := "the coordinator's disk has room again"
	if why == nil {
		s.cfg.Logger.Warn("the coordinator's disk has room again: what waited is recorded")
	} else {
		note = fullNote(why)
		s.cfg.Logger.Error("the coordinator's disk is full: nothing is accepted, and no job ends, until there is room", "error", why.Message, "do", why.Hint)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = why
	for _, ws := range s.watch {
		for _, w := range ws {
			w.add(wire.Response{Notices: []wire.Notice{{Note: note}}})
		}
	}
}

// fullNote is for those who follow a job.
func fullNote(why *wire.Error) string {
	return "the coordinator cannot record anything, so no job is accepted or ends: " + why.Error()
}

// troubled returns why nothing can be recorded, nil if it can.
func (s *Server) troubled() *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

// closed is the error of calls on a server that has ended.
func (s *Server) closed() error {
	if e := s.troubled(); e != nil {
		return fmt.Errorf("%w: %w", ErrClosed, e)
	}
	return ErrClosed
}

// waitsForRoom marks the jobs that would be told to have ended, or go on, if that could be recorded.
// Called under s.mu.
func (s *Server) waitsForRoom(jobs []wire.JobStatus) {
	if s.trouble == nil {
		return
	}
	for i := range jobs {
		j := &jobs[i]
		if s.ended[j.Job] == nil {
			j.State, j.Ended, j.Waiting = "waiting", 0, "waiting for room on the coordinator's disk"
		}
	}
}

// gather adds to c what waits to be written and, unless something is urgent, what comes before the
// pause is over.
func (s *Server) gather(c *commit, pause <-chan time.Time) {
	for len(c.rows) < maxCommit {
		if c.urgent {
			pause = nil
		}
		next, ok := s.next(pause)
		if !ok {
			return
		}
		c.add(next)
	}
}

// next returns a commit that waits or comes before the pause is over; with a nil one, that waits.
func (s *Server) next(pause <-chan time.Time) (c commit, ok bool) {
	select {
	case c, ok = <-s.write:
		return c, ok
	default:
	}
	if pause == nil {
		return commit{}, false
	}
	select {
	case c, ok = <-s.write:
		return c, ok
	case <-pause:
		return commit{}, false
	}
}

// letGo carries out the actions whose rows are durable now.
func (s *Server) letGo(c commit) {
	for _, r := range c.rows {
		if st, ok := r.(sched.RowJobState); ok && st.Done != nil {
			s.remember(&st)
		}
	}
	for _, a := range c.after {
		switch a := a.(type) {
		case sched.Accept:
			s.mu.Lock()
			s.accepted[a.Job] = true
			s.mu.Unlock()
			s.tell(a.Job, wire.Response{Accepted: &wire.Accepted{Job: a.Job, Trust: a.Trust, Proves: true}})
		case sched.End:
			s.tellEnd(a.Job, a.Done)
		case repin:
			s.repin(a.Pin)
		case sched.Ack, sched.Pin, sched.Unpin:
			s.toNode(a)
		}
	}
	s.flushOutboxes()
}
