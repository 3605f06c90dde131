package graph

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"gaggle/wire"
)

// rootOf returns the root tree of an instance. It is worked out again for each only if it
// depends on variables.
func (x *expander) rootOf(t *xtask, sc *scope, first bool) (wire.Object, bool) {
	if !first && !t.rootVaries() {
		return t.rootObj, true
	}
	o, ok := x.root(t, sc)
	t.rootObj = o
	return o, ok
}

// rootVaries reports whether instances may have different roots.
func (t *xtask) rootVaries() bool {
	if len(t.names) == 0 {
		return false
	}
	varies := false
	for _, list := range [][]tmpl{t.tools, t.include, t.root.tools, t.run[:min(1, len(t.run))], {t.root.dir, t.root.tree, t.root.oci}} {
		for i := range list {
			varies = varies || !list[i].literal()
		}
	}
	return varies
}

func (x *expander) root(t *xtask, sc *scope) (wire.Object, bool) {
	p := t.pos
	if t.root.line > 0 {
		p = t.root.pos
	}
	if x.env.Parent != nil {
		return x.inheritedRoot(t, p, sc)
	}
	spec, ok := x.rootSpec(t, p, sc)
	if !ok {
		return wire.Object{}, false
	}
	id := fmt.Sprintf("%q", []any{spec.Tools, spec.Include, spec.Dir, spec.Tree, spec.OCI})
	o, ok := x.roots[id]
	if !ok {
		var err error
		o, err = x.env.Roots.Root(x.ctx, spec)
		var we *wire.Error
		switch {
		case err == nil:
		case errors.As(err, &we) && (we.Cause == wire.CauseInvalid || we.Cause == wire.CauseNotFound || we.Cause == wire.CauseNotInRoot):
			x.ps.add(p, we.Hint, "%s", we.Message)
			return o, false
		case errors.Is(err, fs.ErrNotExist):
			x.ps.add(p, "it is looked for on this machine", "%v", err)
			return o, false
		default:
			x.fail(fmt.Errorf("making the root of task %q: %w", t.name, err))
			return o, false
		}
		x.roots[id] = o
	}
	x.leaf(o)
	return o, true
}

// rootSpec says what the root of an instance is made of.
func (x *expander) rootSpec(t *xtask, p pos, sc *scope) (s RootSpec, ok bool) {
	for i := range t.include {
		for _, w := range sc.words(&t.include[i]) {
			if !strings.HasPrefix(w, "/") && !filepath.IsAbs(w) {
				x.ps.add(t.include[i].pos, "begin with /: files of the machine keep their place; local files are inputs", "include %q is not absolute", clip(w))
				return s, false
			}
			s.Include = append(s.Include, w)
		}
	}
	host := func(tm *tmpl) string {
		dir := filepath.FromSlash(sc.text(tm))
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(x.env.Dir, dir)
		}
		return dir
	}
	switch r := &t.root; {
	case r.dir.set():
		s.Dir = host(&r.dir)
	case r.oci.set():
		s.OCI = host(&r.oci)
	case r.tree.set():
		if s.Tree = sc.text(&r.tree); !validTree(s.Tree) {
			x.ps.add(r.tree.pos, "it begins with bafyrei", "%q is not the CID of a tree", clip(s.Tree))
			return s, false
		}
	default:
		return x.tools(t, sc, s)
	}
	if s.Include != nil {
		x.ps.add(p, "copy the files into the root, or name them as inputs", "include goes with tools")
		return s, false
	}
	return s, true
}

// tools fills in the programs: those named, and the command's own.
func (x *expander) tools(t *xtask, sc *scope, s RootSpec) (RootSpec, bool) {
	list := t.tools
	if t.root.line > 0 {
		list = t.root.tools
	}
	for i := range list {
		for _, w := range sc.words(&list[i]) {
			if w == "" || strings.ContainsAny(w, "\x00\n") {
				x.ps.add(list[i].pos, "name a program", "tool %q is not a program", clip(w))
				return s, false
			}
			s.Tools = append(s.Tools, w)
		}
	}
	switch {
	case t.shell.set():
		s.Tools = append(s.Tools, "sh")
	case t.bash.set():
		s.Tools = append(s.Tools, "bash")
	case s.Include == nil:
		if own := sc.words(&t.run[0]); len(own) > 0 && own[0] != "" && !strings.Contains(own[0], "/") {
			s.Tools = append(s.Tools, own[0])
		}
	}
	slices.Sort(s.Tools)
	s.Tools = slices.Compact(s.Tools)
	if len(s.Tools) == 0 && s.Include == nil {
		x.ps.add(t.pos, "name what it needs of this machine, tools: [sh, ..], or a root", "there are no programs for it to run with")
		return s, false
	}
	return s, true
}

func validTree(s string) bool {
	_, err := wire.ParseTreeID(s)
	return err == nil
}

