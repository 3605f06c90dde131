package sched

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

type graphRef uint32

// An expansion is a graph that a resolved thunk wrote instead of an output, and what it came to. One
// thunk can have several: who believes a node's graph need not believe another's.
type expansion struct {
	key     // see graphKey
	thunk   wire.Digest
	graph   wire.Object
	known   bool // tasks and target are there
	tasks   []wire.TaskSpec
	target  wire.TargetSpec
	enc     []byte    // the resolved thunk, until they are
	waiters []taskRef // until they are
	tries   int
	until   time.Duration // when to ask again
	asked   bool
}

// maxKnown bounds the tasks of known expansions that are kept for other jobs.
const maxKnown = 200_000

// graphKey is the key of an expansion: the space with the output, of which a thunk has less than 1024,
// and a digest of thunk and graph.
func graphKey(k *key, output int, graph wire.Object) key {
	both := slices.Concat(k.id[:], graph.Digest[:])
	return key{k.of<<10 | uint32(output), wire.Sum(binary.AppendUvarint(both, graph.Size))}
}

func (s *State) expansionKnown(k *key, output int, graph wire.Object) bool {
	gk := graphKey(k, output, graph)
	r := s.graphOf.find(&gk)
	return r != 0 && s.graphs.at(r).known
}

// expand has a task wait for what the graphs in its raw value come to.
func (s *State) expand(tr taskRef, k *key, enc []byte, raw []wire.Object, how wire.How, by ran) {
	t := s.tasks.at(tr)
	m := t.rare()
	if m.raw != nil && !slices.Equal(m.raw, raw) {
		s.fail(tr, s.nondeterministic(t, m.raw, raw, by), nil)
		return
	}
	m.raw, m.resolved, m.ran = raw, k.id, by
	t.how, t.node, t.signer = how, by.node, by.signer
	s.enter(tr, wire.StateExpanding, wire.Notice{Resolved: wire.ThunkID(k.id), How: how, Run: by.run, Fetched: by.fetched})
	for i, o := range raw {
		known := slices.ContainsFunc(m.subs, func(x sub) bool { return x.output == i })
		if o.Kind != wire.Graph || known || t.state != wire.StateExpanding {
			continue
		}
		m.waits++
		gk := graphKey(k, i, o)
		r := s.graphOf.find(&gk)
		if r == 0 {
			r = s.graphs.add()
			*s.graphs.at(r) = expansion{key: gk, thunk: k.id, graph: o, enc: enc}
			s.graphOf.put(r)
		}
		if e := s.graphs.at(r); e.known {
			s.join(tr, e)
		} else {
			e.waiters = append(e.waiters, tr)
			s.askFor(r)
		}
	}
	if t.state == wire.StateExpanding && m.waits == 0 && t.missing == 0 {
		s.work = append(s.work, tr)
	}
}

// askFor has the server expand a graph. If nobody holds it any more its thunk runs again.
func (s *State) askFor(r graphRef) {
	e := s.graphs.at(r)
	if e.asked || e.until > s.now {
		return
	}
	space := e.of >> 10
	if !s.held(space, e.graph.Digest) {
		s.rerunFor(r)
		return
	}
	if !s.atHand(s.object(space, e.graph.Digest)) {
		e.until = s.now + firstBackoff
		s.unasked = append(s.unasked, r)
		return
	}
	parent, err := wire.DecodeThunk(e.enc)
	if err != nil {
		s.failExpansion(r, wire.Failure{Cause: wire.CauseInternal, Message: err.Error()})
		return
	}
	e.asked = true
	first := s.tasks.at(e.waiters[0])
	j := s.jobOfTask(first)
	s.emit(Expand{Space: s.spaces[space], Thunk: wire.ThunkID(e.thunk), Output: int(e.of & 1023), Parent: parent,
		Name: first.name, Hints: j.hints[first.hints], Root: j.roots[wire.Digest(parent.Root)],
		Nesting: int(first.nesting), Graph: s.heldBy(space, e.graph)})
}

// rerunFor sends the tasks that wait for a lost graph back, to have it written again.
func (s *State) rerunFor(r graphRef) {
	waiters := s.graphs.at(r).waiters
	for _, tr := range slices.Clone(waiters) {
		t := s.tasks.at(tr)
		s.leaveExpansions(tr)
		if t.gen++; t.gen > maxGenerations {
			s.fail(tr, failure(wire.CauseInputsGone, "", "the sub-graph it wrote was lost %d times", maxGenerations), nil)
			continue
		}
		t.more.raw = nil
		s.enter(tr, wire.StateBlocked, wire.Notice{})
		if t.missing == 0 {
			s.work = append(s.work, tr)
		}
	}
	if s.graphOf.find(&s.graphs.at(r).key) == r {
		s.dropGraph(r)
	}
}

