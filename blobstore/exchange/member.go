package exchange

import (
	"sync"
	"sync/atomic"
	"time"

	"gaggle/wire"
)

const (
	// maxStrikes wrong objects within blockedFor make us ask a peer nothing for blockedFor
	// (DESIGN section 7).
	maxStrikes = 3
	blockedFor = 10 * time.Minute
	// avoidedFor is how long a peer that stalled or was not reached is asked after all others.
	avoidedFor = 30 * time.Second
	// rateSample is how many bytes it takes to measure a rate, and maxSample when to begin
	// anew, so that the rate follows the link.
	rateSample = 256 << 10
	maxSample  = 4 << 20
	// newWeight is the weight of a new sample in the moving averages.
	newWeight = 0.3
	// maxMembers bounds the peers we keep counts of.
	maxMembers = 2 * wire.MaxPeers
)

// A member is what we know of a peer.
type member struct {
	in, out, asked, served atomic.Int64

	serving int // streams; guarded by Exchange.mu

	mu      sync.Mutex // guards the fields below
	strikes int
	struck  time.Time // last
	blocked time.Time // until
	avoided time.Time // until
	waiting int       // requests under way
	from    time.Time // since when sample counts
	sample  int64
	rate    float64 // bytes/s; 0 unknown
	rtt     time.Duration
}

// member returns what we know of a peer, which is entered if it is new.
func (x *Exchange) member(p wire.PeerID) *member {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.memberLocked(p)
}

func (x *Exchange) memberLocked(p wire.PeerID) *member {
	m := x.members[p]
	if m != nil {
		return m
	}
	if len(x.members) >= maxMembers {
		x.forget()
	}
	m = new(member)
	x.members[p] = m
	return m
}

// forget drops a peer that is not blocked and has nothing under way.
func (x *Exchange) forget() {
	now := x.cfg.Now()
	for p, m := range x.members {
		m.mu.Lock()
		keep := m.serving > 0 || m.waiting > 0 || m.strikes > 0 || m.blocked.After(now)
		m.mu.Unlock()
		if !keep {
			delete(x.members, p)
			return
		}
	}
}

// strike notes that a peer sent wrong bytes, and reports whether it is now blocked.
func (m *member) strike(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.struck) > blockedFor {
		m.strikes = 0
	}
	m.struck = now
	if m.strikes++; m.strikes < maxStrikes {
		return false
	}
	m.strikes = 0
	m.blocked = now.Add(blockedFor)
	return true
}

func (m *member) isBlocked(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blocked.After(now)
}

func (m *member) avoid(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.avoided = now.Add(avoidedFor)
}

func (m *member) isAvoided(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.avoided.After(now)
}

// begin and end bracket a request, so that pauses between requests count for no rate.
func (m *member) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting++
}

func (m *member) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting--; m.waiting == 0 {
		m.measure(time.Now())
		m.sample, m.from = 0, time.Time{}
	}
}

// received counts bytes of an object. Time runs from the first ones after a pause, over all
// streams of the peer together: they share its link.
func (m *member) received(n int) {
	m.in.Add(int64(n))
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.from.IsZero() {
		m.from = now
		return
	}
	if m.sample += int64(n); m.sample >= maxSample {
		m.measure(now)
		m.sample, m.from = 0, now
	}
}

// measure takes the sample into the rate if it is large enough. Called with mu held.
func (m *member) measure(now time.Time) {
	if took := now.Sub(m.from); m.sample >= rateSample && took > 0 {
		m.rate = average(m.rate, float64(m.sample)/took.Seconds())
	}
}

// answered takes in how long a holder took to answer for a first small object, unless that had
// to share the link with other answers.
func (m *member) answered(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting > 1 {
		return
	}
	m.rtt = time.Duration(average(float64(m.rtt), float64(took)))
}

func average(old, sample float64) float64 {
	if old == 0 {
		return sample
	}
	return old + newWeight*(sample-old)
}

// link returns what was measured; ok is false if no rate was.
func (m *member) link(p wire.PeerID) (l wire.Link, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return wire.Link{From: p, BytesPerSec: m.rate, RTT: m.rtt}, m.rate > 0
}
