package server

import (
	"slices"
	"testing"

	"gaggle/wire"
)

// Nodes speak for themselves, of networks that they are on and of hosts of those.
func TestWhatNodesTellOfNetworks(t *testing.T) {
	a, b, c := wire.PeerID{1}, wire.PeerID{2}, wire.PeerID{3}
	network := wire.JobNetwork{Gang: "g", VNI: 7, Nodes: []wire.NetNode{{Peer: a, Name: "a"}, {Peer: b, Name: "b"}}}
	many := make([]wire.NetPath, 0, wire.MaxNetPaths)
	for range wire.MaxNetPaths {
		many = append(many, wire.NetPath{VNI: 7, Peer: a, Way: "local", PacketsOut: 1})
	}
	s := &Server{nodes: map[wire.PeerID]*nodeSession{
		a: {peer: a, paths: []wire.Path{{Peer: b, Way: "tcp"}}, crossed: []wire.NetPath{
			{VNI: 7, Peer: b, Way: "agent", PacketsOut: 20},
			{VNI: 7, Peer: b, Way: "direct", PacketsIn: 30},
			{VNI: 8, Peer: b, Way: "direct", PacketsOut: 40}, // another network
			{VNI: 7, Peer: c, Way: "direct", PacketsOut: 50}, // not on it
			{VNI: 7, Peer: b, Way: "\x1b[31m", PacketsOut: 60},
		}},
		b: {peer: b, crossed: many},
		c: {peer: c, crossed: []wire.NetPath{{VNI: 7, Peer: a, Way: "direct", PacketsOut: 70}}}, // not on it
	}}
	networks := []wire.JobNetwork{network}
	s.addCrossed(networks)
	got := networks[0].Paths
	want := []wire.Crossed{
		{From: a, Path: wire.NetPath{VNI: 7, Peer: b, Way: "direct", PacketsIn: 30}},
		{From: a, Path: wire.NetPath{VNI: 7, Peer: b, Way: "agent", PacketsOut: 20}, Mesh: "tcp"},
		{From: b, Path: many[0]},
	}
	if len(got) != wire.MaxNetPaths || !slices.Equal(got[:3], want) {
		t.Errorf("%d paths, first of all %+v, want %d and %+v", len(got), got[:min(len(got), 3)], wire.MaxNetPaths, want)
	}
}
