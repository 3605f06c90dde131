package sched

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"gaggle/wire"
)

// A job may want a share of its thunks verified (Submitted.Verify): run again by a node of another
// owner, which is not told what the first gave, so that it cannot just say the same. Nobody can
// tell beforehand which thunks that will be.
//
// If the two differ, further nodes run the thunk, until judges of them agree with one of the two:
// the other lied, is quarantined, and nothing it ever claimed is believed any more. If they do not
// agree among themselves it is the thunk that gives now this, now that. With one judge a thunk that
// tosses a coin would always convict an innocent node; with three it does so once in four disputes.
const judges = 3

// A vote is what a node gave for a thunk.
type vote struct {
	outs  []wire.Object
	peer  wire.PeerID
	name  string
	owner string
	run   ran
	sig   string // as in Voucher
}

// party reports whether a node may not confirm or judge a value: it, or its owner, gave one. If both
// values are of one owner's nodes, that says nothing against others of that owner.
func (rep *repeat) party(n *node) bool {
	switch {
	case !rep.blind:
		return false
	case len(rep.votes) < 2 && rep.want > 0:
		return n.owner == "" || slices.Contains(rep.owners, n.owner) // who gave it without a signature gives it again
	case len(rep.votes) < 2:
		return rep.signer == n.peer || rep.apart && rep.owner == n.owner
	}
	a, b := &rep.votes[0], &rep.votes[1]
	return a.peer == n.peer || b.peer == n.peer || a.owner != b.owner && (a.owner == n.owner || b.owner == n.owner)
}

// sampled reports whether a thunk is among those that the job wants verified.
func (s *State) sampled(j *job, k *key) bool {
	if j.verify == 0 {
		return false
	}
	h := wire.Sum(slices.Concat(s.cfg.Secret, j.id[:], k.id[:]))
	return binary.BigEndian.Uint64(h[:])%100 < uint64(j.verify)
}

// apart reports whether there is a node of another owner that could run it, too.
func (s *State) apart(run *run, owner string) bool {
	return slices.ContainsFunc(run.class.nodes, func(r nodeRef) bool {
		n := s.nodes[r]
		return n.owner != owner && n.hoped()
	})
}

// compare takes a value that a node gave without knowing the other.
func (s *State) compare(tr taskRef, k *key, enc []byte, rep *repeat, v vote) {
	t := s.tasks.at(tr)
	if len(rep.votes) == 0 {
		if slices.Equal(rep.outs, v.outs) {
			s.verified(tr, k, enc, rep, v)
			return
		}
		first := vote{rep.outs, rep.signer, cmp.Or(rep.on, "a node that is away"), rep.owner, rep.by, ""}
		s.jobNote(t, fmt.Sprintf("task %q: %s and %s gave different values; others run it to tell who is wrong", t.name, first.name, v.name))
		next := *rep
		next.votes = []vote{first, v}
		s.judge(tr, k, enc, &next)
		return
	}
	i := slices.IndexFunc(rep.votes[:2], func(o vote) bool { return slices.Equal(o.outs, v.outs) })
	if i < 0 || len(rep.votes) > 2 && !slices.Equal(rep.votes[2].outs, v.outs) {
		s.undecided(tr, k, rep, fmt.Sprintf("%s gave yet another value than %s", v.name, rep.votes[1-max(0, i)].name))
		return
	}
	rep.votes = append(rep.votes, v)
	if len(rep.votes) < 2+judges {
		s.judge(tr, k, enc, rep)
		return
	}
	right, wrong := rep.votes[i], rep.votes[1-i]
	agreed := append([]vote{right}, rep.votes[2:]...)
	s.convict(t, wrong, k)
	if over(t.state) {
		return // the job stopped at a task that this has taken back
	}
	if i == 1 {
		rep = &repeat{outs: right.outs, how: wire.HowRan, by: right.run, on: right.name, signer: right.peer, owner: right.owner, want: rep.want}
	}
	s.verified(tr, k, enc, rep, agreed...)
}

