package sched

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gaggle/wire"
)

// A job may say whose claims it believes (Submitted.Trust): any member's; those of nodes that belong
// to the submitter's owner; or a value that nodes of so many owners claim.
//
// With TrustOwn the class of its runs has the owner among what it asks of a node, so that nothing of
// the job is placed elsewhere. Such a run is shared with jobs of the same policy and owner alone, but
// whatever an own node gives serves it, too, by whatever lease; and of the memo it takes what an own
// node claimed.
//
// A value that so many owners are to give is first run for as any other, or taken from the memo.
// While too few owners claim it nothing is made of it: further nodes, of none of those owners, run the
// thunk, one after the other and without being told the value. What they give alike is claimed by
// them, too; if one gives another value, they are judged as in verify.go.
//
// A claim counts for a policy if it can be shown to the submitter: if its signature is kept and the
// signer's certificate holds. From the first such job on all nodes are asked to sign what they give,
// so that jobs of different policies serve each other; what was given before is asked for again, and
// the node that gave it remembers it.

// An ownKey is what finds a run that only nodes of one owner may have.
type ownKey struct {
	key
	owner string
}

// ownOnly returns whose nodes alone may run the job's tasks; "" if anybody's may.
func (j *job) ownOnly() string {
	if j.trust == wire.TrustOwn {
		return j.owner
	}
	return ""
}

// checkTrust checks that a job's policy can be kept with these among its tasks.
func (j *job) checkTrust(tasks []wire.TaskSpec) error {
	switch {
	case j.trust == wire.TrustOwn && j.owner == "":
		return errors.New("nobody is named as the owner whose nodes it believes")
	case j.trust.Owners() > 0 && slices.ContainsFunc(tasks, func(t wire.TaskSpec) bool { return t.Gang != nil }):
		return errors.New("tasks of a gang are run once, so that no other owner can give the same: submit with --trust own or any")
	}
	return nil
}

// findRun returns the run in flight of a resolved thunk at nodes of the owner, at anybody's if that
// is empty; 0 if there is none.
func (s *State) findRun(k *key, owner string) runRef {
	if owner != "" {
		return s.ownRuns[ownKey{*k, owner}]
	}
	return s.runOf.find(k)
}

func (s *State) putRun(r runRef) {
	run := s.runs.at(r)
	if owner := s.jobs.at(run.job).ownOnly(); owner != "" {
		s.ownRuns[ownKey{run.key, owner}] = r
		return
	}
	s.runOf.put(r)
}

func (s *State) delRun(r runRef) {
	run := s.runs.at(r)
	if owner := s.jobs.at(run.job).ownOnly(); owner != "" {
		delete(s.ownRuns, ownKey{run.key, owner})
		return
	}
	s.runOf.del(r)
}

// ownRun returns the run of a thunk that a value of the node serves beside the one that any node's
// does.
func (s *State) ownRun(k *key, n *node) runRef {
	if len(s.ownRuns) == 0 || n.owner == "" {
		return 0
	}
	return s.findRun(k, n.owner)
}

// claimed returns a value of the memo that counts for the job and can be had, with a signer; nil if
// there is none. fits says of a value whether it can be the thunk's, counts of a claim whether it
// speaks for its signer's owner.
func (s *State) claimed(j *job, k *key, m *memo, fits func([]wire.Object) bool, counts func(*claim) bool) ([]wire.Object, wire.PeerID) {
	if j.trust == wire.TrustAny {
		return s.retrievable(k, m, fits)
	}
	if c := s.believes(j, k, m, fits, counts); c != nil {
		return c[0].outs, c[0].signer
	}
	return nil, wire.PeerID{}
}

// believes returns the claims of a memo that count for the job and whose values may be the thunk's,
// as fits says, and can be had: those of one value, the one that most owners claim. It is nil if
// there is none.
func (s *State) believes(j *job, k *key, m *memo, fits func([]wire.Object) bool, counts func(*claim) bool) (best []claim) {
	all := m.all()
	for i, c := range all {
		if slices.ContainsFunc(all[:i], func(o claim) bool { return slices.Equal(o.outs, c.outs) }) || !fits(c.outs) || !s.canHave(k, c.outs) {
			continue
		}
		var same []claim
		for _, o := range all[i:] {
			if slices.Equal(o.outs, c.outs) && (j.trust != wire.TrustOwn || j.owner != "" && counts(&o) && s.ownerOf(&o) == j.owner) {
				same = append(same, o)
			}
		}
		if len(same) > len(best) {
			best = same
		}
	}
	return best
}

// vouches reports whether it can be shown that the signer made a claim, and for whom: its signature is
// kept, and its certificate holds, in which the owner is the same as then.
func (s *State) vouches(c *claim) bool {
	r := s.nodeOf[c.signer]
	if r == 0 || c.owner == 0 || c.sig == "" {
		return false
	}
	n := s.nodes[r]
	return n.owner == s.owners[c.owner] && (n.connected || s.now < n.until)
}

// Claims returns what is kept of a resolved thunk, signed, whoever believes it.
func (s *State) Claims(space wire.Space, id wire.ThunkID) (list []wire.Claim) {
	m := s.memo(&key{s.spaceOf[space], wire.Digest(id)})
	if m == nil {
		return nil
	}
	for _, c := range m.all() {
		if s.vouches(&c) {
			list = append(list, *wire.KeptClaim(space, id, wire.NewValue(c.outs), c.signer, []byte(c.sig)))
		}
	}
	return list
}

