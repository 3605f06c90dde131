package sched

import (
	"slices"
	"time"

	"gaggle/wire"
)

// resolveAll takes the tasks that wait for nothing any more to their values, or to runs.
func (s *State) resolveAll() {
	for i := 0; i < len(s.work); i++ { // a value that is known adds to it
		r := s.work[i]
		t := s.tasks.at(r)
		switch {
		case t.missing > 0:
		case t.state == wire.StateExpanding:
			s.expansionsDone(r)
		case t.state == wire.StateBlocked:
			s.resolve(r)
		}
	}
	s.work = s.work[:0]
}

// resolve replaces the outputs of other tasks by their values, which makes another thunk (early
// cut-off: it may be one that is known), and finds the value of that or has it run.
func (s *State) resolve(r taskRef) {
	t := s.tasks.at(r)
	j := s.jobOfTask(t)
	k, enc := key{j.space, t.id}, t.enc
	if t.deps != 0 {
		var err string
		if enc, err = s.reduced(t); err != "" {
			s.fail(r, wire.Failure{Cause: wire.CauseInvalid, Message: err}, nil)
			return
		}
		k.id = wire.Sum(enc)
	}
	if t.more != nil && t.more.gang != nil {
		s.joinGang(r, k, enc)
		return
	}
	m := s.memo(&k)
	if m != nil && s.fromMemo(r, &k, enc, m) {
		return
	}
	run := s.findRun(&k, j.ownOnly())
	if run == 0 {
		run = s.newRun(r, k, enc, m != nil)
	}
	s.attach(r, run)
}

// reduced returns the encoded thunk of a task with the values of those it waited for. The text
// tells what is wrong with it, if anything.
func (s *State) reduced(t *task) (enc []byte, err string) {
	v := &s.other
	v.read(t.enc)
	if !v.pending {
		return t.enc, ""
	}
	var objects []wire.Object
	for _, in := range v.inputs {
		if in.object.Kind != wire.Pending {
			continue
		}
		o, ok := s.valueOf(t, &in)
		if !ok {
			return nil, "a task it needs has no value for its input " + string(in.output)
		}
		objects = append(objects, o)
	}
	return v.resolved(t.enc, objects), ""
}

// valueOf returns what a pending input of a task is by now, if the task it is of has a value.
func (s *State) valueOf(t *task, in *viewInput) (wire.Object, bool) {
	dep := s.taskOf.find(&key{t.of, in.object.Digest})
	if dep == 0 || s.tasks.at(dep).outs() == nil {
		return wire.Object{}, false
	}
	s.view.readOutputs(s.tasks.at(dep).enc)
	i, ok := s.view.output(string(in.output))
	if !ok || i >= len(s.tasks.at(dep).outs()) {
		return wire.Object{}, false
	}
	return s.tasks.at(dep).outs()[i], true
}

// fromMemo gives the task a value that is known and can be had. One that was rewound takes only
// the value it had: any other must be shown by a run.
func (s *State) fromMemo(r taskRef, k *key, enc []byte, m *memo) bool {
	t := s.tasks.at(r)
	j := s.jobOfTask(t)
	sure := t.sure || !j.twice && !s.sampled(j, k)
	if sure && j.trust == wire.TrustAny && m.final != nil && s.canHave(k, m.final) && (t.outs() == nil || slices.Equal(t.outs(), m.final)) {
		s.done(r, m.final, k.id, wire.HowMemo, ran{signer: s.nodeOf[m.signer]})
		return true
	}
	if !s.view.read(enc) {
		return false
	}
	outs, signer := s.claimed(j, k, m, s.view.matches, s.vouches)
	if outs == nil {
		return false
	}
	if !sure && !j.twice && s.nodeOf[signer] == 0 {
		return false // nobody knows whose it is, so nobody can be told to be another
	}
	if s.doubt(r, k, enc, outs, wire.HowMemo, ran{node: s.nodeOf[signer]}, signer) {
		return true
	}
	if !final(outs) {
		s.expand(r, k, enc, outs, wire.HowMemo, ran{signer: s.nodeOf[signer]})
		return true
	}
	if t.outs() != nil && !slices.Equal(t.outs(), outs) {
		return false
	}
	s.done(r, outs, k.id, wire.HowMemo, ran{signer: s.nodeOf[signer]})
	return true
}

func final(outs []wire.Object) bool {
	return !slices.ContainsFunc(outs, func(o wire.Object) bool { return !o.Final() })
}

// newRun makes the run of a resolved thunk, for the task that is the first to need it, and puts it
// where it waits. known says that the memo has a value of it.
func (s *State) newRun(first taskRef, k key, enc []byte, known bool) runRef {
	r := s.makeRun(first, k, enc)
	s.putRun(r)
	if known || len(s.orphans) > 0 {
		s.prepare(r, first)
		if s.awaitMemo(r) || s.adoptOrphan(r) {
			return r
		}
	}
	s.enqueue(r)
	return r
}

func (s *State) makeRun(first taskRef, k key, enc []byte) runRef {
	t := s.tasks.at(first)
	j := s.jobOfTask(t)
	r := s.runs.add()
	*s.runs.at(r) = run{key: k, enc: enc, seq: s.age(), job: j.ref, pos: -1, prio: int8(j.hints[t.hints].Priority)}
	return r
}

const (
	// recoveryHold is how long nothing is placed for a job told again at recovery, so that nodes
	// that still run its thunks can say so first. They reconnect within about a second.
	recoveryHold = 2 * time.Second
	// recoveryWait is how long after the beginning a value that is known but that nobody holds is
	// waited for rather than run again: its holders may still be reconnecting.
	recoveryWait = 8 * time.Second
)

// awaitMemo has a new run wait for the holders of a value known from an earlier life.
func (s *State) awaitMemo(r runRef) bool {
	run := s.runs.at(r)
	m := s.memo(&run.key)
	if m == nil || s.settled() || run.class.owner != "" && s.ownerOf(&claim{signer: m.signer, owner: m.owner}) != run.class.owner {
		return false
	}
	for _, o := range m.outs {
		ref := s.objectRef(run.of, o)
		if s.heldLive(s.objects.at(ref)) {
			s.tidy(ref, s.objects.at(ref))
			continue
		}
		if everHeld(s.objects.at(ref)) && (s.cfg.Alone || s.uptime() > recoveryWait) {
			return false // lost in this life
		}
		run.forMemo = true
		s.starve(r, ref)
		return true
	}
	return false
}
