package overlay

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gaggle/overlay/wired"
	"gaggle/sandbox"
	"gaggle/wire"
)

// A network is what an agent knows of a wire.Network. All but the guarded fields are fixed.
type network struct {
	vni     uint32
	space   wire.Space
	members []wire.NetMember
	hosts   map[uint16]wire.PeerID
	names   map[string][]int // lower case; members in the order of their index
	count   netCount

	ended   atomic.Bool // forgotten
	endedAt time.Time   // guarded by the agent's mu

	mu      sync.Mutex        // guards the fields below
	here    map[int]*endpoint // members that run here
	over    map[int]bool      // members that ran here and have ended
	places  map[int]address   // of members elsewhere, as far as they were asked for
	watches map[int]*watch    // of members that somebody waits for, or that listen
	changed chan struct{}     // closed and replaced when here or over change

	meeting chan struct{} // capacity 1: held by a member that asks for the others
}

// newNetwork checks what the coordinator says.
func newNetwork(n *wire.Network) (*network, error) {
	if err := n.Check(); err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "", "%v", err)
	}
	net := &network{vni: n.VNI, space: n.Space, members: slices.Clone(n.Members), hosts: map[uint16]wire.PeerID{},
		names: map[string][]int{}, here: map[int]*endpoint{}, over: map[int]bool{}, places: map[int]address{}, watches: map[int]*watch{},
		changed: make(chan struct{}), meeting: make(chan struct{}, 1),
		count: netCount{pairs: map[wire.PeerID]*pairCount{}, losses: map[wire.PeerID]*[numDrops]atomic.Uint64{}, lost: map[wire.PeerID]wired.Drops{}}}
	for i := range net.members {
		m := &net.members[i]
		if p, there := net.hosts[m.Host]; there && p != m.Peer {
			return nil, wire.Errorf(wire.CauseInvalid, "", "network %d: host %d is two nodes", n.VNI, m.Host)
		}
		net.hosts[m.Host] = m.Peer
		net.count.pairs[m.Peer], net.count.losses[m.Peer] = new(pairCount), new([numDrops]atomic.Uint64)
		for _, name := range namesOf(m) {
			net.names[name] = append(net.names[name], i)
		}
	}
	for _, is := range net.names {
		slices.SortFunc(is, func(a, b int) int { return net.members[a].Index - net.members[b].Index })
	}
	return net, nil
}

// namesOf returns the names by which a member is found: its task's, and its own.
func namesOf(m *wire.NetMember) []string { return []string{strings.ToLower(m.Task), m.HostName()} }

// end takes the network from its endpoints. Called with the agent's mu held.
func (n *network) end() {
	if n.ended.Swap(true) {
		return
	}
	n.endedAt = time.Now()
	n.mu.Lock()
	here := slices.Collect(maps.Values(n.here))
	n.change()
	n.mu.Unlock()
	for _, e := range here {
		e.net.CompareAndSwap(n, nil)
		if d, ok := e.dev.(binder); ok {
			d.unbind()
		}
	}
}

// change wakes who waits for members. Called with mu held.
func (n *network) change() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// of reports whether a peer is one of the network's hosts.
func (n *network) of(p wire.PeerID) bool {
	for _, q := range n.hosts {
		if p == q {
			return true
		}
	}
	return false
}

// peerAt returns the peer on whose host an address is; zero if it is none of the network's.
func (n *network) peerAt(a address) wire.PeerID {
	host, _, _ := a.split()
	return n.hosts[host]
}

// onHost reports whether the address is of a host of the network, and that host the peer.
func (n *network) onHost(a address, p wire.PeerID) bool {
	host, _, ok := a.split()
	return ok && n.hosts[host] == p
}

// A membership is a member of a network that runs here.
type membership struct {
	agent  *Agent
	vni    uint32
	member int
}

// Env is as in sandbox.Membership.
func (m *membership) Env() []string {
	n := m.agent.network(m.vni)
	if n == nil || m.member < 0 || m.member >= len(n.members) {
		return nil
	}
	w := &n.members[m.member]
	return []string{"GAGGLE_TASK=" + w.Task, "GAGGLE_INDEX=" + strconv.Itoa(w.Index), "GAGGLE_COUNT=" + strconv.Itoa(w.Count)}
}

// Join is as in sandbox.Membership.
func (m *membership) Join(c sandbox.Cable) (leave func(), err error) {
	a := m.agent
	e, ok := c.(*endpoint)
	if !ok || e.agent != a {
		return nil, wire.Errorf(wire.CauseInternal, "", "a cable of another agent")
	}
	n, err := a.known(m.vni)
	if err != nil {
		return nil, err
	}
	if m.member < 0 || m.member >= len(n.members) {
		return nil, wire.Errorf(wire.CauseInvalid, "", "network %d has no member %d", m.vni, m.member)
	}
	a.mu.Lock()
	host := a.host
	a.mu.Unlock()
	w := &n.members[m.member]
	switch {
	case host != e.host:
		return nil, sandbox.ErrStale
	case w.Host != host || w.Peer != a.self:
		return nil, wire.Errorf(wire.CauseSandbox, "", "member %d of network %d is to run on host %d, and this is host %d", m.member, m.vni, w.Host, host)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.ended.Load():
		return nil, wire.Errorf(wire.CauseSandbox, "", "network %d has ended", m.vni)
	case n.here[m.member] != nil:
		return nil, wire.Errorf(wire.CauseSandbox, "", "member %d of network %d runs here already", m.member, m.vni)
	case !e.net.CompareAndSwap(nil, n):
		return nil, wire.Errorf(wire.CauseInternal, "", "a cable that is in use")
	}
	if err := e.start(); err != nil {
		e.net.Store(nil)
		return nil, err
	}
	delete(n.over, m.member)
	n.here[m.member] = e
	n.change()
	return func() { m.leave(n, e) }, nil
}

// meetFor bounds how long members wait for each other: their nodes may have to fetch what they need.
const meetFor = 10 * time.Minute

// Await waits until all others are on the network, or have been: programs that look for each other as
// they start would find nobody otherwise. Those that others wait for to listen start without these.
func (m *membership) Await(ctx context.Context) error {
	n, err := m.agent.known(m.vni)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, meetFor)
	defer cancel()
	select { // one asks for all who are here
	case n.meeting <- struct{}{}:
		defer func() { <-n.meeting }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var others []int
	for i := range n.members {
		if i != m.member && (n.members[m.member].Waits() || !n.members[i].Waits()) {
			others = append(others, i)
		}
	}
	for k, at := range m.agent.lookUp(ctx, n, others) {
		switch {
		case n.ended.Load():
			return errNetworkEnded
		case at == 0:
			return wire.Errorf(wire.CauseUnreachable, "coord nodes --paths tells whether its node can be reached from here",
				"%s did not join the network: %v", n.members[others[k]].HostName(), context.Cause(ctx))
		}
	}
	return nil
}

// leave takes the member off the network. What its command sent last still goes out.
func (m *membership) leave(n *network, e *endpoint) {
	e.stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.here, m.member)
	delete(n.watches, m.member)
	n.over[m.member] = true
	n.change()
	e.net.CompareAndSwap(n, nil)
}
