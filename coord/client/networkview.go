package client

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gaggle/wire"
)

// namesShown is how many members of a network are named for each node.
const namesShown = 8

// networkTable tells where the members of a gang are, and how their packets go. Each node counts for
// itself, so that a pair of them stands there twice, and what its older versions do not tell is missing.
func networkTable(b *strings.Builder, w *wire.JobNetwork) {
	again := ""
	if w.Generation > 0 {
		again = fmt.Sprintf(", in its generation %d", w.Generation+1)
	}
	fmt.Fprintf(b, "\ngang %s is on network %d%s\n", printable(w.Gang), w.VNI, again)
	names := map[wire.PeerID]string{}
	var rows []string
	for _, n := range w.Nodes {
		names[n.Peer] = printable(n.Name)
		members := printable(strings.Join(n.Members[:min(len(n.Members), namesShown)], " "))
		if more := len(n.Members) - namesShown; more > 0 {
			members += fmt.Sprintf(" and %d more", more)
		}
		rows = append(rows, names[n.Peer]+"\t"+members)
	}
	table(b, "NODE\tMEMBERS", rows)
	rows = nil
	for _, c := range w.Paths {
		p := &c.Path
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%d\t%s\t%d\t%s", cmp.Or(names[c.From], "?"), cmp.Or(names[p.Peer], "?"), wayText(&c),
			p.PacketsOut, Bytes(int64(p.BytesOut)), p.PacketsIn, Bytes(int64(p.BytesIn))))
	}
	if len(rows) > 0 {
		slices.Sort(rows)
		table(b, "FROM\tTO\tWAY\tSENT\tBYTES\tRECEIVED\tBYTES", rows)
	}
}

// wayText says how packets go.
func wayText(c *wire.Crossed) string {
	switch {
	case c.Path.Way == "local":
		return "same node"
	case c.Path.Way == "agent" && c.Mesh == "":
		return "mesh"
	case c.Path.Way == "agent":
		return "mesh, " + printable(c.Mesh)
	}
	return "kernel, " + printable(c.Path.Way)
}
