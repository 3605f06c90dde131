package blobstore

import (
	"cmp"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"sync"

	"gaggle/wire"
)

// A key names an object of a space.
type key struct {
	space  wire.Space
	digest wire.Digest
}

// A hold is a top-level object that is here whole. Its size is not part of it: two reporters may
// differ, and the first is believed.
type hold struct {
	key
	kind wire.Kind
}

// A shelf is what Store and Memory share: what is here, what keeps it, and what to drop next.
// The order of locks is trimming, stripe, mu.
type shelf struct {
	max    int64 // bytes; 0 is no bound
	onLost func(wire.Space, []wire.Digest)
	log    *slog.Logger

	// What differs between disk and memory.
	load   func(d wire.Digest) (*wire.Tree, error)              // verified; wraps ErrNotFound
	isTree func(d wire.Digest) bool                             // looks at the first bytes
	unlink func(d wire.Digest, spaces []wire.Space, forms form) // called under d's stripe
	note   func(...record) error                                // to the journal; nil in memory
	flush  func() error                                         // the journal; nil in memory
	raze   func(*resident)                                      // removes its directory; nil in memory
	kick   func()                                               // asks for a Trim soon; nil in memory
	spare  func() bool                                          // removes what was left of a partial blob; nil in memory

	manifests *manifests

	trimming sync.Mutex     // held by the one trim at a time
	stripes  [64]sync.Mutex // by digest: held while an object's files come, go or change form
	settling sync.Mutex     // held by who checks what a drop has broken

	mu        sync.Mutex // guards the fields below
	table     table
	pending   int64             // bytes admitted but not yet published, by charge
	serial    uint64            // of the last layout of a tree
	pins      map[key][]string  // owners
	active    map[key]int       // objects that operations under way need whole
	held      map[hold]uint64   // their sizes
	residents map[key]*resident // whole or being built
	extra     int64             // bytes that residents take beside the linked files
	whole     map[key]struct{}  // trees known to be whole since the last drop
	drops     uint64            // counts objects dropped
	durable   map[key]struct{}  // trees known to be durable with all below them at durableAt
	durableAt uint64            // a value of table.doubts
	releases  uint64            // counts what made something trimmable
	stuckAt   uint64            // releases when the trim began that last fell short, plus one
	stuckOver int64             // and the bytes it could not drop
	marking   bool              // a trim is under way: note new roots in added
	added     []key             // pinned or needed since it marked
	unsettled bool              // something was dropped since holds were checked
}

// maxWhole bounds the trees remembered as whole, and those as durable.
const maxWhole = 1 << 16

func newShelf(opt Options) *shelf {
	log := opt.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &shelf{
		max: opt.MaxBytes, onLost: opt.OnLost, log: log, table: newTable(), manifests: newManifests(),
		pins: map[key][]string{}, active: map[key]int{}, held: map[hold]uint64{},
		residents: map[key]*resident{}, whole: map[key]struct{}{}, durable: map[key]struct{}{},
	}
}

func (h *shelf) stripe(d wire.Digest) *sync.Mutex { return &h.stripes[d[1]%64] }

// stat returns the size of an object and counts as a use: who is told that it is here will ask
// for it.
func (h *shelf) stat(space wire.Space, d wire.Digest) (int64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.table.in(space, d)
	if e == nil {
		return 0, false
	}
	h.table.touch(e)
	return e.size, true
}

// drop forgets an object whose bytes are wrong or gone. Settle must follow, without locks.
func (h *shelf) drop(d wire.Digest, why string) {
	st := h.stripe(d)
	st.Lock()
	defer st.Unlock()
	h.dropLocked(d, why)
}

// dropLocked is drop for who holds the stripe.
func (h *shelf) dropLocked(d wire.Digest, why string) {
	if h.note != nil {
		if err := errors.Join(h.note(record{kind: recDropped, digest: d}), h.flush()); err != nil {
			h.log.Error("cannot journal a dropped object", "digest", d, "err", err)
		}
	}
	h.mu.Lock()
	spaces, forms := h.forget(h.table.find(d))
	h.mu.Unlock()
	if forms != 0 {
		h.log.Warn("dropped an object", "digest", d, "why", why)
		h.unlink(d, spaces, forms)
	}
}

// forget takes e, which may be nil, out of the table and returns what is to be unlinked. Called
// with mu and the stripe held.
func (h *shelf) forget(e *entry) ([]wire.Space, form) {
	if e == nil {
		return nil, 0
	}
	spaces, forms := h.table.sets.spaces(e.spaces), e.forms
	h.table.remove(e)
	h.drops++
	h.unsettled = true
	clear(h.whole)
	return spaces, forms
}

// need keeps an object and what is below it from being trimmed until the returned function is
// called.
func (h *shelf) need(k key) (release func()) {
	h.mu.Lock()
	h.active[k]++
	h.root(k)
	h.mu.Unlock()
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.unneed(k)
	})
}