func (s *State) dropGraph(r graphRef) {
	s.graphOf.del(r)
	s.graphs.drop(r)
}

// leaveExpansions ends a task's wait for graphs to be expanded.
func (s *State) leaveExpansions(tr taskRef) {
	m := s.tasks.at(tr).more
	k := key{s.jobOfTask(s.tasks.at(tr)).space, m.resolved}
	for i, o := range m.raw {
		gk := graphKey(&k, i, o)
		if r := s.graphOf.find(&gk); r != 0 {
			e := s.graphs.at(r)
			e.waiters = slices.DeleteFunc(e.waiters, func(w taskRef) bool { return w == tr })
		}
	}
	m.waits = 0
}

func (s *State) expanded(e *Expanded) {
	gk := graphKey(&key{s.space(e.Space), wire.Digest(e.Thunk)}, e.Output, e.Graph)
	r := s.graphOf.find(&gk)
	if r == 0 {
		r = s.graphs.add()
		*s.graphs.at(r) = expansion{key: gk, thunk: wire.Digest(e.Thunk), graph: e.Graph}
		s.graphOf.put(r)
	}
	x := s.graphs.at(r)
	if x.known {
		return
	}
	if !e.Recorded {
		s.emit(Record{RowExpansion{*e}})
	}
	waiters := x.waiters
	x.known, x.tasks, x.target, x.enc, x.waiters, x.asked = true, e.Tasks, e.Target, nil, nil, false
	for _, tr := range waiters {
		if t := s.tasks.at(tr); t.state == wire.StateExpanding {
			s.join(tr, x)
		}
	}
	s.known = append(s.known, r)
	for s.kept += len(x.tasks); s.kept > maxKnown && len(s.known) > 1; s.known = s.known[1:] {
		s.kept -= len(s.graphs.at(s.known[0]).tasks)
		s.dropGraph(s.known[0])
	}
}

func (s *State) expandFailed(e *ExpandFailed) {
	gk := graphKey(&key{s.space(e.Space), wire.Digest(e.Thunk)}, e.Output, e.Graph)
	r := s.graphOf.find(&gk)
	if r == 0 || s.graphs.at(r).known {
		return
	}
	x := s.graphs.at(r)
	x.asked = false
	if len(x.waiters) == 0 {
		s.dropGraph(r)
		return
	}
	if e.Failure.Cause.Task() || e.Failure.Cause >= wire.CauseInvalid && e.Failure.Cause != wire.CauseUnreachable {
		s.failExpansion(r, e.Failure)
		return
	}
	if x.tries++; x.tries < maxInfra {
		x.until = s.now + firstBackoff<<(x.tries-1)
		s.unasked = append(s.unasked, r)
		return
	}
	// Those who were believed to hold it do not give it: it is as good as lost.
	for _, n := range s.nodes[1:] {
		if ref := s.objectOf.find(&key{x.of >> 10, x.graph.Digest}); ref != 0 {
			s.lose(n, ref)
		}
	}
	s.rerunFor(r)
}

// failExpansion fails the tasks whose graph cannot be expanded.
func (s *State) failExpansion(r graphRef, f wire.Failure) {
	for _, tr := range slices.Clone(s.graphs.at(r).waiters) {
		if s.tasks.at(tr).state == wire.StateExpanding {
			s.fail(tr, f, nil)
		}
	}
	s.dropGraph(r)
}

// askAgain asks for the graphs whose fetching failed some time ago.
func (s *State) askAgain() {
	unasked := s.unasked
	s.unasked = nil
	for _, r := range unasked {
		if r >= s.graphs.next {
			continue
		}
		switch e := s.graphs.at(r); {
		case e.of == 0 || e.known || e.asked:
		case len(e.waiters) == 0:
			s.dropGraph(r)
		case e.until > s.now:
			s.unasked = append(s.unasked, r)
		default:
			s.askFor(r)
		}
	}
}

// What to do about a graph that does not come to an end.
const (
	endHint   = "have it write its output, not another graph, when there is nothing left to do"
	cycleHint = "a sub-graph may not ask for what it is to give: have one of these tasks write its output, or change its command or inputs"
)

