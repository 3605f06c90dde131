package graph

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gaggle/wire"
)

// inputs lays out the inputs of instance i.
func (x *expander) inputs(t *xtask, i int, sc *scope, th *wire.Thunk) bool {
	if t.parts != nil {
		for _, m := range t.parts[i].parts {
			pl := placed{}
			if m.inner {
				id := t.ids[m.i]
				pl.obj = wire.Object{Kind: wire.Pending, Digest: wire.Digest(x.plan.IDs[id])}
				pl.output = x.plan.Thunks[id].Outputs[t.up].Path
			} else {
				pl = t.from[m.i]
			}
			th.Inputs = append(th.Inputs, wire.Input{Path: "in/" + flatName(m.key), Object: pl.obj, Output: pl.output})
		}
	}
	for j := range t.inputs {
		if !x.input(&t.inputs[j], sc, th) {
			return false
		}
	}
	return true
}

// passesUp finds the output that an instance of a reduce hands to the next: the only one, or the
// one that is called like what is reduced.
func (x *expander) passesUp(t *xtask, th *wire.Thunk) bool {
	if len(th.Outputs) == 1 {
		t.up = 0
		return true
	}
	i, ok := th.OutputIndex(t.from[0].output)
	if t.up = i; !ok {
		x.ps.add(t.pos, fmt.Sprintf("call the output that goes up the tree %q, like what is reduced", t.from[0].output),
			"a reduce with %d outputs", len(th.Outputs))
	}
	return ok
}

// input lays out what one element of inputs leads to.
func (x *expander) input(d *inputDecl, sc *scope, th *wire.Thunk) bool {
	to := ""
	if d.path.set() {
		if to = strings.TrimSuffix(sc.text(&d.path), "/"); wire.CheckPath(to) != nil {
			x.ps.add(d.path.pos, "use a relative path without . and ..", "%q cannot be the path of an input", clip(to))
			return false
		}
	}
	refs, several, ok := x.refs(d, sc)
	if !ok {
		return false
	}
	if refs == nil {
		pl, ok := x.literal(&d.ref, sc)
		switch {
		case !ok:
			return false
		case to == "":
			x.ps.add(d.ref.pos, `use the object form: inputs: {path: {"text": ..}}`, "an input that is no file needs a path")
			return false
		}
		th.Inputs = append(th.Inputs, wire.Input{Path: to, Object: pl.obj})
		return true
	}
	for _, s := range refs {
		r, wrong, hint := parseRef(s)
		if wrong != "" {
			x.ps.add(d.ref.pos, hint, "%s", wrong)
			return false
		}
		list, all, ok := x.resolve(d.ref.pos, &r)
		if !ok {
			return false
		}
		at := to
		switch {
		case to == "":
			at = r.place()
		case several:
			at = to + "/" + r.place()
		}
		if at == "." {
			x.ps.add(d.ref.pos, `use the object form: inputs: {src: "."}`, "the whole directory has no path of its own")
			return false
		}
		for _, pl := range list {
			p := at
			if all {
				p += "/" + placeName(pl.key)
			}
			th.Inputs = append(th.Inputs, wire.Input{Path: p, Object: pl.obj, Output: pl.output})
		}
	}
	return true
}

// refs returns the references that an input is written as: nil if it is an object. several says
// that they are a list, whatever its length.
func (x *expander) refs(d *inputDecl, sc *scope) (refs []string, several, ok bool) {
	switch {
	case d.ref.ref.set():
		t := &d.ref.ref
		refs = sc.words(t)
		if len(t.parts) == 1 {
			v, _ := sc.lookup(t.parts[0].name)
			several = v.isList
		}
		return refs, several, true
	case d.ref.glob.set():
		if x.env.Parent != nil {
			x.ps.add(d.ref.pos, `name inputs of the parent, "@parent/path"`, "a sub-graph has no local files")
			return nil, false, false
		}
		refs, ok = x.globOne(d.ref.glob.pos, sc.text(&d.ref.glob), false)
		return refs, true, ok
	}
	return nil, false, true
}

// stdinOf makes the standard input an input.
func (x *expander) stdinOf(t *xtask, sc *scope, th *wire.Thunk) bool {
	d := &t.stdin
	if d.line == 0 {
		return true
	}
	in := wire.Input{Path: "stdin"}
	switch {
	case d.ref.set():
		s := sc.text(&d.ref)
		if slices.ContainsFunc(th.Inputs, func(in wire.Input) bool { return in.Path == s }) {
			th.Stdin = s
			return true
		}
		r, wrong, hint := parseRef(s)
		if wrong != "" {
			x.ps.add(d.pos, hint, "%s", wrong)
			return false
		}
		list, all, ok := x.resolve(d.pos, &r)
		if !ok {
			return false
		}
		if all || list[0].obj.Kind == wire.Dir {
			x.ps.add(d.pos, "name one file", "standard input is several files")
			return false
		}
		in = wire.Input{Path: r.place(), Object: list[0].obj, Output: list[0].output}
	case d.glob.set():
		x.ps.add(d.pos, "name one file", "standard input is several files")
		return false
	default:
		pl, ok := x.literal(d, sc)
		if !ok {
			return false
		}
		in.Object = pl.obj
	}
	th.Inputs, th.Stdin = append(th.Inputs, in), in.Path
	return true
}

// distinct drops inputs that are there twice and checks that no two want one path.
func (x *expander) distinct(p pos, name string, th *wire.Thunk) bool {
	slices.SortStableFunc(th.Inputs, func(a, b wire.Input) int { return cmp.Compare(a.Path, b.Path) })
	th.Inputs = slices.CompactFunc(th.Inputs, func(a, b wire.Input) bool {
		return a.Path == b.Path && a.Object == b.Object && a.Output == b.Output
	})
	for i := 1; i < len(th.Inputs); i++ {
		if th.Inputs[i].Path == th.Inputs[i-1].Path {
			x.ps.add(p, "rename one with the object form: inputs: {path: reference}", "%s has two inputs at %q", clip(name), clip(th.Inputs[i].Path))
			return false
		}
	}
	return true
}
