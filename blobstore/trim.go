package blobstore

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"gaggle/wire"
)

// A trim starts when a put would exceed the bound, or in the background at trimAbove, and goes
// down to trimTo, so that a full store trims in few large steps rather than at every put.
const (
	trimAbove = 0.95
	trimTo    = 0.90
)

// evictBatch is how many objects a trim journals at once before it unlinks them.
const evictBatch = 512

// maxTries bounds how often room made by a trim may be taken by somebody else.
const maxTries = 100

// admit makes room for an inode of size more bytes, or returns an error of CauseDiskFull. What is
// admitted counts until it is given back.
func (h *shelf) admit(ctx context.Context, size int64) error {
	n := charge(size)
	for try := 0; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h.mu.Lock()
		now := h.usedLocked() + h.pending + n
		stuck := h.stuckAt == h.releases+1 && now-h.pending-n <= h.stuckOver+h.max/100
		if h.max == 0 || now <= h.max {
			h.pending += n
			kick := h.max > 0 && float64(now) > trimAbove*float64(h.max) && !stuck && h.kick != nil
			h.mu.Unlock()
			if kick {
				h.kick()
			}
			return nil
		}
		h.mu.Unlock()
		if h.spare != nil && h.spare() {
			continue
		}
		if try == maxTries || stuck || n > h.max {
			return wire.Errorf(wire.CauseDiskFull,
				"everything else in it is in use or pinned: give it more room (--store-max) or end jobs",
				"the store has no room for %d bytes: %d of %d are taken", size, now-n, h.max)
		}
		if _, err := h.trim(ctx, max(0, min(int64(trimTo*float64(h.max)), h.max-n-h.pendingNow()))); err != nil {
			return err
		}
	}
}

// kickIfFull asks for a trim if one is due.
func (h *shelf) kickIfFull() {
	h.mu.Lock()
	due := h.max > 0 && float64(h.usedLocked()) > trimAbove*float64(h.max)
	h.mu.Unlock()
	if due && h.kick != nil {
		h.kick()
	}
}

// giveBack ends what admit began.
func (h *shelf) giveBack(size int64) {
	h.mu.Lock()
	h.pending -= charge(size)
	h.mu.Unlock()
}

func (h *shelf) pendingNow() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pending
}

func (h *shelf) usedNow() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.usedLocked()
}

func (h *shelf) usedLocked() int64 { return h.table.used + h.extra }

// trimDown trims to the lower mark.
func (h *shelf) trimDown(ctx context.Context) (int64, error) {
	if h.max == 0 {
		return 0, nil
	}
	return h.trim(ctx, int64(trimTo*float64(h.max)))
}

// trim drops the longest unused objects until at most goal bytes are taken. It keeps what is
// pinned or needed with all below it, and what is leased. An object in a held tree, or in a
// resident one that nobody uses, is as recent as the most recent of them: what is used together
// goes together.
func (h *shelf) trim(ctx context.Context, goal int64) (freed int64, err error) {
	h.trimming.Lock()
	defer h.trimming.Unlock()
	before := h.usedNow()
	if before <= goal {
		return 0, nil
	}
	m := h.mark()
	defer func() {
		h.mu.Lock()
		h.marking, h.added = false, nil
		h.mu.Unlock()
	}()
	m.age()
	victims := m.victims()
	for len(victims) > 0 && h.usedNow() > goal && ctx.Err() == nil && err == nil {
		n := min(len(victims), evictBatch)
		err = m.evict(victims[:n], goal)
		victims = victims[n:]
	}
	h.settle()
	h.mu.Lock()
	defer h.mu.Unlock()
	used := h.usedLocked()
	h.stuckAt = 0
	if kept := used - m.younger(); kept > goal {
		h.stuckAt, h.stuckOver = m.releases+1, kept
	}
	h.log.Info("trimmed the store", "freed", before-used, "used", used, "max", h.max)
	return before - used, errors.Join(err, ctx.Err())
}

// A marks is what one trim knows: of each place in the table, whether it stays and how recent it
// counts. Objects added later are beyond it or newer than start.
type marks struct {
	h        *shelf
	start    uint64
	releases uint64                   // the shelf's, at the start
	use      []uint64                 // by ref
	state    []uint8                  // by ref
	units    []unit                   // held objects and idle residents
	late     map[wire.Digest]struct{} // directories beyond state that were opened
}

const (
	stays uint8 = 1 << iota // with all below it
	aged                    // its recency, and of all below, is settled
)

// A unit is a whole closure that is used together.
type unit struct {
	key
	dir bool
	use uint64
}

// mark collects the roots and marks everything below them.
func (h *shelf) mark() *marks {
	h.mu.Lock()
	m := &marks{h: h, start: h.table.clock, releases: h.releases, late: map[wire.Digest]struct{}{},
		use: make([]uint64, len(h.table.all)), state: make([]uint8, len(h.table.all))}
	for i := range h.table.all {
		m.use[i] = h.table.all[i].use
	}
	h.marking = true
	roots := make([]key, 0, len(h.pins)+len(h.active))
	for k := range h.pins {
		roots = append(roots, k)
	}
	for k := range h.active {
		roots = append(roots, k)
	}
	for k := range h.held {
		if e := h.table.find(k.digest); e != nil {
			m.units = append(m.units, unit{k.key, k.kind == wire.Dir, e.use})
		}
	}
	for k, r := range h.residents {
		m.units = append(m.units, unit{k, true, r.use})
	}
	h.mu.Unlock()
	m.keep(roots)
	return m
}

