package main

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"gaggle/overlay"
	"gaggle/overlay/wired"
	"gaggle/wire"
)

// What the networks of tasks do. Sums are of all networks since the node began, and never less than
// before. Networks end, and their pairs are many, so that only the busiest of those that are there, or
// have ended within a minute, have series of their own: what these leave out is the difference.
var (
	descEnds     = desc("overlay_endpoints", "Network namespaces for tasks.", "state")
	descMoved    = desc("overlay_packets_total", "Packets of tasks on networks by the way they went.", "way", "direction")
	descVolume   = desc("overlay_bytes_total", "Their bytes.", "way", "direction")
	descDrops    = desc("overlay_drops_total", "Packets of tasks on networks that were dropped, by the agent or the kernel.", "by", "why")
	descBeside   = desc("overlay_datagrams_total", "Packets of tasks on networks that went to other hosts as QUIC datagrams, beside the stream.")
	descAsked    = desc("overlay_questions_total", "Questions for names by tasks, and for members and ways to other nodes.", "of")
	descMissed   = desc("overlay_misses_total", "Packets that came to the agent for want of a route.")
	descRoutes   = desc("overlay_routes", "Routes of the kernel's plane.", "way")
	descFirst    = desc("overlay_first_seconds", "From a first packet without a route until it goes on, and from a question for a name to its answer.", "of")
	descNetEnds  = desc("network_members", "Members of a network that run here.", "tenant", "network")
	descNetMiss  = desc("network_misses_total", "Packets of a network that came to the agent for want of a route.", "tenant", "network")
	descNetDrops = desc("network_drops_total", "Packets of a network that were dropped.", "tenant", "network", "by", "why")
	descLosses   = desc("network_pair_drops_total", "Packets of a network between this node and another that were dropped.", "tenant", "network", "peer", "by", "why")
	descPair     = desc("network_packets_total", "Packets of a network between this node and another, or within this one.", "tenant", "network", "peer", "way", "direction")
	descPairVol  = desc("network_bytes_total", "Their bytes.", "tenant", "network", "peer", "way", "direction")
	descLink     = desc("network_link", "1 for how a node of these networks is reached over the mesh, which is way \"agent\".", "peer", "path")

	overlayDescs = []*prometheus.Desc{descEnds, descMoved, descVolume, descDrops, descBeside, descAsked, descMissed, descRoutes, descFirst, descNetEnds,
		descNetMiss, descNetDrops, descLosses, descPair, descPairVol, descLink}
)

const (
	// maxNetworkSeries and maxPairSeries bound the networks, and pairs by way, with series of their own.
	maxNetworkSeries = 50
	maxPairSeries    = 100
)

// A sink takes metrics.
type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, n float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
}

func (s sink) total(d *prometheus.Desc, n uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

// traffic is two totals of packets and two of bytes.
func (s sink) traffic(packets, bytes *prometheus.Desc, t overlay.Traffic, labels ...string) {
	in, out := append(slices.Clip(labels), "in"), append(slices.Clip(labels), "out")
	s.total(packets, t.PacketsIn, in...)
	s.total(packets, t.PacketsOut, out...)
	s.total(bytes, t.BytesIn, in...)
	s.total(bytes, t.BytesOut, out...)
}

func (s sink) times(d *prometheus.Desc, t overlay.Times, of string) {
	under := map[float64]uint64{}
	for i, bound := range overlay.TimeBounds {
		under[bound.Seconds()] = t.Under[i]
	}
	s <- prometheus.MustNewConstHistogram(d, t.Count, t.Sum.Seconds(), under, of)
}

// drops tells of all reasons, or of those that there were.
func (s sink) drops(d *prometheus.Desc, all bool, agent overlay.Drops, kernel wired.Drops, labels ...string) {
	for why, n := range agent {
		if all || n > 0 {
			s.total(d, n, append(slices.Clip(labels), "agent", overlay.Drop(why).String())...)
		}
	}
	for why, n := range kernel {
		if all || n > 0 {
			s.total(d, n, append(slices.Clip(labels), "kernel", wired.Reason(why).String())...)
		}
	}
}

// overlay tells of networks.
func (c *collector) overlay(s sink) {
	o := c.n.agent.Stats()
	s.gauge(descEnds, float64(o.Bound), "bound")
	s.gauge(descEnds, float64(o.Endpoints-o.Bound), "spare")
	for w := wired.Local; w <= wired.Agent; w++ {
		s.traffic(descMoved, descVolume, o.Ways[w], w.String())
		s.gauge(descRoutes, float64(o.Routes[w]), w.String())
	}
	s.drops(descDrops, true, o.Drops, o.Kernel)
	s.total(descBeside, o.Datagrams)
	s.total(descAsked, o.Names, "names")
	s.total(descAsked, o.Asked, "members")
	s.total(descMissed, o.Missed)
	s.times(descFirst, o.Found, "route")
	s.times(descFirst, o.Named, "name")
	room := maxPairSeries
	for _, vni := range busiest(o.Networks) {
		n := o.Networks[vni]
		labels := []string{string(n.Space), strconv.Itoa(int(vni))}
		s.gauge(descNetEnds, float64(n.Here), labels...)
		s.total(descNetMiss, n.Missed, labels...)
		s.drops(descNetDrops, false, n.Drops, n.Kernel, labels...)
		c.losses(s, &n, labels, &room)
	}
	linked := map[wire.PeerID]bool{}
	for _, p := range o.Busiest(maxPairSeries, false) {
		t := overlay.Traffic{PacketsOut: p.PacketsOut, BytesOut: p.BytesOut, PacketsIn: p.PacketsIn, BytesIn: p.BytesIn}
		s.traffic(descPair, descPairVol, t, string(o.Networks[p.VNI].Space), strconv.Itoa(int(p.VNI)), c.peer(p.Peer), p.Way)
		linked[p.Peer] = true
	}
	for _, p := range c.n.host.Paths() {
		if linked[p.Peer] {
			s.gauge(descLink, 1, c.peer(p.Peer), p.Way)
		}
	}
}

// losses tells of what a network lost on its way between nodes, as long as there is room for series.
func (c *collector) losses(s sink, n *overlay.NetStats, labels []string, room *int) {
	for _, p := range slices.SortedFunc(maps.Keys(n.Losses), func(a, b wire.PeerID) int { return bytes.Compare(a[:], b[:]) }) {
		if *room -= n.Losses[p].Reasons(); *room < 0 {
			return
		}
		s.drops(descLosses, false, n.Losses[p].Agent, n.Losses[p].Kernel, append(slices.Clip(labels), c.peer(p))...)
	}
}

// peer is the label of another node, or of this one.
func (c *collector) peer(p wire.PeerID) string {
	if p == c.n.host.ID() {
		return "here"
	}
	return p.Short()
}

// busiest returns the networks with most packets, those that were dropped included.
func busiest(all map[uint32]overlay.NetStats) []uint32 {
	packets := func(vni uint32) (sum uint64) {
		n := all[vni]
		sum = n.PacketsOut + n.PacketsIn + n.Missed
		for _, d := range n.Drops {
			sum += d
		}
		for _, d := range n.Kernel {
			sum += d
		}
		return sum
	}
	vnis := slices.SortedFunc(maps.Keys(all), func(a, b uint32) int {
		return cmp.Or(cmp.Compare(packets(b), packets(a)), cmp.Compare(a, b))
	})
	return vnis[:min(len(vnis), maxNetworkSeries)]
}
