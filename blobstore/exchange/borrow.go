package exchange

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"slices"
	"time"

	"gaggle/wire"
)

// Many small files that several members fetch at once would all come from their one holder, for each
// of them. So the members divide them: of all who fetch the same object, as far as each knows, the one
// on whom a hash of file and member falls fetches a file from its holder, and the others have it from
// that one (rendezvous hashing). Who knows of fewer members asks one that may itself ask another; each
// of these hashes is larger than the one before, so that nobody waits for itself.

const (
	// borrowFor is how long nothing may come from a member that says that it is fetching, before we
	// do so ourselves.
	borrowFor = 5 * time.Second
	// beginFor is how long one may have nothing of what it is said to be fetching.
	beginFor = 2 * time.Second
	// maxBorrowFor bounds both where the holder is slow.
	maxBorrowFor = 20 * time.Second
	// borrowPause lies between two questions at first, later up to maxBorrowPause.
	borrowPause    = 50 * time.Millisecond
	maxBorrowPause = 400 * time.Millisecond
)

// meet notes that a peer is fetching one of the wanted objects, too.
func (f *fetch) meet(top int, p wire.PeerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := &f.companions[top]; p != f.x.cfg.Self && len(*c) < maxLenders && !slices.Contains(*c, p) {
		*c = append(*c, p)
	}
}

// companions returns the members that are fetching what the object is part of, too.
func (f *flight) companions() (list []wire.PeerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.waiters {
		w.fetch.mu.Lock()
		for _, p := range w.fetch.companions[w.item.top] {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
		w.fetch.mu.Unlock()
	}
	return list
}

// fetching reports whether an object is not here and on its way. The peer that asks is fetching it,
// too, and what else belongs to it.
func (x *Exchange) fetching(space wire.Space, d wire.Digest, p wire.PeerID) bool {
	if _, here := x.cfg.Store.Stat(space, d); here {
		return false
	}
	x.mu.Lock()
	f := x.byDigest[lendKey{space, d}]
	x.mu.Unlock()
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.waiters {
		w.fetch.meet(w.item.top, p)
	}
	return !f.over
}

// A lendKey names an object that peers may ask for.
type lendKey struct {
	space  wire.Space
	digest wire.Digest
}

// owner returns the member from whom to have a small file; zero if that is its holder.
func (f *flight) owner() (best wire.PeerID) {
	if f.tree || f.alone || f.size >= swarmFrom {
		return best
	}
	now := f.x.cfg.Now()
	most := weight(f.digest, f.x.cfg.Self)
	for _, p := range f.companions() {
		if w := weight(f.digest, p); w > most && !f.x.member(p).useless(now) && !f.x.cfg.Relayed(p) {
			best, most = p, w
		}
	}
	return best
}

// ours reports whether it is for us to have the object from its holder.
func (f *flight) ours() bool { return f.owner().IsZero() }

// weight is the same for everybody.
func weight(d wire.Digest, p wire.PeerID) uint64 {
	h := fnv.New64a()
	h.Write(d[:])
	h.Write(p.Bytes())
	// FNV's last bytes hardly reach the upper bits: finish as MurmurHash3 does.
	n := binary.BigEndian.Uint64(h.Sum(nil))
	n = (n ^ n>>33) * 0xff51afd7ed558ccd
	n = (n ^ n>>33) * 0xc4ceb9fe1a85ec53
	return n ^ n>>33
}

// useless reports whether a member is not to be waited for.
func (m *member) useless(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blocked.After(now) || m.avoided.After(now) || m.barren.After(now)
}

// borrow has a small file from the member that fetches it first, waiting for it if need be. It reports
// false if that is us, or nothing comes of it.
func (f *flight) borrow() (bool, error) {
	begun, pause := time.Now(), borrowPause
	for {
		p := f.owner()
		if p.IsZero() {
			return false, nil
		}
		f.drop()
		a := &ask{flight: f, seek: true, done: make(chan struct{})}
		f.x.submit(sourceKey{p, f.space}, a)
		<-a.done
		m := f.x.member(p)
		switch {
		case f.ctx.Err() != nil:
			return false, context.Cause(f.ctx)
		case a.verdict == found:
			m.lent()
			if done, err := f.commit(p, 0); done || err != nil {
				return done, err
			}
			f.alone = true
		case a.verdict == local && errors.Is(a.why, context.Canceled):
			return false, a.why
		case a.verdict == local:
			return false, storeError(a.why)
		case a.verdict == later && m.patient(begun, f.x.patience(borrowFor)), a.verdict == notFound && m.patient(begun, f.x.patience(beginFor)):
			timer := time.NewTimer(pause)
			select {
			case <-f.ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
			pause = min(2*pause, maxBorrowPause)
		default:
			f.drop()
			f.alone = true
		}
	}
}

// waited takes in how long a small file took from its holder.
func (x *Exchange) waited(took time.Duration) {
	x.slow.Store(max(int64(took), x.slow.Load()/8*7))
}

// patience is how long to wait for a member that has a file from its holder before us: it may wait there
// twice as long as we lately did. Not to wait so long would have everybody ask the holder, which makes it
// slower still: 16 members, 1,500 files of 64 KiB and 12 Mbit/s take 1.3 times one link so; with 2,000 files it was 5 when the wait was 5 s.
func (x *Exchange) patience(least time.Duration) time.Duration {
	return max(least, min(2*time.Duration(x.slow.Load()), maxBorrowFor))
}

// lent notes that a small file came from a member that fetches the same as we.
func (m *member) lent() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gave = time.Now()
}

// patient reports whether to go on waiting for a member from which nothing came for so long. If not,
// nobody waits for it for a while.
func (m *member) patient(begun time.Time, long time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if now.Sub(begun) < long || now.Sub(m.gave) < long {
		return true
	}
	m.barren = now.Add(avoidedFor)
	return false
}
