package graph

import (
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"gaggle/wire"
)

// build makes the thunks of all tasks.
func (x *expander) build() {
	if p := x.env.Parent; p != nil {
		x.leaf(wire.DirObject(p.Thunk.Root, p.RootSize))
	}
	for _, t := range x.order {
		x.buildTask(t)
		if x.err != nil || x.ps.full() {
			return
		}
	}
	p := x.plan
	p.Tasks, p.Thunks, p.IDs = slices.Clip(p.Tasks), slices.Clip(p.Thunks), slices.Clip(p.IDs)
}

func (x *expander) buildTask(t *xtask) {
	for _, d := range t.deps {
		if len(d.ids) != len(d.insts) {
			return // d has a problem, which is told
		}
	}
	before := x.ps.count()
	if t.reduce.line > 0 && !x.reduced(t) {
		return
	}
	x.hashLocal(t)
	if x.err != nil || x.ps.count() > before {
		return
	}
	if !x.seat(t) {
		return
	}
	for i := range t.insts {
		if x.ctx.Err() != nil || !x.instance(t, i) {
			return // the others most likely have the same problem
		}
	}
}

// reduced makes the instances of a reduce from those of what it reduces.
func (x *expander) reduced(t *xtask) bool {
	by := 16
	if t.reduce.by.set() {
		var ok bool
		if by, ok = x.number(&t.reduce.by, x.global(), 2, wire.MaxInputs/2); !ok {
			return false
		}
	}
	p := t.reduce.from.pos
	r, wrong, hint := parseRef(x.global().text(&t.reduce.from))
	if wrong != "" {
		x.ps.add(p, hint, "%s", wrong)
		return false
	}
	if d := x.byName[r.task]; r.kind != refTask || d == nil || !d.many || r.keyed {
		x.ps.add(p, `name an output of a task with for or count: "@task/output"`, "there is nothing to reduce")
		return false
	}
	list, _, ok := x.resolve(p, &r)
	if !ok {
		return false
	}
	if len(list) == 0 {
		x.ps.add(p, "its glob is optional and matches nothing", "task %q has no instances to reduce", r.task)
		return false
	}
	keys := make([]string, len(list))
	for i := range list {
		keys[i] = list[i].key
	}
	t.from, t.parts = list, reductions(keys, by)
	t.insts = make([]instance, len(t.parts))
	for i := range t.parts {
		t.insts[i].key = t.parts[i].key
	}
	return true
}

// instance makes one thunk.
func (x *expander) instance(t *xtask, i int) bool {
	in := &t.insts[i]
	sc := x.scope(t, in)
	th := wire.Thunk{Platform: x.platform, ABI: wire.ABI}
	if t.net {
		th.ABI = wire.ABINetworked
	}
	root, ok := x.rootOf(t, sc, i == 0)
	if !ok {
		return false
	}
	th.Root = wire.TreeID(root.Digest)
	hints, ok := x.hintsOf(t, sc, i == 0)
	if !ok {
		return false
	}
	if th.Command, ok = x.command(t, sc); !ok {
		return false
	}
	th.Env = x.environment(t, sc)
	if t.seats != nil && !t.count.set() { // which has them as variables of its own
		th.Env = append(th.Env, t.seats[i].environment(t.name)...)
	}
	if !x.fits(t, &th) || !x.inputs(t, i, sc, &th) || !x.stdinOf(t, sc, &th) || !x.outputs(t, sc, &th) {
		return false
	}
	name := displayName(t.name, in.key)
	if !x.distinct(t.pos, name, &th) {
		return false
	}
	made, err := wire.NewThunk(th)
	if err != nil {
		x.ps.add(t.pos, "", "%s: %v", name, err)
		return false
	}
	if t.parts != nil && !x.passesUp(t, made) {
		return false
	}
	id, ok := x.add(t.pos, name, made, hints, root.Size)
	if !ok {
		return false
	}
	t.ids = append(t.ids, id)
	return t.seats == nil || x.take(t, i, sc)
}

// add appends a thunk to the plan.
func (x *expander) add(p pos, name string, th *wire.Thunk, h wire.Hints, rootSize uint64) (int, bool) {
	id, enc := th.Encode()
	switch {
	case len(enc) > wire.MaxThunk:
		x.ps.add(p, "give it fewer inputs, or one directory", "%s takes %d bytes to describe, more than %d", clip(name), len(enc), wire.MaxThunk)
		return 0, false
	case len(x.plan.Tasks) == x.maxThunks:
		x.ps.stop(p, "larger chunks, or let tasks write sub-graphs", "more than %d thunks", x.maxThunks)
		return 0, false
	case x.bytes+len(enc) > x.maxBytes:
		x.ps.stop(p, "shorter scripts and fewer inputs to each task, or larger chunks", "the tasks take more than %d MiB to describe", x.maxBytes>>20)
		return 0, false
	}
	x.bytes += len(enc)
	if x.env.Parent != nil {
		name = x.env.Parent.Name + "/" + name
	}
	x.plan.Tasks = append(x.plan.Tasks, wire.TaskSpec{Name: name, Thunk: enc, Hints: h, RootSize: rootSize})
	x.plan.Thunks = append(x.plan.Thunks, th)
	x.plan.IDs = append(x.plan.IDs, id)
	return len(x.plan.Tasks) - 1, true
}

