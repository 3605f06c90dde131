package sched

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// toldNetwork notes a network that a node is told of. Its number must be none that was there before.
func (w *world) toldNetwork(a Network) {
	if err := a.Network.Check(); err != nil {
		w.t.Fatalf("at %v: %v", w.now, err)
	}
	if !slices.Contains(w.networks, a.Network) {
		if slices.ContainsFunc(w.networks, func(o *wire.Network) bool { return o.VNI == a.Network.VNI }) {
			w.t.Fatalf("at %v network %d was there before", w.now, a.Network.VNI)
		}
		w.networks = append(w.networks, a.Network)
	}
	w.node(a.Node).nets[a.Network.VNI] = a.Network
}

// checkPlace: a networked thunk is offered to the node that its network names, which was told of it.
func (w *world) checkPlace(a Offer) {
	o, n := a.Offer, w.node(a.Node)
	th, err := wire.DecodeThunk(o.Thunk)
	if err != nil {
		w.t.Fatal(err)
	}
	if th.ABI == wire.ABINetworked && o.Net == nil {
		w.t.Fatalf("at %v %s, of profile %d, is offered with the place %v", w.now, o.Name, th.ABI, o.Net)
	}
	if o.Net == nil {
		return
	}
	net := n.nets[o.Net.VNI]
	if net == nil || o.Net.Member >= len(net.Members) {
		w.t.Fatalf("at %v %s is offered on network %d, of which %s was not told", w.now, o.Name, o.Net.VNI, n.hello.Name)
	}
	if m := net.Members[o.Net.Member]; m.Peer != n.peer || m.Host != n.host || !o.Fresh {
		w.t.Fatalf("at %v %s is offered to %s as %+v", w.now, o.Name, n.hello.Name, m)
	}
}

// givesNetworks has all nodes with slots say so.
func (w *world) givesNetworks() {
	for _, n := range w.nodes {
		if n.hello.Slots > 0 {
			n.hello.Overlay, n.hello.Versions.ABIs = true, []uint64{wire.ABI, wire.ABINetworked}
			n.disconnect()
			n.connect()
		}
	}
}

// A gangSpec is a gang on a network: so many services, which listen on a port, and others.
type gangSpec struct {
	name             string
	services, others int
	deterministic    bool
	hints            wire.Hints
}

// netPlan makes gangs tasks of a plan. Their tasks are called NAME-sI and NAME-oI.
func netPlan(t testing.TB, gangs ...gangSpec) *plan {
	p := &plan{ids: map[string]wire.ThunkID{}, leaves: []wire.Object{testRoot}}
	for _, g := range gangs {
		size := g.services + g.others
		for i := range size {
			kind, index, count := "o", i-g.services, g.others
			th := wire.Thunk{Root: wire.TreeID(testRoot.Digest), Platform: "linux/amd64", ABI: wire.ABINetworked}
			if i < g.services {
				kind, index, count = "s", i, g.services
			} else {
				th.Outputs = []wire.Output{{Path: "out", Kind: wire.File}}
			}
			name := fmt.Sprintf("%s-%s%d", g.name, kind, index)
			th.Command = []string{name}
			p.ids[name] = p.add(t, name, th, g.hints)
			spec := &wire.Gang{Name: g.name, Size: size, Network: true, Task: kind, Index: index, Count: count, Deterministic: g.deterministic}
			if kind == "s" {
				spec.Service, spec.Ready = true, 80
			}
			p.tasks[len(p.tasks)-1].Gang = spec
		}
	}
	return p
}

func TestNetworkOfAGang(t *testing.T) {
	w, client := small(t, 2)
	w.givesNetworks()
	p := netPlan(t, gangSpec{name: "g", services: 1, others: 3})
	w.runs = func(name string) time.Duration {
		if strings.Contains(name, "-s") {
			return time.Hour
		}
		return time.Second
	}
	id := w.submit(1, client, p, nil, "g-o0", "g-o2")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "g-o0", "g-o2")
	if len(w.networks) != 1 || len(w.networks[0].Members) != 4 {
		t.Fatalf("told of %+v, want one network of 4", w.networks)
	}
	if w.s.memos.n != 0 {
		t.Errorf("%d values are remembered of a gang that is not deterministic", w.s.memos.n)
	}
	w.run(time.Second, nil)
	for _, n := range w.nodes {
		if len(n.leases) > 0 {
			t.Errorf("%s still runs %s", n.hello.Name, n.leases[0].offer.Name)
		}
	}
	w.wantIdle()
}

