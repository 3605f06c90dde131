package worker

import (
	"errors"
	"time"

	"gaggle/wire"
)

// order carries out an order that may take long. Too many at once, or one during shutdown, are
// dropped: the coordinator gives them again when what it waits for does not come.
func (w *Worker) order(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.orders >= maxOrders {
		return
	}
	w.seq++
	seq := w.seq
	w.orders++
	if !w.spawn(func() {
		defer w.ordered()
		if w.copies.enter(w.ctx, 0, seq) != nil {
			return
		}
		defer w.copies.leave()
		f()
	}) {
		w.orders--
	}
}

func (w *Worker) ordered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orders--
}

// copy fetches an object, makes it durable and reports it.
func (w *Worker) copy(c wire.CopyOrder) {
	o := c.Held.Object
	if !w.whole(c.Space, []wire.Object{o}) {
		c.Held.Peers = c.Held.Peers[:min(len(c.Held.Peers), wire.MaxHolders)]
		report, err := w.cfg.Exchange.Fetch(w.ctx, c.Space, []wire.Held{c.Held}, nil)
		w.learned(report)
		if err != nil {
			w.log.Info("cannot copy an object", "object", o.CID(), "error", err)
			if wire.CauseOf(err) == wire.CauseDiskFull {
				w.drain()
			}
			return
		}
	}
	w.hold(c.Space, []wire.Object{o})
	w.syncs.add(c.Space, []wire.Object{o})
}

// probe measures the link from a peer.
func (w *Worker) probe(p wire.PeerID) {
	l, err := w.cfg.Exchange.Probe(w.ctx, p)
	if err != nil {
		w.log.Info("cannot measure a link", "from", p, "error", err)
		return
	}
	w.links.add([]wire.Link{l})
}

// drainFor is how often a node whose disk is full looks again.
const drainFor = 5 * time.Second

// drain takes no more work until the disk has room. What waits is given back.
func (w *Worker) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.draining || !w.spawn(w.waitForRoom) {
		return
	}
	w.draining = true
	w.log.Warn("the store's disk is full: taking no work until there is room")
	w.giveBackAll(errors.New("the disk is full"))
	w.sendBeat()
}

func (w *Worker) waitForRoom() {
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(drainFor):
		}
		if _, err := w.cfg.Store.Trim(w.ctx); err != nil {
			w.log.Info("cannot trim the store", "error", err)
		}
		if w.cfg.Room == nil || w.cfg.Room() {
			break
		}
	}
	w.log.Warn("the store's disk has room again")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = false
	w.sendBeat()
}
