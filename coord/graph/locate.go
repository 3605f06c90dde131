package graph

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"gaggle/wire"
)

// fileProblem notes why a local file cannot be had.
func (x *expander) fileProblem(p pos, path string, err error) {
	var we *wire.Error
	switch {
	case absent(err):
		hint := "it is relative to " + x.where()
		if containsWildcard(path) {
			hint = `a pattern is written {"glob": ..}`
		}
		x.ps.add(p, hint, "%q does not exist", clip(path))
	case errors.Is(err, fs.ErrPermission):
		x.ps.add(p, "make it readable", "%q may not be read", clip(path))
	case errors.As(err, &we) && we.Cause == wire.CauseInvalid:
		x.ps.add(p, we.Hint, "%s", we.Message)
	default:
		x.fail(fmt.Errorf("reading %q: %w", clip(path), err))
	}
}

// absent reports whether err says that there is no such file.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || wire.CauseOf(err) == wire.CauseNotFound
}

// ofTheStore reports whether err is of the store or the context rather than of one file, so that
// the next one would not fare better.
func ofTheStore(err error) bool {
	return err != nil && !absent(err) && !errors.Is(err, fs.ErrPermission) && wire.CauseOf(err) != wire.CauseInvalid
}

func containsWildcard(s string) bool {
	for _, c := range s {
		if c == '*' || c == '?' || c == '[' {
			return true
		}
	}
	return false
}

// fail ends the expansion with an error that is not the file's.
func (x *expander) fail(err error) {
	if x.err == nil {
		x.err = fmt.Errorf("expanding %s: %w", x.f.Name, err)
	}
}

// hashLocal puts the local files that the instances of t refer to into the store, several at
// once, each once.
func (x *expander) hashLocal(t *xtask) {
	want := make(map[string]pos)
	var order []string
	note := func(s string, p pos) {
		r, wrong, _ := parseRef(s)
		if wrong != "" || r.kind != refLocal {
			return // build tells
		}
		if _, ok := x.local[r.path]; ok {
			return
		}
		if _, ok := want[r.path]; !ok {
			want[r.path] = p
			order = append(order, r.path)
		}
	}
	for i := range t.insts {
		sc := x.scope(t, &t.insts[i])
		for j := range t.inputs {
			x.localRefs(&t.inputs[j].ref, sc, note)
		}
		x.localRefs(&t.stdin, sc, note)
	}
	if len(order) == 0 {
		return
	}
	if x.env.Parent != nil {
		x.ps.add(want[order[0]], `its inputs are the parent's, "@parent/path", and outputs of its own tasks, "@task/output"`,
			"%q: a sub-graph has no local files", clip(order[0]))
		return
	}
	objects, errs := x.addAll(order)
	for i, p := range order {
		if errs[i] != nil {
			x.fileProblem(want[p], p, errs[i])
			continue
		}
		x.local[p] = objects[i]
	}
}

func (x *expander) localRefs(r *refDecl, sc *scope, note func(string, pos)) {
	switch {
	case r.line == 0:
	case r.ref.set():
		if r.ref.raw[:min(1, len(r.ref.raw))] == "@" {
			return
		}
		for _, s := range sc.words(&r.ref) {
			note(s, r.ref.pos)
		}
	case r.glob.set() && x.env.Parent == nil:
		found, _ := x.globOne(r.glob.pos, sc.text(&r.glob), false)
		for _, s := range found {
			note(s, r.glob.pos)
		}
	}
}

