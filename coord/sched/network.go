package sched

import (
	"encoding/binary"
	"time"

	"gaggle/wire"
)

// A gang with a network has one for each of its generations. What its nodes need to know of it goes
// out with the offers, and ends there with the last of them.
//
// A network has a number, VNI, which is given to no other before all others have been: frames of an
// older generation, whose node did not hear that it is over, are nobody's. A node has a number, its
// host number, of which the addresses of its tasks are made. It keeps it for as long as it is
// remembered, and what it says of itself brings it back after a restart of the coordinator.

// A host is who has a number.
type host struct {
	node nodeRef       // 0 is nobody
	left time.Duration // when it was given up; 0 if it never was
}

// hostRests is how long a number that a node had is given to no other, if there are others: longer
// than anybody remembers an address.
const hostRests = 10 * time.Minute

// giveHost tells a node that gives networks its number: the one it has, else the one it says it had,
// else one that mostly is the same whenever it comes.
func (s *State) giveHost(n *node) {
	if !n.hello.Overlay || n.hello.Slots == 0 {
		return
	}
	if s.hosts == nil {
		s.hosts = make([]host, wire.MaxHost+1)
	}
	if n.host == 0 {
		if n.host = s.pickHost(n); n.host == 0 {
			return // there are more numbers than nodes that are remembered
		}
		s.hosts[n.host] = host{node: n.ref}
		s.moved = true
	}
	s.emit(Host{n.peer, n.host})
}

func (s *State) pickHost(n *node) uint16 {
	if h := n.hello.Host; h > 0 && h <= wire.MaxHost && s.hosts[h].node == 0 {
		return h
	}
	from := int(binary.BigEndian.Uint16(n.peer[:])) % wire.MaxHost
	for _, rested := range []bool{true, false} {
		for i := range wire.MaxHost {
			h := 1 + (from+i)%wire.MaxHost
			if o := s.hosts[h]; o.node == 0 && (!rested || o.left == 0 || s.now-o.left > hostRests) {
				return uint16(h)
			}
		}
	}
	return 0
}

// freeHost gives the number of a node up that is forgotten.
func (s *State) freeHost(n *node) {
	if n.host != 0 {
		s.hosts[n.host] = host{left: max(1, s.now)}
		n.host = 0
	}
}

// firstVNI is where the numbers of an epoch begin: far from those of the epochs around it, which
// nodes may still have.
func firstVNI(epoch uint32) uint32 {
	const golden = 10_368_889 // of 2^24, as in Fibonacci hashing (Knuth, TAOCP 6.4)
	return uint32(uint64(epoch) * golden % wire.MaxVNI)
}

// nextVNI returns a number that no network has.
func (s *State) nextVNI() uint32 {
	for {
		s.vni = s.vni%wire.MaxVNI + 1
		used := false
		for _, g := range s.gangs {
			used = used || g.vni == s.vni
		}
		if !used {
			return s.vni
		}
	}
}

// connectGang makes the network of a gang whose members are to run on the nodes chosen, and tells
// those.
func (s *State) connectGang(g *gang, chosen []*node) {
	if !g.network {
		return
	}
	g.vni = s.nextVNI()
	w := &wire.Network{VNI: g.vni, Space: s.spaces[s.jobs.at(g.job).space], Members: make([]wire.NetMember, len(g.members))}
	for i, m := range g.members {
		w.Members[i] = wire.NetMember{Task: m.spec.Task, Index: m.spec.Index, Count: m.spec.Count, Host: chosen[i].host, Peer: chosen[i].peer,
			Ready: m.spec.Ready, Service: m.service}
	}
	s.stamp++
	for _, n := range chosen {
		if n.stamp != s.stamp {
			n.stamp = s.stamp
			s.emit(Network{n.peer, w})
		}
	}
}

// placeOf returns where a run is on the gang's network, nil if there is none.
func (g *gang) placeOf(r runRef) *wire.Place {
	if g.vni == 0 {
		return nil
	}
	for i, m := range g.members {
		if m.run == r {
			return &wire.Place{VNI: g.vni, Member: i}
		}
	}
	return nil
}

// Networks returns the networks of the job's gangs that run, the oldest gang first, at most
// wire.MaxJobNetworks.
func (s *State) Networks(id wire.JobID) (all []wire.JobNetwork) {
	job, ok := s.jobOf[id]
	if !ok {
		return nil
	}
	for _, g := range s.gangs {
		if g.job != job || !g.running || g.vni == 0 || len(all) == wire.MaxJobNetworks {
			continue
		}
		all = append(all, wire.JobNetwork{Gang: g.name, Generation: g.gen, VNI: g.vni, Nodes: s.netNodes(g)})
	}
	return all
}

// netNodes returns where the members of a gang are, in their order.
func (s *State) netNodes(g *gang) (nodes []wire.NetNode) {
	place := map[nodeRef]int{}
	for _, m := range g.members {
		i, there := place[m.at]
		if !there {
			n := s.nodes[m.at]
			i = len(nodes)
			place[m.at] = i
			nodes = append(nodes, wire.NetNode{Peer: n.peer, Name: n.hello.Name})
		}
		w := wire.NetMember{Task: m.spec.Task, Index: m.spec.Index}
		name := w.HostName()
		if m.spec.Count == 1 {
			name = m.spec.Task
		}
		nodes[i].Members = append(nodes[i].Members, name)
	}
	return nodes
}
