package infer

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"

	"gaggle/coord/infer/scan"
	"gaggle/wire"
)

// A Store takes files in.
type Store interface {
	Trees
	// Add takes in a file of this machine.
	Add(ctx context.Context, path string) (wire.Object, error)
}

// A Planner makes thunks of calls. Its methods may be called side by side.
type Planner struct {
	Store   Store
	Scanner *scan.Scanner
	// Toolchain returns the one that a program belongs to, whose root is in the store.
	Toolchain func(ctx context.Context, tool string) (*Toolchain, error)
}

// A Plan is a call as a thunk.
type Plan struct {
	Thunk  *wire.Thunk
	Made   []Made        // what it makes, besides the streams
	Leaves []wire.Object // what it needs and the store has

	RootSize uint64 // bytes of its root
}

// Made is an output of a thunk and where it belongs on this machine.
type Made struct {
	Output string // in the thunk
	Path   string // absolute
}

// Local is an error that says why a call has to run on this machine. It is no failure.
type Local string

func (l Local) Error() string { return string(l) }

func local(format string, args ...any) error { return Local(fmt.Sprintf(format, args...)) }

// Plan makes a thunk of a call that compiles. base is the directory of the build, absolute: below it
// are the user's own files, which become inputs at the paths they have here; files of the system
// that are not the toolchain's are added to its root. Env is what the call has in its
// environment, NAME=value.
func (p *Planner) Plan(ctx context.Context, c *Call, args []string, base string, env []string) (*Plan, error) {
	if c.Mode != Compile && c.Mode != Assemble {
		return nil, local("a call to %s", c.Mode)
	}
	if err := portable(c, env); err != nil {
		return nil, err
	}
	chain, err := p.Toolchain(ctx, c.Tool)
	if err != nil {
		return nil, err
	}
	if !chain.Has(c.Tool) {
		return nil, local("%s is not in the toolchain's root", c.Tool)
	}
	l := &layout{ctx: ctx, store: p.Store, toolchain: chain, base: base, dir: c.Dir, clocked: isSet(env, "SOURCE_DATE_EPOCH"), links: map[string]bool{}, files: map[string]string{}, dirs: map[string]bool{}, extra: map[string]wire.Object{}}
	if err := l.reads(p.Scanner, c); err != nil {
		return nil, err
	}
	if err := l.writes(c); err != nil {
		return nil, err
	}
	return l.plan(c, args, env)
}

func (l *layout) plan(c *Call, args, env []string) (*Plan, error) {
	dir, err := l.jobDir()
	if err != nil {
		return nil, err
	}
	rel := func(p string) string { return strings.TrimPrefix(strings.TrimPrefix(p, dir), "/") }
	t := wire.Thunk{
		Command: append([]string{c.Tool}, args...), Platform: runtime.GOOS + "/" + runtime.GOARCH, ABI: wire.ABIPlaced,
		JobDir: dir, WorkDir: rel(l.dir), Env: variables(env),
		Outputs: []wire.Output{{Path: wire.Stdout, Kind: wire.File}, {Path: wire.Stderr, Kind: wire.File}},
	}
	plan := new(Plan)
	for _, p := range l.made {
		plan.Made = append(plan.Made, Made{rel(p), p})
		t.Outputs = append(t.Outputs, wire.Output{Path: rel(p), Kind: wire.File})
	}
	if t.Inputs, err = l.inputs(rel); err != nil {
		return nil, err
	}
	if t.Root, err = l.root(dir, plan); err != nil {
		return nil, err
	}
	for i := range t.Inputs {
		plan.Leaves = append(plan.Leaves, t.Inputs[i].Object)
	}
	plan.Thunk, err = wire.NewThunk(t)
	if err != nil {
		return nil, local("%v", err)
	}
	return plan, nil
}

// inputs puts the files into the store, and adds the directories that none of them brings along.
func (l *layout) inputs(rel func(string) string) ([]wire.Input, error) {
	brought := map[string]bool{}
	bring := func(p string) {
		for d := path.Dir(p); !brought[d]; d = path.Dir(d) {
			brought[d] = true
		}
	}
	inputs := make([]wire.Input, 0, len(l.files))
	names := map[wire.Digest]string{} // of files that are not empty
	for p, o := range l.extra {
		names[o.Digest] = "/" + p
	}
	for p, name := range l.files {
		if !strings.HasPrefix(name, "/") {
			name = l.dir + "/" + name
		}
		o, err := l.store.Add(l.ctx, name)
		if err != nil {
			return nil, local("%v", err)
		}
		if other := names[o.Digest]; other != "" && l.once && o.Size > 0 {
			// All files have one time there, so that it would be read once.
			return nil, local("%s and %s are equal, and headers are read once", other, p)
		}
		names[o.Digest] = p
		inputs = append(inputs, wire.Input{Path: rel(p), Object: o})
		bring(p)
	}
	for p := range l.dirs {
		bring(p)
	}
	empty, err := emptyDir(l.ctx, l.store)
	if err != nil {
		return nil, err
	}
	for p := range l.dirs {
		if !brought[p] && rel(p) != "" {
			inputs = append(inputs, wire.Input{Path: rel(p), Object: empty})
		}
	}
	return inputs, nil
}

// root adds to the toolchain what the call reads of the system besides, and the place of the job.
func (l *layout) root(dir string, plan *Plan) (wire.TreeID, error) {
	if room := l.toolchain.room(dir); room != "" && !within(dir, "/tmp") {
		empty, err := emptyDir(l.ctx, l.store)
		if err != nil {
			return wire.TreeID{}, err
		}
		l.extra[room[1:]] = empty
	}
	o, err := l.toolchain.With(l.ctx, l.extra)
	if errors.Is(err, errNoRoom) {
		return wire.TreeID{}, local("%v", err)
	}
	plan.Leaves, plan.RootSize = append(plan.Leaves, o), o.Size
	return wire.TreeID(o.Digest), err
}
