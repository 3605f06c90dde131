package sched

import (
	"slices"
	"time"

	"gaggle/wire"
)

// An offer may carry a continuation: a chain of tasks of which each waits for nothing but the one
// before. The node resolves and runs them at once, and the results come one after the other, so that
// a link of a chain does not cost a round trip. Their leases are given out with the offer, but stand
// in no table before the value they build on has come. Then the task is resolved here as any other,
// and if that makes a run of the thunk that the node has made, the run has its lease already; else
// the node is told to stop. Nothing depends on a continuation: whatever becomes of it, the next task
// is placed when the one before is done.

// maxThen is how long a continuation may take, by estimate: what is in it cannot go to a node that is
// idle meanwhile.
const maxThen = 2 * time.Second

// A next is a task of a continuation.
type next struct {
	lease wire.LeaseID
	task  taskRef
	enc   []byte // resolved but for the outputs of the task before
	hints *wire.Hints
	began bool // the node said so before the value came that it builds on
}

// going is a continuation whose first thunk a node runs by now.
type going struct {
	key
	owner string // that the run was for
	node  nodeRef
	then  []next
}

// chain returns the continuation of a lease on a run.
func (s *State) chain(l *lease, run *run) (then []next) {
	total, bytes := l.est, 0
	if run.gang != nil || run.repeat != nil || run.builtin || l.node.quarantine != nil {
		return nil
	}
	tr := run.lead
	if t := s.tasks.at(tr); len(s.jobOfTask(t).hints[t.hints].Labels) > 0 {
		return nil
	}
	for len(then) < wire.MaxThen {
		x, k := s.follower(l, run, tr)
		if x == nil {
			break
		}
		total += l.node.pace.times(k.estimate(false))
		if bytes += len(x.enc); total > maxThen || bytes > wire.MaxThenBytes {
			break
		}
		s.lease++
		x.lease = wire.LeaseID(uint64(s.epoch)<<32 | uint64(s.lease))
		then = append(then, *x)
		tr = x.task
	}
	return then
}

// follower returns the task that can go on where another ends, in its place: nil if there is none.
func (s *State) follower(l *lease, run *run, tr taskRef) (*next, *kind) {
	j := s.jobOfTask(s.tasks.at(tr))
	if j.twice || j.verify > 0 || j.trust.Owners() > 0 {
		return nil, nil
	}
	for e := s.tasks.at(tr).users; e != 0; e = s.edges.at(e).next {
		u := s.edges.at(e).to
		t := s.tasks.at(u)
		h := &j.hints[t.hints]
		if t.of != s.tasks.at(tr).of || t.state != wire.StateBlocked || t.missing != 1 || t.outs() != nil || t.more != nil && t.more.gang != nil ||
			len(h.Labels) > 0 || h.MemBytes > l.hints.MemBytes || h.Slots(l.node.hello.Slots) > l.slots || h.Priority < l.hints.Priority {
			continue
		}
		if enc := s.almost(l, run, tr, t); enc != nil {
			return &next{task: u, enc: enc, hints: h}, s.kind(j.space, kindName(t.name))
		}
	}
	return nil, nil
}

// almost returns a task's thunk resolved but for the outputs of the task before, nil if the node
// would lack something or is not of the kind that the thunk wants.
func (s *State) almost(l *lease, run *run, before taskRef, t *task) []byte {
	v := &s.other
	j := s.jobOfTask(t)
	v.read(t.enc)
	s.view.read(run.enc)
	if v.builtin || string(v.platform) != string(s.view.platform) || v.abi != s.view.abi {
		return nil
	}
	here := func(d wire.Digest) bool {
		o := s.object(j.space, d)
		if o == nil {
			return false
		}
		h := o.holder(l.node.ref)
		return h != nil && (h.have || h.coming > 0)
	}
	if !here(v.root) {
		return nil
	}
	id := s.tasks.at(before).id
	var objects []wire.Object
	for _, in := range v.inputs {
		switch {
		case in.object.Kind == wire.Pending && in.object.Digest == id:
			continue
		case in.object.Kind == wire.Pending:
			o, ok := s.valueOf(t, &in)
			if !ok || !here(o.Digest) {
				return nil
			}
			objects = append(objects, o)
		case !here(in.object.Digest):
			return nil
		}
	}
	return v.resolvedBut(t.enc, id, objects)
}

// thenOf makes the message.
func (s *State) thenOf(l *lease) (list []wire.Next) {
	for _, x := range l.then {
		var v view
		v.read(x.enc)
		t := s.tasks.at(x.task)
		root := wire.Object{Kind: wire.Dir, Digest: v.root, Size: s.jobOfTask(t).roots[v.root]}
		list = append(list, wire.Next{Lease: x.lease, Name: t.name, Thunk: x.enc, Hints: *x.hints, Root: &root})
	}
	return list
}

// goesOn notes what a node does next, after a value that came by its lease.
func (s *State) goesOn(l *lease, outs []wire.Object) {
	if len(l.then) == 0 || !final(outs) {
		return
	}
	run := s.runs.at(l.run)
	s.view.read(run.enc)
	enc := resolveNext(&s.view, l.then[0].enc, outs)
	if enc == nil {
		return
	}
	s.going = append(s.going, going{key{run.of, wire.Sum(enc)}, run.class.owner, l.node.ref, l.then})
}

// resolveNext gives what a node makes of the next thunk of a continuation: every pending input is an
// output of before.
func resolveNext(before *view, enc []byte, outs []wire.Object) []byte {
	var v view
	if !v.read(enc) {
		return nil
	}
	var objects []wire.Object
	for _, in := range v.inputs {
		if in.object.Kind != wire.Pending {
			continue
		}
		i, ok := before.output(string(in.output))
		if !ok || i >= len(outs) {
			return nil
		}
		objects = append(objects, outs[i])
	}
	return v.resolved(enc, objects)
}

// goOn gives the runs that nodes have begun by themselves their leases, and stops what came to
// nothing.
func (s *State) goOn() {
	list := s.going
	s.going = nil
	for _, g := range list {
		n := s.nodes[g.node]
		r := s.findRun(&g.key, g.owner)
		if r == 0 || s.runs.at(r).place == placeLeased || !n.live() || s.tasks.at(g.then[0].task).run != r {
			s.emit(Cancel{n.peer, g.then[0].lease})
			continue
		}
		s.adopt(r, orphan{key: g.key, lease: g.then[0].lease, node: g.node, began: g.then[0].began})
		l := s.leases[g.then[0].lease]
		l.then = g.then[1:]
		s.jobs.at(s.runs.at(r).job).charge(s, l.est)
	}
}

// startedNext notes that a node has begun the next thunk of a continuation: that may be told before
// the value that it builds on.
func (s *State) startedNext(p wire.PeerID, id wire.LeaseID) {
	r := s.nodeOf[p]
	if r == 0 {
		return
	}
	for _, l := range s.nodes[r].leases {
		for i := range l.then {
			if l.then[i].lease == id {
				l.then[i].began = true
			}
		}
	}
}

// follows reports whether a lease is of a continuation of one that the node has.
func (n *node) follows(id wire.LeaseID) bool {
	return slices.ContainsFunc(n.leases, func(l *lease) bool {
		return slices.ContainsFunc(l.then, func(x next) bool { return x.lease == id })
	})
}
