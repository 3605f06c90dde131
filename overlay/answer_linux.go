package overlay

import (
	"gaggle/overlay/wired"
	"gaggle/wire"
)

// told is a way as it is told to the peer.
func (k *kernel) told(w path) *way {
	return &way{Kind: uint32(w.way), From: w.from, To: w.host}
}

// accept takes the way that the peer tells, unless it sees this host at another address than that which
// this host sends from.
func (k *kernel) accept(v *way, theirs planeAt) (path, bool) {
	if v == nil {
		return path{}, false
	}
	switch w := wired.Way(v.Kind); w {
	case wired.Agent:
		return path{way: w}, true
	case wired.Direct, wired.External:
		from, err := k.plane.From(v.From.Addr())
		return path{way: w, host: v.From, from: from, mtu: theirs.MTU}, err == nil && from == v.To
	}
	return path{}, false
}

// answer is what this host has to say to a peer of the network, which talks to an address here.
func (k *kernel) answer(n *network, peer wire.PeerID, q *wayQuestion) *wayAnswer {
	for _, at := range q.Gone[:min(len(q.Gone), maxHeld)] {
		if n.onHost(at, peer) {
			k.gone(place{n.vni, at})
		}
	}
	r := &wayAnswer{Plane: k.here()}
	if !n.onHost(q.To, k.agent.self) || !n.onHost(q.From, peer) {
		return r
	}
	w, err := path{way: wired.Agent}, error(nil)
	if k.decides(peer) {
		w, err = k.decide(peer, &q.Plane, nil)
	} else if q.Way != nil {
		var ok bool
		if w, ok = k.accept(q.Way, q.Plane); !ok {
			w = path{}
		}
		k.settle(peer, w)
	}
	if err != nil || w.way == 0 {
		return r
	}
	r.Way = k.told(w)
	if s := k.bound(n, q.To); s != nil && s.tell(peer) {
		if err = k.plane.Route(n.vni, q.From.ip(), w.to()); err == nil {
			r.There = true
			return r
		}
		k.agent.log.Warn("packets of another host come by the agent", "error", err)
	}
	return r
}

// gone takes the route to an address away whose endpoint has ended, so that who sends there is refused by
// its host.
func (k *kernel) gone(at place) {
	k.mu.Lock()
	if q := k.asking[at]; q != nil {
		q.gone = true
	}
	k.mu.Unlock()
	k.unroute(at)
}

// tellGone tells hosts that an endpoint has ended.
func (k *kernel) tellGone(n *network, at address, told map[wire.PeerID]bool) {
	a := k.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil || n.ended.Load() {
		return
	}
	for p := range told {
		a.work.Go(func() {
			if _, err := a.ask(a.ctx, p, question{VNI: n.vni, Way: &wayQuestion{Gone: []address{at}}}); err != nil {
				a.log.Debug("telling a host of an end", "peer", p, "error", err)
			}
		})
	}
}
