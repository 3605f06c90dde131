package peer

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gaggle/wire"
)

// A revokedSet is the memberships that were ended, as far as this member has heard. It only grows,
// but for what has run out, and so two of them are merged in any order. The file that keeps it is
// one frame of wire.Revocations.
type revokedSet struct {
	mesh wire.PeerID
	path string // "" keeps nothing
	log  *slog.Logger

	saving sync.Mutex // held while entries are judged and kept

	mu  sync.Mutex // guards the fields below
	all map[wire.PeerID]*wire.Revocation
	sum []byte // of all; see digest
}

// openRevoked reads what was kept. Malformed entries are left out: they come again from whoever is
// met first.
func openRevoked(path string, mesh wire.PeerID, now time.Time, log *slog.Logger) *revokedSet {
	r := &revokedSet{mesh: mesh, path: path, log: log, all: map[wire.PeerID]*wire.Revocation{}}
	r.sum = r.digest()
	if path == "" {
		return r
	}
	if err := r.load(now); err != nil {
		log.Warn("what is known of revoked members cannot be read; it is learned anew", "file", path, "error", err)
	}
	return r
}

// load reads the file.
func (r *revokedSet) load(now time.Time) error {
	f, err := os.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var m wire.Revocations
	err = wire.NewFrameReader(io.LimitReader(f, maxRevokedFrame)).Read(&m)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reading %s: %w", r.path, err)
	}
	_, err = r.merge(m.Entries, now)
	return err
}

// ReadRevoked returns the revocations in a Config's RevokedFile, verified; none if there is no file.
func ReadRevoked(path string, mesh wire.PeerID) (map[wire.PeerID]*wire.Revocation, error) {
	r := &revokedSet{mesh: mesh, path: path, all: map[wire.PeerID]*wire.Revocation{}}
	err := r.load(time.Now())
	return r.all, err
}

// of returns the revocation of a peer, nil if there is none.
func (r *revokedSet) of(p wire.PeerID) *wire.Revocation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[p]
}

// add takes entries in, keeps them, and returns those that were not known. An entry that the mesh
// has not signed is an error, after which no more are looked at.
func (r *revokedSet) add(entries [][]byte, now time.Time) (fresh []*wire.Revocation, err error) {
	r.saving.Lock()
	defer r.saving.Unlock()
	fresh, err = r.merge(entries, now)
	if len(fresh) == 0 || r.path == "" {
		return fresh, err
	}
	if failed := writeRevoked(r.path, r.list(nil)); failed != nil {
		// They hold as long as this process lives, and are learned again after that.
		r.log.Warn("a revocation is not kept", "file", r.path, "error", failed)
	}
	return fresh, err
}

// merge is add without the file. What is known is not verified again, so that a peer that repeats
// itself costs nothing.
func (r *revokedSet) merge(entries [][]byte, now time.Time) (fresh []*wire.Revocation, err error) {
	for _, b := range entries[:min(len(entries), wire.MaxRevoked)] {
		var e *wire.Revocation
		if e, err = wire.DecodeRevocation(b); err != nil {
			break
		}
		if known := r.of(e.Peer); e.Over(now) || known != nil && known.Until >= e.Until {
			continue
		}
		if err = e.Verify(r.mesh); err != nil {
			break
		}
		fresh = append(fresh, e)
	}
	if len(fresh) > 0 {
		r.put(fresh, now)
	}
	return fresh, err
}

// put enters revocations. At the bound those that run out first give way.
func (r *revokedSet) put(fresh []*wire.Revocation, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range fresh {
		r.all[e.Peer] = e
	}
	maps.DeleteFunc(r.all, func(_ wire.PeerID, e *wire.Revocation) bool { return e.Over(now) })
	if over := len(r.all) - wire.MaxRevoked; over > 0 {
		oldest := slices.SortedFunc(maps.Values(r.all), func(a, b *wire.Revocation) int { return cmp.Compare(a.Until, b.Until) })
		for _, e := range oldest[:over] {
			delete(r.all, e.Peer)
		}
	}
	r.sum = r.digest()
}

// list returns all entries, encoded, but those of which without has the same.
func (r *revokedSet) list(without [][]byte) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := make(map[string]bool, len(without))
	for _, b := range without {
		told[string(b)] = true
	}
	out := make([][]byte, 0, len(r.all))
	for _, p := range r.order() {
		if b := r.all[p].Encode(); !told[string(b)] {
			out = append(out, b)
		}
	}
	return out
}

// order returns the peers, ascending. Called with mu held.
func (r *revokedSet) order() []wire.PeerID {
	return slices.SortedFunc(maps.Keys(r.all), func(a, b wire.PeerID) int { return bytes.Compare(a[:], b[:]) })
}

// digest is equal for equal sets. Called with mu held.
func (r *revokedSet) digest() []byte {
	h := sha256.New()
	for _, p := range r.order() {
		h.Write(r.all[p].Signature)
	}
	return h.Sum(nil)[:16]
}

// known returns the digest, for others to see whether they know the same.
func (r *revokedSet) known() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sum
}

// voids returns when the tickets that were issued before became void; 0 is never.
func (r *revokedSet) voids() (at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.all {
		if e.Tickets {
			at = max(at, e.At)
		}
	}
	return at
}

// writeRevoked replaces the file, at once and durably.
func writeRevoked(path string, entries [][]byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".revoked-*") // mode 0600
	if err != nil {
		return err
	}
	err = wire.WriteFrame(f, wire.Revocations{Entries: entries})
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// maxRevokedFrame holds wire.MaxRevoked entries of some 160 bytes.
const maxRevokedFrame = 1 << 20

// Revoked returns an error of CauseRevoked if the membership of p, which may be this host, was ended
// as far as it knows, else nil.
func (h *Host) Revoked(p wire.PeerID) error {
	if r := h.revoked.of(p); r != nil && !r.Over(h.now()) {
		return r.Refusal()
	}
	return nil
}

// Revocations returns those that this host knows, encoded, ordered by peer.
func (h *Host) Revocations() [][]byte { return h.revoked.list(nil) }

// TicketsFrom returns when a ticket must have been issued, at the earliest, to be good, in Unix
// seconds: those before were revoked. 0 is any time.
func (h *Host) TicketsFrom() int64 { return h.revoked.voids() }

// Learn takes revocations in: it keeps them, ends the connections to whom they name, and has all
// connected members told of those that are new, in the background and until they know. An entry that the mesh key has not signed is an error of
// CauseUnauthorized; what came before it stands.
func (h *Host) Learn(entries [][]byte) error { return h.learn(entries, wire.PeerID{}) }

// learn is Learn of what a peer has told.
func (h *Host) learn(entries [][]byte, from wire.PeerID) error {
	fresh, err := h.revoked.add(entries, h.now())
	var news [][]byte
	for _, r := range fresh {
		news = append(news, r.Encode())
		h.log.Info("a membership was revoked", "peer", r.Peer, "at", time.Unix(r.At, 0).UTC())
		h.expel(r.Peer)
	}
	if len(news) > 0 {
		h.spread(news, from)
	}
	return err
}

// expel ends the connections to a peer, in the background: closing waits for who handles them. If it
// is this host itself, those to everybody.
func (h *Host) expel(p wire.PeerID) {
	if !h.begin() {
		return
	}
	go func() {
		defer h.work.Done()
		if p != h.ID() {
			h.Disconnect(p)
			return
		}
		for _, c := range h.swarm.Conns() {
			_ = c.Close()
		}
	}()
}
