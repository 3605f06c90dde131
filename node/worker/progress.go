package worker

import (
	"maps"
	"slices"
	"sync"

	"gaggle/blobstore/exchange"
	"gaggle/wire"
)

// A phase is what a lease is doing, as far as people are told.
type phase struct {
	mu    sync.Mutex    // guards the fields below
	now   wire.Progress // without the lease
	fresh bool          // not told yet
}

func (p *phase) set(name string, done, total int64, from wire.PeerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = wire.Progress{Phase: name, Done: done, Total: total, From: from}
	p.fresh = true
}

// news returns what has not been told yet.
func (p *phase) news() (wire.Progress, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.fresh = false }()
	return p.now, p.fresh
}

// sendProgress tells what the leases are doing and how the links are: at each tick at most once
// for each. Thunks that end between two ticks are told by their results alone.
func (w *Worker) sendProgress(out *outbox) {
	for _, l := range w.moving() {
		if p, fresh := l.shown.news(); fresh {
			p.Lease = l.Lease
			out.progress(p)
		}
	}
	for _, l := range w.links.take() {
		out.link(l)
	}
}

// linkRates gathers measured links, the latest from each peer.
type linkRates struct {
	mu    sync.Mutex // guards the fields below
	rates map[wire.PeerID]wire.Link
}

func (r *linkRates) add(links []wire.Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rates == nil {
		r.rates = map[wire.PeerID]wire.Link{}
	}
	for _, l := range links {
		r.rates[l.From] = l
	}
}

func (r *linkRates) take() []wire.Link {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rates) == 0 {
		return nil
	}
	byPeer := func(a, b wire.Link) int { return slices.Compare(a.From[:], b.From[:]) }
	ls := slices.SortedFunc(maps.Values(r.rates), byPeer)
	clear(r.rates)
	return ls
}

// Learned tells the coordinator what a fetch has found out about other peers: rates, and who does
// not have what it should. Of a submitter's machine that includes the fetches of targets.
func (w *Worker) Learned(r exchange.Report) {
	w.links.add(r.Links)
	if len(r.Gone) > 0 {
		w.tell(func(out *outbox) { out.gone(r.Gone) })
	}
}
