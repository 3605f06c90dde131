package sched

import (
	"slices"

	"gaggle/wire"
)

// A pin is an object that a node was told to keep for a job.
type pin struct {
	node nodeRef
	obj  objRef
}

// pin has a node keep an object for a job.
func (s *State) pin(j *job, n nodeRef, k *keep) {
	if slices.ContainsFunc(j.pinOf[k.obj], func(r nodeRef) bool { return r == n }) {
		return
	}
	if j.pinOf == nil {
		j.pinOf = map[objRef][]nodeRef{}
	}
	j.pinOf[k.obj] = append(j.pinOf[k.obj], n)
	j.pins = append(j.pins, pin{n, k.obj})
	s.objects.at(k.obj).refs++
	s.emit(Pin{s.nodes[n].peer, s.pinOf(j, k.obj)})
}

// pinAgain tells a node that connected what it is to keep: it may not have heard of it.
func (s *State) pinAgain(n *node) {
	for _, r := range slices.Concat(s.live, s.over) {
		j := s.jobs.at(r)
		for _, p := range j.pins {
			if p.node == n.ref {
				s.emit(Pin{n.peer, s.pinOf(j, p.obj)})
			}
		}
	}
}

func (s *State) pinOf(j *job, o objRef) wire.Pin {
	return wire.Pin{Space: s.spaces[j.space], Object: s.objects.at(o).asObject(), Owner: j.id.String()}
}

// unpinIf lets go of the pins of which drop says so.
func (s *State) unpinIf(j *job, drop func(pin) bool) {
	j.pins = slices.DeleteFunc(j.pins, func(p pin) bool {
		if !drop(p) {
			return false
		}
		s.emit(Unpin{s.nodes[p.node].peer, s.pinOf(j, p.obj)})
		s.dropRef(p.obj)
		return true
	})
}

// unpin lets go of all that was pinned for a job.
func (s *State) unpin(j *job) { s.unpinIf(j, func(pin) bool { return true }) }

// unpinLost lets go of the pins of objects at nodes that lost them.
func (s *State) unpinLost(j *job, lost []objRef) {
	some := false
	for _, ref := range lost {
		nodes := j.pinOf[ref]
		if len(nodes) == 0 {
			continue
		}
		o := s.objects.at(ref)
		left := slices.DeleteFunc(nodes, func(n nodeRef) bool { return !o.has(n) })
		some = some || len(left) < len(nodes)
		j.pinOf[ref] = left
	}
	if some {
		s.unpinIf(j, func(p pin) bool {
			o := s.objects.at(p.obj)
			return o.lost && !o.has(p.node)
		})
	}
}
