package client

import (
	"fmt"
	"strings"
	"testing"

	"gaggle/wire"
)

func TestNetworkTable(t *testing.T) {
	a, b := wire.PeerID{1}, wire.PeerID{2}
	w := wire.JobNetwork{Gang: "g", VNI: 77, Generation: 1, Nodes: []wire.NetNode{{Peer: a, Name: "a\x1b[31m"}, {Peer: b, Name: "b"}}}
	for i := range 10 {
		w.Nodes[0].Members = append(w.Nodes[0].Members, fmt.Sprintf("load-%d", i))
	}
	w.Nodes[1].Members = []string{"db"}
	w.Paths = []wire.Crossed{
		{From: a, Path: wire.NetPath{Peer: b, Way: "direct", PacketsOut: 3, BytesOut: 2048, PacketsIn: 2, BytesIn: 100}},
		{From: a, Path: wire.NetPath{Peer: a, Way: "local", PacketsOut: 5, BytesOut: 10}},
		{From: b, Path: wire.NetPath{Peer: a, Way: "agent", PacketsOut: 1, BytesOut: 40}, Mesh: "relayed"},
		{From: wire.PeerID{3}, Path: wire.NetPath{Peer: b, Way: "agent"}},
	}
	var out strings.Builder
	networkTable(&out, &w)
	want := `
gang g is on network 77, in its generation 2
NODE    MEMBERS
a?[31m  load-0 load-1 load-2 load-3 load-4 load-5 load-6 load-7 and 2 more
b       db
FROM    TO      WAY             SENT  BYTES   RECEIVED  BYTES
?       b       mesh            0     0 B     0         0 B
a?[31m  a?[31m  same node       5     10 B    0         0 B
a?[31m  b       kernel, direct  3     2.0 kB  2         100 B
b       a?[31m  mesh, relayed   1     40 B    0         0 B
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