// ownerOf returns to whom the signer of a claim belonged, or belongs if that was not noted; "" if it
// is not known.
func (s *State) ownerOf(c *claim) string {
	if r := s.nodeOf[c.signer]; c.owner == 0 && r != 0 {
		return s.nodes[r].owner
	}
	return s.owners[c.owner]
}

// owner returns the number of an owner's name; 0 is none.
func (s *State) owner(name string) uint32 {
	n, ok := s.ownerNo[name]
	if !ok {
		n = uint32(len(s.owners))
		s.owners = append(s.owners, name)
		s.ownerNo[name] = n
	}
	return n
}

// reowned ends what a node runs that is for the nodes of its last owner only.
func (s *State) reowned(n *node) {
	for _, l := range slices.Clone(n.leases) {
		if c := s.runs.at(l.run).class; s.leases[l.id] == l && c.owner != "" && c.owner != n.owner {
			s.emit(Cancel{n.peer, l.id})
			s.leaseLost(l, wire.Failure{}, 0)
		}
	}
}

// lacksOwners has a node of another owner run a thunk of which too few gave the value of rep, if the
// job wants that.
func (s *State) lacksOwners(tr taskRef, k *key, enc []byte, rep *repeat) bool {
	t := s.tasks.at(tr)
	want := s.jobOfTask(t).trust.Owners()
	if want == 0 || t.vouched && slices.Equal(t.outs(), rep.outs) {
		return false
	}
	owners := s.vouchers(k, rep.outs)
	t.vouched = len(owners) >= want
	if t.vouched {
		return false
	}
	r := s.makeRun(tr, *k, enc)
	next := &repeat{outs: rep.outs, how: rep.how, by: rep.by, on: rep.on, signer: rep.signer, owner: rep.owner, blind: true, want: want, owners: owners}
	if n := s.nodeOf[rep.signer]; n != 0 {
		next.on, next.owner = s.nodes[n].hello.Name, s.nodes[n].owner
	}
	if next.owner == "" && len(owners) > 0 { // its signer is away: the first that claimed it
		next.owner = owners[0]
	}
	s.prepare(r, tr).troubled().repeat = next
	s.enqueue(r)
	s.attach(tr, r)
	return true
}

// vouchers returns the owners of whom it can be shown that their nodes claim a value.
func (s *State) vouchers(k *key, outs []wire.Object) (owners []string) {
	m := s.memo(k)
	if m == nil {
		return nil
	}
	for _, c := range m.all() {
		if o := s.owners[c.owner]; slices.Equal(c.outs, outs) && s.vouches(&c) && !slices.Contains(owners, o) {
			owners = append(owners, o)
		}
	}
	return owners
}

// unsigned is why a value that a node gave without signing it is of no use.
func (l *lease) unsigned() wire.Failure {
	f := l.failure(wire.CauseVersion, "the node did not sign its value, so that nobody who believes some owners only could be shown whose it is")
	f.Hint = "update gaggle on " + l.node.hello.Name
	return f
}

// unconvince begins anew with a value that further owners are asked for, if a liar is counted among
// those that gave it.
func (s *State) unconvince(tr taskRef, liar *node) {
	t := s.tasks.at(tr)
	if t.run == 0 {
		return
	}
	run := s.runs.at(t.run)
	if run.course == nil {
		return
	}
	rep := run.repeat
	if rep == nil || rep.want == 0 || rep.signer != liar.peer && !slices.Contains(rep.owners, liar.owner) {
		return
	}
	s.detach(tr)
	t.node = 0
	s.enter(tr, wire.StateBlocked, wire.Notice{})
	if t.missing == 0 {
		s.work = append(s.work, tr)
	}
}

// unvouch has a task made again of which too few owners claim the value, now that a liar's claims are
// forgotten. A task that wrote a sub-graph fails, for that cannot be taken back.
func (s *State) unvouch(j *job, tr taskRef) {
	t := s.tasks.at(tr)
	if t.state != wire.StateDone && t.state != wire.StateExpanding || !t.vouched {
		return
	}
	outs, graph := t.outs(), t.state == wire.StateExpanding || t.more != nil && len(t.more.subs) > 0
	enc, err := s.reduced(t)
	if graph {
		outs = t.more.raw
	}
	if k := (key{j.space, wire.Sum(enc)}); err == "" && len(s.vouchers(&k, outs)) >= j.trust.Owners() {
		return
	}
	if t.vouched = false; graph {
		s.fail(tr, failure(wire.CauseInternal, "submit again", "a node that gave its sub-graph, too, was found to give wrong values"), nil)
		return
	}
	s.rewind(tr, wire.Digest{})
}

// waitsForOwners says what a value waits for that too few owners gave.
func (rep *repeat) waitsForOwners() string {
	return fmt.Sprintf("waiting for a node of another owner: the job believes what %d owners' nodes give alike, so far %d did", rep.want, len(rep.owners))
}

func (rep *repeat) tooFew() wire.Failure {
	return failure(wire.CauseNoPlatform, "join nodes of others (coord ticket --owner), or submit with another --trust; coord nodes lists what there is",
		"the job believes what nodes of %d owners give alike; those of %s gave a value, and there is no node of another owner that could",
		rep.want, cmp.Or(strings.Join(rep.owners, ", "), "nobody known"))
}