// join makes the tasks of a known expansion tasks of the job of tr, which then waits for their
// target.
func (s *State) join(tr taskRef, e *expansion) {
	t := s.tasks.at(tr)
	j := s.jobOfTask(t)
	bad := func(c wire.Cause, hint, format string, args ...any) {
		s.fail(tr, failure(c, hint, format, args...), nil)
	}
	if int(t.nesting)+1 > wire.MaxNesting {
		bad(wire.CauseGraph, endHint, "sub-graphs are nested deeper than %d", wire.MaxNesting)
		return
	}
	before, shared := len(j.tasks), false
	for i := range e.tasks {
		count := len(j.tasks)
		if _, err := s.addTask(j, &e.tasks[i], tr, t.name+"/"+lastName(e.tasks[i].Name)); err != nil {
			bad(wire.CauseGraph, endHint, "expanding its sub-graph: %v", err)
			return
		}
		shared = shared || len(j.tasks) == count
	}
	target := s.taskOf.find(&key{t.of, wire.Digest(e.target.Thunk)})
	if target == 0 {
		bad(wire.CauseGraph, "", "the target of its sub-graph is none of its tasks")
		return
	}
	index, ok := s.outputOf(target, e.target.Output)
	if !ok {
		bad(wire.CauseGraph, "", "the target of its sub-graph is an output %q that task %q does not have",
			e.target.Output, s.tasks.at(target).name)
		return
	}
	if shared {
		if path := s.waitPath(target, tr); path != nil {
			bad(wire.CauseCycle, cycleHint, "it waits for itself: %s", s.pathText(append([]taskRef{tr}, path...)))
			return
		}
	}
	m := t.more
	m.subs = append(m.subs, sub{int(e.of & 1023), target, index})
	m.waits--
	s.wait(tr, target)
	s.tell(j, wire.Notice{Task: t.name, Thunk: wire.ThunkID(t.id), Resolved: wire.ThunkID(m.resolved), State: t.state,
		Added: len(j.tasks) - before})
	if st := s.tasks.at(target).state; over(st) && st != wire.StateDone {
		s.giveUpFor(tr, s.tasks.at(target).name)
		return
	}
	if m.waits == 0 && t.missing == 0 {
		s.work = append(s.work, tr)
	}
}

// waitPath returns a way from one task to another along what they wait for, from both ends; nil if
// there is none.
func (s *State) waitPath(from, to taskRef) []taskRef {
	came := map[taskRef]taskRef{from: 0}
	for queue := []taskRef{from}; len(queue) > 0; queue = queue[1:] {
		r := queue[0]
		if r == to {
			path := []taskRef{to}
			for p := came[to]; p != 0; p = came[p] {
				path = append(path, p)
			}
			slices.Reverse(path)
			return path
		}
		if s.tasks.at(r).state == wire.StateDone {
			continue
		}
		for e := s.tasks.at(r).deps; e != 0; e = s.edges.at(e).next {
			if d := s.edges.at(e).to; came[d] == 0 && d != from {
				came[d] = r
				queue = append(queue, d)
			}
		}
	}
	return nil
}

func (s *State) pathText(path []taskRef) string {
	var names []string
	for _, r := range path {
		names = append(names, shorten(s.tasks.at(r).name))
	}
	if len(names) > 12 {
		names = slices.Concat(names[:6], []string{"..."}, names[len(names)-5:])
	}
	return strings.Join(names, " -> ")
}

// shorten cuts the middle out of the long name of a nested task.
func shorten(name string) string {
	if len(name) <= 200 {
		return name
	}
	return strings.ToValidUTF8(name[:100], "") + "..." + strings.ToValidUTF8(name[len(name)-90:], "")
}

// expansionsDone gives a task its value once all its sub-graphs have theirs.
func (s *State) expansionsDone(tr taskRef) {
	t := s.tasks.at(tr)
	m := t.more
	if m.waits > 0 {
		return
	}
	outs := slices.Clone(m.raw)
	s.view.read(t.enc)
	for _, x := range m.subs {
		o := s.tasks.at(x.target).outs()[x.index]
		if dir := s.view.outputs[x.output].kind == wire.Dir; dir != (o.Kind == wire.Dir) {
			out := s.view.outputs[x.output]
			s.fail(tr, failure(wire.CauseGraph, fmt.Sprintf("let the sub-graph target an output that is a %s", out.kind),
				"output %q is to be a %s, but the target of its sub-graph is a %s", out.path, out.kind, o.Kind), nil)
			return
		}
		outs[x.output] = o
	}
	if t.outs() != nil && !slices.Equal(t.outs(), outs) {
		s.diverged(tr, outs, m.resolved, t.how, m.ran)
		return
	}
	if memo := s.memo(&key{s.jobOfTask(t).space, m.resolved}); memo != nil && slices.Equal(memo.outs, m.raw) {
		memo.final = outs
	}
	s.done(tr, outs, m.resolved, t.how, m.ran)
}
