package worker

import (
	"context"
	"fmt"
	"strings"

	"gaggle/sandbox"
	"gaggle/wire"
)

// A hostExecutor lays thunks out as files of a store and runs them in an engine.
type hostExecutor struct {
	files  Files
	engine Engine
}

// A hostStage is a thunk laid out.
type hostStage struct {
	engine  Engine
	spec    sandbox.Spec
	release []func()
}

// Stage is as in Executor.
func (h hostExecutor) Stage(ctx context.Context, space wire.Space, t *wire.Thunk) (Staged, error) {
	s := &hostStage{engine: h.engine}
	if err := s.fill(ctx, h.files, space, t); err != nil {
		s.Release()
		return nil, err
	}
	return s, nil
}

// LayOut has root and inputs of a resolved thunk as files, and returns what a sandbox needs in
// order to run it besides limits and sink. They stay until release is called.
func LayOut(ctx context.Context, files Files, space wire.Space, t *wire.Thunk) (_ sandbox.Spec, release func(), err error) {
	s := new(hostStage)
	if err := s.fill(ctx, files, space, t); err != nil {
		s.Release()
		return sandbox.Spec{}, nil, err
	}
	return s.spec, s.Release, nil
}

func (s *hostStage) fill(ctx context.Context, files Files, space wire.Space, t *wire.Thunk) error {
	root, release, err := files.Resident(ctx, space, t.Root)
	if err != nil {
		return fmt.Errorf("laying out the root: %w", err)
	}
	s.release = append(s.release, release)
	s.spec = sandbox.Spec{Root: root, Argv: t.Command, Outputs: t.Outputs, JobDir: t.JobDir, WorkDir: t.WorkDir,
		Inputs: make([]sandbox.Input, 0, len(t.Inputs))}
	for _, v := range t.Env {
		s.spec.Env = append(s.spec.Env, v.Name+"="+v.Value)
	}
	for _, in := range t.Inputs {
		source, release, err := open(ctx, files, space, in.Object)
		if err != nil {
			return fmt.Errorf("laying out input %q: %w", in.Path, err)
		}
		s.release = append(s.release, release)
		if in.Path == t.Stdin {
			s.spec.Stdin = source
		}
		s.spec.Inputs = append(s.spec.Inputs, sandbox.Input{
			Path: in.Path, Source: source, Dir: in.Object.Kind == wire.Dir,
			Exec: in.Object.Kind == wire.Exec, Writable: writable(in.Path, t.Outputs),
		})
	}
	return nil
}

func open(ctx context.Context, files Files, space wire.Space,
	o wire.Object) (string, func(), error) {
	if o.Kind == wire.Dir {
		return files.Resident(ctx, space, wire.TreeID(o.Digest))
	}
	return files.File(space, o.Digest, o.Kind == wire.Exec)
}

// writable reports whether an input is an output as well, or lies below a directory that is one.
func writable(path string, outputs []wire.Output) bool {
	for _, o := range outputs {
		if path == o.Path || path == o.Graph || strings.HasPrefix(path, o.Path+"/") {
			return true
		}
	}
	return false
}

// Run is as in Staged.
func (s *hostStage) Run(ctx context.Context, spec sandbox.Spec) (sandbox.Report, error) {
	full := s.spec
	full.Limits, full.Stdout, full.Stderr, full.Sink = spec.Limits, spec.Stdout, spec.Stderr, spec.Sink
	full.Again, full.Net = spec.Again, spec.Net
	return s.engine.Run(ctx, full)
}

// Release is as in Staged.
func (s *hostStage) Release() {
	for _, r := range s.release {
		r()
	}
	s.release = nil
}
