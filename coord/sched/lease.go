package sched

import (
	"slices"
	"time"

	"gaggle/wire"
)

// A lease is one attempt to have a run computed by one node.
type lease struct {
	id      wire.LeaseID
	run     runRef
	node    *node
	hints   wire.Hints // the limits it runs under
	slots   int        // of the node's that it takes
	given   time.Duration
	began   bool
	since   time.Duration // when it began
	est     time.Duration // how long it was expected to run
	fetch   time.Duration // and to fetch
	moves   time.Duration // of that, as in fit
	source  *node         // of most of what it fetches
	coming  []objRef      // what the node fetches for it
	recall  bool          // asked back
	adopted bool          // of an earlier epoch, or begun by the node itself
	then    []next        // what the node goes on with
}

const (
	// leaseLasts is how long a node that hears nothing goes on with what it was given. Results are
	// accepted whenever they come, so it only bounds wasted work.
	leaseLasts = 5 * time.Minute
	// maxInfra is how many attempts at a run may fail for reasons of the infrastructure.
	maxInfra = 5
	// firstBackoff doubles with every such attempt.
	firstBackoff = 500 * time.Millisecond
)

// grant gives a node a lease on a run and offers it.
func (s *State) grant(r runRef, n *node, fit fit) {
	run := s.runs.at(r)
	s.leavePlace(r)
	s.lease++
	l := &lease{id: wire.LeaseID(uint64(s.epoch)<<32 | uint64(s.lease)), run: r, node: n, hints: *run.hints, given: s.now,
		est: fit.run, fetch: fit.fetch, moves: fit.moves, source: fit.source}
	copyOf := run.lease()
	s.addLease(l)
	j := s.jobs.at(run.job)
	j.charge(s, fit.run)
	first := s.tasks.at(run.lead)
	o := s.offer(l, run, first.name)
	if l.then = s.chain(l, run); len(l.then) > 0 {
		o.Then = s.thenOf(l)
	}
	s.emit(Offer{n.peer, o})
	if copyOf != nil {
		return
	}
	for tr := range s.waiters(run) {
		s.tasks.at(tr).node = n.ref
		s.enter(tr, wire.StateOffered, l.notice(run))
	}
}

// offer makes the message, with holders of what the node lacks.
func (s *State) offer(l *lease, run *run, name string) wire.Offer {
	n := l.node
	o := wire.Offer{Lease: l.id, Space: s.spaces[run.of], Name: name, Thunk: run.enc, Hints: l.hints, Lasts: leaseLasts,
		Sign: s.signs && run.gang == nil}
	for i, ref := range run.need {
		obj := s.objects.at(ref)
		if run.root && i == len(run.need)-1 {
			root := obj.asObject()
			root.Kind = wire.Dir
			o.Root = &root
		}
		if h := obj.holder(n.ref); h != nil && h.have {
			continue
		}
		obj.mayHold(n.ref).coming++
		l.coming = append(l.coming, ref)
		obj.refs++
		held := wire.Held{Object: obj.asObject(), Peers: s.peersOf(obj, n.ref, wire.MaxHolders, uint64(s.lease))}
		if obj.size >= sharedFrom && !n.hello.Metered { // whom it asked would ask back
			held.Coming = s.comingTo(obj, n.ref, uint64(s.lease))
		}
		if o.Holders == nil {
			o.Holders = make([]wire.Held, 0, len(run.need)-i)
		}
		o.Holders = append(o.Holders, held)
	}
	switch {
	case run.gang != nil:
		o.Fresh, o.Net = true, run.gang.placeOf(l.run)
	case run.repeat == nil:
	case run.repeat.blind:
		o.Fresh = true
	default:
		for _, out := range run.repeat.outs {
			o.Expect = append(o.Expect, s.heldBy(run.of, out))
		}
	}
	return o
}

// addLease enters a lease in the run, the node and the table.
func (s *State) addLease(l *lease) {
	run, n := s.runs.at(l.run), l.node
	if run.leases[0] == nil {
		run.leases[0] = l
	} else {
		run.leases[1] = l
	}
	run.place = placeLeased
	s.leases[l.id] = l
	n.leases = append(n.leases, l)
	l.slots = l.hints.Slots(n.hello.Slots)
	n.taken += l.slots
	n.mem += l.hints.MemBytes
	n.est += l.est * time.Duration(l.slots)
	n.fetch += l.moves
	if l.source != nil {
		l.source.serve += l.moves
	}
	s.reload(n)
}

