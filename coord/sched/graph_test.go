package sched

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gaggle/wire"
)

// testRoot is the root of every thunk in the tests.
var testRoot = wire.Object{Kind: wire.Dir, Digest: wire.Sum([]byte("root")), Size: 512 << 10}

// A plan is a graph of thunks made of a text: "a -> b c; b -> src" makes task a need the outputs of b
// and c, and b the leaf input src. A name that does not stand left of an arrow or alone is a leaf.
// "x:3" gives x the argument 3.
type plan struct {
	tasks  []wire.TaskSpec
	ids    map[string]wire.ThunkID
	leaves []wire.Object
}

func leaf(name string) wire.Object {
	size := uint64(1000)
	if _, mib, ok := strings.Cut(name, "~"); ok {
		n, err := strconv.Atoi(mib)
		if err != nil {
			panic(err)
		}
		size = uint64(n) << 20
	}
	return wire.Object{Kind: wire.File, Digest: wire.Sum([]byte("leaf " + name)), Size: size}
}

func makePlan(t testing.TB, text string) *plan {
	p := &plan{ids: map[string]wire.ThunkID{}}
	type line struct {
		name string
		args []string
		deps []string
	}
	lines := map[string]line{}
	var order []string
	for part := range strings.SplitSeq(text, ";") {
		left, right, _ := strings.Cut(part, "->")
		f := strings.Split(strings.TrimSpace(left), ":")
		lines[f[0]] = line{f[0], f[1:], strings.Fields(right)}
		order = append(order, f[0])
	}
	var add func(name string)
	add = func(name string) {
		if _, done := p.ids[name]; done {
			return
		}
		l := lines[name]
		th := wire.Thunk{Command: append([]string{name}, l.args...), Root: wire.TreeID(testRoot.Digest), Platform: "linux/amd64", ABI: 1,
			Outputs: []wire.Output{{Path: "out", Kind: wire.File, Graph: "next"}}}
		for _, d := range l.deps {
			if _, isTask := lines[d]; isTask {
				add(d)
				th.Inputs = append(th.Inputs, wire.Input{Path: "in-" + d, Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(p.ids[d])}, Output: "out"})
				continue
			}
			o := leaf(d)
			th.Inputs = append(th.Inputs, wire.Input{Path: "in-" + strings.ReplaceAll(d, "~", "_"), Object: o})
			if !slices.Contains(p.leaves, o) {
				p.leaves = append(p.leaves, o)
			}
		}
		p.ids[name] = p.add(t, name, th, wire.Hints{})
	}
	for _, name := range order {
		add(name)
	}
	p.leaves = append(p.leaves, testRoot)
	return p
}

func (p *plan) add(t testing.TB, name string, th wire.Thunk, h wire.Hints) wire.ThunkID {
	x, err := wire.NewThunk(th)
	if err != nil {
		t.Fatalf("thunk %s: %v", name, err)
	}
	id, enc := x.Encode()
	p.tasks = append(p.tasks, wire.TaskSpec{Name: name, Thunk: enc, Hints: h, RootSize: testRoot.Size})
	return id
}

func (p *plan) target(names ...string) (list []wire.TargetSpec) {
	for _, n := range names {
		list = append(list, wire.TargetSpec{Path: n, Thunk: p.ids[n], Output: "out"})
	}
	return list
}

// compute is what thunks do in the tests: the value is a hash of the thunk. A thunk "fib" with an
// argument above 1 writes a graph instead, as does one called "sub".
func compute(th *wire.Thunk) []wire.Object {
	id, _ := th.Encode()
	if th.Builtin() {
		return []wire.Object{{Kind: wire.File, Digest: wire.Sum(append([]byte("selected"), th.Inputs[0].Object.Digest[:]...)), Size: 10}}
	}
	var outs []wire.Object
	for i, o := range th.Outputs {
		kind := o.Kind
		if i == 0 && subGraph(th) != "" {
			kind = wire.Graph
		}
		outs = append(outs, wire.Object{Kind: kind, Digest: wire.Sum(fmt.Appendf(nil, "%s of %s", o.Path, id)), Size: 100})
	}
	return outs
}

