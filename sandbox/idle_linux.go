package sandbox

import (
	"slices"
	"sync"
)

// idleSlots are the slots that run nothing. The one that was used last is handed out first: what it
// needs is in the processor's caches (8 slots in turn cost 7 % more CPU time a start than one, and
// 0.35 ms more time, on a slow guest), and a node starts no more slots than it once needed.
type idleSlots struct {
	some chan struct{} // one for each slot in list: who receives one may take

	mu   sync.Mutex // guards the field below
	list []*slot    // in the order of their last use
}

func newIdleSlots(n int) *idleSlots { return &idleSlots{some: make(chan struct{}, n)} }

// take returns the slot that was used last, or first.
func (i *idleSlots) take(last bool) *slot {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := 0
	if last {
		at = len(i.list) - 1
	}
	s := i.list[at]
	i.list = slices.Delete(i.list, at, at+1)
	return s
}

func (i *idleSlots) put(s *slot) {
	i.mu.Lock()
	i.list = append(i.list, s)
	i.mu.Unlock()
	i.some <- struct{}{}
}

// all waits until every slot is idle, and takes them.
func (i *idleSlots) all() (list []*slot) {
	for range cap(i.some) {
		<-i.some
		list = append(list, i.take(true))
	}
	return list
}
