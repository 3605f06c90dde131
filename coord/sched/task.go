package sched

import (
	"fmt"
	"strings"
	"time"

	"gaggle/wire"
)

// A task is a thunk of one job's graph. Two equal thunks of a job are one task.
type task struct {
	key               // of the job; the unresolved thunk
	hints   uint32    // in job.hints
	enc     []byte    // encoded, unresolved
	name    string    // for people
	value   *value    // that the job has pinned; nil before the first
	more    *taskMore // what few tasks have
	missing uint32    // of what it waits for, how many are not done
	deps    edgeRef   // tasks it waits for, each once: those of its inputs, then sub-graphs' targets
	users   edgeRef   // tasks that wait for it
	parent  taskRef   // whose sub-graph it came with; 0 in the submission
	run     runRef    // that it waits for
	mate    taskRef   // the next that waits for it, too
	node    nodeRef   // that ran it, or runs it
	signer  nodeRef   // whose claim its value is, if that was known
	nesting uint16
	gen     uint8 // how often it was rewound
	state   wire.State
	how     wire.How
	target  bool // of its job
	sure    bool // two runs gave its value, where the job wants that
	vouched bool // as many owners did as the job wants
}

// A value stands for itself: most tasks of a large job have none for long.
type value struct{ outs []wire.Object }

// outs returns the value the job has pinned, nil before the first.
func (t *task) outs() []wire.Object {
	if t.value == nil {
		return nil
	}
	return t.value.outs
}

type taskMore struct {
	subs     []sub          // sub-graphs it wrote, in the order of outputs
	raw      []wire.Object  // the value with those graphs in it
	resolved wire.Digest    // that has it
	waits    int            // expansions it waits for
	failure  *wire.Failure  // why it failed or will not run
	attempts []wire.Failure // before that
	waiting  string         // why it does not go on
	gang     *wire.Gang
	reserved bool // its value is pinned for those that wait for it
	diverged bool // a re-run gave another value once
	ran      ran
}

// A sub is what an output that was a graph becomes.
type sub struct {
	output int // of the task
	target taskRef
	index  int // of the target's outputs
}

// ran tells how a task came to be done, for people.
type ran struct {
	node    nodeRef
	signer  nodeRef // whose claim it was, if it was known
	run     time.Duration
	fetched int64
}

func (t *task) rare() *taskMore {
	if t.more == nil {
		t.more = new(taskMore)
	}
	return t.more
}

func over(st wire.State) bool {
	return st == wire.StateDone || st == wire.StateFailed || st == wire.StateCancelled
}

func (s *State) jobOfTask(t *task) *job { return s.jobs.at(jobRef(t.of)) }

// addTask makes spec a task of the job, or finds the one that is equal. Tasks it depends on are
// there already.
func (s *State) addTask(j *job, spec *wire.TaskSpec, parent taskRef, name string) (taskRef, error) {
	k := key{uint32(j.ref), wire.Sum(spec.Thunk)}
	if r := s.taskOf.find(&k); r != 0 {
		return r, nil
	}
	if !s.view.read(spec.Thunk) {
		return 0, fmt.Errorf("task %q is not an encoded thunk", name)
	}
	if len(j.tasks) >= wire.MaxJobThunks {
		return 0, fmt.Errorf("job %s exceeds %d tasks", j.id, wire.MaxJobThunks)
	}
	deps := s.deps[:0]
	for _, in := range s.view.inputs {
		if in.object.Kind != wire.Pending {
			continue
		}
		dep := s.taskOf.find(&key{k.of, in.object.Digest})
		if dep == 0 {
			return 0, fmt.Errorf("task %q needs thunk %s, which is not among the tasks before it",
				name, wire.ThunkID(in.object.Digest))
		}
		deps = append(deps, dep)
	}
	s.deps = deps
	r := s.tasks.add()
	t := s.tasks.at(r)
	*t = task{key: k, enc: spec.Thunk, name: name, hints: j.hint(spec.Hints), parent: parent,
		state: wire.StateBlocked}
	if parent != 0 {
		t.nesting = s.tasks.at(parent).nesting + 1
	}
	if spec.Gang != nil {
		t.rare().gang = spec.Gang
	}
	if !s.view.builtin {
		j.roots[s.view.root] = spec.RootSize
	}
	broken := taskRef(0)
	for _, dep := range deps {
		s.wait(r, dep)
		if st := s.tasks.at(dep).state; over(st) && st != wire.StateDone {
			broken = dep
		}
	}
	s.taskOf.put(r)
	j.tasks = append(j.tasks, r)
	j.open++
	j.counts.Tasks++
	switch {
	case broken != 0:
		s.giveUp(r, dependency(s.tasks.at(broken).name))
	case t.missing == 0:
		s.work = append(s.work, r)
	}
	return r, nil
}

