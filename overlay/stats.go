package overlay

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gaggle/overlay/wired"
	"gaggle/wire"
)

// A Drop is why a packet was dropped.
type Drop int

// Reasons.
const (
	DropUnbound     Drop = iota // its endpoint is on no network (any more)
	DropNotIPv4                 // IPv6, or IPv4 with options or a wrong length
	DropSpoofed                 // its source is not the endpoint
	DropOutside                 // its destination is not on a host of the network
	DropAbsent                  // nor is there such an endpoint
	DropQueue                   // too much waits for its host
	DropUnreachable             // its host cannot be reached
	DropUnknown                 // a peer sent it on a network that is not known here
	DropForeign                 // a peer sent it, and its source is not on that peer
	DropMalformed               // a peer sent something else than packets
	DropDevice                  // the kernel did not take it
	numDrops                    // how many there are
)

var dropNames = [numDrops]string{"unbound", "not ipv4", "spoofed", "outside", "absent", "queue", "unreachable", "unknown network",
	"foreign", "malformed", "device"}

func (d Drop) String() string { return dropNames[d] }

// counters are of all networks.
type counters struct {
	drops  [numDrops]atomic.Uint64
	queued atomic.Int64  // bytes in the queues of links
	beside atomic.Uint64 // packets that went as datagrams
	asked  atomic.Uint64
	names  atomic.Uint64
	found  times // of routes, by the kernel's plane
	named  times
}

func (c *counters) drop(d Drop) { c.drops[d].Add(1) }

// dropOf counts a packet of a network.
func (c *counters) dropOf(n *network, d Drop) { c.dropBetween(n, wire.PeerID{}, d, 1) }

// dropBetween counts packets of a network from a host or to it.
func (c *counters) dropBetween(n *network, p wire.PeerID, d Drop, packets int) {
	c.drops[d].Add(uint64(packets))
	n.count.drops[d].Add(uint64(packets))
	if l := n.count.losses[p]; l != nil {
		l[d].Add(uint64(packets))
	}
}

// Stats are what an agent has done.
type Stats struct {
	Endpoints int         // laid now
	Bound     int         // of those, on a network
	Queued    int64       // bytes that wait for other hosts
	Datagrams uint64      // packets that went beside the streams to other hosts
	Asked     uint64      // questions put to other agents
	Names     uint64      // questions for names that commands have put
	Missed    uint64      // packets that came to the agent for want of a route
	Drops     Drops       // by the agent
	Kernel    wired.Drops // by the kernel's plane
	Ways      ByWay       // of all networks, ended ones too
	Networks  map[uint32]NetStats
	Routes    map[wired.Way]int // of the kernel's plane; nil without one
	Found     Times             // from the first packet without a route until it went on
	Named     Times             // from a question for a name to its answer, if there is one
}

// Drops are packets that the agent dropped, by Drop.
type Drops [numDrops]uint64

// NetStats is one network that the agent knows.
type NetStats struct {
	Space         wire.Space
	Members, Here int // of the gang; of those, running here
	Ended         bool
	Traffic       // of all pairs
	Pairs         map[wire.PeerID]ByWay
	Missed        uint64
	Drops         Drops
	Losses        map[wire.PeerID]Losses // those of packets from other hosts and to them
	Kernel        wired.Drops            // of its slots here
}

// Losses are packets between this host and one other, or within this one, that were dropped. The kernel's
// are those that had a route: where there is none nobody can say whose they were.
type Losses struct {
	Agent  Drops
	Kernel wired.Drops
}

// Reasons counts those for which there were any.
func (l Losses) Reasons() (count int) {
	for _, n := range slices.Concat(l.Agent[:], l.Kernel[:]) {
		if n > 0 {
			count++
		}
	}
	return count
}

// Stats returns what the agent has done so far. No count is less than one that was returned before,
// those of a network as long as it is known.
func (a *Agent) Stats() Stats {
	s := Stats{Queued: a.count.queued.Load(), Datagrams: a.count.beside.Load(), Asked: a.count.asked.Load(), Names: a.count.names.Load(),
		Networks: map[uint32]NetStats{}, Found: a.count.found.load(), Named: a.count.named.load()}
	for i := range a.slots {
		if e := a.slots[i].Load(); e != nil {
			s.Endpoints++
			if e.net.Load() != nil {
				s.Bound++
			}
		}
	}
	for d := range numDrops {
		s.Drops[d] = a.count.drops[d].Load()
	}
	a.mu.Lock()
	nets := maps.Clone(a.nets)
	s.Ways, s.Missed = a.past.ways, a.past.missed
	a.mu.Unlock()
	if k := a.plane.Load(); k != nil {
		k.stats(nets, &s)
	} else {
		for vni, n := range nets {
			s.Networks[vni] = n.stats()
		}
	}
	for _, n := range s.Networks {
		s.Missed += n.Missed
		for _, p := range n.Pairs {
			s.Ways.add(&p)
		}
	}
	return s
}

// stats returns what the agent has counted of the network.
func (n *network) stats() NetStats {
	n.mu.Lock()
	here := len(n.here)
	n.mu.Unlock()
	s := NetStats{Space: n.space, Members: len(n.members), Here: here, Ended: n.ended.Load(), Pairs: map[wire.PeerID]ByWay{}, Losses: map[wire.PeerID]Losses{},
		Missed: n.count.missed.Load()}
	for d := range numDrops {
		s.Drops[d] = n.count.drops[d].Load()
	}
	for p, l := range n.count.losses {
		var lost Drops
		for d := range l {
			lost[d] = l[d].Load()
		}
		if lost != (Drops{}) {
			s.Losses[p] = Losses{Agent: lost}
		}
	}
	for p, c := range n.count.pairs {
		ways := c.load()
		s.Pairs[p] = ways
		s.Traffic.add(ways.Sum())
	}
	return s
}

// past is what went over networks that are no more.
type past struct {
	ways   ByWay
	missed uint64
}

func (p *past) add(s *NetStats) {
	p.missed += s.Missed
	for _, w := range s.Pairs {
		p.ways.add(&w)
	}
}

// TimeBounds are the upper bounds by which Times are counted.
var TimeBounds = [...]time.Duration{100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second}

// Times are how long something took.
type Times struct {
	Count uint64
	Sum   time.Duration
	Under [len(TimeBounds)]uint64 // how often no longer than each of TimeBounds
}

// times count as Times do.
type times struct {
	mu  sync.Mutex // guards sum
	sum Times
}

func (t *times) add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Count++
	t.sum.Sum += d
	for i, bound := range TimeBounds {
		if d <= bound {
			t.sum.Under[i]++
		}
	}
}

func (t *times) load() Times {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sum
}
