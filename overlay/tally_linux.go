package overlay

import (
	"gaggle/overlay/wired"
	"gaggle/wire"
)

// stats adds networks with what the plane has counted, and of routes that are no more takes it over. A
// packet that the agent carries is in the agent's count, not in that of its route.
func (k *kernel) stats(nets map[uint32]*network, s *Stats) {
	k.tally.Lock()
	defer k.tally.Unlock()
	live, past, err := k.plane.Traffic()
	if err != nil {
		k.agent.log.Debug("counting what went over routes", "error", err)
	}
	for _, r := range past {
		if n := nets[r.VNI]; n != nil {
			n.keep(&r)
		} else if r.Way < ways {
			k.past[r.Way].add(trafficOf(&r))
		}
	}
	for vni, n := range nets {
		t := n.stats()
		for p, lost := range n.count.lost {
			l := t.Losses[p]
			l.Kernel = lost
			t.Losses[p] = l
		}
		s.Networks[vni] = t
	}
	s.Ways.add(&k.past)
	s.Routes = map[wired.Way]int{}
	for _, r := range live {
		s.Routes[r.Way]++
		if n, known := s.Networks[r.VNI]; known {
			n.add(nets[r.VNI].peerAt(addressAt(r.Dst)), &r)
			s.Networks[r.VNI] = n
		} else if r.Way < ways {
			s.Ways[r.Way].add(trafficOf(&r))
		}
	}
	k.drops(nets, s)
}

// keep counts what went over a route that is no more. The kernel's tally is held.
func (n *network) keep(r *wired.Stat) {
	peer := n.peerAt(addressAt(r.Dst))
	c := n.count.pairs[peer]
	if c == nil {
		return
	}
	if r.Way < ways {
		c.add(r.Way, trafficOf(r))
	}
	if r.Lost != (wired.Drops{}) {
		lost := n.count.lost[peer]
		lost.Add(r.Lost, wired.Drops{})
		n.count.lost[peer] = lost
	}
}

// add counts what went over a route to a peer that is there.
func (s *NetStats) add(peer wire.PeerID, r *wired.Stat) {
	by, there := s.Pairs[peer]
	if !there {
		return
	}
	if r.Way < ways {
		by[r.Way].add(trafficOf(r))
		s.Pairs[peer] = by
		s.Traffic.add(trafficOf(r))
	}
	if r.Lost != (wired.Drops{}) {
		l := s.Losses[peer]
		l.Kernel.Add(r.Lost, wired.Drops{})
		s.Losses[peer] = l
	}
}

// trafficOf is what went over a route without the agent. Between slots of one host what was sent was
// received.
func trafficOf(r *wired.Stat) Traffic {
	switch r.Way {
	case wired.Direct, wired.External:
		return Traffic{PacketsOut: r.SentPackets, BytesOut: r.SentBytes, PacketsIn: r.ReceivedPackets, BytesIn: r.ReceivedBytes}
	case wired.Local:
		return Traffic{PacketsOut: r.SentPackets, BytesOut: r.SentBytes, PacketsIn: r.SentPackets, BytesIn: r.SentBytes}
	}
	return Traffic{}
}

// drops adds what the plane has dropped.
func (k *kernel) drops(nets map[uint32]*network, s *Stats) {
	slots := map[uint32][]*kernelSlot{}
	for vni, n := range nets {
		slots[vni] = n.slotsHere()
	}
	k.dropping.Lock()
	defer k.dropping.Unlock()
	all, err := k.plane.AllDrops()
	if err != nil {
		k.agent.log.Debug("counting drops", "error", err)
		return
	}
	for _, d := range all {
		s.Kernel.Add(d, wired.Drops{})
	}
	for vni, n := range nets {
		t := s.Networks[vni]
		t.Kernel = n.count.kernel
		for _, slot := range slots[vni] {
			t.Kernel.Add(all[slot.slot.Number()], slot.dropped)
		}
		s.Networks[vni] = t
	}
}

// slotsHere returns the slots that are on the network.
func (n *network) slotsHere() (slots []*kernelSlot) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.here {
		if s, ok := e.dev.(*kernelSlot); ok {
			slots = append(slots, s)
		}
	}
	return slots
}

// countDrops counts what was dropped of the slot since it was called last, as its network's unless that
// is nil.
func (s *kernelSlot) countDrops(n *network) {
	s.k.dropping.Lock()
	defer s.k.dropping.Unlock()
	now, err := s.k.plane.Drops(s.slot.Number())
	if err != nil { // the plane is closed
		return
	}
	if n != nil {
		n.count.kernel.Add(now, s.dropped)
	}
	s.dropped = now
}