// endLease takes a lease out of everything. What becomes of the run is the caller's.
func (s *State) endLease(l *lease) {
	run, n := s.runs.at(l.run), l.node
	switch l {
	case run.leases[0]:
		run.leases[0], run.leases[1] = run.leases[1], nil
	case run.leases[1]:
		run.leases[1] = nil
	}
	delete(s.leases, l.id)
	i := slices.Index(n.leases, l)
	n.leases = slices.Delete(n.leases, i, i+1)
	n.taken -= l.slots
	n.mem -= l.hints.MemBytes
	n.est -= l.est * time.Duration(l.slots)
	s.fetched(l)
	if l.began {
		n.running -= l.slots
		n.beganSum -= l.since * time.Duration(l.slots)
	}
	for _, ref := range l.coming {
		o := s.objects.at(ref)
		if i, ok := o.find(n.ref); ok {
			h := &o.holders[i]
			h.coming--
			if h.coming == 0 && !h.have {
				o.holders = slices.Delete(o.holders, i, i+1)
			}
		}
		s.dropRef(ref)
	}
	s.reload(n)
	s.moved = true
}

// fetched ends the account of what a lease has to fetch.
func (s *State) fetched(l *lease) {
	l.node.fetch -= l.moves
	if l.source != nil {
		l.source.serve -= l.moves
	}
	l.fetch, l.moves, l.source = 0, 0, nil
}

// notice tells that a task of the run is at the lease's node.
func (l *lease) notice(run *run) wire.Notice {
	return wire.Notice{Resolved: wire.ThunkID(run.id), Node: l.node.peer, NodeName: l.node.hello.Name}
}

// failure is a reason that names the lease's node.
func (l *lease) failure(c wire.Cause, message string) wire.Failure {
	return wire.Failure{Cause: c, Message: message, Node: l.node.peer, NodeName: l.node.hello.Name}
}

// leaseOf returns the live lease of that id, if the node has it.
func (s *State) leaseOf(p wire.PeerID, id wire.LeaseID) *lease {
	if l := s.leases[id]; l != nil && l.node.peer == p {
		return l
	}
	return nil
}

func (s *State) started(p wire.PeerID, id wire.LeaseID) {
	s.seen(p)
	l := s.leaseOf(p, id)
	if l == nil {
		s.startedNext(p, id)
		return
	}
	if l.began {
		return
	}
	s.begin(l)
	run := s.runs.at(l.run)
	for tr := range s.waiters(run) {
		if t := s.tasks.at(tr); t.state != wire.StateRunning {
			t.node = l.node.ref
			if t.more != nil {
				t.more.waiting = ""
			}
			s.enter(tr, wire.StateRunning, l.notice(run))
		}
	}
	s.watchDeadlines(l.run)
}

// overdue reports whether a lease that was given so long ago should have begun: a slot is free for it,
// so it cannot get its inputs, from somebody that has gone, say.
func (l *lease) overdue(waited time.Duration) bool {
	return waited > max(suspectAfter, 4*l.fetch) && l.node.running+l.slots <= l.node.hello.Slots
}

func (s *State) begin(l *lease) {
	l.began, l.since, l.recall = true, s.now, false
	l.node.running += l.slots
	l.node.beganSum += l.since * time.Duration(l.slots)
	s.fetched(l)
	s.moved = true
}

func (s *State) progressed(e *Progressed) {
	s.seen(e.Peer)
	l := s.leaseOf(e.Peer, e.Progress.Lease)
	if l == nil {
		return
	}
	run := s.runs.at(l.run)
	for tr := range s.waiters(run) {
		t := s.tasks.at(tr)
		p := e.Progress
		n := l.notice(run)
		n.Task, n.Thunk, n.State, n.Progress = t.name, wire.ThunkID(t.id), t.state, &p
		if p.Phase == "wait" {
			n.Waiting = s.whyMemberWaits(run)
		}
		s.tell(s.jobOfTask(t), n)
	}
}

func (s *State) recalled(p wire.PeerID, id wire.LeaseID) {
	if n := s.seen(p); n != nil {
		s.forgetOrphan(n, id)
	}
	l := s.leaseOf(p, id)
	if l == nil {
		return
	}
	r := l.run
	s.endLease(l)
	if run := s.runs.at(r); run.gang != nil {
		s.restartGang(run.gang)
	} else if run.lease() == nil {
		s.requeue(r, 0)
	}
}