// A lost member has the whole gang begin again on another network, and what runs of the old one is
// cancelled.
func TestNetworkOfTheNextGeneration(t *testing.T) {
	w, client := small(t, 3)
	w.givesNetworks()
	w.runs = func(string) time.Duration { return 20 * time.Second }
	p := netPlan(t, gangSpec{name: "g", others: 4})
	id := w.submit(1, client, p, nil, "g-o0")
	w.run(2*time.Second, nil)
	old := w.networks[0]
	w.wantShown(id, old, 0)
	i := slices.IndexFunc(w.nodes, func(n *simNode) bool { return n.peer == old.Members[0].Peer })
	w.nodes[i].crash(false)
	w.run(30*time.Second, func() bool { return len(w.networks) == 2 })
	w.run(time.Second, nil)
	w.wantShown(id, w.networks[1], 1)
	for _, n := range w.nodes {
		for _, l := range n.leases {
			if l.offer.Net.VNI == old.VNI {
				t.Errorf("%s still runs %s on the old network", n.hello.Name, l.offer.Name)
			}
		}
	}
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "g-o0")
	w.wantIdle()
	if all := w.s.Networks(id); len(all) != 0 {
		t.Errorf("of a job that has ended networks are shown: %+v", all)
	}
}

// wantShown wants the only network of a job to be shown as nodes were told it.
func (w *world) wantShown(id wire.JobID, told *wire.Network, generation int) {
	w.t.Helper()
	all := w.s.Networks(id)
	if len(all) != 1 || all[0].VNI != told.VNI || all[0].Generation != generation {
		w.t.Fatalf("shown are %+v, want network %d in generation %d", all, told.VNI, generation)
	}
	shown := map[string]wire.PeerID{}
	for _, n := range all[0].Nodes {
		for _, m := range n.Members {
			shown[m] = n.Peer
		}
	}
	for i := range told.Members {
		if m := &told.Members[i]; shown[m.HostName()] != m.Peer {
			w.t.Errorf("%s is on %v, and shown on %v", m.HostName(), m.Peer, shown[m.HostName()])
		}
	}
	if len(shown) != len(told.Members) {
		w.t.Errorf("%d members are shown of %d", len(shown), len(told.Members))
	}
}

// A gang that a coordinator's restart meets begins again at once, on a network of another number, and
// nodes keep theirs.
func TestNetworkAcrossARestart(t *testing.T) {
	w, client := small(t, 2)
	w.givesNetworks()
	w.runs = func(string) time.Duration { return 20 * time.Second }
	p := netPlan(t, gangSpec{name: "g", others: 3})
	id := w.submit(1, client, p, nil, "g-o0")
	w.run(2*time.Second, nil)
	hosts := []uint16{w.nodes[1].host, w.nodes[2].host}
	w.restart()
	w.run(8*time.Second, func() bool { return len(w.networks) == 2 })
	w.run(time.Second, nil)
	for i, n := range w.nodes[1:] {
		if n.host == 0 || n.host != hosts[i] {
			t.Errorf("%s has the number %d, had %d", n.hello.Name, n.host, hosts[i])
		}
		for _, l := range n.leases {
			if l.offer.Net.VNI != w.networks[1].VNI {
				t.Errorf("%s still runs %s of the earlier life", n.hello.Name, l.offer.Name)
			}
		}
	}
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "g-o0")
}

// What the member of a generation that is over gives late is nobody's value.
func TestLateResultOfAGang(t *testing.T) {
	w, client := small(t, 2)
	w.givesNetworks()
	p := netPlan(t, gangSpec{name: "g", others: 2})
	w.runs = func(string) time.Duration { return 10 * time.Second }
	id := w.submit(1, client, p, nil, "g-o0")
	w.run(time.Second, nil)
	n := w.nodes[1]
	l := n.leases[0]
	w.step(Recalled{w.nodes[2].peer, w.nodes[2].leases[0].offer.Lease}) // and so the gang begins again
	th, err := wire.DecodeThunk(l.offer.Thunk)
	if err != nil {
		t.Fatal(err)
	}
	v := wire.NewValue(compute(th))
	_, enc := v.Encode()
	w.step(Resulted{n.peer, wire.Result{Lease: l.offer.Lease, Space: "t", Thunk: wire.ThunkID(wire.Sum(l.offer.Thunk)), Value: enc, Fresh: true}, v})
	if w.s.memos.n != 0 {
		t.Error("it is remembered")
	}
	if w.done[id] != nil {
		t.Errorf("it ended the job: %+v", w.done[id])
	}
}

