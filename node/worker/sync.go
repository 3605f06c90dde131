package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"gaggle/wire"
)

// A syncer is a queue of what is to be made durable and then reported Stored.
type syncer struct {
	wake chan struct{} // has one element when the queue is not empty

	claiming sync.Mutex // held while what was taken is being claimed; before mu

	mu    sync.Mutex // guards queue
	queue []syncItem
}

// A syncItem is objects of one space; with a thunk they are its value, to be claimed.
type syncItem struct {
	space   wire.Space
	objects []wire.Object
	thunk   wire.ThunkID
	value   *wire.Value
}

// syncPause is how long after a round others gather for the next: a flush and a report of many
// objects cost little more than of one.
const syncPause = 5 * time.Millisecond

// syncBatch bounds the objects of one Sync, so that reports come while others are written.
const syncBatch = wire.MaxBatch

func (s *syncer) init() { s.wake = make(chan struct{}, 1) }

func (s *syncer) add(space wire.Space, objs []wire.Object) {
	s.put(syncItem{space: space, objects: objs})
}

func (s *syncer) addValue(space wire.Space, thunk wire.ThunkID, v *wire.Value) {
	s.put(syncItem{space: space, objects: v.Outputs, thunk: thunk, value: v})
}

func (s *syncer) addSets(sets []wire.SpaceSet) {
	for _, set := range sets {
		s.add(set.Space, set.Objects)
	}
}

func (s *syncer) put(i syncItem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, i)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// disclaim has the values of a thunk that wait made durable only.
func (s *syncer) disclaim(space wire.Space, thunk wire.ThunkID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.queue {
		if q := &s.queue[i]; q.space == space && q.thunk == thunk {
			q.value = nil
		}
	}
}

// renew forgets what only waits to be reported: a new connection is told everything that is held
// anyway, and one that breaks again and again would pile it up.
func (s *syncer) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = slices.DeleteFunc(s.queue, func(i syncItem) bool { return i.value == nil })
}

// take returns items of one space with at most syncBatch objects, but at least one item, or nil.
func (s *syncer) take() []syncItem {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, objects := 0, 0
	for n < len(s.queue) && s.queue[n].space == s.queue[0].space {
		objects += len(s.queue[n].objects)
		if n++; objects >= syncBatch {
			break
		}
	}
	if n == 0 {
		return nil
	}
	items := s.queue[:n:n]
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return items
}

// syncLoop works off the queue until ctx ends.
func (w *Worker) syncLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.syncs.wake:
		}
		for items := w.claimSome(); items != nil && ctx.Err() == nil; items = w.claimSome() {
			w.syncItems(ctx, items)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(syncPause):
		}
	}
}

// claimSome takes items off the queue, claims the values among them and returns them.
func (w *Worker) claimSome() []syncItem {
	w.syncs.claiming.Lock()
	defer w.syncs.claiming.Unlock()
	items := w.syncs.take()
	w.claim(items)
	return items
}

// withdraw drops this node's claim for a thunk, and one that waits to be made.
func (w *Worker) withdraw(space wire.Space, thunk wire.ThunkID) {
	w.syncs.claiming.Lock()
	defer w.syncs.claiming.Unlock()
	w.syncs.disclaim(space, thunk)
	w.cfg.Store.DropClaim(space, thunk, w.self)
}

// claim states the values among the items in the memo. A crash before they are durable leaves a
// claim without outputs, which remembered sees.
func (w *Worker) claim(items []syncItem) {
	for _, i := range items {
		if i.value == nil {
			continue
		}
		c := wire.SignClaim(w.cfg.Key, i.space, i.thunk, i.value)
		if err := w.cfg.Store.AddClaim(c); err != nil {
			w.log.Info("cannot remember a value", "thunk", i.thunk, "error", err)
		}
	}
}

// syncItems makes the objects durable and reports them. If that fails for all together, one of
// them is gone or the disk is sick, and each is tried by itself.
func (w *Worker) syncItems(ctx context.Context, items []syncItem) {
	space := items[0].space
	var objs []wire.Object
	for _, i := range items {
		objs = append(objs, i.objects...)
	}
	err := w.cfg.Store.Sync(ctx, space, objs)
	if err == nil {
		w.stored(space, objs)
		return
	}
	for _, o := range objs {
		one := []wire.Object{o}
		if len(objs) > 1 {
			err = w.cfg.Store.Sync(ctx, space, one)
		}
		if err == nil {
			w.stored(space, one)
		} else if ctx.Err() == nil {
			w.log.Info("cannot make an object durable", "object", o.CID(), "error", err)
		}
	}
}

func (w *Worker) stored(space wire.Space, objs []wire.Object) {
	w.tell(func(out *outbox) { out.stored(space, objs) })
	w.recheck(space, objs)
}
