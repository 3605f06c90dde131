package overlay

import "gaggle/overlay/wired"

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
		if r.Way >= ways {
			continue
		}
		if n := nets[r.VNI]; n == nil {
			k.past[r.Way].add(trafficOf(&r))
		} else if c := n.count.pairs[n.peerAt(addressAt(r.Dst))]; c != nil {
			c.add(r.Way, trafficOf(&r))
		}
	}
	for vni, n := range nets {
		s.Networks[vni] = n.stats()
	}
	s.Ways.add(&k.past)
	s.Routes = map[wired.Way]int{}
	for _, r := range live {
		s.Routes[r.Way]++
		if r.Way >= ways {
			continue
		}
		n, known := s.Networks[r.VNI]
		if !known {
			s.Ways[r.Way].add(trafficOf(&r))
			continue
		}
		peer := nets[r.VNI].peerAt(addressAt(r.Dst))
		if ways, there := n.Pairs[peer]; there {
			ways[r.Way].add(trafficOf(&r))
			n.Pairs[peer] = ways
			n.Traffic.add(trafficOf(&r))
			s.Networks[r.VNI] = n
		}
	}
	k.drops(nets, s)
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
