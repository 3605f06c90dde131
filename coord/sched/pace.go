package sched

import (
	"math"
	"slices"
	"time"

	"gaggle/wire"
)

// A pace is how many times as long a node takes as others do for tasks of the same kinds. It is learnt
// from what its runs took, compared with the median of what other nodes took, each at its own pace, and
// kept as the mean of the last logarithms, with so much for a pace of 1 that a few observations move
// it but little. It belongs to the machine: it outlives connections and restarts of the node, not those
// of the coordinator, and what is not confirmed is forgotten, so that a node that got nothing because it
// was slow is tried again.
type pace struct {
	log    float64 // to the base of 2
	weight float64 // of log, in observations
	at     time.Duration
	factor float64 // 2^log; 0 is 1, nothing is known
}

const (
	// maxPace is beyond what makes a difference: a node so slow gets work only where others are queued
	// for that long. minPace is about what the fastest cores of machines people have are ahead of the
	// median. It also bounds what a node gains that says it takes no time at all: it looks as good as
	// one four times as fast, gets no more at a time than twice its slots, and what runs for longer than
	// expected counts with what it has taken.
	maxPace = 16
	minPace = 1.0 / 4
	// paceAlone is how much the pace of 1 counts for, in observations, and paceMemory how many are
	// kept.
	paceAlone  = 2
	paceMemory = 8
	// paceHalf is the time in which half of what was learnt is forgotten.
	paceHalf = 30 * time.Minute
	// paceLeast is how many runs on other nodes make a measure, and paceNoise what a run takes longer
	// or shorter for reasons that are not the node's: of a run of some ms it is most.
	paceLeast = 3
	paceNoise = 10 * time.Millisecond
)

// times returns how long the node takes for what takes d at a pace of 1.
func (p *pace) times(d time.Duration) time.Duration {
	if p.factor == 0 {
		return d
	}
	return time.Duration(float64(d) * p.factor)
}

// per returns what a run that took d would take at a pace of 1.
func (p *pace) per(d time.Duration) time.Duration {
	if p.factor == 0 {
		return d
	}
	return time.Duration(float64(d) / p.factor)
}

// forget lets what was learnt fade to the present.
func (p *pace) forget(now time.Duration) {
	if p.weight == 0 {
		return
	}
	left := math.Exp2(-float64(now-p.at) / float64(paceHalf))
	p.at, p.log, p.weight = now, p.log*left, p.weight*left
	p.factor = min(max(math.Exp2(p.log), minPace), maxPace)
}

// observe learns from a run that took d where a pace of 1 takes usual.
func (p *pace) observe(now, d, usual time.Duration) {
	if p.weight == 0 {
		p.at = now
	}
	ratio := float64(d+paceNoise) / float64(usual+paceNoise)
	p.weight = min(p.weight+1, paceMemory)
	p.log += (math.Log2(min(max(ratio, 1.0/maxPace), maxPace)) - p.log) / (p.weight + paceAlone)
	p.forget(now)
}

// learn takes in what a run took on a node, by the node's own word, which may be any number.
func (s *State) learn(run *run, n *node, took time.Duration) {
	took = min(max(took, 0), maxRun)
	if usual, ok := s.usual(run.kind, n.ref); ok && !crammed(run, n) {
		n.pace.observe(s.now, took, usual)
	}
	run.kind.sample(took, n.pace.per(took), n.ref)
}

// outrun takes in that a run had not ended on a node when another was done with it, of which nothing else
// may tell: all runs of a slow node may be copied.
func (s *State) outrun(l *lease, by ran) {
	run, took := s.runs.at(l.run), s.now-l.since
	usual, ok := s.usual(run.kind, l.node.ref)
	if !ok || !l.began || l.node.state != nodeUp || by.node == 0 || by.node == l.node.ref || crammed(run, l.node) {
		return
	}
	usual = max(usual, s.nodes[by.node].pace.per(min(by.run, maxRun))) // the task may be a long one
	if took > l.node.pace.times(usual) {
		l.node.pace.observe(s.now, took, usual)
	}
}

// usual returns the median of what the last runs of a kind took on other nodes, were their pace 1, if
// there were enough.
func (s *State) usual(k *kind, but nodeRef) (time.Duration, bool) {
	var room [keepSamples]time.Duration
	others := room[:0]
	for _, r := range k.recent {
		if r.node != but {
			others = append(others, s.nodes[r.node].pace.per(r.took))
		}
	}
	if len(others) < paceLeast {
		return 0, false
	}
	slices.Sort(others)
	return others[len(others)/2], true
}

// crammed reports whether a node has fewer cores than the run keeps busy.
func crammed(run *run, n *node) bool { return run.hints.CPU() > n.milliCPU() }

func (n *node) milliCPU() int64 { return int64(n.slots) * wire.DefaultMilliCPU }

// estimate returns how long a node is expected to take for a run.
func (s *State) estimate(run *run, n *node) time.Duration {
	d := n.pace.times(run.kind.estimate(run.builtin))
	if crammed(run, n) {
		d = time.Duration(float64(d) * float64(run.hints.CPU()) / float64(n.milliCPU()))
	}
	return min(d, maxRun)
}
