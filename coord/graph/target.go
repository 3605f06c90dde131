package graph

import (
	"path"
	"strings"

	"gaggle/wire"
)

// setTargets finds what the targets refer to.
func (x *expander) setTargets() {
	at := make(map[string]pos)
	for i := range x.f.targets {
		x.target(&x.f.targets[i], at)
	}
	for _, t := range x.plan.Targets {
		for i := range len(t.Path) {
			if _, ok := at[t.Path[:i]]; ok && t.Path[i] == '/' {
				x.ps.add(at[t.Path], "write one of them elsewhere", "target %q lies below target %q", clip(t.Path), clip(t.Path[:i]))
			}
		}
	}
	if x.env.Parent != nil && !x.ps.any() && len(x.plan.Targets) != 1 {
		x.ps.add(pos{path: "targets"}, "keep one: it becomes the parent's output; combine the others in a task", "a sub-graph with %d targets", len(x.plan.Targets))
	}
}

func (x *expander) target(d *pair[tmpl], at map[string]pos) {
	if !x.known(&d.val, x.global()) {
		return
	}
	r, wrong, hint := parseRef(x.global().text(&d.val))
	if wrong == "" && r.kind != refTask {
		wrong, hint = "a target is what a task makes", `name an output: "@task/output"`
		if r.kind == refParent {
			hint = `let a task copy it: run: [cat], stdin: "@parent/path", outputs: [stdout]`
		}
	}
	if wrong != "" {
		x.ps.add(d.val.pos, hint, "%s", wrong)
		return
	}
	list, all, ok := x.resolve(d.val.pos, &r)
	if !ok {
		return
	}
	t := x.byName[r.task]
	to, sc := compile(d.key, d.pos), x.global()
	if all {
		sc.names = t.names
	}
	if !x.known(&to, sc) {
		return
	}
	for i, pl := range list {
		if all {
			sc.vals = t.insts[i].vals
		}
		p := strings.TrimSuffix(sc.text(&to), "/")
		switch {
		case all && !to.varies(t.names):
			p += "/" + placeName(pl.key)
		case !all && strings.HasSuffix(d.key, "/") && !x.isDir(&r, t):
			p += "/" + path.Base(r.place())
		}
		if !x.addTarget(d.pos, p, pl, at) {
			return
		}
	}
}

// varies reports whether one of the variables is in t.
func (t *tmpl) varies(names []string) bool {
	for _, p := range t.parts {
		if p.name != "" && contains(names, p.name) {
			return true
		}
	}
	return false
}

// isDir reports whether r leads to a directory.
func (x *expander) isDir(r *ref, t *xtask) bool {
	if r.sub != "" {
		return r.subDir
	}
	th := x.plan.Thunks[t.ids[len(t.ids)-1]]
	i, ok := th.OutputIndex(r.path)
	return ok && th.Outputs[i].Kind == wire.Dir
}

func (x *expander) addTarget(p pos, to string, pl placed, at map[string]pos) bool {
	if wire.CheckPath(to) != nil {
		x.ps.add(p, "use a relative path without . and ..; it is below --out", "%q cannot be the path of a target", clip(to))
		return false
	}
	if _, twice := at[to]; twice {
		x.ps.add(p, "write one of them elsewhere", "two targets at %q", clip(to))
		return false
	}
	at[to] = p
	x.plan.Targets = append(x.plan.Targets, wire.TargetSpec{Path: to, Thunk: wire.ThunkID(pl.obj.Digest), Output: pl.output})
	return true
}
