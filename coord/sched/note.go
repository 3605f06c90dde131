package sched

import (
	"fmt"

	"gaggle/wire"
)

// tellAgain tells every job that waits for some of the leases that so many of its tasks start again,
// and where, because of what happened to a node.
func (s *State) tellAgain(leases []*lease, happened, where string) {
	if len(leases) == 0 {
		return
	}
	again := s.withMates(leases)
	for _, ref := range s.live {
		tasks := 0
		for r := range again {
			for tr := range s.waiters(s.runs.at(r)) {
				if jobRef(s.tasks.at(tr).of) == ref {
					tasks++
				}
			}
		}
		if tasks == 0 {
			continue
		}
		note := fmt.Sprintf("%s; %d tasks start %s", happened, tasks, where)
		if tasks == 1 {
			note = fmt.Sprintf("%s; 1 task starts %s", happened, where)
		}
		s.tell(s.jobs.at(ref), wire.Notice{Note: note})
	}
}

// withMates returns the runs of leases, and those of the others in their gangs.
func (s *State) withMates(leases []*lease) map[runRef]bool {
	runs := map[runRef]bool{}
	for _, l := range leases {
		runs[l.run] = true
		if g := s.runs.at(l.run).gang; g != nil {
			for _, m := range g.members {
				runs[m.run] = true
			}
		}
	}
	return runs
}

// alone returns the leases of runs of which there is no copy.
func (s *State) alone(leases []*lease) (list []*lease) {
	for _, l := range leases {
		if s.runs.at(l.run).leases[1] == nil {
			list = append(list, l)
		}
	}
	return list
}
