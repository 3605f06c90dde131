package client

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"gaggle/wire"
)

// A tableView prints the answers to questions: jobs, tasks, nodes, meshes, plans and texts.
type tableView struct {
	out, err io.Writer
	explain  bool // tasks in full
	planned  bool // the head of a plan is printed
}

// NewTable returns a view that prints answers to out. With explain set, tasks are told in full.
func NewTable(out, err io.Writer, explain bool) View {
	return &tableView{out: out, err: err, explain: explain}
}

// Event prints an answer.
func (v *tableView) Event(e *Event, now time.Time) error {
	var b strings.Builder
	if e.Note != "" {
		if _, err := fmt.Fprintln(v.err, printable(e.Note)); err != nil {
			return err
		}
	}
	if e.Captured != nil {
		if _, err := fmt.Fprintln(v.err, e.Captured); err != nil {
			return err
		}
	}
	b.WriteString(printableText(e.Text))
	if e.Jobs != nil {
		jobTable(&b, e.Jobs, now)
	}
	switch {
	case len(e.Tasks) > 0 && v.explain:
		for i := range e.Tasks {
			explainTask(&b, &e.Tasks[i])
		}
	case len(e.Tasks) > 0:
		taskTable(&b, e.Tasks)
		if e.More > 0 {
			fmt.Fprintf(&b, "%s more could run\n", count(e.More, "task"))
		}
	}
	for i := range e.Jobs {
		for k := range e.Jobs[i].Networks {
			networkTable(&b, &e.Jobs[i].Networks[k])
		}
	}
	if e.Nodes != nil || e.Traffic != nil {
		nodeTable(&b, e.Nodes)
	}
	if e.Paths != nil {
		pathTable(&b, e.Paths)
	}
	if t := e.Traffic; t != nil {
		fmt.Fprintf(&b, "blobs through the coordinator: %d bytes, sub-graphs %d bytes, relayed %d bytes\n", t.BlobBytes, t.SubGraphBytes, t.RelayedBytes)
	}
	if e.Meshes != nil {
		meshTable(&b, e.Meshes)
	}
	if e.Plan != nil {
		v.plan(&b, e.Plan)
	}
	if e.Output != nil {
		if err := (&jobView{out: v.out, err: v.err}).output(e.Output); err != nil {
			return err
		}
	}
	_, err := io.WriteString(v.out, b.String())
	return err
}

// Tick prints nothing.
func (v *tableView) Tick(time.Time) error { return nil }

// End prints the sum of a plan, or of what was written.
func (v *tableView) End(e *End, _ time.Time) error {
	var err error
	switch {
	case e.Error != nil:
	case v.planned:
		_, err = fmt.Fprintf(v.out, "%s, %d of them known\n", count(e.Counts.Tasks, "task"), e.Counts.Memo)
	case e.Files > 0:
		_, err = fmt.Fprintf(v.out, "%s moved; wrote %s to %s\n", Bytes(e.Fetched), count(e.Files, "file"), e.Out)
	}
	return err
}

// table writes rows of tab-separated cells in columns.
func table(b *strings.Builder, head string, rows []string) {
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, head)
	for _, r := range rows {
		fmt.Fprintln(w, r)
	}
	w.Flush() // to memory
}

func jobTable(b *strings.Builder, jobs []wire.JobStatus, now time.Time) {
	var rows []string
	for _, j := range jobs {
		c := j.Counts
		end := now
		if j.Ended != 0 {
			end = micro(j.Ended)
		}
		state := j.State
		if j.Trust != wire.TrustAny {
			state += " (trust " + j.Trust.String() + ")"
		}
		if j.Waiting != "" {
			state += " " + waits(j.Waiting)
		}
		id := j.Job.String()
		if j.Job == (wire.JobID{}) {
			id = "-"
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%d/%d\t%d\t%d\t%d\t%d\t%s\t%s ago\t%s\t%s", id, printable(j.Name),
			c.Ran+c.Memo+c.Shared, c.Tasks, c.Ran, c.Memo, c.Shared, c.Failed, Span(end.Sub(micro(j.Begun))),
			Span(now.Sub(micro(j.Begun))), printable(j.Client), state))
	}
	table(b, "JOB\tNAME\tDONE\tRAN\tMEMO\tSHARED\tFAILED\tTIME\tBEGUN\tFROM\tSTATE", rows)
}

func taskTable(b *strings.Builder, tasks []wire.TaskStatus) {
	var rows []string
	for _, t := range tasks {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s", printable(t.Name), t.State, printable(t.NodeName), waits(t.Waiting)))
	}
	table(b, "TASK\tSTATE\tNODE\tWAITS", rows)
}

func nodeTable(b *strings.Builder, nodes []wire.NodeStatus) {
	var rows, notes []string
	for _, n := range nodes {
		store := Bytes(n.StoreUsed)
		if n.StoreMax > 0 {
			store += " of " + Bytes(n.StoreMax)
		}
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
			labels = append(labels, printable(k+"="+n.Labels[k]))
		}
		state := n.State
		if n.OwnOnly {
			state += fmt.Sprintf(", for %s only: cannot bound memory", cmp.Or(spaceList(n.Tenants), "nobody"))
		}
		if n.Metered {
			state += ", metered"
		}
		if n.Quarantine != "" {
			notes = append(notes, fmt.Sprintf("%s is quarantined: %s", printable(n.Info.Name), printable(n.Quarantine)))
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%d/%d\t%s\t%s\t%d\t%s\t%s\t%s\t%s", printable(n.Info.Name), state, n.Busy, n.Slots,
			Bytes(n.MemBytes), store, n.Ran, Bytes(n.Fetched), printable(n.Owner), n.Info.Peer.Short(), strings.Join(labels, " ")))
	}
	table(b, "NODE\tSTATE\tBUSY\tMEMORY\tSTORE\tRAN\tFETCHED\tOWNER\tPEER\tLABELS", rows)
	for _, n := range notes {
		fmt.Fprintln(b, n)
	}
}

