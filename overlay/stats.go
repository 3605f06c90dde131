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
	queued atomic.Int64  // bytes in the queues of links
	beside atomic.Uint64 // packets that went as datagrams
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
	Datagrams uint64                // packets that went beside the streams to other hosts
	Asked     uint64                // questions put to other agents
	Names     uint64                // questions for names that commands have put
	Drops     map[Drop]uint64       // by reason, without those that are 0
	Total     NetTraffic            // of all networks, ended ones too
	Networks  map[uint32]NetTraffic // by VNI, those that the agent knows; without what the kernel moves alone
	Ways      map[string]WayTraffic // routes of the kernel's plane that are there now, by the name of wired.Way; nil without a plane
}

// WayTraffic is what went over routes since they were made.
type WayTraffic struct {
	Routes               int
	PacketsOut, BytesOut uint64
	PacketsIn, BytesIn   uint64 // of other hosts
}

// NetTraffic is what endpoints here have sent and received.
type NetTraffic struct {
	Space                wire.Space // of one network, as are Members
	Members, Here        int        // of the gang; of those, running here
	PacketsOut, BytesOut uint64
	PacketsIn, BytesIn   uint64
}

// Stats returns what the agent has done so far.
func (a *Agent) Stats() Stats {
	s := Stats{Queued: a.count.queued.Load(), Datagrams: a.count.beside.Load(), Asked: a.count.asked.Load(), Names: a.count.names.Load(), Drops: map[Drop]uint64{},
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
	if k := a.plane.Load(); k != nil {
		s.Ways = k.ways()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Total = a.past
	for vni, n := range a.nets {
		t := n.stats()
		s.Networks[vni] = t
		s.Total.add(t)
	}
	return s
}

// stats returns the traffic of the network.
func (n *network) stats() NetTraffic {
	n.mu.Lock()
	here := len(n.here)
	n.mu.Unlock()
	t := &n.traffic
	return NetTraffic{Space: n.space, Members: len(n.members), Here: here, PacketsOut: t.packetsOut.Load(),
		BytesOut: t.bytesOut.Load(), PacketsIn: t.packetsIn.Load(), BytesIn: t.bytesIn.Load()}
}

// add adds the traffic of a network.
func (t *NetTraffic) add(o NetTraffic) {
	t.Here += o.Here
	t.PacketsOut += o.PacketsOut
	t.BytesOut += o.BytesOut
	t.PacketsIn += o.PacketsIn
	t.BytesIn += o.BytesIn
}
