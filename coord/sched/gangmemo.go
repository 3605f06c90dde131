package sched

import (
	"bytes"
	"fmt"
	"slices"

	"gaggle/wire"
)

// What a member of a gang gives hangs on the others, so it is no value of its thunk, and the memo
// has nothing of it. If all members that are no services are said to be deterministic, it is one of
// the whole gang: the memo has it under a digest of what all of them are, and one of them is never
// taken from there without the others. Nobody signs it, and so nobody is shown whose it is.

// remembered reports whether what the gang gives is kept.
func (g *gang) remembered() bool {
	return !slices.ContainsFunc(g.members, func(m *member) bool { return !m.service && !m.spec.Deterministic })
}

// gangKeys returns under what the memo has the members' values: all that they can tell of each
// other is in it, but not where they run, nor what the gang is called.
func (s *State) gangKeys(g *gang) []key {
	lines := make([][]byte, len(g.members))
	for i, m := range g.members {
		x := m.spec
		lines[i] = fmt.Appendf(nil, "%s %d %d %d %t %t %x\n", x.Task, x.Index, x.Count, x.Ready, x.Network, x.Service, s.runs.at(m.run).id)
	}
	all := slices.SortedFunc(slices.Values(lines), bytes.Compare)
	whole := wire.Sum(append([]byte("gaggle gang 1\n"), bytes.Join(all, nil)...))
	keys := make([]key, len(lines))
	for i, line := range lines {
		keys[i] = key{s.jobs.at(g.job).space, wire.Sum(append(whole[:], line...))}
	}
	return keys
}

// gangFromMemo gives all members of a whole gang values that are known and can be had; of all or of
// none.
func (s *State) gangFromMemo(g *gang) bool {
	if !g.remembered() {
		return false
	}
	keys := s.gangKeys(g)
	outs, signers := make([][]wire.Object, len(keys)), make([]wire.PeerID, len(keys))
	for i, m := range g.members {
		if m.service {
			outs[i] = []wire.Object{}
			continue
		}
		known := s.memo(&keys[i])
		if known == nil {
			return false
		}
		run := s.runs.at(m.run)
		t := s.tasks.at(run.lead)
		s.view.read(run.enc)
		outs[i], signers[i] = s.claimed(s.jobOfTask(t), &keys[i], known, s.view.matches, func(*claim) bool { return true })
		if outs[i] == nil || !final(outs[i]) || t.outs() != nil && !slices.Equal(t.outs(), outs[i]) {
			return false
		}
	}
	s.gangs = slices.DeleteFunc(s.gangs, func(o *gang) bool { return o == g })
	for i, m := range slices.Clone(g.members) {
		if g.member(m.run) == m {
			s.succeedHow(m.run, outs[i], wire.HowMemo, ran{signer: s.nodeOf[signers[i]]})
		}
	}
	return true
}

// rememberGang keeps the values of a gang that has ended, if all members were with one owner: each value
// hangs on every node of the gang, those of services too, and a claim speaks for one owner.
func (s *State) rememberGang(g *gang) {
	owner := func(m *member) string { return s.nodes[m.at].owner }
	if !g.remembered() || slices.ContainsFunc(g.members, func(m *member) bool { return owner(m) != owner(g.members[0]) }) {
		return
	}
	for i, k := range s.gangKeys(g) {
		if m := g.members[i]; !m.service && m.by.node != 0 {
			n := s.nodes[m.by.node]
			s.record(&k, m.outs, Voucher{Signer: n.peer, Owner: n.owner}, m.by.run, asked)
		}
	}
}