// subGraph is the text of the graph that a resolved thunk writes; its target is task "value".
func subGraph(th *wire.Thunk) string {
	name := th.Command[0]
	arg := 0
	if len(th.Command) > 1 {
		arg, _ = strconv.Atoi(th.Command[1])
	}
	switch {
	case name == "fib" && arg > 1:
		return fmt.Sprintf("value -> a b; a=fib:%d; b=fib:%d", arg-1, arg-2)
	case name == "sub" && arg > 0:
		return fmt.Sprintf("value -> x y; x=sub:%d; y -> x", arg-1)
	case name == "loop":
		return "value -> x; x=loop"
	case name == "deep":
		return fmt.Sprintf("value=deep:%d", arg+1)
	}
	return ""
}

// expandGraph makes tasks of the graph a resolved thunk wrote, as the server would. "a=fib:3" is a
// task called a whose command is fib 3.
func expandGraph(parent *wire.Thunk, prefix string) ([]wire.TaskSpec, wire.TargetSpec) {
	var tasks []wire.TaskSpec
	ids := map[string]wire.ThunkID{}
	parts := strings.Split(subGraph(parent), ";")
	slices.Reverse(parts) // what is needed stands behind what needs it
	if strings.Contains(parts[0], "y -> x") {
		parts[0], parts[1] = parts[1], parts[0]
	}
	for _, part := range parts {
		left, right, _ := strings.Cut(part, "->")
		f := strings.Split(strings.TrimSpace(left), ":")
		name, command, ok := strings.Cut(f[0], "=")
		if !ok {
			command = name
		}
		th := wire.Thunk{Command: append([]string{command}, f[1:]...), Root: parent.Root, Platform: parent.Platform, ABI: parent.ABI,
			Outputs: []wire.Output{{Path: "out", Kind: wire.File, Graph: "next"}}}
		for _, d := range strings.Fields(right) {
			th.Inputs = append(th.Inputs, wire.Input{Path: "in-" + d, Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(ids[d])}, Output: "out"})
		}
		for _, in := range parent.Inputs {
			if strings.HasPrefix(in.Path, "in-src") {
				th.Inputs = append(th.Inputs, in)
			}
		}
		x, err := wire.NewThunk(th)
		if err != nil {
			panic(err)
		}
		id, enc := x.Encode()
		ids[name] = id
		tasks = append(tasks, wire.TaskSpec{Name: prefix + "/" + name, Thunk: enc, RootSize: testRoot.Size})
	}
	return tasks, wire.TargetSpec{Path: "value", Thunk: ids["value"], Output: "out"}
}

// An evaluator computes values one after the other, as a user without a cluster would: by decoding,
// resolving and running. What the scheduler does must come to the same.
type evaluator struct {
	thunks map[wire.ThunkID]*wire.Thunk
	values map[wire.ThunkID][]wire.Object // of thunks, resolved or not
	ran    map[wire.ThunkID]int           // resolved
}

func newEvaluator() *evaluator {
	return &evaluator{map[wire.ThunkID]*wire.Thunk{}, map[wire.ThunkID][]wire.Object{}, map[wire.ThunkID]int{}}
}

func (e *evaluator) add(tasks []wire.TaskSpec) {
	for _, t := range tasks {
		th, err := wire.DecodeThunk(t.Thunk)
		if err != nil {
			panic(err)
		}
		id, _ := th.Encode()
		e.thunks[id] = th
	}
}

func (e *evaluator) value(id wire.ThunkID) []wire.Object {
	if v, ok := e.values[id]; ok {
		return v
	}
	r, err := e.thunks[id].Resolve(func(dep wire.ThunkID, path string) (wire.Object, bool) {
		i, ok := e.thunks[dep].OutputIndex(path)
		return e.value(dep)[i], ok
	})
	if err != nil {
		panic(err)
	}
	rid, _ := r.Encode()
	if _, ok := e.values[rid]; !ok {
		e.ran[rid]++
		outs := compute(r)
		for i, o := range outs {
			if o.Kind == wire.Graph {
				tasks, target := expandGraph(r, "")
				e.add(tasks)
				k, _ := e.thunks[target.Thunk].OutputIndex(target.Output)
				outs[i] = e.value(target.Thunk)[k]
			}
		}
		e.values[rid] = outs
	}
	e.values[id] = e.values[rid]
	return e.values[id]
}