// pathTable has a line for each member and peer of it. Members know those that they have had to do
// with lately; each measures for itself, so a pair may stand there twice.
func pathTable(b *strings.Builder, nodes []wire.NodeStatus) {
	names := map[wire.PeerID]string{}
	for _, n := range nodes {
		names[n.Info.Peer] = printable(n.Info.Name)
	}
	var rows []string
	for _, n := range nodes {
		for _, p := range n.Paths {
			rtt := "-"
			if p.RTT > 0 {
				rtt = fmt.Sprintf("%.1f ms", float64(p.RTT.Microseconds())/1000)
			}
			rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s", printable(n.Info.Name),
				cmp.Or(names[p.Peer], "coordinator"), printable(p.Way), rtt))
		}
	}
	slices.Sort(rows)
	table(b, "FROM\tTO\tWAY\tRTT", rows)
}

func spaceList(spaces []wire.Space) string {
	var names []string
	for _, s := range spaces {
		names = append(names, printable(string(s)))
	}
	return strings.Join(names, ",")
}

func meshTable(b *strings.Builder, meshes []MeshInfo) {
	var rows []string
	for _, m := range meshes {
		use := ""
		if m.InUse {
			use = "in use"
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", m.Name, spaceList(m.Tenants),
			time.Unix(m.Expires, 0).Format(time.DateOnly), printable(strings.Join(m.Addrs, " ")), use))
	}
	table(b, "MESH\tTENANTS\tUNTIL\tCOORDINATOR\t", rows)
	if !slices.ContainsFunc(meshes, func(m MeshInfo) bool { return m.InUse }) {
		fmt.Fprintln(b, "in use is this machine alone")
	}
}

func (v *tableView) plan(b *strings.Builder, p *Plan) {
	v.planned = true
	for _, t := range p.Tasks {
		fmt.Fprintf(b, "%-8s %s", t.Known, printable(t.Name))
		if t.Bytes > 0 {
			fmt.Fprintf(b, "  (%s in)", Bytes(int64(t.Bytes)))
		}
		if t.Run > 0 && t.Known != KnownMemo {
			fmt.Fprintf(b, "  (about %s)", Span(t.Run))
		}
		b.WriteByte('\n')
	}
	for _, t := range p.Targets {
		fmt.Fprintf(b, "target   %s\n", printable(t))
	}
}

// gangText tells what a task is in its gang: "bench of 5, on a network as db; a service, listens on port
// 6379".
func gangText(g *wire.Gang) string {
	text := fmt.Sprintf("%s of %d", g.Name, g.Size)
	if g.Network {
		name := g.Task
		if g.Count > 1 {
			name = (&wire.NetMember{Task: g.Task, Index: g.Index}).HostName()
		}
		text += ", on a network as " + name
	}
	if g.Service {
		text += "; a service"
	}
	if g.Ready != 0 {
		text += fmt.Sprintf("; others wait until it listens on port %d", g.Ready)
	}
	return text
}

// explainTask tells all that is known of a task.
func explainTask(b *strings.Builder, t *wire.TaskStatus) {
	state := t.State.String()
	if how := hows[t.How]; how != "" {
		state += " (" + how + ")"
	}
	fmt.Fprintf(b, "%s: %s\n", printable(t.Name), state)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "  %-9s %s\n", name, printableText(value))
		}
	}
	line("waits", waits(t.Waiting))
	line("node", t.NodeName)
	if g := t.Gang; g != nil {
		line("gang", gangText(g))
	}
	line("thunk", t.Thunk.String())
	if t.Resolved != (wire.ThunkID{}) && t.Resolved != t.Thunk {
		line("resolved", t.Resolved.String())
	}
	if th, err := wire.DecodeThunk(t.Encoded); err == nil {
		line("command", quoteAll(th.Command))
		for _, v := range th.Env {
			line("env", v.Name+"="+v.Value)
		}
		line("root", th.Root.String())
		for _, in := range th.Inputs {
			line("input", fmt.Sprintf("%s  %s %s  %s", in.Path, in.Object.Kind, Bytes(int64(in.Object.Size)), in.Object.CID()))
		}
		for i, o := range th.Outputs {
			value := ""
			if i < len(t.Value) {
				value = fmt.Sprintf("  %s %s", Bytes(int64(t.Value[i].Object.Size)), t.Value[i].Object.CID())
			}
			line("output", o.Path+value)
		}
	}
	for i := range t.Attempts {
		line("attempt", ending(&t.Attempts[i])+" on "+t.Attempts[i].NodeName)
	}
	if t.Failure != nil {
		line("failure", ending(t.Failure))
		tail(b, "stderr", t.Failure.Stderr)
	}
}
