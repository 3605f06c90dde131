package worker

import (
	"errors"
	"time"

	"gaggle/wire"
)

const (
	// maxCopiers is how many batches of copies are under way at once, copyBatch and copyBytes
	// what one holds: many small objects travel in one request, a large one alone.
	maxCopiers = 4
	copyBatch  = 256
	copyBytes  = 64 << 20
	// maxCopies and maxProbes bound the orders that wait. More are dropped: the coordinator gives
	// them again when what it waits for does not come.
	maxCopies = 1 << 18
	maxProbes = 64
)

// orderCopies queues copies and sees that somebody works on them.
func (w *Worker) orderCopies(orders []wire.CopyOrder) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.toCopy = append(w.toCopy, orders[:min(len(orders), maxCopies-len(w.toCopy))]...)
	if len(w.toCopy) > 0 && w.copiers < maxCopiers && w.spawn(w.copyAll) {
		w.copiers++
	}
}

// copyAll works off the queue.
func (w *Worker) copyAll() {
	for {
		batch := w.nextCopies()
		if batch == nil {
			return
		}
		w.copyBatch(batch)
	}
}

// nextCopies takes a batch of one space off the queue. If there is none, or the worker stops, it
// signs the caller off.
func (w *Worker) nextCopies() []wire.CopyOrder {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.toCopy) == 0 || w.stopping {
		w.toCopy = nil
		w.copiers--
		return nil
	}
	var bytes uint64
	n := 0
	for n < len(w.toCopy) && n < copyBatch && w.toCopy[n].Space == w.toCopy[0].Space {
		if bytes += w.toCopy[n].Held.Object.Size; n > 0 && bytes > copyBytes {
			break
		}
		n++
	}
	batch := w.toCopy[:n:n]
	w.toCopy = w.toCopy[n:]
	return batch
}

// copyBatch fetches objects of one space, makes them durable and reports them. One that cannot be
// had does not keep the others: they are then fetched one by one.
func (w *Worker) copyBatch(orders []wire.CopyOrder) {
	space := orders[0].Space
	var want []wire.Held
	for _, c := range orders {
		if !w.whole(space, []wire.Object{c.Held.Object}) {
			c.Held.Peers = c.Held.Peers[:min(len(c.Held.Peers), wire.MaxHolders)]
			want = append(want, c.Held)
		}
	}
	if err := w.copyFrom(space, want); err != nil && len(want) > 1 {
		for _, h := range want {
			if w.ctx.Err() == nil && !w.whole(space, []wire.Object{h.Object}) {
				// It was logged; what is whole in the end is reported below.
				_ = w.copyFrom(space, []wire.Held{h})
			}
		}
	}
	var have []wire.Object
	for _, c := range orders {
		if w.whole(space, []wire.Object{c.Held.Object}) {
			have = append(have, c.Held.Object)
		}
	}
	w.hold(space, have)
	w.syncs.add(space, have)
}

func (w *Worker) copyFrom(space wire.Space, want []wire.Held) error {
	if len(want) == 0 {
		return nil
	}
	report, err := w.cfg.Exchange.Fetch(w.ctx, space, want, nil)
	w.Learned(report)
	if err != nil && w.ctx.Err() == nil {
		w.log.Info("cannot copy", "objects", len(want), "error", err)
		if wire.CauseOf(err) == wire.CauseDiskFull {
			w.drain()
		}
	}
	return err
}

// orderProbe has the link from a peer measured.
func (w *Worker) orderProbe(p wire.PeerID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.probing < maxProbes && w.spawn(func() { w.probe(p) }) {
		w.probing++
	}
}

// probe measures one link at a time: two would measure each other.
func (w *Worker) probe(p wire.PeerID) {
	defer func() {
		w.mu.Lock()
		w.probing--
		w.mu.Unlock()
	}()
	if w.probes.enter(w.ctx, 0, 0, 1) != nil {
		return
	}
	defer w.probes.leave(1)
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
	w.log.Warn("the store's disk is full: taking no work until there is room",
		"hint", "free space on that disk, or lower --store-max so that the store leaves some")
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
