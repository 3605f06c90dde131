package graph

import (
	"fmt"
	"slices"
	"strings"
)

// setOrder finds what refers to what, and an order in which all can be built.
func (x *expander) setOrder() {
	for _, t := range x.tasks {
		x.dependencies(t)
	}
	if x.ps.any() {
		return
	}
	for _, t := range x.tasks {
		if !x.visit(t) {
			return
		}
	}
}

// dependencies finds the tasks that t refers to in any of its instances.
func (x *expander) dependencies(t *xtask) {
	if x.ps.full() {
		return
	}
	t.isDep = make(map[*xtask]bool)
	defer func() { t.isDep = nil }()
	note := func(p pos, name string) {
		switch d := x.byName[name]; {
		case name == "" || name == parent:
		case d == nil:
			x.ps.add(p, Nearest(name, x.f.taskNames()), "there is no task %q", clip(name))
		case !t.isDep[d]:
			t.deps, t.isDep[d] = append(t.deps, d), true
		}
	}
	refs := []*tmpl{&t.stdin.ref, &t.reduce.from}
	for i := range t.inputs {
		refs = append(refs, &t.inputs[i].ref.ref)
	}
	for _, tm := range refs {
		if !tm.set() {
			continue
		}
		if name, ok := staticTask(tm); ok {
			note(tm.pos, name)
			continue
		}
		insts := t.insts
		if t.reduce.line > 0 {
			insts = []instance{{}}
		}
		for i := range insts {
			for _, s := range x.scope(t, &insts[i]).words(tm) {
				if r, wrong, _ := parseRef(s); wrong == "" {
					note(tm.pos, r.task)
				}
			}
		}
	}
}

// States of a task in visit.
const (
	unseen int8 = iota
	open        // on the path that is searched
	done
)

// visit appends t to the order behind what it depends on. A cycle is a problem, shown as the
// path it is. It is a loop, not a recursion: a chain may be as long as the file.
func (x *expander) visit(t *xtask) bool {
	if t.state == done {
		return true
	}
	path, next := []*xtask{t}, []int{0}
	t.state = open
	for len(path) > 0 {
		top := len(path) - 1
		t := path[top]
		if next[top] == len(t.deps) {
			t.state = done
			x.order = append(x.order, t)
			path, next = path[:top], next[:top]
			continue
		}
		d := t.deps[next[top]]
		next[top]++
		switch d.state {
		case unseen:
			d.state = open
			path, next = append(path, d), append(next, 0)
		case open:
			x.cycle(path[slices.Index(path, d):])
			return false
		}
	}
	return true
}

func (x *expander) cycle(path []*xtask) {
	const most = 20
	var names []string
	for _, t := range path {
		if len(names) == most {
			names = append(names, fmt.Sprintf("(%d more)", len(path)-most))
			break
		}
		names = append(names, t.name)
	}
	names = append(names, path[0].name)
	x.ps.add(path[0].pos, "each of them needs the next; remove one of the references",
		"tasks wait for each other: %s", strings.Join(names, " -> "))
}