// resulted takes a value, from whatever lease: the thunk is pure. The first one wins.
func (s *State) resulted(e *Resulted) {
	n := s.seen(e.Peer)
	s.emit(Ack{e.Peer, e.Result.Lease})
	if n == nil {
		return
	}
	s.forgetOrphan(n, e.Result.Lease)
	k := key{s.space(e.Result.Space), wire.Digest(e.Result.Thunk)}
	l := s.leaseOf(e.Peer, e.Result.Lease)
	outs := e.Value.Outputs
	for _, o := range outs {
		s.gain(n, s.objectRef(k.of, o), false)
	}
	if !s.believed(n.peer) {
		if l != nil {
			s.attemptEnded(l, l.failure(wire.CauseInternal, "values of "+n.hello.Name+" are not believed: "+n.quarantine.why.Reason), 0)
		}
		return
	}
	n.ran++
	n.fetchedBytes += e.Result.Fetched
	if e.Result.Fresh && l == nil {
		return // its gang began again, or ended: it is not the thunk's value
	}
	if l != nil && s.runs.at(l.run).key == k && s.runs.at(l.run).gang != nil {
		s.gangResult(l, outs, e)
		return
	}
	if l != nil && s.runs.at(l.run).key == k && s.runs.at(l.run).repeat != nil {
		s.repeated(l, outs, e)
		return
	}
	r, own := s.runOf.find(&k), s.ownRun(&k, n)
	if r == 0 && own == 0 {
		s.lateResult(&k, n, e)
		return
	}
	if r != 0 {
		s.gave(r, l, n, e)
	}
	if own = s.ownRun(&k, n); own != 0 { // it may have gone with the other
		s.gave(own, l, n, e)
	}
}

// gave takes a value that a node gave for a run, by its lease l or by another.
func (s *State) gave(r runRef, l *lease, n *node, e *Resulted) {
	run := s.prepare(r, s.runs.at(r).lead)
	k, outs := run.key, e.Value.Outputs
	s.view.readOutputs(run.enc)
	if !s.view.matches(outs) {
		if l != nil && l.run == r {
			s.attemptEnded(l, l.failure(wire.CauseInternal, "the node sent a value of another shape than the thunk declares"), 0)
		}
		return
	}
	if run.class.owner != "" && len(e.Result.Signature) == 0 {
		if l != nil && l.run == r {
			s.attemptEnded(l, l.unsigned(), 0)
		}
		return
	}
	s.learn(run, n, e.Result.Run)
	s.blame(run, n.ref)
	s.proved(n)
	s.record(&k, outs, n.voucher(e), e.Result.Run, l != nil && l.run == r)
	if l != nil && l.run == r {
		s.goesOn(l, outs)
		s.endLease(l)
	}
	s.succeed(r, outs, ran{node: n.ref, run: e.Result.Run, fetched: e.Result.Fetched})
}

// lateResult keeps a value that nothing waits for, if its lease may have been given for it: for what
// and to whom is known no more when it has ended. So it takes nobody's place, in the memo or among claims.
// The thunk is not known here any more, so whoever takes the value looks whether it has the shape.
func (s *State) lateResult(k *key, n *node, e *Resulted) {
	id := e.Result.Lease
	if l := s.leaseOf(e.Peer, id); l != nil { // it was given for another thunk
		s.attemptEnded(l, l.failure(wire.CauseInternal, "the node answered with the value of another thunk"), 0)
		return
	}
	room := s.memos.n < s.cfg.MaxMemo || s.memo(k) != nil
	if n.hello.Slots > 0 && s.leases[id] == nil && s.wasGiven(id) && room {
		s.record(k, e.Value.Outputs, n.voucher(e), e.Result.Run, unasked)
	}
}

// voucher is the node as one who gave a value.
func (n *node) voucher(e *Resulted) Voucher {
	return Voucher{n.peer, n.owner, string(e.Result.Signature)}
}

// wasGiven reports whether the lease was given out, in this epoch or in an earlier one.
func (s *State) wasGiven(id wire.LeaseID) bool {
	epoch, number := uint32(id>>32), uint32(id)
	return number > 0 && (epoch < s.epoch || epoch == s.epoch && number <= s.lease)
}

// record puts a value into the memo, and in the tables what they keep of it.
func (s *State) record(k *key, outs []wire.Object, by Voucher, run time.Duration, asked bool) {
	if !s.signs {
		by.Signature = "" // nobody asked for it, and the tables would have all nodes sign
	}
	if m := s.remember(k, outs, by, run, asked); m != nil {
		s.emit(Record{s.row(m)})
	}
}

func (s *State) attemptFailed(e *AttemptFailed) {
	if n := s.seen(e.Peer); n != nil {
		s.forgetOrphan(n, e.Attempt.Lease)
	}
	s.emit(Ack{e.Peer, e.Attempt.Lease})
	l := s.leaseOf(e.Peer, e.Attempt.Lease)
	if l == nil {
		return
	}
	f := e.Attempt.Failure
	f.Node, f.NodeName = e.Peer, l.node.hello.Name
	s.attemptEnded(l, f, e.Attempt.Run)
}
