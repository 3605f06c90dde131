package overlay

import (
	"errors"
	"time"

	"gaggle/overlay/wired"
	"gaggle/wire"
)

const (
	// usedFor is how lately a route was used that is in use: longer than watchEvery.
	usedFor = 4 * time.Second
	// brokenAfter is how often in a row a way does not get through before another is taken, of three
	// probes and 0.75 s each.
	brokenAfter = 2
	// tellTries bounds how often a host is told of another way that cannot be reached by the mesh now.
	tellTries = 15
)

// watch looks after the ways in use until the agent ends: no packet asks for a new route while there is
// one.
func (k *kernel) watch() {
	for pause(k.agent.ctx, k.agent.watchEvery) {
		for peer, r := range k.used() {
			p := k.pair(peer)
			if p.watched.CompareAndSwap(false, true) {
				k.agent.work.Go(func() {
					defer p.watched.Store(false)
					k.look(peer, p, r)
				})
			}
		}
	}
}

// used returns the peers to which a route is in use, with one each. Those too that decide: they may hear nothing
// by the way, and so not use it.
func (k *kernel) used() map[wire.PeerID]wired.Stat {
	k.mu.Lock()
	none := len(k.pairs) == 0
	k.mu.Unlock()
	if none {
		return nil
	}
	all, err := k.plane.Routes()
	if err != nil {
		k.agent.log.Warn("looking for the ways in use", "error", err)
	}
	used := map[wire.PeerID]wired.Stat{}
	for _, r := range all {
		n := k.agent.network(r.VNI)
		if r.Way == wired.Local || r.Idle > usedFor || n == nil || n.ended.Load() {
			continue
		}
		host, _, ok := addressAt(r.Dst).split()
		if peer, there := n.hosts[host]; ok && there && peer != k.agent.self {
			used[peer] = r
		}
	}
	return used
}

// look tries a way that is in use. One that gets nowhere is given up for the link; later, when its time
// comes, the agent looks for a better one than the link.
func (k *kernel) look(peer wire.PeerID, p *pairing, r wired.Stat) {
	p.mu.Lock()
	was, at := p.path, p.at
	p.mu.Unlock()
	var w path
	switch now := time.Now(); {
	case was.way == wired.Direct || was.way == wired.External:
		if !k.broken(was) {
			return
		}
		if !k.decides(peer) {
			k.askForAgent(peer, r)
			return
		}
		w = path{way: wired.Agent, until: time.Now().Add(agentLasts)}
		k.agent.log.Info("a host in a trusted network is reached no more; packets go over the mesh", "peer", peer, "host", was.host)
	case was.way == wired.Agent && now.After(was.until) && len(at.Here) > 0:
		w = k.try(at)
	default:
		return
	}
	p.mu.Lock()
	changed := p.path == was
	if changed {
		k.replace(peer, p, w)
	}
	p.mu.Unlock()
	if changed && !was.same(w) {
		k.tellWay(peer, r)
	}
}

// broken reports whether a way has got nowhere a few times in a row.
func (k *kernel) broken(w path) bool {
	for range brokenAfter {
		err := k.plane.Check(k.agent.ctx, w.host, w.way)
		if !errors.Is(err, wired.ErrNoWay) && !errors.Is(err, wired.ErrUntrusted) {
			return false
		}
	}
	return true
}

// tellWay tells a peer of the way that this host has decided on, by asking for a route that was in use: the
// peer may send by the old one without an end, and this host send nothing.
func (k *kernel) tellWay(peer wire.PeerID, r wired.Stat) {
	a, n := k.agent, k.agent.network(r.VNI)
	for range tellTries {
		mine, ok := k.anyHere(n, peer)
		if !ok {
			return
		}
		_, _, err := k.agree(n, peer, mine, addressAt(r.Dst))
		if err == nil {
			return
		}
		a.log.Debug("telling a host of another way", "peer", peer, "error", err)
		if !pause(a.ctx, a.watchEvery) {
			return
		}
	}
}

// anyHere returns the address of an endpoint here, to which the peer may have a route then.
func (k *kernel) anyHere(n *network, peer wire.PeerID) (address, bool) {
	if n == nil {
		return 0, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.here {
		if s := k.bound(n, e.addr); s != nil && s.tell(peer) {
			return e.addr, true
		}
	}
	return 0, false
}

// askForAgent has a peer that decides take the link, since this host gets nowhere.
func (k *kernel) askForAgent(peer wire.PeerID, r wired.Stat) {
	a, n := k.agent, k.agent.network(r.VNI)
	mine, ok := k.anyHere(n, peer)
	if !ok {
		return
	}
	ans, err := a.ask(a.ctx, peer, question{VNI: r.VNI, Way: &wayQuestion{From: mine, To: addressAt(r.Dst)}})
	if err != nil || ans.Way == nil {
		return
	}
	if w, ok := k.accept(ans.Way.Way, ans.Way.Plane); ok {
		k.settle(peer, w)
	}
}
