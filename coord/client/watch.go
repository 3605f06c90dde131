package client

import (
	"context"
	"sync"

	"gaggle/wire"
)

// A watcher passes what happens to a job on to one command, at the command's speed: one that
// was stopped with Ctrl-Z must not hold up the job.
type watcher struct {
	ready chan struct{} // has one element when there is something to take

	mu      sync.Mutex // guards the fields below
	waiting []*Event
	notices int
	over    bool // nothing follows the waiting
}

// maxWaiting is how many notices wait for a slow command before the oldest are dropped: it then
// shows less, and what the coordinator counts is right all the same.
const maxWaiting = 1 << 18

func newWatcher() *watcher { return &watcher{ready: make(chan struct{}, 1)} }

func (w *watcher) add(e *Event) {
	w.mu.Lock()
	w.waiting = append(w.waiting, e)
	w.notices += len(e.Notices)
	for i := 0; w.notices > maxWaiting && i < len(w.waiting); i++ {
		w.notices -= len(w.waiting[i].Notices)
		w.waiting[i] = &Event{}
	}
	w.over = w.over || e.End != nil
	w.mu.Unlock()
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// take returns what waits, with notices joined into few events; over is true after the last.
func (w *watcher) take() (events []*Event, over bool) {
	w.mu.Lock()
	waiting := w.waiting
	w.waiting, w.notices, over = nil, 0, w.over
	w.mu.Unlock()
	for _, e := range waiting {
		last := len(events) - 1
		if len(e.Notices) > 0 && last >= 0 && len(events[last].Notices) > 0 && len(events[last].Notices) < wire.MaxBatch {
			events[last].Notices = append(events[last].Notices, e.Notices...)
			continue
		}
		own := *e // other watchers have e too
		own.Notices = append([]wire.Notice(nil), e.Notices...)
		events = append(events, &own)
	}
	return events, over
}

// follow sends a job's events to the command until the job or the command has ended, or a
// detached job is accepted. The first interruption cancels the job.
func (s *session) follow(ctx context.Context, j *job) (*End, error) {
	w := j.subscribe()
	defer j.unsubscribe(w)
	interrupt := s.interrupt
	for {
		select {
		case <-ctx.Done():
			return nil, s.left(ctx, j)
		case <-interrupt:
			interrupt = nil
			j.cancel()
		case <-w.ready:
			events, over := w.take()
			for _, e := range events {
				if e.End != nil {
					return e.End, nil
				}
				if err := s.send(e); err != nil {
					_ = s.conn.CloseWrite() // who still reads leaves, too
					<-ctx.Done()
					_ = s.left(ctx, j)
					return nil, err
				}
				if e.Started != nil && e.Started.Detached {
					return &End{Job: j.id, Counts: wire.Counts{Tasks: e.Started.Tasks}}, nil
				}
			}
			if over {
				return new(End), nil
			}
		}
	}
}

// left is called when the command has gone and all that it said is read. It returns why ctx has ended.
func (s *session) left(ctx context.Context, j *job) error {
	select {
	case <-s.interrupt: // just before it went away
		j.cancel()
	default:
	}
	return context.Cause(ctx)
}
