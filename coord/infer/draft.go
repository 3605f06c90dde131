package infer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"gaggle/wire"
)

// A Draft is a call that was looked at: all that it reads is in the store, but for files that other
// calls have still to write. It does not change.
type Draft struct {
	Made    []Made   // what the call makes, besides the streams
	Pending []string // absolute paths of the files that it waits for, sorted
	Reads   []string // absolute paths of all files of the user's that it reads, sorted
	Bound   string   // why it depends on its directory, though it was to be portable

	store    Store
	thunk    wire.Thunk // without inputs
	files    []drafted
	dirs     []string // that must exist, in the thunk
	empty    wire.Object
	once     bool // some file is read once at most
	system   map[wire.Digest]string
	rootSize uint64
	cores    int
	move     *move
}

// A drafted is a file among a draft's.
type drafted struct {
	path   string // in the thunk
	object wire.Object
	wait   int // place in Pending, -1 of one that is there
}

// Draft looks at a call and takes in all that it reads but for files that are pending. base is the
// directory of the build, absolute: below it are the user's own files, which become inputs at the
// paths they have here; files of the system that are not the toolchain's are added to its root.
// Env is what the call has in its environment, NAME=value. The error is a Local if the call has to
// run here.
func (p *Planner) Draft(ctx context.Context, c *Call, args []string, base string, env []string) (*Draft, error) {
	if err := suits(c); err != nil {
		return nil, err
	}
	if err := portable(c, env); err != nil {
		return nil, err
	}
	chain, err := p.Toolchain(ctx, append([]string{c.Tool}, c.Starts...))
	if err != nil {
		return nil, err
	}
	if !chain.Has(c.Tool) {
		return nil, local("%s is not in the toolchain's root", c.Tool)
	}
	l := &layout{ctx: ctx, store: p.Store, toolchain: chain, base: base, dir: c.Dir, portable: p.Portable, clocked: isSet(env, "SOURCE_DATE_EPOCH"), links: map[string]bool{}, files: map[string]string{}, dirs: map[string]bool{}, extra: map[string]wire.Object{}}
	if err := l.reads(p.Scanner, c); err != nil {
		return nil, err
	}
	if len(c.Wants)+len(c.Needs) > 0 {
		where, err := libraryPathOf(c.Tool)
		if err != nil {
			return nil, local("%v", err)
		}
		if err := l.libraries(c, where); err != nil {
			return nil, err
		}
	}
	if err := l.writes(c); err != nil {
		return nil, err
	}
	return l.draft(c, args, env)
}

// suits returns why a call of its kind runs here, nil if it may be a thunk. Small ones may, too: a build
// that goes on while its objects are made elsewhere would have to wait for them in order to run ar
// here, and where the thunk is known the answer is there before the tool has started (at load 6, with
// the shim: ar of ten objects 37 ms for 250, strip 30 for 53, a link of Lua 50 for 610; ar for the first
// time 100). One that only prints runs here: the build reads what it says at once.
func suits(c *Call) error {
	if c.Opaque != "" {
		return local("%s", c.Opaque)
	}
	switch c.Mode {
	case Compile, Assemble, Link, User:
		return nil
	case Archive:
		return timeless(c)
	case Change:
		if c.Model == "ar" {
			return local("what is taken out of an archive has the times and modes that are kept there")
		}
		return timeless(c)
	}
	return local("a call to %s", c.Mode)
}

// called is what a tool is called by: binutils begin their messages with that, compilers look for their
// parts beside it.
func called(c *Call) string {
	name := path.Base(c.Tool)
	if c.Model == "gcc" || c.Model == "clang" || found(name, standardPath) != c.Tool {
		return c.Tool
	}
	return name
}

func (l *layout) draft(c *Call, args, env []string) (*Draft, error) {
	dir, err := l.jobDir()
	if err != nil {
		return nil, err
	}
	d := &Draft{store: l.store, once: l.once, cores: c.Cores, system: map[wire.Digest]string{}}
	d.move, args, d.Bound = l.moved(dir, c, args, env)
	rel := d.move.rel
	d.thunk = wire.Thunk{
		Command: append([]string{called(c)}, args...), Platform: runtime.GOOS + "/" + runtime.GOARCH, ABI: wire.ABIPlaced,
		JobDir: d.move.to, WorkDir: rel(l.dir), Env: variables(c, env),
		Outputs: []wire.Output{{Path: wire.Stdout, Kind: wire.File}, {Path: wire.Stderr, Kind: wire.File}},
	}
	for _, m := range l.made {
		m.Output = rel(m.Path)
		d.Made = append(d.Made, m)
		d.thunk.Outputs = append(d.thunk.Outputs, wire.Output{Path: m.Output, Kind: wire.File})
	}
	for p, o := range l.extra {
		d.system[o.Digest] = "/" + p
	}
	if err := l.take(d, rel); err != nil {
		return nil, err
	}
	l.missing(d, rel)
	if d.empty, err = emptyDir(l.ctx, l.store); err != nil {
		return nil, err
	}
	root, err := l.root(d.move.to)
	if err != nil {
		return nil, err
	}
	d.thunk.Root, d.rootSize = wire.TreeID(root.Digest), root.Size
	return d, nil
}

