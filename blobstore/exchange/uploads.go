package exchange

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// uploadSlots is how many answers with pieces are on their way at once: few, so that pieces arrive, and
	// are passed on, one after the other rather than all at the end. With DESIGN's 4, and 32 nodes that
	// know 8 of each other, the last took 3.4-4.1 times one link, with 3 3.4, with 2 1.6-1.9, with 1,
	// which leaves gaps, 2.2 (32 MiB).
	uploadSlots = 2
	// maxQueue bounds those that wait for a slot, and maxQueueEach those of one peer, of which as many
	// have one: the others are told to try elsewhere.
	maxQueue     = 16
	maxQueueEach = 4
	// slotHeld is how long a peer may take its time over an answer and keep others from a slot.
	slotHeld = time.Second
)

// uploads gives out the slots. Of those that wait the first is whose peer has the fewest answers under
// way, then who had its turn the longest ago; behind all of them come peers that are slow to take
// answers, or let the last one break off, and these never take the last free slot. So members that are
// dead or silent keep the others waiting once, however many there are.
type uploads struct {
	slots int // immutable

	mu    sync.Mutex // guards the fields below, and member.standing
	taken int
	queue []*turn // in order of arrival
	turns uint64  // given
}

// A standing is how a peer takes its answers.
type standing struct {
	waiting int    // its turns in the queue
	active  int    // its answers under way
	overdue int    // those of them that have lost their slots
	broke   bool   // its last answer broke off
	last    uint64 // when it had a turn
}

func (s *standing) behind() bool { return s.broke || s.overdue > 0 }

// before compares who should have a turn first.
func (s *standing) before(o *standing) int {
	if s.behind() != o.behind() {
		return map[bool]int{true: 1, false: -1}[s.behind()]
	}
	return cmp.Or(cmp.Compare(s.active, o.active), cmp.Compare(s.last, o.last))
}

// A turn is an answer that has or waits for a slot. It is for one goroutine.
type turn struct {
	u     *uploads
	s     *standing
	given chan struct{} // closed when its time has come, or it is to try elsewhere
	sent  bool          // to try elsewhere

	left    time.Duration // before it loses its slot
	since   time.Time     // when the write that is under way began
	timer   *time.Timer
	overdue bool // it has lost its slot; guarded by uploads.mu
}

// slotsAt returns how many answers there may be at once if so many bytes per second go out, 0 for no bound:
// each has to get on well within what its requester waits for 64 KiB.
func slotsAt(rate int64, stall time.Duration) int {
	if rate == 0 {
		return uploadSlots
	}
	return max(1, min(uploadSlots, int(float64(rate)*stall.Seconds()/4/chunk)))
}

// enter waits for a slot until ctx ends. It returns nil if there is none to be had; else leave must be
// called on what it returns.
func (u *uploads) enter(ctx context.Context, m *member) *turn {
	t := &turn{u: u, s: &m.standing, given: make(chan struct{}), left: slotHeld}
	if !u.queued(t) {
		return nil
	}
	select {
	case <-t.given:
	case <-ctx.Done():
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if i := slices.Index(u.queue, t); i >= 0 {
		u.removeLocked(i)
		return nil
	}
	if t.sent {
		return nil
	}
	return t
}

// queued begins to wait, in place of who would be the last if the queue is full.
func (u *uploads) queued(t *turn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if t.s.waiting+t.s.active >= maxQueueEach {
		return false
	}
	if len(u.queue) >= maxQueue {
		last := slices.IndexFunc(u.queue, func(o *turn) bool {
			return !slices.ContainsFunc(u.queue, func(p *turn) bool { return p.s.before(o.s) > 0 })
		})
		if o := u.queue[last]; t.s.before(o.s) < 0 {
			u.removeLocked(last)
			o.sent = true
			close(o.given)
		} else {
			return false
		}
	}
	u.queue = append(u.queue, t)
	t.s.waiting++
	u.giveLocked()
	return true
}

func (u *uploads) removeLocked(i int) {
	u.queue[i].s.waiting--
	u.queue = slices.Delete(u.queue, i, i+1)
}

// giveLocked hands out the slots that are free. Called with mu held.
func (u *uploads) giveLocked() {
	for len(u.queue) > 0 {
		t := slices.MinFunc(u.queue, func(a, b *turn) int { return a.s.before(b.s) })
		free := u.slots - u.taken
		if free <= 0 || t.s.behind() && free == 1 && u.slots > 1 {
			return
		}
		u.removeLocked(slices.Index(u.queue, t))
		u.taken++
		u.turns++
		t.s.active++
		t.s.last = u.turns
		close(t.given)
	}
}

// begin and end bracket a write, the time of which is the peer's doing.
func (t *turn) begin() {
	if t == nil {
		return
	}
	t.since = time.Now()
	if t.timer == nil {
		t.timer = time.AfterFunc(t.left, t.lose)
	} else if t.left > 0 {
		t.timer.Reset(t.left)
	}
}

func (t *turn) end() {
	if t == nil {
		return
	}
	t.timer.Stop()
	t.left -= time.Since(t.since)
}

// lose gives the slot to others, while the answer goes on.
func (t *turn) lose() {
	t.u.mu.Lock()
	defer t.u.mu.Unlock()
	if t.overdue {
		return
	}
	t.overdue = true
	t.s.overdue++
	t.u.taken--
	t.u.giveLocked()
}

// leave ends the turn. whole says that the answer was taken to its end.
func (t *turn) leave(whole bool) {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.u.mu.Lock()
	defer t.u.mu.Unlock()
	t.s.active--
	t.s.broke = !whole
	if t.overdue {
		t.s.overdue--
	} else {
		t.overdue = true // lose has nothing to do any more
		t.u.taken--
	}
	t.u.giveLocked()
}
