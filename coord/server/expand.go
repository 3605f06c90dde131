package server

import (
	"bytes"
	"context"
	"io"
	"time"

	"gaggle/blobstore"
	"gaggle/coord/graph"
	"gaggle/coord/sched"
	"gaggle/wire"
)

const (
	// expandTimeout bounds fetching one graph; a holder that is slower is as good as gone.
	expandTimeout = 2 * time.Minute
	// expanding bounds how many graphs are read and held in memory at once.
	expanding = 16
)

// expand fetches the graph that a thunk wrote and makes tasks of it, off the loop.
func (s *Server) expand(a sched.Expand) {
	s.sessions.Add(1)
	go func() {
		defer s.sessions.Done()
		select {
		case s.expandSlots <- struct{}{}:
			defer func() { <-s.expandSlots }()
		case <-s.done:
			return
		}
		// The only error is ErrClosed: the graph is expanded in the coordinator's next life.
		_ = s.send(s.expanded(a))
	}()
}

func (s *Server) expanded(a sched.Expand) sched.Event {
	failed := func(err error) sched.Event {
		e := wire.AsError(err)
		if e.Cause == wire.CauseInvalid || e.Cause == wire.CauseTooLarge {
			e = &wire.Error{Cause: wire.CauseGraph, Message: e.Message, Hint: e.Hint}
		}
		return sched.ExpandFailed{Space: a.Space, Thunk: a.Thunk, Output: a.Output, Graph: a.Graph.Object,
			Failure: wire.Failure{Cause: e.Cause, Message: e.Message, Hint: e.Hint}}
	}
	if a.Graph.Object.Size > wire.MaxGraphFile {
		return failed(wire.Errorf(wire.CauseGraph, "write a smaller graph, or nest it", "the sub-graph is %d bytes; the bound is %d", a.Graph.Object.Size, wire.MaxGraphFile))
	}
	ctx, cancel := context.WithTimeout(s.life, expandTimeout)
	defer cancel()
	text, err := s.cfg.Fetch(ctx, a.Space, a.Graph)
	if err != nil {
		return failed(err)
	}
	s.graphBytes.Add(int64(len(text)))
	tasks, target, err := ExpandGraph(ctx, bytes.NewReader(text), &graph.Parent{Thunk: a.Parent, Hints: a.Hints, Name: a.Name, RootSize: a.Root})
	if err != nil {
		return failed(err)
	}
	return sched.Expanded{Space: a.Space, Thunk: a.Thunk, Output: a.Output, Graph: a.Graph.Object, Tasks: tasks, Target: target}
}

// ExpandGraph makes tasks of a graph that a thunk wrote. The thunks hang on the graph and the parent's
// thunk alone, so that whoever has both comes to the same.
func ExpandGraph(ctx context.Context, text io.Reader, parent *graph.Parent) (tasks []wire.TaskSpec, target wire.TargetSpec, err error) {
	f, err := graph.Decode(text, parent.Name)
	if err != nil {
		return nil, target, err
	}
	plan, err := graph.Expand(ctx, f, graph.Env{Platform: parent.Thunk.Platform, Parent: parent})
	if err != nil {
		return nil, target, err
	}
	if len(plan.Targets) != 1 {
		return nil, target, wire.Errorf(wire.CauseGraph, "give it one target: the output it stands for", "the sub-graph has %d targets", len(plan.Targets))
	}
	return plan.Tasks, plan.Targets[0], nil
}

// ReadGraph reads a graph from a store that holds it, for Config.Fetch.
func ReadGraph(store interface {
	Open(wire.Space, wire.Digest) (*blobstore.Blob, error)
}, space wire.Space, graph wire.Held) ([]byte, error) {
	blob, err := store.Open(space, graph.Object.Digest)
	if err != nil {
		return nil, wire.Errorf(wire.CauseFetch, "", "reading a sub-graph: %v", err)
	}
	defer blob.Close()
	text, err := io.ReadAll(io.LimitReader(blob, wire.MaxGraphFile+1))
	if err != nil {
		return nil, wire.Errorf(wire.CauseFetch, "", "reading a sub-graph: %v", err)
	}
	return text, nil
}