func TestDeterministicGangIsRemembered(t *testing.T) {
	w, client := small(t, 2)
	w.givesNetworks()
	w.runs = func(name string) time.Duration {
		if strings.Contains(name, "-s") {
			return time.Hour
		}
		return time.Second
	}
	spec := gangSpec{name: "g", services: 1, others: 2, deterministic: true}
	p := netPlan(t, spec)
	id := w.submit(1, client, p, nil, "g-o0", "g-o1")
	w.run(time.Minute, w.ended(id))
	again := w.submit(2, client, p, nil, "g-o0", "g-o1")
	w.run(time.Minute, w.ended(again))
	w.wantValues(again, p, "g-o0", "g-o1")
	if c := w.done[again].Counts; c.Ran != 0 || c.Memo != 3 || len(w.networks) != 1 {
		t.Errorf("again: %+v on %d networks, want all known", c, len(w.networks))
	}
	for name, change := range map[string]func(*wire.Gang){
		"another port":         func(g *wire.Gang) { g.Ready = g.Ready / 80 * 81 },
		"not deterministic":    func(g *wire.Gang) { g.Deterministic = false },
		"another service":      func(g *wire.Gang) { g.Task = strings.ReplaceAll(g.Task, "s", "db") },
		"but not another name": nil,
	} {
		q := netPlan(t, spec)
		for i := range q.tasks {
			if q.tasks[i].Gang.Name = "other"; change != nil {
				change(q.tasks[i].Gang)
			}
		}
		before := len(w.networks)
		other := w.submit(byte(3+len(w.done)), client, q, nil, "g-o0", "g-o1")
		w.run(time.Minute, w.ended(other))
		w.wantValues(other, q, "g-o0", "g-o1")
		if ran := len(w.networks) > before; ran != (change != nil) {
			t.Errorf("%s: ran %t", name, ran)
		}
	}
	// After a restart of the coordinator it is known as well; if a value is lost, all runs again.
	w.restart()
	w.run(10*time.Second, nil)
	before := len(w.networks)
	later := w.submit(99, client, p, nil, "g-o0", "g-o1")
	w.run(time.Minute, w.ended(later))
	if w.wantValues(later, p, "g-o0", "g-o1"); len(w.networks) != before {
		t.Error("it ran again after a restart")
	}
	w.step(Released{id}, Released{again}, Released{later})
	w.dropEverywhere(w.done[later].Targets[0].Held.Object.Digest)
	w.run(time.Second, nil)
	last := w.submit(100, client, p, nil, "g-o1")
	w.run(time.Minute, w.ended(last))
	if w.wantValues(last, p, "g-o1"); len(w.networks) != before+1 {
		t.Errorf("%d networks for a gang one of whose values was lost, want another one", len(w.networks)-before)
	}
}

// The nodes that have the values of a deterministic gang come back, and with them the slots for it.
func TestGangWhoseValuesComeBack(t *testing.T) {
	w, client := small(t, 2)
	w.givesNetworks()
	w.runs = func(name string) time.Duration { return time.Second }
	p := netPlan(t, gangSpec{name: "g", others: 4, deterministic: true})
	id := w.submit(1, client, p, nil, "g-o0")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "g-o0")
	w.step(Released{id})
	for _, n := range w.nodes[1:] {
		n.disconnect()
	}
	w.run(30*time.Second, nil)
	again := w.submit(2, client, p, nil, "g-o0")
	w.run(10*time.Second, nil)
	for _, n := range w.nodes[1:] {
		n.connect()
	}
	w.run(2*time.Minute, w.ended(again))
	if c := w.done[again].Counts; c.Ran != 0 || c.Memo != 4 {
		t.Errorf("%+v, want all four remembered", c)
	}
}