// judge has a thunk of which two values are known run by somebody else.
func (s *State) judge(tr taskRef, k *key, enc []byte, rep *repeat) {
	r := s.makeRun(tr, *k, enc)
	run := s.prepare(r, tr)
	run.troubled().repeat = rep
	for i, v := range rep.votes {
		if ref := s.nodeOf[v.peer]; ref != 0 && i >= 2 {
			run.avoid = append(run.avoid, ref)
		}
	}
	s.enqueue(r)
	s.attach(tr, r)
}

// judgeable reports whether there is a node that could judge.
func (s *State) judgeable(run *run) bool {
	return slices.ContainsFunc(run.class.nodes, func(r nodeRef) bool {
		n := s.nodes[r]
		return n.live() && n.quarantine == nil && !run.repeat.party(n)
	})
}

// convict shuts out the node that gave a value which nobody else gives.
func (s *State) convict(t *task, v vote, k *key) {
	why := fmt.Sprintf("it gave a value of task %q that %d other nodes or runs do not give", t.name, judges+1)
	s.jobNote(t, fmt.Sprintf("%s is quarantined: %s", v.name, why))
	if v.peer == (wire.PeerID{}) {
		s.withdraw(k, v.outs)
		return
	}
	s.quarantined(&Quarantined{Peer: v.peer, Reason: why, Lied: true, At: s.wall})
}

// unjudged fails a task whose value no second node can confirm, or whose two no third one can judge.
func (s *State) unjudged(r runRef) {
	run := s.runs.at(r)
	k, rep, tr := run.key, run.repeat, run.lead
	switch {
	case len(rep.votes) > 0:
		s.undecided(tr, &k, rep, "and there is no third node, of neither owner, that could tell who is wrong")
	case rep.want > 0:
		s.failWaiters(r, rep.tooFew(), nobody)
	default:
		s.failWaiters(r, failure(wire.CauseNoPlatform, "join one (coord ticket), or submit without --verify",
			"there is no second node that could verify what %s gave", cmp.Or(rep.on, "another")), nobody)
	}
}

// undecided fails a task of which nobody can tell the right value.
func (s *State) undecided(tr taskRef, k *key, rep *repeat, why string) {
	t := s.tasks.at(tr)
	s.withdraw(k, rep.outs)
	f := s.nondeterministic(t, rep.votes[0].outs, rep.votes[1].outs, rep.votes[1].run)
	f.Message = fmt.Sprintf("task %q gave two values, one on %s, another on %s; %s", t.name, rep.votes[0].name, rep.votes[1].name, why)
	s.fail(tr, f, nil)
}

// verified gives a task the value of rep, which others gave, too.
func (s *State) verified(tr taskRef, k *key, enc []byte, rep *repeat, others ...vote) {
	t := s.tasks.at(tr)
	if !t.sure {
		s.jobOfTask(t).counts.Verified++
	}
	t.sure = true
	for _, v := range others {
		s.record(k, rep.outs, Voucher{v.peer, v.owner, v.sig}, v.run.run, asked)
	}
	if !s.lacksOwners(tr, k, enc, rep) {
		s.conclude(tr, k, enc, rep.outs, rep.how, rep.by)
	}
}

// recant has all made again that jobs under way took from a node which turned out to lie, unless
// another node confirmed it. What differs is then treated as any value that a re-run does not give; a
// task of which it wrote the sub-graph fails, for that cannot be taken back.
func (s *State) recant(liar *node) {
	for _, jr := range slices.Clone(s.live) {
		j := s.jobs.at(jr)
		if j.ended != nil {
			continue
		}
		for _, tr := range j.tasks {
			t := s.tasks.at(tr)
			if j.trust.Owners() > 0 {
				s.unconvince(tr, liar)
				s.unvouch(j, tr)
				continue
			}
			graph := t.state == wire.StateExpanding || t.more != nil && len(t.more.subs) > 0
			switch {
			case t.node != liar.ref && t.signer != liar.ref || t.sure:
			case graph && (t.state == wire.StateDone || t.state == wire.StateExpanding):
				s.fail(tr, failure(wire.CauseInternal, "submit again", "%s wrote its sub-graph and was found to give wrong values", liar.hello.Name), nil)
			case t.state == wire.StateDone:
				s.rewind(tr, wire.Digest{})
			}
		}
	}
}

func (s *State) jobNote(t *task, text string) { s.tell(s.jobOfTask(t), wire.Notice{Note: text}) }
