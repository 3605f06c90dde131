package server

import (
	"sync"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// A watcher passes what happens to a job on to one client, at the client's speed.
type watcher struct {
	job wire.JobID

	mu      sync.Mutex // guards the fields below
	ready   sync.Cond
	waiting []wire.Response // small ones; notices are joined when written
	last    bool            // nothing follows the waiting
}

// maxNotices is how far a client may fall behind before it is cut off; it can attach anew. A job
// of 10^5 tasks whose values are all known makes as many at once.
const maxNotices = 1 << 18

func (s *Server) subscribe(job wire.JobID) *watcher {
	w := &watcher{job: job}
	w.ready.L = &w.mu
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch[job] = append(s.watch[job], w)
	return w
}

func (s *Server) unsubscribe(job wire.JobID, w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rest []*watcher
	for _, other := range s.watch[job] {
		if other != w {
			rest = append(rest, other)
		}
	}
	if rest == nil {
		delete(s.watch, job)
	} else {
		s.watch[job] = rest
	}
}

func (s *Server) tell(job wire.JobID, r wire.Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watch[job] {
		w.add(r)
	}
}

// tellEnd tells a job's end to all who watch.
func (s *Server) tellEnd(job wire.JobID, done wire.Done) {
	r := s.endOf(done)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watch[job] {
		w.end(r)
	}
}

// endOf returns the last response about a job: done with the addresses that fetching its targets
// takes, but no grant, which follow adds for whom it is.
func (s *Server) endOf(done wire.Done) wire.Response {
	for _, t := range done.Targets {
		done.Peers = s.infos(done.Peers, t.Held.Peers)
	}
	return wire.Response{Done: &done}
}

func (w *watcher) add(r wire.Response) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last {
		return
	}
	if len(w.waiting) >= maxNotices {
		w.waiting = []wire.Response{{Error: wire.Errorf(wire.CauseBusy, "run coord attach", "this client reads too slowly to follow the job")}}
		w.last = true
	} else {
		w.waiting = append(w.waiting, r)
	}
	w.ready.Signal()
}

func (w *watcher) end(r wire.Response) {
	w.add(r)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = true
	w.ready.Signal()
}

// take waits for something to pass on; more is false after the last.
func (w *watcher) take() (rs []wire.Response, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiting) == 0 && !w.last {
		w.ready.Wait()
	}
	rs, w.waiting = w.waiting, nil
	return rs, !w.last
}

// attach follows a job from where it stands.
func (c *client) attach(id wire.JobID) error {
	j, err := c.job(id)
	if err != nil {
		return err
	}
	w := c.s.subscribe(id)
	defer c.s.unsubscribe(id, w)
	var snapshot []wire.Notice
	if err := c.s.ask(func(st *sched.State) { snapshot = st.Snapshot(id) }); err != nil {
		return err
	}
	if c.s.isAccepted(id) { // else the watcher is told in time
		if err := c.write(&wire.Response{Accepted: &wire.Accepted{Job: id, Trust: j.Trust, Proves: true}}); err != nil {
			return err
		}
	}
	if e := c.s.troubled(); e != nil {
		snapshot = append(snapshot, wire.Notice{Note: fullNote(e)})
	}
	for _, r := range join([]wire.Response{{Notices: snapshot}}) {
		if err := c.write(&r); err != nil {
			return err
		}
	}
	if over := c.s.endedJob(id); over != nil {
		w.end(c.s.endOf(*over.Done))
	}
	return c.follow(w, func() error { return nil })
}

// follow writes what the watcher gets until the job ends or the client goes. Meanwhile rest reads
// what the client has yet to say; its error ends the following.
func (c *client) follow(w *watcher, rest func() error) error {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if err := rest(); err != nil {
			w.end(wire.Response{Error: wire.AsError(err)})
			return
		}
		var nothing wire.Request
		// A client says nothing more; its stream ends when it has seen enough.
		for c.frames.Read(&nothing) == nil {
		}
		w.end(wire.Response{})
	}()
	defer func() { c.rw.Close(); <-gone }()
	for more := true; more; {
		var rs []wire.Response
		rs, more = w.take()
		for _, r := range join(rs) {
			if r.Done != nil {
				err := c.writeDone(*r.Done, c.grantOf(w.job))
				return err // the last there is to say
			}
			if err := c.write(&r); err != nil {
				return nil // the client is gone; the job goes on
			}
		}
	}
	return nil
}