// A gang is refused at once if there are too few slots, and told what to do.
func TestGangLargerThanTheNodesWithNetworks(t *testing.T) {
	w, client := small(t, 3)
	w.nodes[1].hello.Overlay, w.nodes[1].hello.Versions.ABIs = true, []uint64{wire.ABI, wire.ABINetworked}
	w.nodes[1].disconnect()
	w.nodes[1].connect()
	w.run(10*time.Second, nil)
	begun := w.now
	id := w.submit(1, client, netPlan(t, gangSpec{name: "g", others: 3}), nil, "g-o0")
	w.run(time.Minute, w.ended(id))
	if waited := w.now - begun; waited > 3*time.Second {
		t.Errorf("refused after %v, want at once", waited)
	}
	f := w.done[id].Failures[0].Failure
	if f.Cause != wire.CauseTooLarge || !strings.Contains(f.Message, `gang "g" needs 3 slots`) || !strings.Contains(f.Message, "run it have 2") || f.Hint == "" {
		t.Errorf("refused with %+v", f)
	}
	w.wantIdle()
}

// When a gang is refused, and its job stops, the job's other gangs that wait go with it.
func TestTwoGangsThatAreTooLarge(t *testing.T) {
	w, client := small(t, 2)
	w.givesNetworks()
	w.run(10*time.Second, nil)
	p := netPlan(t, gangSpec{name: "g", others: 5}, gangSpec{name: "h", others: 6}, gangSpec{name: "i", others: 2})
	id := w.submit(1, client, p, nil, "g-o0", "h-o0", "i-o0")
	w.run(time.Minute, w.ended(id))
	if d := w.done[id]; d == nil || len(d.Failures) != 1 || d.Failures[0].Failure.Cause != wire.CauseTooLarge {
		t.Errorf("ended with %+v, want the first refused", d)
	}
	if len(w.s.gangs) != 0 {
		t.Errorf("%d gangs are left", len(w.s.gangs))
	}
	w.wantIdle()
}

// Where there is one node and never another nobody waits for one.
func TestGangOnOneMachineAlone(t *testing.T) {
	for _, c := range []struct {
		name     string
		networks bool
		others   int
		want     wire.Cause
	}{{"too large", true, 3, wire.CauseTooLarge}, {"no networks", false, 2, wire.CauseNoPlatform}, {"just so", true, 2, 0}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.cfg.Alone = true
			w.begin()
			n := w.addNode("here", 2)
			n.beat()
			if c.networks {
				w.givesNetworks()
			}
			p := netPlan(t, gangSpec{name: "g", others: c.others})
			id := w.submit(1, n, p, nil, "g-o0")
			w.run(4*time.Second, w.ended(id))
			if c.want == 0 {
				w.wantValues(id, p, "g-o0")
			} else if d := w.done[id]; d == nil || len(d.Failures) != 1 || d.Failures[0].Failure.Cause != c.want {
				t.Errorf("after 4 s: %+v, want %s", d, c.want)
			}
		})
	}
}

// A gang that a node fails is tried again after a moment, and elsewhere.
func TestGangAvoidsWhereItFailed(t *testing.T) {
	w, client := small(t, 3)
	w.givesNetworks()
	w.nodes[1].bad = func(*wire.Thunk) *wire.Failure {
		return &wire.Failure{Cause: wire.CauseSandbox, Message: "no device"}
	}
	p := netPlan(t, gangSpec{name: "g", others: 3})
	id := w.submit(1, client, p, nil, "g-o0", "g-o2")
	w.run(time.Minute, w.ended(id))
	w.wantValues(id, p, "g-o0", "g-o2")
	if len(w.networks) != 2 {
		t.Errorf("%d generations, want a second one without node1", len(w.networks))
	}
	for _, m := range w.networks[1].Members {
		if m.Peer == w.nodes[1].peer {
			t.Errorf("%s-%d is on node1 again", m.Task, m.Index)
		}
	}
}

func TestNoNodeGivesNetworks(t *testing.T) {
	w, client := small(t, 2)
	id := w.submit(1, client, netPlan(t, gangSpec{name: "g", others: 1}), nil, "g-o0")
	w.run(20*time.Second, nil)
	if s := w.s.Tasks(id, ""); !strings.Contains(s[0].Waiting, "and networks") {
		t.Errorf("waits: %q", s[0].Waiting)
	}
	w.run(2*time.Minute, w.ended(id))
	if f := w.done[id].Failures[0].Failure; f.Cause != wire.CauseNoPlatform || !strings.Contains(f.Message, "no node that could run it gives networks") {
		t.Errorf("refused with %+v", f)
	}
}