// wait has r wait for dep, unless it does.
func (s *State) wait(r, dep taskRef) {
	t, d := s.tasks.at(r), s.tasks.at(dep)
	for e := t.deps; e != 0; e = s.edges.at(e).next {
		if s.edges.at(e).to == dep {
			return
		}
	}
	t.deps = s.edge(dep, t.deps)
	d.users = s.edge(r, d.users)
	if d.state != wire.StateDone {
		t.missing++
	}
}

func (s *State) edge(to taskRef, next edgeRef) edgeRef {
	e := s.edges.add()
	*s.edges.at(e) = edge{to, next}
	return e
}

// dropTask frees a task that nothing waits for any more, and no run has.
func (s *State) dropTask(r taskRef) {
	t := s.tasks.at(r)
	for _, list := range []edgeRef{t.deps, t.users} {
		for e := list; e != 0; {
			next := s.edges.at(e).next
			s.edges.drop(e)
			e = next
		}
	}
	s.tasks.drop(r)
}

// enter puts a task in a state, keeps the job's counts and tells who watches.
func (s *State) enter(r taskRef, st wire.State, n wire.Notice) {
	t := s.tasks.at(r)
	j := s.jobOfTask(t)
	if !over(t.state) && over(st) {
		j.open--
		if j.open == 0 {
			s.check = append(s.check, j.ref)
		}
	}
	if over(t.state) && !over(st) {
		j.open++
	}
	j.tally(t, -1)
	t.state = st
	if n.How != 0 {
		t.how = n.How
	}
	j.tally(t, 1)
	n.Task, n.Thunk, n.State = t.name, wire.ThunkID(t.id), st
	s.tell(j, n)
	if over(st) {
		s.release(r)
	}
}

// tally counts a task in its present state.
func (j *job) tally(t *task, by int) {
	switch t.state {
	case wire.StateReady, wire.StateOffered:
		j.counts.Ready += by
	case wire.StateRunning:
		j.counts.Running += by
	case wire.StateFailed:
		j.counts.Failed += by
	case wire.StateCancelled:
		j.counts.Cancelled += by
	case wire.StateDone:
		switch t.how {
		case wire.HowRan:
			j.counts.Ran += by
		case wire.HowMemo:
			j.counts.Memo += by
		case wire.HowShared:
			j.counts.Shared += by
		}
	}
}

func (s *State) tell(j *job, n wire.Notice) {
	if j.ended != nil {
		return
	}
	n.At = s.wall.UnixMicro()
	s.emit(Tell{j.id, n})
}

// done gives a task its value and lets those that wait for it go on. Nothing of the task waits
// for a run any more.
func (s *State) done(r taskRef, outs []wire.Object, resolved wire.Digest, how wire.How, by ran) {
	t := s.tasks.at(r)
	t.value = &value{outs}
	t.node, t.signer = by.node, by.signer
	if t.more != nil {
		t.more.waiting = ""
	}
	n := wire.Notice{Resolved: wire.ThunkID(resolved), How: how, Run: by.run, Fetched: by.fetched}
	if by.node != 0 {
		n.Node, n.NodeName = s.nodes[by.node].peer, s.nodes[by.node].hello.Name
	}
	s.enter(r, wire.StateDone, n)
	for e := t.users; e != 0; e = s.edges.at(e).next {
		u := s.edges.at(e).to
		ut := s.tasks.at(u)
		ut.missing--
		if ut.missing == 0 && (ut.state == wire.StateBlocked || ut.state == wire.StateExpanding) {
			s.work = append(s.work, u)
		}
	}
	if t.target {
		s.keepTargets(s.jobOfTask(t), r)
	}
	s.reserve(r)
}

// unsettle takes a task off whatever it waits for: a run, or expansions. If it was done those that
// wait for it wait again.
func (s *State) unsettle(r taskRef) {
	t := s.tasks.at(r)
	if t.run != 0 {
		s.detach(r)
	}
	if t.more != nil && t.more.waits > 0 {
		s.leaveExpansions(r)
	}
	if t.state == wire.StateDone {
		for e := t.users; e != 0; e = s.edges.at(e).next {
			s.tasks.at(s.edges.at(e).to).missing++
		}
	}
}

// lastName returns the last element of a task's name: names of sub-graphs are joined by slashes,
// and the key of an instance, in brackets, may hold some too.
func lastName(name string) string {
	depth := 0
	for i := len(name) - 1; i >= 0; i-- {
		switch name[i] {
		case ']':
			depth++
		case '[':
			depth = max(0, depth-1)
		case '/':
			if depth == 0 {
				return name[i+1:]
			}
		}
	}
	return name
}

// kindName returns what a task and those like it are called: its last name without the key.
func kindName(name string) string {
	name = lastName(name)
	if i := strings.IndexByte(name, '['); i > 0 {
		name = name[:i]
	}
	return name
}
