package peer

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/metrics"
	p2p "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	circuit2 "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
)

// A meter counts what peers send through this host as a relay. libp2p tells it of every read of
// every stream; its own relay counts no peer's bytes, only each circuit's.
type meter struct {
	metrics.Reporter // nil: libp2p only logs, and asks nothing back

	mu    sync.Mutex // guards the fields below
	limit RelayLimits
	began time.Time // of the window
	peers map[p2p.ID]int64
	all   int64 // bytes in the window
	total int64 // bytes ever
	spent func(p2p.ID)
}

// budgetWindow is how long a budget lasts, and then begins anew.
const budgetWindow = time.Hour

func newMeter() *meter { return &meter{} }

// start begins to count. spent is called in a goroutine of its own when a peer, or with "" all of
// them, has used its budget up.
func (m *meter) start(limit RelayLimits, now time.Time, spent func(p2p.ID)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit, m.began, m.peers, m.spent = limit, now, map[p2p.ID]int64{}, spent
}

// LogSentMessage is of no interest: what is relayed was received first.
func (m *meter) LogSentMessage(int64) {}

// LogRecvMessage is of no interest: it does not say of whom.
func (m *meter) LogRecvMessage(int64) {}

// LogSentMessageStream is of no interest.
func (m *meter) LogSentMessageStream(int64, protocol.ID, p2p.ID) {}

// LogRecvMessageStream counts bytes that came from a peer on one of the relay's protocols.
func (m *meter) LogRecvMessageStream(n int64, proto protocol.ID, p p2p.ID) {
	if proto == circuit2.ProtoIDv2Hop || proto == circuit2.ProtoIDv2Stop {
		m.count(n, p, time.Now())
	}
}

func (m *meter) count(n int64, p p2p.ID, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peers == nil {
		return
	}
	m.turn(now)
	before, allBefore := m.peers[p], m.all
	m.peers[p] += n
	m.all += n
	m.total += n
	// Told on each read above the budget: a circuit that was being opened may come after the first.
	if before+n > m.limit.PeerBytes {
		go m.spent(p)
	}
	if allBefore <= m.limit.AllBytes && m.all > m.limit.AllBytes {
		go m.spent("")
	}
}

// turn begins a new window if the last one is over. Called with mu held.
func (m *meter) turn(now time.Time) {
	if now.Sub(m.began) >= budgetWindow {
		m.began, m.all = now, 0
		clear(m.peers) // it is bounded by the members that have connected within the window
	}
}

// left reports whether the peers, and all together, may send more.
func (m *meter) left(now time.Time, peers ...p2p.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	for _, p := range peers {
		if m.peers[p] >= m.limit.PeerBytes {
			return false
		}
	}
	return m.all < m.limit.AllBytes
}

// bytes returns what was relayed since start.
func (m *meter) bytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total
}
