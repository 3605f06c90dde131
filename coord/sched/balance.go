package sched

import (
	"slices"
	"time"
)

// level asks for offers back that wait at a busy node while another is idle and would be done with
// them sooner by a quarter. It goes on the next time where it stops: an idle node may be one that nothing
// wants, for long.
func (s *State) level() {
	if s.now < s.rebalance {
		return
	}
	s.rebalance = s.now + levelEvery
	asked, weighed := 0, 0
	for ; s.levelled < len(s.byLoad)-1; s.levelled++ {
		n := s.nodes[s.byLoad[len(s.byLoad)-1-s.levelled].ref]
		idle := s.nodes[s.byLoad[0].ref]
		if !idle.idle() || n.taken <= n.hello.Slots {
			break
		}
		if asked >= maxAsked || weighed >= maxLevelled {
			return
		}
		for k := len(n.leases) - 1; k >= 0 && asked < maxAsked; k-- {
			l := n.leases[k]
			run := s.runs.at(l.run)
			if l.began || l.recall || l.adopted || run.recalls >= 3 || run.gang != nil || run.repeat != nil || run.leases[1] != nil {
				continue
			}
			weighed++
			here := max(s.queueing(n, run), l.fetch) + l.est
			if m, f, now := s.best(run, n); m != nil && now && m.idle() && f.finish+levelMargin < here*3/4 {
				l.recall = true
				run.recalls++
				asked++
				s.emit(Recall{n.peer, l.id})
			}
		}
	}
	s.levelled = 0
}

const (
	levelEvery  = 200 * time.Millisecond
	levelMargin = 50 * time.Millisecond
	maxAsked    = 32
	maxLevelled = 256 // offers weighed at a time
)

// copyStragglers runs a second copy of what takes far longer than its kind does, or runs on a node
// that is silent, while there are idle slots and nothing else to do with them.
func (s *State) copyStragglers() {
	if len(s.ready) > 0 || s.parked > 0 || s.now < s.holdUntil || s.reserved() {
		return
	}
	for _, n := range s.nodes[1:] {
		if len(n.leases) == 0 {
			continue
		}
		var copied []*lease
		idle := true
		for _, l := range slices.Clone(n.leases) {
			if idle = len(s.byLoad) > 0 && s.nodes[s.byLoad[0].ref].idle(); !idle {
				break
			}
			if s.copyStraggler(l) {
				copied = append(copied, l)
			}
		}
		if n.state != nodeUp {
			s.tellAgain(copied, n.hello.Name+" is silent", "elsewhere, too")
		}
		if !idle {
			return
		}
	}
}

// copyStraggler runs a second copy of a lease's run if that is worth it, and reports whether.
func (s *State) copyStraggler(l *lease) bool {
	run := s.runs.at(l.run)
	if run.leases[1] != nil || run.gang != nil || run.repeat != nil || s.starving(run) {
		return false
	}
	late := s.now - l.given
	switch {
	case l.node.state != nodeUp:
	case !l.began:
		if !l.overdue(late) {
			return false
		}
	default:
		p95, ok := s.p95(run.kind, l.node.ref)
		if !l.began || !ok || s.now-l.since <= p95*3/2+levelMargin {
			return false
		}
		late = s.now - l.since
	}
	m, f, now := s.best(run, l.node)
	// What will take for ever has as long to go, for all we know, as it has taken.
	if m == nil || !now || !m.idle() || f.finish > late {
		return false
	}
	s.grant(l.run, m, f)
	return true
}
