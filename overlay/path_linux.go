package overlay

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gaggle/overlay/wired"
	"gaggle/wire"
)

const (
	// maxAsking bounds the addresses that are asked about at once, maxHeld the packets that wait for
	// one of them: what a slot may miss in a moment.
	maxAsking = 4096
	maxHeld   = 64
	// waysLast is how long a way between two hosts is good before it is tried again when the next
	// route is wanted, agentLasts the same where none but the agent's was found, and while that is
	// used (watch_linux.go).
	waysLast   = time.Minute
	agentLasts = 30 * time.Second
)

// asking are the packets that wait for one route.
type asking struct {
	began  time.Time
	frames []wired.Frame
	gone   bool // its host said that the address is no more
}

// A path is how packets go to a peer, and from it.
type path struct {
	way   wired.Way // Direct, External or Agent
	host  netip.AddrPort
	from  netip.AddrPort // where the peer sees this host
	mtu   int            // of the peer's slots
	until time.Time      // of who decides
}

// same reports whether routes of the one are good for the other.
func (p path) same(q path) bool { return p.way == q.way && p.host == q.host && p.mtu == q.mtu }

func (p path) to() wired.To { return wired.To{Way: p.way, Host: p.host, MTU: p.mtu} }

// A pairing is what this host and another have agreed on.
type pairing struct {
	watched atomic.Bool // its way is being looked at

	mu   sync.Mutex // held while the other is tried; guards the fields below
	path path       // zero: none
	at   planeAt    // where the other's plane is, if this host decides
}

func (k *kernel) pair(p wire.PeerID) *pairing {
	k.mu.Lock()
	defer k.mu.Unlock()
	q := k.pairs[p]
	if q == nil {
		q = new(pairing)
		k.pairs[p] = q
	}
	return q
}

// hold keeps a packet that has no route, and has that be found. It returns false if it is dropped.
func (k *kernel) hold(f wired.Frame) bool {
	a, n := k.agent, k.agent.network(f.VNI)
	if n == nil || n.ended.Load() {
		a.count.drop(DropUnbound)
		return false
	}
	n.count.missed.Add(1)
	p := packet{b: f.Packet}
	there, mine := p.dst(), p.src()
	if f.Why == wired.Stranger {
		there, mine = mine, there
	}
	key := place{f.VNI, there}
	k.mu.Lock()
	defer k.mu.Unlock()
	q := k.asking[key]
	if q == nil && len(k.asking) < maxAsking {
		q = &asking{began: time.Now()}
		k.asking[key] = q
		a.work.Go(func() { k.find(n, key, mine, q) })
	}
	if q == nil || len(q.frames) >= maxHeld {
		a.count.dropOf(n, DropQueue)
		return false
	}
	q.frames = append(q.frames, f)
	return true
}

// drain waits until no packet of an endpoint waits for its route, for drainFor at most.
func (k *kernel) drain(from place) {
	const every = 2 * time.Millisecond
	ctx, cancel := context.WithTimeout(k.agent.ctx, drainFor)
	defer cancel()
	for k.waits(from) && pause(ctx, every) {
	}
}

func (k *kernel) waits(from place) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, q := range k.asking {
		if key.vni == from.vni && slices.ContainsFunc(q.frames, func(f wired.Frame) bool {
			return (&packet{b: f.Packet}).src() == from.at
		}) {
			return true
		}
	}
	return false
}

// find finds the route to a place of another host that mine talks to, and has the packets go on.
func (k *kernel) find(n *network, key place, mine address, q *asking) {
	routed := k.route(n, key.at, mine)
	k.mu.Lock()
	delete(k.asking, key)
	gone := q.gone
	k.mu.Unlock()
	if gone && routed {
		routed = false
		k.unroute(key)
	}
	for _, f := range q.frames {
		if !routed {
			k.astray(n, f)
		} else if err := k.plane.Resend(f); err != nil {
			k.agent.count.dropOf(n, DropDevice)
		}
	}
	k.agent.count.found.add(time.Since(q.began))
}

// astray has a packet go the agent's way for which there is no route: whoever is to answer it does.
func (k *kernel) astray(n *network, f wired.Frame) {
	p := packetOf(f)
	if s := k.bound(n, p.src()); s != nil && f.Why == wired.Miss {
		_, slot, _ := s.at.split()
		if e := k.agent.slots[slot].Load(); e != nil {
			e.send(p)
		}
		return
	}
	k.agent.count.dropOf(n, DropUnbound)
}

func (k *kernel) unroute(to place) {
	if err := k.plane.Unroute(to.vni, to.at.ip()); err != nil {
		k.agent.log.Warn("taking a route away", "error", err)
	}
}

