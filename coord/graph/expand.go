package graph

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"

	"gaggle/wire"
)

// An expander turns a file into a plan. It goes through the file in passes - parameters,
// variables and instances, the order of the tasks, their thunks, targets - and stops after a pass
// that found problems.
type expander struct {
	ctx      context.Context
	f        *File
	env      Env
	fsys     fs.FS
	platform string
	ps       *problems
	err      error // of Files, Roots or ctx; ends everything

	params     map[string]value
	paramNames []string
	tasks      []*xtask // in the order of the file
	byName     map[string]*xtask
	order      []*xtask // each after those it refers to

	local   map[string]wire.Object // by path
	texts   map[string]wire.Object
	roots   map[string]wire.Object
	selects map[selection]int
	leaves  map[wire.Object]bool
	globbed map[string][]string
	plan    *Plan
	bytes   int // of the plan's thunks, encoded
	// maxBytes bounds bytes, maxThunks the thunks.
	maxBytes, maxThunks int
}

// An xtask is a task being expanded, with what it takes from defaults.
type xtask struct {
	*task // of the file; not written to
	pos
	name  string
	names []string // of its variables
	many  bool     // it has instances with keys, even if there is one or none
	insts []instance
	parts []reduction // of a reduce, beside insts
	from  []placed    // what is reduced
	up    int         // the output of a reduce that its instances hand on
	ids   []int       // of insts in the plan
	seats []seat      // beside insts; nil of a task without a gang
	net   bool        // it is on a network
	keys  map[string]int
	deps  []*xtask
	isDep map[*xtask]bool
	state int8 // of the search for cycles

	script  script
	rootObj wire.Object // if it is the same for all instances
	hintSet wire.Hints  // likewise
}

func expand(ctx context.Context, f *File, env Env) (*Plan, error) {
	x := &expander{ctx: ctx, f: f, env: env, fsys: env.FS, platform: env.Platform, ps: newProblems(f.Name),
		byName: make(map[string]*xtask, len(f.tasks)), local: make(map[string]wire.Object),
		texts: make(map[string]wire.Object), roots: make(map[string]wire.Object),
		selects: make(map[selection]int), leaves: make(map[wire.Object]bool), globbed: make(map[string][]string),
		plan: new(Plan), maxBytes: maxPlan, maxThunks: maxInstances}
	if x.fsys == nil {
		x.fsys = os.DirFS(env.Dir)
	}
	if x.platform == "" {
		x.platform = "linux/" + runtime.GOARCH
	}
	if env.Parent != nil {
		x.ps.cause, x.platform = wire.CauseGraph, env.Parent.Thunk.Platform
		x.maxBytes, x.maxThunks = maxSubPlan, maxSubThunks
	}
	for _, pass := range []func(){x.setParams, x.setTasks, x.setOrder, x.build, x.setGangs, x.setTargets} {
		pass()
		switch {
		case x.err != nil:
			return nil, x.err
		case x.ps.any():
			return nil, x.ps.err()
		case ctx.Err() != nil:
			return nil, fmt.Errorf("expanding %s: %w", f.Name, context.Cause(ctx))
		}
	}
	return x.plan, nil
}

// setParams gives the parameters their values.
func (x *expander) setParams() {
	x.params = make(map[string]value, len(x.f.params))
	for i := range x.f.params {
		p := &x.f.params[i]
		x.params[p.key] = one(p.val.raw)
		x.paramNames = append(x.paramNames, p.key)
	}
	var given []string
	for k := range x.env.Params {
		given = append(given, k)
	}
	slices.Sort(given)
	for _, k := range given {
		if _, ok := x.params[k]; !ok {
			x.ps.add(pos{}, Nearest(k, x.paramNames), "there is no parameter %q", clip(k))
		}
		x.params[k] = one(x.env.Params[k])
	}
}

// global is the scope of what belongs to no instance.
func (x *expander) global() *scope { return &scope{params: x.params} }

func (x *expander) scope(t *xtask, in *instance) *scope {
	return &scope{names: t.names, vals: in.vals, params: x.params}
}

// known checks that the variables of t are in sc.
func (x *expander) known(t *tmpl, sc *scope) bool {
	ok := true
	for _, p := range t.parts {
		if p.name == "" {
			continue
		}
		if !contains(sc.names, p.name) {
			if _, isParam := x.params[p.name]; !isParam {
				hint := Nearest(p.name, sc.known(x.paramNames))
				if hint == "" {
					hint = "there are no variables here; only {{name}} is replaced, so { {name} } is kept"
				}
				x.ps.add(t.pos, hint, "unknown variable {{%s}}", p.name)
				ok = false
			}
		}
	}
	return ok
}

// setTasks merges defaults into the tasks and finds their variables and instances.
func (x *expander) setTasks() {
	total := 0
	for i := range x.f.tasks {
		d := &x.f.tasks[i]
		t := &xtask{task: d.val, pos: d.pos, name: d.key}
		x.tasks = append(x.tasks, t)
		x.byName[t.name] = t
		if t.name == parent {
			x.ps.add(t.pos, "call it something else", "the name %q stands for the task that wrote a sub-graph", parent)
		}
		if !x.instances(t) || !x.joins(t) {
			continue
		}
		if total += len(t.insts); total > x.maxThunks {
			x.ps.stop(t.pos, "larger chunks, or let tasks write sub-graphs", "%d instances exceed the bound of %d", total, x.maxThunks)
			return
		}
		sc := &scope{names: t.names, params: x.params}
		check := func(tm *tmpl) { x.known(tm, sc) }
		t.templates(check)
		eachVal(x.f.defaults.env, check)
		eachVal(x.f.defaults.labels, check)
		t.compileScript()
	}
}

// mergePairs returns the pairs of a that are not in b, and those of b.
func mergePairs(a, b []pair[tmpl]) []pair[tmpl] {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	own := make(map[string]bool, len(b))
	for i := range b {
		own[b[i].key] = true
	}
	out := slices.Clone(b)
	for i := range a {
		if !own[a[i].key] {
			out = append(out, a[i])
		}
	}
	return out
}

// templates calls f for every template that an instance fills in.
func (t *task) templates(f func(*tmpl)) {
	for _, list := range [][]tmpl{t.tools, t.include, t.root.tools, t.run} {
		for i := range list {
			f(&list[i])
		}
	}
	eachVal(t.env, f)
	eachVal(t.labels, f)
	for _, one := range []*tmpl{&t.root.dir, &t.root.tree, &t.root.oci, &t.shell, &t.bash, &t.cpu, &t.memory,
		&t.timeout, &t.retries, &t.priority, &t.reduce.from, &t.reduce.by, &t.gang, &t.ready.tcp} {
		f(one)
	}
	for i := range t.inputs {
		f(&t.inputs[i].path)
		t.inputs[i].ref.templates(f)
	}
	t.stdin.templates(f)
	for i := range t.outputs {
		f(&t.outputs[i].path)
		f(&t.outputs[i].graph)
	}
}

func eachVal(list []pair[tmpl], f func(*tmpl)) {
	for i := range list {
		f(&list[i].val)
	}
}

func (r *refDecl) templates(f func(*tmpl)) {
	if r.line == 0 {
		return
	}
	for _, one := range []*tmpl{&r.ref, &r.text, &r.cid, &r.size, &r.glob} {
		f(one)
	}
}

func hasPair(list []pair[tmpl], name string) bool {
	return slices.ContainsFunc(list, func(p pair[tmpl]) bool { return p.key == name })
}