// unneed takes back one need. Called with mu held.
func (h *shelf) unneed(k key) {
	if h.active[k]--; h.active[k] == 0 {
		delete(h.active, k)
	}
	h.releases++
}

// root tells a running trim about a new root. Called with mu held.
func (h *shelf) root(k key) {
	if h.marking {
		h.added = append(h.added, k)
	}
}

// lease keeps e from being trimmed until the returned function is called. Called with mu held.
func (h *shelf) lease(e *entry) (release func()) {
	e.leases++
	d, born := e.digest, e.born
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.releases++
		// It may have been dropped as corrupt, and put again, meanwhile.
		if e := h.table.find(d); e != nil && e.born == born {
			e.leases--
		}
	})
}

// pin adds an owner's pin.
func (h *shelf) pin(space wire.Space, d wire.Digest, owner string) {
	k := key{space, d}
	h.mu.Lock()
	if slices.Contains(h.pins[k], owner) {
		h.mu.Unlock()
		return
	}
	h.pins[k] = append(h.pins[k], owner)
	h.root(k)
	h.mu.Unlock()
	h.record(record{kind: recPin, space: space, digest: d, owner: owner})
}

// unpin takes it back.
func (h *shelf) unpin(space wire.Space, d wire.Digest, owner string) {
	k := key{space, d}
	h.mu.Lock()
	i := slices.Index(h.pins[k], owner)
	if i < 0 {
		h.mu.Unlock()
		return
	}
	if h.pins[k] = slices.Delete(h.pins[k], i, i+1); len(h.pins[k]) == 0 {
		delete(h.pins, k)
	}
	h.releases++
	h.mu.Unlock()
	h.record(record{kind: recUnpin, space: space, digest: d, owner: owner})
}

// record journals what may be lost in a crash before the next Sync.
func (h *shelf) record(r record) {
	if h.note == nil {
		return
	}
	if err := h.note(r); err != nil {
		h.log.Error("cannot journal", "err", err)
	}
}

// hold remembers o if it is here whole.
func (h *shelf) hold(space wire.Space, o wire.Object) {
	k := hold{key{space, o.Digest}, o.Kind}
	for {
		h.mu.Lock()
		drops := h.drops
		h.mu.Unlock()
		if !h.isWhole(space, o, true) {
			h.log.Warn("asked to hold what is not here whole", "space", space, "object", o.CID())
			return
		}
		h.mu.Lock()
		if drops == h.drops {
			_, known := h.held[k]
			if !known {
				h.held[k] = o.Size
			}
			h.mu.Unlock()
			if !known {
				h.record(record{kind: recHold, space: space, digest: o.Digest, object: o.Kind, size: int64(o.Size)})
			}
			return
		}
		h.mu.Unlock()
	}
}

// holds yields a copy of what is held, in order.
func (h *shelf) holds() iter.Seq2[wire.Space, wire.Object] {
	return func(yield func(wire.Space, wire.Object) bool) {
		for _, u := range h.heldNow() {
			if !yield(u.space, u.object()) {
				return
			}
		}
	}
}

type heldObject struct {
	hold
	size uint64
}

func (u heldObject) object() wire.Object {
	return wire.Object{Kind: u.kind, Digest: u.digest, Size: u.size}
}

func (h *shelf) heldNow() []heldObject {
	h.mu.Lock()
	list := make([]heldObject, 0, len(h.held))
	for k, size := range h.held {
		list = append(list, heldObject{k, size})
	}
	h.mu.Unlock()
	slices.SortFunc(list, func(a, b heldObject) int {
		return cmp.Or(cmp.Compare(a.space, b.space), slices.Compare(a.digest[:], b.digest[:]), cmp.Compare(a.kind, b.kind))
	})
	return list
}

// settle finds what objects dropped since the last time have broken: holds are taken back and
// reported, residents that nobody uses are removed and others are not handed out again. Called
// without locks. If another goroutine is at it, that one looks again.
func (h *shelf) settle() {
	for {
		h.mu.Lock()
		due := h.unsettled
		h.mu.Unlock()
		if !due || !h.settling.TryLock() {
			return
		}
		h.mu.Lock()
		h.unsettled = false
		h.mu.Unlock()
		h.settleHeld()
		h.settleResidents()
		h.settling.Unlock()
	}
}

func (h *shelf) settleHeld() {
	lost := map[wire.Space][]wire.Digest{}
	var gone []record
	for _, u := range h.heldNow() {
		if h.isWhole(u.space, u.object(), false) {
			continue
		}
		h.mu.Lock()
		delete(h.held, u.hold)
		h.mu.Unlock()
		lost[u.space] = append(lost[u.space], u.digest)
		gone = append(gone, record{kind: recUnhold, space: u.space, digest: u.digest, object: u.kind})
	}
	for _, r := range gone {
		h.record(r)
	}
	if h.onLost == nil {
		return
	}
	for space, ds := range lost {
		h.onLost(space, slices.Compact(ds))
	}
}