// keep marks what is below the roots as staying. A pin may name a file or a tree.
func (m *marks) keep(roots []key) {
	for _, k := range roots {
		m.spread(k.digest, m.h.isTree(k.digest), stays, 0)
	}
}

// age gives each object of a unit the recency of the most recent unit it is in.
func (m *marks) age() {
	slices.SortFunc(m.units, func(a, b unit) int { return cmp.Compare(b.use, a.use) })
	for _, u := range m.units {
		m.spread(u.digest, u.dir, aged, u.use)
	}
}

// spread sets bit on an object and, if it is a directory, on everything below, and raises their
// recency to use. A directory that has the bit is not opened again.
func (m *marks) spread(d wire.Digest, dir bool, bit uint8, use uint64) {
	type node struct {
		d   wire.Digest
		dir bool
	}
	stack := []node{{d, dir}}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !m.set(n.d, n.dir, bit, use) {
			continue
		}
		t, err := m.h.load(n.d)
		if err != nil {
			continue // gone or no tree: nothing below it to keep
		}
		for i := range t.Entries {
			if o := &t.Entries[i].Object; o.Kind == wire.Dir {
				stack = append(stack, node{o.Digest, true})
			} else if o.Kind != wire.Symlink {
				m.set(o.Digest, false, bit, use)
			}
		}
	}
}

// set marks one object and reports whether to go on below it.
func (m *marks) set(d wire.Digest, dir bool, bit uint8, use uint64) bool {
	m.h.mu.Lock()
	defer m.h.mu.Unlock()
	r, ok := m.h.table.refs[d]
	if ok && int(r) >= len(m.state) && dir {
		_, opened := m.late[d]
		m.late[d] = struct{}{}
		return !opened
	}
	if !ok || int(r) >= len(m.state) {
		return false
	}
	m.use[r] = max(m.use[r], use)
	open := bit
	if dir {
		open = bit << 2 // opened as a directory: the same bytes may also be named as a file
	}
	if m.state[r]&open != 0 {
		return false
	}
	m.state[r] |= open | bit
	return dir
}

// victims returns what may go, longest unused first.
func (m *marks) victims() []ref {
	m.h.mu.Lock()
	defer m.h.mu.Unlock()
	var out []ref
	for i := range m.state {
		e := &m.h.table.all[i]
		if e.forms != 0 && m.state[i]&stays == 0 && e.leases == 0 && e.use <= m.start {
			out = append(out, ref(i))
		}
	}
	slices.SortFunc(out, func(a, b ref) int { return cmp.Or(cmp.Compare(m.use[a], m.use[b]), cmp.Compare(a, b)) })
	return out
}

// younger returns the bytes of what was added or used since the trim began: it could not go, but
// the next trim may find that it can. Called with mu held.
func (m *marks) younger() (n int64) {
	for i := range m.h.table.all {
		if e := &m.h.table.all[i]; e.use > m.start {
			n += e.forms.count() * charge(e.size)
		}
	}
	return n
}

// evict drops the victims that nobody has wanted meanwhile, until at most goal bytes are taken.
// First it journals that their files are not to be trusted any more: one put again later may be
// torn by a crash. If the disk is too full for that, it does so as soon as they are gone.
func (m *marks) evict(victims []ref, goal int64) error {
	ds, rs := m.distrust(victims)
	err := m.journal(rs)
	if err != nil && !diskFull(err) {
		return err
	}
	for i, r := range victims {
		if m.h.usedNow() <= goal {
			break
		}
		m.evictOne(r, ds[i])
	}
	if err != nil {
		return m.journal(rs)
	}
	return nil
}

// distrust returns the victims' digests and the records that say they are dropped.
func (m *marks) distrust(victims []ref) ([]wire.Digest, []record) {
	ds := make([]wire.Digest, len(victims))
	rs := make([]record, len(victims))
	m.h.mu.Lock()
	defer m.h.mu.Unlock()
	for i, r := range victims {
		e := &m.h.table.all[r]
		ds[i], rs[i] = e.digest, record{kind: recDropped, digest: e.digest}
		e.synced = 0
		m.h.table.doubts++
	}
	return ds, rs
}

func (m *marks) journal(rs []record) error {
	if m.h.note == nil {
		return nil
	}
	if err := m.h.note(rs...); err != nil {
		return err
	}
	return m.h.flush()
}

func (m *marks) evictOne(r ref, d wire.Digest) {
	h := m.h
	for {
		st := h.stripe(d)
		st.Lock()
		h.mu.Lock()
		if added := h.added; len(added) > 0 {
			h.added = nil
			h.mu.Unlock()
			st.Unlock()
			m.keep(added)
			continue
		}
		e := &h.table.all[r]
		if e.digest != d || e.forms == 0 || e.leases > 0 || e.use > m.start || m.state[r]&stays != 0 {
			h.mu.Unlock()
			st.Unlock()
			return
		}
		spaces, forms := h.forget(e)
		h.mu.Unlock()
		h.unlink(d, spaces, forms)
		st.Unlock()
		return
	}
}
