package exchange

import (
	"errors"
	"os"
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
	// newWeight is the weight of a new sample in what was measured.
	newWeight = 0.3
	// maxMembers bounds the peers we keep counts of.
	maxMembers = 2 * wire.MaxPeers
)

// A member is what we know of a peer.
type member struct {
	in, out, inSaved, outSaved, asked, served atomic.Int64

	serving int // streams; guarded by Exchange.mu

	standing standing // guarded by uploads.mu

	mu      sync.Mutex // guards the fields below
	strikes int
	struck  time.Time // last
	blocked time.Time // until
	avoided time.Time // until
	barren  time.Time // until: it said that it was fetching, and nothing came
	gave    time.Time // when a small file that it fetched before us came
	waiting int       // requests under way
	from    time.Time // since when sample counts
	sample  int64
	speed   speed // at which it sends
	rtt     time.Duration

	outlet outlet
}

// A speed is an average of samples. Of rates the bytes and the times are averaged, each: TCP delivers in
// bursts, and most samples are of bursts. The zero value is unknown.
type speed struct{ bytes, seconds float64 }

// add takes in that so many bytes took so long.
func (s *speed) add(n int64, took time.Duration) {
	s.bytes += newWeight * (float64(n) - s.bytes)
	s.seconds += newWeight * (max(took, time.Microsecond).Seconds() - s.seconds)
}

// rate returns bytes per second, 0 if they are not known.
func (s *speed) rate() float64 {
	if s.bytes == 0 {
		return 0
	}
	return s.bytes / s.seconds
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

// blame takes in that asking a peer failed.
func (x *Exchange) blame(p wire.PeerID, m *member, err error) {
	m.avoid(x.cfg.Now())
	if errors.Is(err, os.ErrDeadlineExceeded) {
		x.cfg.Doubt(p)
	}
}

// struck notes that a peer sent wrong bytes of a blob or tree.
func (x *Exchange) struck(p wire.PeerID, k lotKey) {
	x.log.Warn("a peer sent wrong bytes", "peer", p, "space", k.space, "digest", k.digest)
	if x.member(p).strike(x.cfg.Now()) {
		x.log.Warn("a peer is blocked for sending wrong bytes", "peer", p, "for", blockedFor)
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
	if m.sample >= rateSample {
		m.speed.add(m.sample, now.Sub(m.from))
	}
}

// pace returns bytes per second, 0 if they are not known. Of what is under way it counts what has come
// within longer than silentFor: a slow member takes minutes for a sample.
func (m *member) pace() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if took := time.Since(m.from); !m.from.IsZero() && took > silentFor {
		return float64(m.sample) / took.Seconds()
	}
	return m.speed.rate()
}

// answered takes in how long a holder took to answer for a first small object, unless that had
// to share the link with other answers.
func (m *member) answered(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting > 1 {
		return
	}
	if m.rtt == 0 {
		m.rtt = took
	}
	m.rtt += time.Duration(newWeight * float64(took-m.rtt))
}

// far reports whether a peer is so far away that much is on its way at a time.
func (m *member) far() bool {
	pace := m.pace()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rtt >= farTrip && (pace == 0 || pace*m.rtt.Seconds() >= wire.PieceSize)
}

// link returns what was measured; ok is false if no rate was.
func (m *member) link(p wire.PeerID) (l wire.Link, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.speed.rate()
	return wire.Link{From: p, BytesPerSec: r, RTT: m.rtt}, r > 0
}
