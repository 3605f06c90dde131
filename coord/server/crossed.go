package server

import (
	"cmp"
	"slices"

	"gaggle/wire"
)

// crossedWays are those that nodes may tell of.
var crossedWays = []string{"local", "direct", "external", "agent"}

// addCrossed fills in what the nodes of networks told of them. Each speaks for itself, of networks
// that it is on and of hosts of those; whatever else it says is left out.
func (s *Server) addCrossed(networks []wire.JobNetwork) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range networks {
		w := &networks[i]
		for _, n := range w.Nodes {
			if session := s.nodes[n.Peer]; session != nil {
				w.Paths = append(w.Paths, session.crossedOn(w)...)
			}
		}
		slices.SortStableFunc(w.Paths, func(a, b wire.Crossed) int {
			return cmp.Compare(b.Path.PacketsOut+b.Path.PacketsIn, a.Path.PacketsOut+a.Path.PacketsIn)
		})
		w.Paths = w.Paths[:min(len(w.Paths), wire.MaxNetPaths)]
	}
}

// crossedOn returns what a node of a network told of it. Server.mu is held.
func (n *nodeSession) crossedOn(w *wire.JobNetwork) (all []wire.Crossed) {
	for _, p := range n.crossed {
		on := slices.ContainsFunc(w.Nodes, func(o wire.NetNode) bool { return o.Peer == p.Peer })
		if p.VNI != w.VNI || !on || !slices.Contains(crossedWays, p.Way) {
			continue
		}
		c := wire.Crossed{From: n.peer, Path: p}
		for _, to := range n.paths {
			if to.Peer == p.Peer && p.Way == "agent" {
				c.Mesh = to.Way
			}
		}
		all = append(all, c)
	}
	return all
}
