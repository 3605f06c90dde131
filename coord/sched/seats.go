package sched

import (
	"math"
	"slices"

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
		for _, r := range run.class.nodes {
			n, t := s.nodes[r], taken[r]
			if !usable(n) || t.slots+run.hints.Slots(n.hello.Slots) > n.hello.Slots ||
				n.hello.MemBytes != 0 && t.mem+run.hints.MemBytes > n.hello.MemBytes ||
				chosen[i] != nil && here[r] >= here[chosen[i].ref] {
				continue
			}
			if chosen[i] == nil || !slices.Contains(run.avoid, r) {
				chosen[i] = n
			}
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

// neverFits refuses a gang for which the mesh is too small even when nothing else runs, once nodes
// are there and others had the time to come.
func (s *State) neverFits(g *gang) bool {
	if s.seats(g, (*node).hoped, false) != nil {
		g.unfit = 0
		return false
	}
	slots, need := 0, 0
	for _, n := range s.nodes[1:] {
		if n.hoped() && s.runs.at(g.members[0].run).class.has(n.ref) {
			slots += n.hello.Slots
		}
	}
	for _, m := range g.members {
		need += s.runs.at(m.run).hints.Slots(math.MaxInt)
	}
	if g.unfit == 0 {
		g.unfit = s.now
	}
	// Some slots, but fewer than members, are hopeless at once; otherwise a node may only be away.
	soon := slots > 0 && slots < g.size
	if s.uptime() < recoveryWait || !soon && s.now-g.unfit < impossibleAfter || slots == 0 && !s.manned() {
		return false
	}
	if c := s.runs.at(g.members[0].run).class; s.foreign(c) {
		s.failGang(g, g.members[0], foreignFailure(c))
		return true
	}
	s.failGang(g, g.members[0], failure(wire.CauseTooLarge, "join more nodes, or make the gang or what its tasks ask for smaller",
		"gang %q needs %d slots at once, and memory for all its %d tasks; the nodes that could run it have %d slots", g.name, need, g.size, slots))
	return true
}
