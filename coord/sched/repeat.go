package sched

import (
	"fmt"
	"slices"

	"gaggle/wire"
)

// A job may want every thunk run twice (Submitted.Twice). A task of such a job does not take the
// value it is given, be that of a run or of the memo: a second run has to give the same first, on
// another node if there is another that could. That run is one of its own, which no other task
// shares and no memo answers; its node is told the value and compares, so that it can say where
// another one differs though no blob passes here. What differs fails the task with the cause that a
// rewind has which gives another value twice, and is taken back: neither the memo nor a node answers
// another job with it (withdraw).

// A repeat is what a run is to give again.
type repeat struct {
	outs   []wire.Object // raw
	how    wire.How
	by     ran
	on     string      // name of by.node, which may be forgotten meanwhile
	signer wire.PeerID // of outs
	owner  string      // of the signer
	apart  bool        // only another owner's node may run it

	blind bool   // its node is not told what it is to give, see verify.go
	votes []vote // what nodes gave so far, if the first two differed

	want   int      // owners that have to give the same, see trust.go; 0 if none has to
	owners []string // of whom it can be shown that they did
}

// doubt has a value of a task confirmed, by a second run or by those of further owners, unless that is
// not wanted, or done.
func (s *State) doubt(tr taskRef, k *key, enc []byte, outs []wire.Object, how wire.How, by ran, signer wire.PeerID) bool {
	if s.unconfirmed(tr, k, enc, outs, how, by, signer) {
		return true
	}
	return s.lacksOwners(tr, k, enc, &repeat{outs: outs, how: how, by: by, signer: signer})
}

// unconfirmed has a second run confirm a value.
func (s *State) unconfirmed(tr taskRef, k *key, enc []byte, outs []wire.Object, how wire.How, by ran, signer wire.PeerID) bool {
	t := s.tasks.at(tr)
	j := s.jobOfTask(t)
	if t.sure && t.outs() != nil && !slices.Equal(t.outs(), outs) && s.sampled(j, k) {
		t.sure = false // it was confirmed, then lost, and is not what comes now
	}
	if t.sure || t.more != nil && t.more.gang != nil || !j.twice && !s.sampled(j, k) {
		return false
	}
	if !s.view.read(enc) || j.twice && s.view.builtin { // our own work, on trees, but a liar's when it lies
		return false
	}
	r := s.makeRun(tr, *k, enc)
	run := s.prepare(r, tr)
	run.troubled().repeat = &repeat{outs: outs, how: how, by: by, signer: signer, blind: !j.twice}
	if by.node != 0 {
		run.avoid = []nodeRef{by.node}
		if run.repeat.blind {
			run.repeat.owner = s.nodes[by.node].owner
			run.repeat.apart = s.apart(run, run.repeat.owner)
		}
		run.repeat.on = s.nodes[by.node].hello.Name
	}
	s.enqueue(r)
	s.attach(tr, r)
	return true
}

// repeated takes the outcome of a second run.
func (s *State) repeated(l *lease, outs []wire.Object, e *Resulted) {
	r := l.run
	run := s.runs.at(r)
	if s.view.read(run.enc); !s.view.matches(outs) {
		s.attemptEnded(l, l.failure(wire.CauseInternal, "the node sent a value of another shape than the thunk declares"), 0)
		return
	}
	if run.repeat.want > 0 && len(e.Result.Signature) == 0 {
		s.attemptEnded(l, l.unsigned(), 0)
		return
	}
	s.learn(run, l.node, e.Result.Run)
	first, k, enc, tr := run.repeat, run.key, run.enc, run.lead
	s.blame(run, l.node.ref)
	s.endLease(l)
	t := s.tasks.at(tr)
	t.run, run.lead = 0, 0
	s.dropRun(r)
	s.jobOfTask(t).counts.Moved += e.Result.Fetched
	if first.blind {
		s.compare(tr, &k, enc, first, vote{outs, e.Peer, l.node.hello.Name, l.node.owner, ran{node: l.node.ref, run: e.Result.Run}, string(e.Result.Signature)})
		return
	}
	t.sure = true
	if !slices.Equal(first.outs, outs) { // by a node of a version that does not compare
		s.withdraw(&k, first.outs)
		s.fail(tr, s.nondeterministic(t, first.outs, outs, ran{node: l.node.ref}), nil)
		return
	}
	if !s.lacksOwners(tr, &k, enc, first) {
		s.conclude(tr, &k, enc, first.outs, first.how, first.by)
	}
}

// repeatFailure puts what a second run failed with in words that say so.
func (s *State) repeatFailure(run *run, f wire.Failure) wire.Failure {
	first := run.repeat.on
	if first != "" {
		first = " on " + first
	}
	name := s.tasks.at(run.lead).name
	if f.Cause == wire.CauseNondeterministic {
		f.Message = fmt.Sprintf("task %q gave two values, first%s, then on %s: %s", name, first, f.NodeName, f.Message)
		f.Hint = hintNondeterministic
		return f
	}
	f.Message = fmt.Sprintf("task %q gave a value%s, but when it ran again: %s", name, first, f.Message)
	return f
}

const hintNondeterministic = "make it independent of time, random numbers and the order of its threads"
