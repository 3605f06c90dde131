package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gaggle/blobstore"
	"gaggle/node/worker"
	"gaggle/sandbox"
	"gaggle/wire"
)

// shell lays the sandbox of a task out on this machine and keeps it until the command leaves,
// which runs it: so its terminal is the command's own.
func (s *session) shell(ctx context.Context, l *link, arg *TaskArg) (*End, error) {
	t, err := s.oneTask(ctx, l, arg.Task)
	if err != nil {
		return nil, err
	}
	th, hints, err := s.toRun(ctx, l, t)
	if err != nil {
		return nil, err
	}
	spec, release, err := s.layOut(ctx, l, th)
	if err != nil {
		return nil, fmt.Errorf("laying out the sandbox of task %s: %w", t.Name, err)
	}
	defer release()
	sh := &Shell{Task: t.Name, Node: t.NodeName, Root: spec.Root, Argv: spec.Argv, Env: spec.Env, Stdin: th.Stdin, Outputs: spec.Outputs, JobDir: spec.JobDir, WorkDir: spec.WorkDir, Hints: hints, Network: th.ABI == wire.ABINetworked}
	if err := s.sendShell(sh, spec.Inputs); err != nil {
		return nil, err
	}
	<-ctx.Done()
	return nil, nil
}

// shellInputs is how many inputs an Event carries: their paths, here and there, may be long.
const shellInputs = 500

func (s *session) sendShell(sh *Shell, inputs []sandbox.Input) error {
	for {
		n := min(len(inputs), shellInputs)
		sh.Inputs, inputs = inputs[:n], inputs[n:]
		sh.More = len(inputs) > 0
		if err := s.send(&Event{Shell: sh}); err != nil || !sh.More {
			return err
		}
		sh = new(Shell)
	}
}

// toRun returns what a task runs, and its hints.
func (s *session) toRun(ctx context.Context, l *link, t *foundTask) (th *wire.Thunk, hints wire.Hints, err error) {
	if t.Encoded == nil {
		th, hints, err = s.recall(ctx, l, t)
	} else if th, err = wire.DecodeThunk(t.Encoded); t.Hints != nil {
		hints = *t.Hints
	}
	switch {
	case err != nil:
		return nil, hints, err
	case th.Builtin():
		return nil, hints, wire.Errorf(wire.CauseInvalid, "look at the tasks around it", "task %s picks a part of a directory, which needs no sandbox", t.Name)
	case !th.Resolved():
		return nil, hints, wire.Errorf(wire.CauseNotFound, "try again when it is ready", "task %s is %s: inputs that other tasks make are not there yet", t.Name, t.State)
	}
	return th, hints, nil
}

// layOutTries is how often inputs that vanish between fetching and laying out are fetched again.
const layOutTries = 3

// layOut brings root and inputs of a thunk here and lays them out.
func (s *session) layOut(ctx context.Context, l *link, th *wire.Thunk) (sandbox.Spec, func(), error) {
	for try := 1; ; try++ {
		if err := s.bring(ctx, l, th); err != nil {
			return sandbox.Spec{}, nil, err
		}
		spec, release, err := worker.LayOut(ctx, s.a.backend.store, l.space, th)
		if !errors.Is(err, blobstore.ErrNotFound) || try == layOutTries {
			return spec, release, err
		}
	}
}

// bring fetches what the store lacks of a thunk's root and inputs.
func (s *session) bring(ctx context.Context, l *link, th *wire.Thunk) error {
	objects := []wire.Object{wire.DirObject(th.Root, 0)}
	for _, in := range th.Inputs {
		objects = append(objects, in.Object)
	}
	var lacking []wire.Object
	seen := make(map[wire.Object]bool, len(objects))
	for _, o := range objects {
		if seen[o] {
			continue
		}
		seen[o] = true
		missing, err := s.a.backend.store.Missing(l.space, o)
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			lacking = append(lacking, o)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	from := holders{space: l.space}
	var want []wire.Held
	for part := range slices.Chunk(lacking, wire.MaxBatch) {
		r, err := l.ask(ctx, &wire.Request{Where: &wire.Where{Space: l.space, Objects: part}})
		if err != nil {
			return err
		}
		from.peers, from.grant = append(from.peers, r.Peers...), r.Grant
		want = append(want, r.Found...)
	}
	_, err := l.Fetch(ctx, from, want, func(f Fetching) { _ = s.send(&Event{Fetching: &f}) })
	return err
}
