package sim

import (
	"context"
	"fmt"
	"io"
	"time"

	"gaggle/wire"
)

// A submitter is the client's side of a job: it submits, and if the stream breaks attaches anew
// for as long as it takes.
type submitter struct {
	h   *host
	job *job
}

// run returns the job's end, or nil if the world ended before it.
func (s *submitter) run() *wire.Done {
	accepted := false
	for tries := 0; !s.h.w.over(); tries++ {
		req := &wire.Request{Attach: &wire.JobRef{Job: s.job.id}}
		if !accepted && tries%2 == 0 { // else somebody else attaches who saw it
			req = &wire.Request{Submit: &wire.Submit{Job: s.job.id, Space: space, Name: "sim", Detach: s.job.detach, Twice: s.job.twice,
				Tasks: len(s.job.tasks), Targets: s.job.targets}}
		}
		done, ok := s.once(req, &accepted)
		if done != nil {
			return done
		}
		if !ok && accepted {
			s.h.w.fail(fmt.Errorf("job %s was accepted and is not known any more", s.job.id))
			accepted = false
		}
		time.Sleep(time.Second)
	}
	return nil
}

// once follows one stream. It reports false if the coordinator said that it has no such job.
func (s *submitter) once(req *wire.Request, accepted *bool) (*wire.Done, bool) {
	near, far, err := s.h.w.net.dial(s.h.name, "hub")
	if err != nil {
		return nil, true
	}
	defer near.Close()
	hub, ctx := s.h.w.server()
	if hub == nil {
		return nil, true
	}
	go func() {
		// The client notices by itself that its stream has ended.
		_ = hub.ServeClient(ctx, far, s.h.cert())
	}()
	if err := wire.WriteFrame(near, req); err != nil {
		return nil, true
	}
	if req.Submit != nil {
		if err := wire.WriteFrame(near, &wire.SubmitChunk{Tasks: s.job.tasks, End: true}); err != nil {
			return nil, true
		}
	}
	for frames := wire.NewFrameReader(near); ; {
		var r wire.Response
		if err := frames.Read(&r); err != nil {
			return nil, true
		}
		switch {
		case r.Accepted != nil:
			s.h.w.promised("that it is accepted", s.h, jobKey(s.job.id))
			*accepted = true
		case r.Done != nil:
			if r.Done.Error == nil {
				s.h.w.promised("that it has ended", s.h, endKey(s.job.id))
			}
			return r.Done, true
		case r.Error != nil && r.Error.Cause == wire.CauseNotFound:
			return nil, false
		case r.Error != nil && r.Error.Cause != wire.CauseUnreachable:
			return &wire.Done{Error: r.Error}, true
		}
	}
}

// fetch reads a target from one of its holders, asking anew who they are until one has it.
func (s *submitter) fetch(t wire.Target) ([]byte, error) {
	x := &fakeExchange{s.h}
	for tries := 0; tries < 100 && !s.h.w.over(); tries++ {
		if _, err := x.Fetch(context.Background(), space, []wire.Held{t.Held}, nil); err == nil {
			return readObject(s.h.store, space, t.Held.Object.Digest)
		}
		time.Sleep(time.Second)
		t.Held.Peers = s.holders(t.Held.Object)
	}
	return nil, fmt.Errorf("nobody has target %s", t.Path)
}

func (s *submitter) holders(o wire.Object) []wire.PeerID {
	near, far, err := s.h.w.net.dial(s.h.name, "hub")
	if err != nil {
		return nil
	}
	defer near.Close()
	hub, ctx := s.h.w.server()
	if hub == nil {
		return nil
	}
	go func() {
		_ = hub.ServeClient(ctx, far, s.h.cert())
	}()
	var r wire.Response
	err = wire.WriteFrame(near, &wire.Request{Where: &wire.Where{Space: space, Objects: []wire.Object{o}}})
	if err == nil {
		err = wire.NewFrameReader(near).Read(&r)
	}
	if err != nil && err != io.EOF || len(r.Found) == 0 {
		return nil
	}
	return r.Found[0].Peers
}
