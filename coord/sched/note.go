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
	for _, ref := range s.live {
		tasks := 0
		for _, l := range leases {
			for _, tr := range s.runs.at(l.run).waiters {
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

// alone returns the leases of runs of which there is no copy.
func (s *State) alone(leases []*lease) (list []*lease) {
	for _, l := range leases {
		if s.runs.at(l.run).leases[1] == nil {
			list = append(list, l)
		}
	}
	return list
}
