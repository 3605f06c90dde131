package graph

import (
	"strconv"

	"gaggle/wire"
)

// A seat is the place of an instance in its gang.
type seat struct {
	gang         string
	index, count int // among the instances of the task in that gang
}

// environment tells a member which one it is, and keeps members apart that do the same: they would
// be one thunk. Instances of a count have the same as variables.
func (s *seat) environment(task string) []wire.EnvVar {
	return []wire.EnvVar{{Name: gaggleTask, Value: task}, {Name: gaggleIndex, Value: strconv.Itoa(s.index)}, {Name: gaggleCount, Value: strconv.Itoa(s.count)}}
}

// joins finds out whether t belongs to gangs and networks, and that it may.
func (x *expander) joins(t *xtask) bool {
	if t.network.set() {
		if !x.known(&t.network, x.global()) {
			return false
		}
		switch s := x.global().text(&t.network); s {
		case "loopback":
		case "overlay":
			t.net = true
		default:
			x.ps.add(t.network.pos, Nearest(s, []string{"loopback", "overlay"}), "%q is not known here", clip(s))
			return false
		}
	}
	switch {
	case !t.net && !t.gang.set():
		return true
	case x.env.Parent != nil:
		x.ps.add(t.pos, "have the whole in the graph that is submitted", "a sub-graph has no gangs and no networks")
		return false
	case t.reduce.line > 0:
		x.ps.add(t.pos, "leave gang and network out", "the instances of a reduce wait for each other, so that they cannot start together")
		return false
	case t.count.set() && t.gang.varies(t.names):
		x.ps.add(t.gang.pos, "write the same gang for all, or use for", "the instances of a count are of one gang")
		return false
	}
	for i := range t.outputs {
		if o := &t.outputs[i]; o.graph.set() {
			x.ps.add(o.pos, "let a task that needs it write the graph", "a task of a gang writes no graphs")
			return false
		}
	}
	if err := wire.CheckHostName(t.name); err != nil && t.net {
		x.ps.add(t.pos, "the others of its gang find it by its name: give it another", "%v", err)
		return false
	}
	return true
}

// seat gives the instances of t their places. A task on a network without a gang is one by itself.
func (x *expander) seat(t *xtask) bool {
	if !t.net && !t.gang.set() {
		return true
	}
	t.seats = make([]seat, len(t.insts))
	count := map[string]int{}
	for i := range t.insts {
		name := t.name
		if t.gang.set() {
			name = x.scope(t, &t.insts[i]).text(&t.gang)
		}
		if want := validName(name); want != "" {
			x.ps.add(t.gang.pos, want, "gang %q is not a usable name", clip(name))
			return false
		}
		t.seats[i] = seat{gang: name, index: count[name]}
		count[name]++
	}
	for i := range t.seats {
		t.seats[i].count = count[t.seats[i].gang]
	}
	return true
}

// take makes the thunk that was added last a member of its gang.
func (x *expander) take(t *xtask, i int, sc *scope) bool {
	s := &t.seats[i]
	g := &wire.Gang{Name: s.gang, Service: t.service, Network: t.net, Deterministic: t.deterministic}
	if t.net {
		g.Task, g.Index, g.Count = t.name, s.index, s.count
	}
	if t.ready.line > 0 {
		port, ok := x.number(&t.ready.tcp, sc, 1, 65535)
		if !ok {
			return false
		}
		g.Ready = uint16(port)
	}
	x.plan.Tasks[len(x.plan.Tasks)-1].Gang = g
	return true
}

// A gathering is the members of a gang as they are found.
type gathering struct {
	first   *xtask
	members []*wire.Gang
}

// setGangs tells every member how many they are, and checks that they can be a gang.
func (x *expander) setGangs() {
	gangs := map[string]*gathering{}
	var order []*gathering
	for _, t := range x.order {
		for i := range t.seats {
			g := gangs[t.seats[i].gang]
			if g == nil {
				g = &gathering{first: t}
				gangs[t.seats[i].gang] = g
				order = append(order, g)
			}
			g.members = append(g.members, x.plan.Tasks[t.ids[i]].Gang)
		}
	}
	for _, g := range order {
		for _, m := range g.members {
			m.Size = len(g.members)
		}
		if err := wire.CheckGang(g.members); err != nil {
			e := wire.AsError(err)
			x.ps.add(g.first.pos, e.Hint, "%s", e.Message)
		}
	}
	if len(order) > 0 && !x.ps.any() {
		x.checkStart(order)
	}
}

// checkStart checks that no gang needs, by whatever ways, what one of its own gives.
func (x *expander) checkStart(order []*gathering) {
	number := map[string]int{}
	for i, g := range order {
		number[g.members[0].Name] = i + 1
	}
	at := make(map[wire.Digest]int, len(x.plan.IDs))
	gangs := make([]int, len(x.plan.IDs))
	for i, id := range x.plan.IDs {
		at[wire.Digest(id)] = i
		if g := x.plan.Tasks[i].Gang; g != nil {
			gangs[i] = number[g.Name]
		}
	}
	stuck := wire.StuckGang(gangs, func(i int, dep func(int)) {
		for _, in := range x.plan.Thunks[i].Inputs {
			if in.Object.Kind == wire.Pending {
				dep(at[in.Object.Digest])
			}
		}
	})
	if stuck > 0 {
		g := order[stuck-1]
		x.ps.add(g.first.pos, "take tasks out of it, or let them pass on over the network what others of it need",
			"gang %q cannot start: all its tasks begin together, and one of them needs what another gives", g.members[0].Name)
	}
}

// What tells an instance of a count, or of a gang, which one it is, and on a network its address.
const (
	gaggleTask  = "GAGGLE_TASK"
	gaggleIndex = "GAGGLE_INDEX"
	gaggleCount = "GAGGLE_COUNT"
	gaggleAddr  = "GAGGLE_ADDR"
)