// take puts the user's files that are there into the store, and notes the others.
func (l *layout) take(d *Draft, rel func(string) string) error {
	d.Reads = slices.Sorted(maps.Keys(l.files))
	for _, p := range d.Reads {
		name := l.files[p]
		if !strings.HasPrefix(name, "/") {
			name = l.dir + "/" + name
		}
		f := drafted{path: rel(p), wait: -1}
		var err error
		if f.object, err = l.store.Add(l.ctx, name); errors.Is(err, ErrPending) {
			f.wait = len(d.Pending)
			d.Pending = append(d.Pending, p)
		} else if err != nil {
			return local("%v", err)
		}
		d.files = append(d.files, f)
	}
	return nil
}

// missing notes the directories that no file brings along.
func (l *layout) missing(d *Draft, rel func(string) string) {
	brought := map[string]bool{}
	for _, at := range []map[string]bool{l.dirs, keys(l.files)} {
		for p := range at {
			for up := path.Dir(p); !brought[up]; up = path.Dir(up) {
				brought[up] = true
			}
		}
	}
	for p := range l.dirs {
		if !brought[p] && rel(p) != "" {
			d.dirs = append(d.dirs, rel(p))
		}
	}
}

func keys(m map[string]string) map[string]bool {
	set := make(map[string]bool, len(m))
	for k := range m {
		set[k] = true
	}
	return set
}

// root adds to the toolchain what the call reads of the system besides, and the place of the job.
func (l *layout) root(dir string) (wire.Object, error) {
	if room := l.toolchain.room(dir); room != "" && !within(dir, "/tmp") {
		empty, err := emptyDir(l.ctx, l.store)
		if err != nil {
			return wire.Object{}, err
		}
		l.extra[room[1:]] = empty
	}
	o, err := l.toolchain.With(l.ctx, l.extra)
	if errors.Is(err, errNoRoom) {
		return wire.Object{}, local("%v", err)
	}
	return o, err
}

// Plan makes the thunk; objects has what each pending file became, in the order of Pending. It
// reads nothing of the disk, which may have changed since. The error is a Local if it turns out that
// the call has to run here.
func (d *Draft) Plan(_ context.Context, objects []wire.Object) (*Plan, error) {
	if len(objects) != len(d.Pending) {
		return nil, fmt.Errorf("planning a call that waits for %d files with %d", len(d.Pending), len(objects))
	}
	t := d.thunk
	t.Env, t.Outputs = slices.Clone(t.Env), slices.Clone(t.Outputs) // which are sorted
	t.Inputs = make([]wire.Input, 0, len(d.files)+len(d.dirs))
	names := maps.Clone(d.system) // of files that are not empty
	for _, f := range d.files {
		o := f.object
		if f.wait >= 0 {
			o = objects[f.wait]
		}
		if other := names[o.Digest]; other != "" && d.once && o.Size > 0 {
			// All files have one time there, so that it would be read once.
			return nil, local("%s and %s are equal, and headers are read once", d.move.restore(other), d.move.restore(path.Join(t.JobDir, f.path)))
		}
		names[o.Digest] = path.Join(t.JobDir, f.path)
		t.Inputs = append(t.Inputs, wire.Input{Path: f.path, Object: o})
	}
	for _, dir := range d.dirs {
		t.Inputs = append(t.Inputs, wire.Input{Path: dir, Object: d.empty})
	}
	p := &Plan{Made: d.Made, move: d.move, Leaves: make([]wire.Object, 0, len(t.Inputs)+1), RootSize: d.rootSize, Hints: wire.Hints{MilliCPU: int64(d.cores) * 1000}}
	p.Leaves = append(p.Leaves, wire.DirObject(t.Root, d.rootSize))
	for i := range t.Inputs {
		p.Leaves = append(p.Leaves, t.Inputs[i].Object)
	}
	thunk, err := wire.NewThunk(t)
	if err != nil {
		return nil, local("%v", err)
	}
	p.Thunk = thunk
	return p, nil
}
