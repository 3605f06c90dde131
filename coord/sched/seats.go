package sched

import (
	"fmt"
	"math"
	"slices"
	"time"

	"gaggle/wire"
)

// seats returns a node with a slot for every member, nil if there are not enough: beside what runs
// now if loaded is set, else were nothing else to run.
func (s *State) seats(g *gang, usable func(*node) bool, loaded bool) []*node {
	type seat struct {
		slots int
		mem   int64
	}
	taken := make([]seat, len(s.nodes))
	if loaded {
		for _, n := range s.nodes[1:] {
			taken[n.ref] = seat{n.taken, n.mem}
		}
	}
	here := make([]int, len(s.nodes)) // slots for this gang
	chosen := make([]*node, len(g.members))
	for i, m := range g.members {
		run := s.runs.at(m.run)
		last := func(r nodeRef) int { // in the order in which nodes are taken
			if slices.Contains(run.avoid, r) {
				return math.MaxInt32 + here[r]
			}
			return here[r]
		}
		for _, r := range run.class.nodes {
			n, t := s.nodes[r], taken[r]
			if !usable(n) || g.network && n.host == 0 || t.slots+run.hints.Slots(n.hello.Slots) > n.hello.Slots ||
				n.hello.MemBytes != 0 && t.mem+run.hints.MemBytes > n.hello.MemBytes ||
				chosen[i] != nil && last(r) >= last(chosen[i].ref) {
				continue
			}
			chosen[i] = n
		}
		if chosen[i] == nil {
			return nil
		}
		r, wide := chosen[i].ref, run.hints.Slots(chosen[i].hello.Slots)
		taken[r] = seat{taken[r].slots + wide, taken[r].mem + run.hints.MemBytes}
		here[r] += wide
	}
	return chosen
}

// freeSlots returns how many slots of usable nodes nothing has.
func (s *State) freeSlots(usable func(*node) bool) (slots int) {
	for _, n := range s.nodes[1:] {
		if usable(n) {
			slots += max(0, n.hello.Slots-n.taken)
		}
	}
	return slots
}

// whyGangWaits says what a gang waits for, or its members that have ended.
func (s *State) whyGangWaits(g *gang) string {
	if g.running {
		return fmt.Sprintf("waiting for the others of gang %q to end", g.name)
	}
	if k := g.size - len(g.members); k > 0 {
		return fmt.Sprintf("waiting for the inputs of %d others of gang %q", k, g.name)
	}
	first := s.runs.at(g.members[0].run)
	able := func(r nodeRef) bool { return s.nodes[r].hoped() }
	if s.foreign(first.class) || !slices.ContainsFunc(first.class.nodes, able) {
		return s.whyStuck(first)
	}
	return fmt.Sprintf(forSlots+"all %d of gang %q", g.size, g.name)
}

// forSlots begins what a gang waits for that lacks nothing but slots.
const forSlots = "waiting for slots for "

// whyGangsWait says what a job waits for of which nothing runs but services; "" if something does, or
// if it has no gang that waits.
func (s *State) whyGangsWait(j *job, h *holders) (why string) {
	services := 0
	for _, g := range s.gangs {
		if g.job != j.ref {
			continue
		}
		if why == "" && !g.running && len(g.members) == g.size {
			why = h.whyGangWaits(j, g)
		}
		for _, m := range g.members {
			run := s.runs.at(m.run)
			if l := run.lease(); l != nil && l.began && m.service {
				services++
			}
			if why == "" {
				why = s.whyMemberWaits(run)
			}
		}
	}
	if j.counts.Running > services {
		return ""
	}
	return why
}

// whyMemberWaits says what keeps a member of a running gang from starting; "" if nothing does.
func (s *State) whyMemberWaits(run *run) string {
	g, l := run.gang, run.lease()
	if g == nil || l == nil || l.began {
		return ""
	}
	i := slices.IndexFunc(g.members, func(m *member) bool { return s.runs.at(m.run) == run })
	if m := g.members[i]; m.service || m.spec.Ready != 0 {
		return ""
	}
	for _, m := range g.members {
		if m.spec.Ready == 0 {
			continue
		}
		name := s.tasks.at(s.runs.at(m.run).lead).name
		if l := s.runs.at(m.run).lease(); l != nil && !l.began {
			return fmt.Sprintf("waiting for task %q of its gang to start", name)
		}
		return fmt.Sprintf("waiting for task %q of its gang to listen on port %d", name, m.spec.Ready)
	}
	return ""
}

// fittedFor is how long a gang for which there was room waits for that to come back: a machine starts
// anew in less.
const fittedFor = 5 * time.Minute

// neverFits refuses a gang for which the mesh is too small even when nothing else runs, once nodes
// are there and others had the time to come.
func (s *State) neverFits(g *gang) bool {
	if s.seats(g, (*node).hoped, false) != nil {
		g.unfit, g.fitted = 0, true
		return false
	}
	slots, need := 0, 0
	for _, n := range s.nodes[1:] {
		if n.hoped() && (!g.network || n.host != 0) && s.runs.at(g.members[0].run).class.has(n.ref) {
			slots += n.hello.Slots
		}
	}
	for _, m := range g.members {
		need += s.runs.at(m.run).hints.Slots(math.MaxInt)
	}
	if g.unfit == 0 {
		g.unfit = s.now
	}
	// Some slots, but fewer than members, are hopeless at once, and so is what the only node that there
	// will be cannot do; otherwise a node may only be away.
	soon := slots > 0 && slots < g.size || s.cfg.Alone && s.manned()
	patience := impossibleAfter
	if g.fitted { // there were enough, so that one is away
		soon, patience = false, fittedFor
	}
	if s.uptime() < recoveryWait && !s.cfg.Alone || !soon && s.now-g.unfit < patience || slots == 0 && !s.manned() {
		return false
	}
	if c := s.runs.at(g.members[0].run).class; s.foreign(c) {
		s.failGang(g.members[0], foreignFailure(c))
		return true
	}
	if g.network && slots == 0 {
		s.failGang(g.members[0], failure(wire.CauseNoPlatform, "node doctor says there what is missing; without network: overlay it needs none",
			"gang %q is on a network, and no node that could run it gives networks", g.name))
		return true
	}
	s.failGang(g.members[0], failure(wire.CauseTooLarge, "join more nodes, give one more slots (node --slots), or make the gang or what its tasks ask for smaller",
		"gang %q needs %d slots at once, and memory for all its %d tasks; the nodes that could run it have %d", g.name, need, g.size, slots))
	return true
}
