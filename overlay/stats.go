package overlay

import (
	"sync/atomic"

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
	numDrops
)

var dropNames = [numDrops]string{"unbound", "not ipv4", "spoofed", "outside", "absent", "queue", "unreachable", "unknown network",
	"foreign", "malformed", "device"}

func (d Drop) String() string { return dropNames[d] }

// counters are of all networks.
type counters struct {
	drops  [numDrops]atomic.Uint64
	queued atomic.Int64 // bytes in the queues of links
	asked  atomic.Uint64
	names  atomic.Uint64
}

func (c *counters) drop(d Drop) { c.drops[d].Add(1) }

// traffic is that of one network.
type traffic struct {
	packetsOut, bytesOut, packetsIn, bytesIn atomic.Uint64
}

func (t *traffic) sent(n int) {
	t.packetsOut.Add(1)
	t.bytesOut.Add(uint64(n))
}

func (t *traffic) received(n int) {
	t.packetsIn.Add(1)
	t.bytesIn.Add(uint64(n))
}

// Stats are what an agent has done.
type Stats struct {
	Endpoints int                   // laid now
	Bound     int                   // of those, on a network
	Queued    int64                 // bytes that wait for other hosts
	Asked     uint64                // questions put to other agents
	Names     uint64                // questions for names that commands have put
	Drops     map[Drop]uint64       // without those that are 0
	Networks  map[uint32]NetTraffic // by VNI
}

// NetTraffic is what the endpoints of one network here have sent and received.
type NetTraffic struct {
	Space                wire.Space
	Members, Here        int
	PacketsOut, BytesOut uint64
	PacketsIn, BytesIn   uint64
}

// Stats returns what the agent has done so far.
func (a *Agent) Stats() Stats {
	s := Stats{Queued: a.count.queued.Load(), Asked: a.count.asked.Load(), Names: a.count.names.Load(), Drops: map[Drop]uint64{},
		Networks: map[uint32]NetTraffic{}}
	for i := range a.slots {
		if e := a.slots[i].Load(); e != nil {
			s.Endpoints++
			if e.net.Load() != nil {
				s.Bound++
			}
		}
	}
	for d := range numDrops {
		if n := a.count.drops[d].Load(); n > 0 {
			s.Drops[d] = n
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for vni, n := range a.nets {
		n.mu.Lock()
		here := len(n.here)
		n.mu.Unlock()
		t := &n.traffic
		s.Networks[vni] = NetTraffic{Space: n.space, Members: len(n.members), Here: here, PacketsOut: t.packetsOut.Load(),
			BytesOut: t.bytesOut.Load(), PacketsIn: t.packetsIn.Load(), BytesIn: t.bytesIn.Load()}
	}
	return s
}
