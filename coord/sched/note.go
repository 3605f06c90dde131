package sched

import (
	"fmt"

	"gaggle/wire"
)

// tellAgain tells every job that waits for one of the leases, and for no copy of it, that so many of
// its tasks start again because of what happened to a node.
func (s *State) tellAgain(leases []*lease, happened string) {
	if len(leases) == 0 {
		return
	}
	for _, ref := range s.live {
		tasks := 0
		for _, l := range leases {
			run := s.runs.at(l.run)
			if run.leases[1] != nil {
				continue
			}
			for _, tr := range run.waiters {
				if jobRef(s.tasks.at(tr).of) == ref {
					tasks++
				}
			}
		}
		switch tasks {
		case 0:
		case 1:
			s.tell(s.jobs.at(ref), wire.Notice{Note: happened + "; 1 task starts again"})
		default:
			s.tell(s.jobs.at(ref), wire.Notice{Note: fmt.Sprintf("%s; %d tasks start again", happened, tasks)})
		}
	}
}