// inheritedRoot is the root of a task of a sub-graph: the parent's, or a tree by its CID.
func (x *expander) inheritedRoot(t *xtask, p pos, sc *scope) (wire.Object, bool) {
	par := x.env.Parent
	switch {
	case t.root.tree.set():
		id, err := wire.ParseTreeID(sc.text(&t.root.tree))
		if err != nil {
			x.ps.add(p, "it begins with bafyrei", "%q is not the CID of a tree", clip(sc.text(&t.root.tree)))
			return wire.Object{}, false
		}
		o := wire.DirObject(id, 0)
		x.leaf(o)
		return o, true
	case t.root.line > 0 || t.tools != nil || t.include != nil:
		x.ps.add(p, "remove tools, include and root, and give the parent what its sub-graph needs",
			"a sub-graph has the root of its parent, and cannot take programs from a machine")
		return wire.Object{}, false
	}
	return wire.DirObject(par.Thunk.Root, par.RootSize), true
}

// literal returns the object of {"text": ..} or {"cid": ..}.
func (x *expander) literal(d *refDecl, sc *scope) (placed, bool) {
	if d.cid.set() {
		return x.byCID(d, sc)
	}
	text := sc.text(&d.text)
	if x.env.Parent != nil {
		x.ps.add(d.pos, "pass it as an argument or in env", "a sub-graph cannot hold text")
		return placed{}, false
	}
	o, ok := x.texts[text]
	if !ok {
		var err error
		if o, err = x.env.Files.Put(x.ctx, []byte(text)); err != nil {
			x.fail(fmt.Errorf("storing the text in %s: %w", d.path, err))
			return placed{}, false
		}
		x.texts[text] = o
	}
	if d.executable && o.Kind == wire.File {
		o.Kind = wire.Exec
	}
	x.leaf(o)
	return placed{obj: o}, true
}

func (x *expander) byCID(d *refDecl, sc *scope) (placed, bool) {
	s := sc.text(&d.cid)
	o := wire.Object{Kind: wire.File}
	if id, err := wire.ParseBlobID(s); err == nil {
		o.Digest = wire.Digest(id)
	} else if id, err := wire.ParseTreeID(s); err == nil {
		o.Kind, o.Digest = wire.Dir, wire.Digest(id)
	} else {
		x.ps.add(d.cid.pos, "one begins with bafkrei for a file, bafyrei for a directory", "%q is not a CID of this mesh", clip(s))
		return placed{}, false
	}
	switch {
	case d.size.set():
		n, ok := x.number(&d.size, sc, 0, wire.MaxBlob)
		if !ok {
			return placed{}, false
		}
		o.Size = uint64(n)
	case x.env.Parent != nil:
		x.ps.add(d.pos, "add size: N, its length in bytes", "a cid in a sub-graph needs its size")
		return placed{}, false
	default:
		found, err := x.env.Files.Find(x.ctx, o)
		if err != nil {
			x.ps.add(d.pos, "add size: N, its length in bytes", "%s is not on this machine: %v", clip(s), err)
			return placed{}, false
		}
		o = found
	}
	if d.executable && o.Kind == wire.File {
		o.Kind = wire.Exec
	}
	x.leaf(o)
	return placed{obj: o}, true
}

// hintsOf returns the hints of an instance: the parent's, with what the task says instead.
func (x *expander) hintsOf(t *xtask, sc *scope, first bool) (wire.Hints, bool) {
	if !first && len(t.names) == 0 {
		return t.hintSet, true
	}
	h, ok := x.hints(t, sc)
	t.hintSet = h
	return h, ok
}

func (x *expander) hints(t *xtask, sc *scope) (h wire.Hints, ok bool) {
	if x.env.Parent != nil {
		h = x.env.Parent.Hints
	}
	ok = fill(x, sc, &t.cpu, &h.MilliCPU, parseCPU) && fill(x, sc, &t.memory, &h.MemBytes, parseSize) &&
		fill(x, sc, &t.timeout, &h.Timeout, parseTimeout) &&
		fill(x, sc, &t.retries, &h.Retries, func(s string) (int, string) { return wholeNumber(s, 0, maxRetries) }) &&
		fill(x, sc, &t.priority, &h.Priority, func(s string) (int, string) { return wholeNumber(s, -maxPriority, maxPriority) })
	if own := mergePairs(x.f.defaults.labels, t.labels); len(own) > 0 {
		labels := maps.Clone(h.Labels)
		if labels == nil {
			labels = make(map[string]string, len(own))
		}
		for i := range own {
			labels[own[i].key] = sc.text(&own[i].val)
		}
		h.Labels = labels
	}
	return h, ok
}

// fill reads a hint into its place, if the file has it.
func fill[V any](x *expander, sc *scope, t *tmpl, to *V, parse func(string) (V, string)) bool {
	if !t.set() {
		return true
	}
	v, wrong := parse(sc.text(t))
	if wrong != "" {
		x.ps.add(t.pos, "", "%s", wrong)
		return false
	}
	*to = v
	return true
}