// A service that ends before the others have begun, which wait for it, fails the gang; later its end is
// nothing.
func TestServiceThatEndsEarly(t *testing.T) {
	for _, c := range []struct {
		name   string
		exit   bool
		starts time.Duration // when the others begin
		want   string
	}{
		{"with an error, before", true, 20 * time.Second, "exit 1"},
		{"well, before", false, 20 * time.Second, "never listened on port 80"},
		{"with an error, and others are told to have begun later", true, 6 * time.Second, ""},
		{"well, and others are told to have begun later", false, 6 * time.Second, ""},
		{"with an error, after", true, time.Second, ""},
		{"well, after", false, time.Second, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, client := small(t, 2)
			w.givesNetworks()
			w.runs = func(name string) time.Duration {
				if strings.Contains(name, "-s") {
					return 4 * time.Second
				}
				return 20 * time.Second
			}
			w.bad = func(th *wire.Thunk) *wire.Failure {
				if c.exit && len(th.Outputs) == 0 {
					return &wire.Failure{Cause: wire.CauseExit, Message: "exit 1", Exit: 1}
				}
				return nil
			}
			w.mayStart = func(_ *simNode, o *wire.Offer) bool {
				return !strings.Contains(o.Name, "-o") || w.now >= c.starts
			}
			w.after(c.starts, func() {
				for _, n := range w.nodes {
					n.startSome()
				}
			})
			p := netPlan(t, gangSpec{name: "g", services: 1, others: 2})
			id := w.submit(1, client, p, nil, "g-o0")
			w.run(500*time.Millisecond, nil)
			if s := w.s.Tasks(id, "g-o0"); s[0].Waiting != `waiting for task "g-s0" of its gang to listen on port 80` {
				t.Errorf("waits: %q", s[0].Waiting)
			}
			if j := w.s.Jobs()[0]; j.State != "waiting" || !strings.Contains(j.Waiting, "to listen on port 80") {
				t.Errorf("the job is %s, %q", j.State, j.Waiting)
			}
			listens := func(n wire.Notice) bool {
				return n.Waiting == `waiting for task "g-s0" of its gang to listen on port 80`
			}
			if w.run(1500*time.Millisecond, nil); c.starts > 2*time.Second && !slices.ContainsFunc(w.notes, listens) {
				t.Error("whoever follows the job is not told what it waits for")
			}
			if w.run(c.starts+time.Second, w.ended(id)); c.want == "" && w.s.Jobs()[0].State != "running" {
				t.Errorf("later the job is %s", w.s.Jobs()[0].State)
			}
			w.run(time.Minute, w.ended(id))
			if c.want == "" {
				w.wantValues(id, p, "g-o0")
				return
			}
			if d := w.done[id]; len(d.Failures) != 1 || d.Failures[0].Task != "g-s0" || !strings.Contains(d.Failures[0].Failure.Message, c.want) {
				t.Errorf("failed with %+v, want %q of g-s0", d.Failures, c.want)
			}
			w.wantIdle()
		})
	}
}

// When a member can never have its inputs, the others do not wait for it for ever.
func TestGangWithAMemberThatCannotBe(t *testing.T) {
	w, client := small(t, 2)
	p := gangPlan(t, 2, false)
	first := &plan{ids: map[string]wire.ThunkID{}, leaves: p.leaves}
	th := wire.Thunk{Root: wire.TreeID(testRoot.Digest), Platform: "linux/amd64", ABI: 1, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}
	th.Command = []string{"x"}
	first.ids["x"] = first.add(t, "x", th, wire.Hints{})
	for i, name := range []string{"a", "b"} {
		th.Command = []string{name}
		if th.Inputs = nil; i == 0 {
			th.Inputs = []wire.Input{{Path: "in", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(first.ids["x"])}, Output: "out"}}
		}
		first.ids[name] = first.add(t, name, th, wire.Hints{})
		first.tasks[i+1].Gang = &wire.Gang{Name: "g", Size: 2}
	}
	w.bad = func(th *wire.Thunk) *wire.Failure {
		if th.Command[0] == "x" {
			return &wire.Failure{Cause: wire.CauseExit, Message: "exit 1", Exit: 1}
		}
		return nil
	}
	id := w.submit(1, client, first, func(s *Submitted) { s.KeepGoing = true }, "b")
	w.run(time.Minute, w.ended(id))
	if d := w.done[id]; d == nil || len(d.Failures) != 1 || d.Counts.Cancelled != 2 {
		t.Errorf("ended with %+v, want x failed and the gang given up", d)
	}
	if len(w.s.gangs) != 0 {
		t.Errorf("%d gangs are left", len(w.s.gangs))
	}
	w.wantIdle()
}

