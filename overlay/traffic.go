package overlay

import (
	"cmp"
	"slices"
	"sync/atomic"

	"gaggle/overlay/wired"
	"gaggle/wire"
)

// Traffic is packets. Their bytes are of whole IP packets; what is yet to be cut up counts as one.
type Traffic struct {
	PacketsOut, BytesOut uint64 // sent by endpoints here
	PacketsIn, BytesIn   uint64 // received by them
}

func (t *Traffic) add(o Traffic) {
	t.PacketsOut += o.PacketsOut
	t.BytesOut += o.BytesOut
	t.PacketsIn += o.PacketsIn
	t.BytesIn += o.BytesIn
}

// ways are those by which packets go: all but Nowhere.
const ways = wired.Agent + 1

// ByWay is traffic by the way it went: wired.Local, between endpoints of one host, also where the agent
// moves it; Direct and External; and Agent, over the mesh.
type ByWay [ways]Traffic

func (b *ByWay) add(o *ByWay) {
	for w := range b {
		b[w].add(o[w])
	}
}

// Sum is that of all ways.
func (b *ByWay) Sum() (t Traffic) {
	for _, w := range b {
		t.add(w)
	}
	return t
}

// A pairCount counts what goes between this host and one other, or within this one.
type pairCount [ways]struct{ packetsOut, bytesOut, packetsIn, bytesIn atomic.Uint64 }

func (c *pairCount) add(w wired.Way, t Traffic) {
	c[w].packetsOut.Add(t.PacketsOut)
	c[w].bytesOut.Add(t.BytesOut)
	c[w].packetsIn.Add(t.PacketsIn)
	c[w].bytesIn.Add(t.BytesIn)
}

func (c *pairCount) load() (b ByWay) {
	for w := range c {
		b[w] = Traffic{PacketsOut: c[w].packetsOut.Load(), BytesOut: c[w].bytesOut.Load(),
			PacketsIn: c[w].packetsIn.Load(), BytesIn: c[w].bytesIn.Load()}
	}
	return b
}

// netCount counts what became of the packets of one network here.
type netCount struct {
	pairs  map[wire.PeerID]*pairCount               // of all hosts of the network; fixed
	losses map[wire.PeerID]*[numDrops]atomic.Uint64 // likewise: what the agent dropped on its way from or to them
	lost   map[wire.PeerID]wired.Drops              // by routes to them that are no more; guarded by the kernel's tally
	missed atomic.Uint64
	drops  [numDrops]atomic.Uint64
	kernel wired.Drops // of slots that have left; guarded by the kernel's dropping
}

// sent and received count a packet that the agent moved.
func (c *netCount) sent(p wire.PeerID, w wired.Way, size int) {
	if n := c.pairs[p]; n != nil {
		n[w].packetsOut.Add(1)
		n[w].bytesOut.Add(uint64(size))
	}
}

func (c *netCount) received(p wire.PeerID, w wired.Way, size int) {
	if n := c.pairs[p]; n != nil {
		n[w].packetsIn.Add(1)
		n[w].bytesIn.Add(uint64(size))
	}
}

// Busiest returns what went over networks, or those only that have not ended, by pair and way, that with
// most packets first and at most so many.
func (s *Stats) Busiest(most int, live bool) (all []wire.NetPath) {
	for vni, n := range s.Networks {
		if live && n.Ended {
			continue
		}
		for p, by := range n.Pairs {
			for w, t := range by {
				if t != (Traffic{}) {
					all = append(all, wire.NetPath{VNI: vni, Peer: p, Way: wired.Way(w).String(), PacketsOut: t.PacketsOut,
						BytesOut: t.BytesOut, PacketsIn: t.PacketsIn, BytesIn: t.BytesIn})
				}
			}
		}
	}
	packets := func(p *wire.NetPath) uint64 { return p.PacketsOut + p.PacketsIn }
	slices.SortFunc(all, func(a, b wire.NetPath) int {
		return cmp.Or(cmp.Compare(packets(&b), packets(&a)), cmp.Compare(a.VNI, b.VNI), comparePeers(a.Peer, b.Peer), cmp.Compare(a.Way, b.Way))
	})
	return all[:min(len(all), most)]
}

// Crossed returns what went over networks here that have not ended, as much of it as people can look at.
func (a *Agent) Crossed() []wire.NetPath {
	a.mu.Lock()
	none := len(a.nets) == 0
	a.mu.Unlock()
	if none {
		return nil
	}
	s := a.Stats()
	return s.Busiest(wire.MaxNetPaths, true)
}