// route sets the route to an address of another host, and has that set the one back to mine. It returns
// false if there is to be none.
func (k *kernel) route(n *network, at, mine address) bool {
	a := k.agent
	host, _, ok := at.split()
	peer, there := n.hosts[host]
	if !ok || !there || peer == a.self {
		return false
	}
	s := k.bound(n, mine)
	if s == nil || !s.tell(peer) {
		return false
	}
	w, there, err := k.agree(n, peer, mine, at)
	if err != nil {
		a.log.Debug("asking for the way to a host", "peer", peer, "error", err)
	}
	if err != nil || !there {
		return false
	}
	if err := k.plane.Route(n.vni, at.ip(), w.to()); err != nil {
		a.log.Warn("packets for another host go by the agent", "error", err)
		return false
	}
	return true
}

// agree finds the way to a peer, and whether it has the address.
func (k *kernel) agree(n *network, peer wire.PeerID, mine, at address) (w path, there bool, err error) {
	a := k.agent
	q := wayQuestion{Plane: k.here(), From: mine, To: at}
	if k.decides(peer) {
		w, err = k.decide(peer, nil, func() (planeAt, error) {
			r, err := a.ask(a.ctx, peer, question{VNI: n.vni, Way: &wayQuestion{Plane: q.Plane}})
			if err != nil || r.Way == nil {
				return planeAt{}, err
			}
			return r.Way.Plane, nil
		})
		if err != nil {
			return w, false, err
		}
		q.Way = k.told(w)
	}
	for range 2 {
		r, err := a.ask(a.ctx, peer, question{VNI: n.vni, Way: &q})
		switch {
		case err != nil:
			return w, false, err
		case r.Way == nil: // it has no plane
			if w.way != wired.Agent {
				w = path{way: wired.Agent}
				k.settle(peer, w)
			}
			return w, true, nil
		case k.decides(peer):
			if r.Way.Way == nil { // it is not where it was, or sees this host elsewhere
				k.settle(peer, path{})
				return w, false, nil
			}
			return w, r.Way.There, nil
		}
		if w, ok := k.accept(r.Way.Way, r.Way.Plane); ok {
			k.settle(peer, w)
			return w, r.Way.There, nil
		}
		q.Plane = planeAt{} // so that it decides for the agent
	}
	return w, false, nil
}

func (k *kernel) decides(peer wire.PeerID) bool { return comparePeers(k.agent.self, peer) < 0 }

// decide returns the way to a peer, which is tried unless that was done lately. Where its plane is is known,
// or asked for.
func (k *kernel) decide(peer wire.PeerID, known *planeAt, ask func() (planeAt, error)) (path, error) {
	p := k.pair(peer)
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.path; w.way != 0 && time.Now().Before(w.until) &&
		(known == nil || w.way == wired.Agent || slices.Contains(known.Here, w.host)) {
		return w, nil
	}
	if known == nil {
		at, err := ask()
		if err != nil {
			return path{}, err
		}
		known = &at
	}
	if len(known.Here) > 0 {
		p.at = *known
	}
	w := k.try(*known)
	k.replace(peer, p, w)
	return w, nil
}

// try finds the way to a plane.
func (k *kernel) try(at planeAt) path {
	for _, host := range at.Here[:min(len(at.Here), maxHere)] {
		way, err := k.plane.Try(k.agent.ctx, host)
		if err != nil {
			k.agent.log.Debug("trying the way to a host", "host", host, "error", err)
			continue
		}
		if from, err := k.plane.From(host.Addr()); err == nil {
			return path{way: way, host: host, from: from, mtu: at.MTU, until: time.Now().Add(waysLast)}
		}
	}
	return path{way: wired.Agent, until: time.Now().Add(agentLasts)}
}

// settle notes the way that was agreed on.
func (k *kernel) settle(peer wire.PeerID, w path) {
	p := k.pair(peer)
	p.mu.Lock()
	defer p.mu.Unlock()
	k.replace(peer, p, w)
}

// replace notes a new way. Routes of the old one go: each of the two hosts drops what comes the way that
// it does not go itself. Called with the pairing's mu held.
func (k *kernel) replace(peer wire.PeerID, p *pairing, w path) {
	old := p.path
	p.path = w
	if old.way == 0 || old.same(w) {
		return
	}
	all, err := k.plane.Routes()
	if err != nil {
		k.agent.log.Warn("replacing the way to a host", "error", err)
	}
	for _, r := range all {
		at := addressAt(r.Dst)
		if n := k.agent.network(r.VNI); r.Way != wired.Local && (n == nil || n.onHost(at, peer)) {
			k.unroute(place{r.VNI, at})
		}
	}
}