// addAll hashes the files.
func (x *expander) addAll(paths []string) ([]wire.Object, []error) {
	objects, errs := make([]wire.Object, len(paths)), make([]error, len(paths))
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(hashers, len(paths)) {
		wg.Go(func() {
			for i := range next {
				host := filepath.Join(x.env.Dir, filepath.FromSlash(paths[i]))
				objects[i], errs[i] = x.env.Files.Add(ctx, host)
				if ofTheStore(errs[i]) {
					cancel() // a full disk does not get better with the next file
				}
			}
		})
	}
	for i := range paths {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	if err := x.ctx.Err(); err != nil {
		x.fail(context.Cause(x.ctx))
	}
	return objects, errs
}

// A placed is what a reference leads to: content, or the output of a thunk of the plan.
type placed struct {
	key    string // of the instance
	obj    wire.Object
	output string // if obj is Pending
}

// resolve finds what r leads to. all is true if that is every instance of a task.
func (x *expander) resolve(p pos, r *ref) (list []placed, all, ok bool) {
	switch r.kind {
	case refLocal:
		o, ok := x.local[r.path]
		if !ok {
			return nil, false, false // hashLocal told
		}
		x.leaf(o)
		return []placed{{obj: o}}, false, true
	case refParent:
		pl, ok := x.parentInput(p, r)
		return []placed{pl}, false, ok
	}
	t := x.byName[r.task]
	if t == nil {
		x.ps.add(p, Nearest(r.task, x.f.taskNames()), "there is no task %q", clip(r.task))
		return nil, false, false
	}
	from, to := 0, len(t.ids)
	switch {
	case r.keyed:
		i, ok := x.instanceOf(p, t, r)
		if !ok {
			return nil, false, false
		}
		from, to = i, i+1
	case t.many:
		all = true
	default:
		from = to - 1 // the root of a reduce
	}
	list = make([]placed, to-from)
	for i := range list {
		if list[i], ok = x.output(p, r, t, from+i); !ok {
			return nil, false, false
		}
		if all {
			list[i].key = t.insts[i].key
		}
	}
	return list, all, true
}

// instanceOf finds the instance with the key.
func (x *expander) instanceOf(p pos, t *xtask, r *ref) (int, bool) {
	if !t.many {
		x.ps.add(p, fmt.Sprintf("write \"@%s/%s\"", t.name, r.path), "task %q has no instances with keys", t.name)
		return 0, false
	}
	if t.keys == nil {
		t.keys = make(map[string]int, len(t.insts))
		for i := range t.insts {
			t.keys[t.insts[i].key] = i
		}
	}
	i, ok := t.keys[r.key]
	if !ok {
		var known []string
		for i := range t.insts[:min(len(t.insts), 10_000)] {
			known = append(known, t.insts[i].key)
		}
		x.ps.add(p, Nearest(r.key, known), "task %q has no instance %q", t.name, clip(r.key))
	}
	return i, ok
}

// output finds the output of one thunk that r names.
func (x *expander) output(p pos, r *ref, t *xtask, inst int) (placed, bool) {
	id, key := t.ids[inst], t.insts[inst].key
	th := x.plan.Thunks[id]
	i, ok := th.OutputIndex(r.path)
	if !ok {
		var known []string
		for _, o := range th.Outputs {
			known = append(known, o.Path)
		}
		hint := Nearest(r.path, known)
		for _, o := range th.Outputs {
			if rest, below := cutDir(r.path, o.Path); below && o.Kind == wire.Dir {
				hint = fmt.Sprintf("a part of a directory is written \"@%s/%s//%s\"", t.name, o.Path, rest)
			}
		}
		if t.service {
			hint = "it is a service, which is killed when the others of its gang have ended: let one of those write what is wanted"
		}
		x.ps.add(p, hint, "task %q has no output %q", t.name, clip(r.path))
		return placed{}, false
	}
	pl := placed{obj: wire.Object{Kind: wire.Pending, Digest: wire.Digest(x.plan.IDs[id])}, output: r.path}
	if r.sub == "" {
		return pl, true
	}
	if th.Outputs[i].Kind != wire.Dir {
		x.ps.add(p, fmt.Sprintf("declare it as \"%s/\"", r.path), "output %q of task %q is a file, nothing is below it", r.path, t.name)
		return placed{}, false
	}
	return x.selected(p, r, pl, displayName(t.name, key))
}

func cutDir(p, dir string) (rest string, ok bool) {
	if len(p) > len(dir) && p[:len(dir)] == dir && p[len(dir)] == '/' {
		return p[len(dir)+1:], true
	}
	return "", false
}

// parentInput finds an input of the task that wrote the graph.
func (x *expander) parentInput(p pos, r *ref) (placed, bool) {
	if x.env.Parent == nil {
		x.ps.add(p, `name a local file, or another task's output "@task/output"`, "only a graph that a task wrote has a parent")
		return placed{}, false
	}
	var known []string
	for _, in := range x.env.Parent.Thunk.Inputs {
		if in.Path == r.path {
			pl := placed{obj: in.Object}
			x.leaf(in.Object)
			switch {
			case r.sub == "":
				return pl, true
			case in.Object.Kind != wire.Dir:
				x.ps.add(p, "leave // and what is behind it out", "input %q of the parent is a file", r.path)
				return placed{}, false
			}
			return x.selected(p, r, pl, "@"+parent)
		}
		known = append(known, in.Path)
	}
	hint := Nearest(r.path, known)
	for _, k := range known {
		if rest, below := cutDir(r.path, k); below {
			hint = fmt.Sprintf("a part of a directory is written \"@parent/%s//%s\"", k, rest)
		}
	}
	x.ps.add(p, hint, "the parent has no input %q", clip(r.path))
	return placed{}, false
}

// A selection names a thunk that takes a part of a directory.
type selection struct {
	of     wire.Object
	output string
	sub    string
	dir    bool
}

// selected returns the part r.sub of the directory pl, as the output of a thunk of its own.
func (x *expander) selected(p pos, r *ref, pl placed, name string) (placed, bool) {
	s := selection{pl.obj, pl.output, r.sub, r.subDir}
	id, ok := x.selects[s]
	if !ok {
		kind := wire.File
		if r.subDir {
			kind = wire.Dir
		}
		th, err := wire.NewThunk(wire.Thunk{Command: []string{wire.BuiltinSelect, r.sub}, Platform: x.platform, ABI: wire.ABI,
			Inputs: []wire.Input{{Path: "in", Object: pl.obj, Output: pl.output}}, Outputs: []wire.Output{{Path: "out", Kind: kind}}})
		if err != nil {
			x.ps.add(p, "", "%v", err)
			return placed{}, false
		}
		if id, ok = x.add(p, displayName(name, r.path+"//"+r.sub), th, wire.Hints{Priority: x.priority()}, 0); !ok {
			return placed{}, false
		}
		x.selects[s] = id
	}
	return placed{obj: wire.Object{Kind: wire.Pending, Digest: wire.Digest(x.plan.IDs[id])}, output: "out"}, true
}

// priority is what thunks have that no task stands for.
func (x *expander) priority() int {
	if x.env.Parent == nil {
		return 0
	}
	return x.env.Parent.Hints.Priority
}

// leaf notes an object that no task of the plan makes.
func (x *expander) leaf(o wire.Object) {
	if !x.leaves[o] {
		x.leaves[o] = true
		x.plan.Leaves = append(x.plan.Leaves, o)
	}
}