// compileScript prepares the template of the command.
func (t *xtask) compileScript() {
	switch {
	case t.shell.set():
		t.script = compileScript(&t.shell, syntax.LangPOSIX)
	case t.bash.set():
		t.script = compileScript(&t.bash, syntax.LangBash)
	}
}

// command returns argv.
func (x *expander) command(t *xtask, sc *scope) ([]string, bool) {
	if t.script.tmpl == nil {
		var argv []string
		for i := range t.run {
			argv = append(argv, sc.words(&t.run[i])...)
		}
		if len(argv) == 0 || argv[0] == "" || strings.HasPrefix(argv[0], "gaggle:") {
			x.ps.add(t.pos, "run: [program, argument, ..]", "the command names no program")
			return nil, false
		}
		return argv, true
	}
	text, bad := t.script.text(sc)
	if bad != "" {
		v, _ := sc.lookup(bad)
		x.ps.add(t.script.pos, fmt.Sprintf("use \"$%s\" there, with env: {%s: \"{{%s}}\"} if it is a parameter", bad, bad, bad),
			"{{%s}} is %q, which cannot be quoted where it stands (arithmetic, ${..}, backquotes, the end of a here-document, or a script that does not parse)", bad, clip(v.join(" ")))
		return nil, false
	}
	if t.bash.set() {
		return []string{"bash", "-euo", "pipefail", "-c", text}, true
	}
	return []string{"sh", "-eu", "-c", text}, true
}

// environment returns the parent's variables, then env, then the task's variables.
func (x *expander) environment(t *xtask, sc *scope) []wire.EnvVar {
	var vars []wire.EnvVar
	for _, p := range mergePairs(x.f.defaults.env, t.env) {
		vars = append(vars, wire.EnvVar{Name: p.key, Value: sc.text(&p.val)})
	}
	for i, n := range sc.names {
		vars = append(vars, wire.EnvVar{Name: n, Value: sc.vals[i].join("\n")})
	}
	if x.env.Parent != nil {
		own := len(vars)
		for _, v := range x.env.Parent.Thunk.Env {
			if !slices.ContainsFunc(vars[:own], func(w wire.EnvVar) bool { return w.Name == v.Name }) {
				vars = append(vars, v)
			}
		}
	}
	return vars
}

// fits checks the command against what Linux can start.
func (x *expander) fits(t *xtask, th *wire.Thunk) bool {
	total := 0
	check := func(what, s string) bool {
		total += len(s) + 9 // its NUL and pointer
		if len(s) >= maxArg {
			x.ps.add(t.pos, "smaller chunks; or read the names from the inputs, with find or in a directory",
				"%s is %d bytes long, Linux takes %d", what, len(s), maxArg-1)
			return false
		}
		return true
	}
	for i, a := range th.Command {
		if !check(fmt.Sprintf("argument %d of the command", i), a) {
			return false
		}
	}
	for _, v := range th.Env {
		if !check("variable "+v.Name, v.Name+"="+v.Value) {
			return false
		}
	}
	if total > maxArgs {
		x.ps.add(t.pos, "smaller chunks; or read the names from the inputs, with find or in a directory",
			"command and environment are %d bytes long, Linux takes %d", total, maxArgs)
		return false
	}
	return true
}

// outputs declares what the instance leaves.
func (x *expander) outputs(t *xtask, sc *scope, th *wire.Thunk) bool {
	for i := range t.outputs {
		d := &t.outputs[i]
		p := strings.TrimPrefix(sc.text(&d.path), "./")
		o := wire.Output{Path: strings.TrimSuffix(p, "/"), Kind: wire.File, Graph: sc.text(&d.graph)}
		if strings.HasSuffix(p, "/") {
			o.Kind = wire.Dir
		}
		switch {
		case wire.CheckPath(o.Path) != nil:
			x.ps.add(d.pos, "use a relative path without . and ..", "%q cannot be the path of an output", clip(o.Path))
		case o.Graph != "" && (wire.CheckPath(o.Graph) != nil || o.Graph == o.Path):
			x.ps.add(d.pos, "use a relative path of its own", "%q cannot be the path of the graph", clip(o.Graph))
		case o.Path == wire.Stdout && o.Kind == wire.Dir:
			x.ps.add(d.pos, "write stdout, or call the directory something else", "standard output is no directory")
		case slices.ContainsFunc(th.Outputs, func(q wire.Output) bool { return q.Path == o.Path }):
			x.ps.add(d.pos, "remove one", "output %q is there twice", clip(o.Path))
		default:
			th.Outputs = append(th.Outputs, o)
			continue
		}
		return false
	}
	return true
}