// A gang whose members need each other is refused.
func TestGangThatWaitsForItself(t *testing.T) {
	w, client := small(t, 2)
	p := makePlan(t, "a -> src; b -> a; c -> b")
	id := w.submit(1, client, p, func(s *Submitted) {
		for _, i := range []int{0, 2} {
			s.Tasks[i].Gang = &wire.Gang{Name: "g", Size: 2}
		}
	}, "c")
	if d := w.done[id]; d == nil || d.Error == nil || !strings.Contains(d.Error.Message, `gang "g" cannot start`) {
		t.Errorf("done: %+v, want the gang refused", d)
	}
	w.wantIdle()
}

// So is one whose members cannot be told apart, or be looked up.
func TestGangsThatCannotBe(t *testing.T) {
	for want, change := range map[string]func(*wire.Gang){
		"cannot be looked up":     func(g *wire.Gang) { g.Task = "1.2.3.4" },
		"is there twice":          func(g *wire.Gang) { g.Index = 0 },
		"of 9 tasks, but 2":       func(g *wire.Gang) { g.Size = 9 },
		"others are not":          func(g *wire.Gang) { g.Network = g.Index == 0 },
		"all its members are ser": func(g *wire.Gang) { g.Service = true },
	} {
		w, client := small(t, 2)
		p := netPlan(t, gangSpec{name: "g", others: 2})
		id := w.submit(1, client, p, func(s *Submitted) {
			for i := range s.Tasks {
				change(s.Tasks[i].Gang)
			}
		}, "g-o0")
		if d := w.done[id]; d == nil || d.Error == nil || !strings.Contains(d.Error.Message, want) {
			t.Errorf("done: %+v, want %q", d, want)
		}
		w.wantIdle()
	}
}

// Numbers of nodes are each one's own, and stay.
func TestHosts(t *testing.T) {
	w := newWorld(t, 1)
	seen := map[uint16]string{}
	for i := range 300 {
		n := w.addNode(fmt.Sprint("node", i), 1)
		n.hello.Overlay = true
		n.hello.Host = uint16(i % 7) // what it says is not its own most of the time
		n.disconnect()
		n.host = n.hello.Host
		n.connect()
		if n.host == 0 || n.host > wire.MaxHost || seen[n.host] != "" {
			t.Fatalf("%s has the number %d, which %q has", n.hello.Name, n.host, seen[n.host])
		}
		seen[n.host] = n.hello.Name
	}
	for _, n := range w.nodes {
		had := n.host
		n.disconnect()
		n.host = 0 // a new process
		if n.connect(); n.host != had {
			t.Errorf("%s has the number %d, had %d", n.hello.Name, n.host, had)
		}
	}
	s := New(Config{})
	s.hosts = make([]host, wire.MaxHost+1)
	for h := range s.hosts {
		s.hosts[h] = host{node: 1}
	}
	n := &node{peer: w.nodes[0].peer}
	if h := s.pickHost(n); h != 0 {
		t.Errorf("all are taken, and %d is given", h)
	}
	s.now = time.Hour
	s.hosts[7], s.hosts[9] = host{left: s.now - time.Minute}, host{left: s.now - 11*time.Minute}
	if h := s.pickHost(n); h != 9 {
		t.Errorf("%d is given, want 9, which has rested", h)
	}
	if s.hosts[9] = (host{node: 1}); s.pickHost(n) != 7 {
		t.Error("the only number that is free is not given")
	}
}

func TestVNIs(t *testing.T) {
	s := New(Config{})
	s.apply(EpochBegan{1})
	from := s.vni
	s.gangs = []*gang{{vni: from + 2}}
	if a, b := s.nextVNI(), s.nextVNI(); a != from+1 || b != from+3 {
		t.Errorf("%d and %d follow %d, %d is taken", a, b, from, from+2)
	}
	if s.vni = wire.MaxVNI; s.nextVNI() != 1 {
		t.Error("the last one is not followed by 1")
	}
	var firsts []uint32
	for e := range uint32(100) {
		firsts = append(firsts, firstVNI(e))
	}
	slices.Sort(firsts)
	for i := range firsts[1:] {
		if d := firsts[i+1] - firsts[i]; d < 50_000 {
			t.Errorf("two of a hundred epochs begin %d numbers from each other", d)
		}
	}
}
