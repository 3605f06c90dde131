package sched

import "time"

// scanEvery is how often all that waits for time to pass is looked at.
const (
	scanEvery    = 100 * time.Millisecond
	reweighEvery = time.Second
)

// scan looks at what waits for time to pass.
func (s *State) scan() {
	if s.now < s.nextScan {
		return
	}
	s.nextScan = s.now + scanEvery
	s.watchNodes()
	s.passDeadlines()
	s.passBackoffs()
	s.passProbations()
	s.askAgain()
	s.failStuck()
	s.watchKeeps()
	s.dropOrphans()
	s.tellPauses()
	if s.now >= s.nextReweigh {
		s.nextReweigh = s.now + reweighEvery
		s.reestimate()
		s.watchHungry()
		s.expireJobs()
		s.again = s.parked > 0
		s.watchGangs()
	}
	if s.holdUntil > 0 && s.now >= s.holdUntil || len(s.leases) > 0 || s.again {
		s.moved = true // estimates move with time
	}
	s.resolveAll()
	s.copyStragglers()
}

// NextWake returns when Step should be called at the latest, if nothing happens until then.
func (s *State) NextWake() time.Duration { return s.now + scanEvery }
