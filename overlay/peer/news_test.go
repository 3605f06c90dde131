package peer

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gaggle/wire"
)

// debtsOf counts the peers that a host is telling of revocations.
func debtsOf(h *Host) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.debts)
}

// Revocations that follow each other faster than a peer can keep them all arrive, whoever has dialled.
func TestRevocationsInARow(t *testing.T) {
	for name, dials := range map[string]bool{"it dials": true, "it is dialled": false} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			a := m.host(both)
			b := m.host(both, func(c *Config) { c.RevokedFile = filepath.Join(t.TempDir(), "revoked") })
			if dials {
				connect(t, a, b)
			} else {
				connect(t, b, a)
			}
			gone := make([]wire.PeerID, 6)
			for i := range gone {
				gone[i] = wire.PeerOf(newKey(t))
				if err := a.Learn(m.revoke(gone[i], false)); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range gone {
				eventually(t, "all have arrived", func() bool { return b.Revoked(p) != nil })
			}
			eventually(t, "nobody is told any more", func() bool { return debtsOf(a) == 0 && debtsOf(b) == 0 })
		})
	}
}

// What waits for one peer is bounded, and nothing of it is lost.
func TestManyRevocationsWait(t *testing.T) {
	m := newMesh(t)
	a, b := m.host(both), m.host([]string{})
	connect(t, a, b)
	waits := &debt{}
	a.mu.Lock()
	a.debts[b.ID()] = waits // and nobody pays it yet
	a.mu.Unlock()
	for i := range maxNews + 1 {
		if n := len(waits.news); n != i {
			t.Fatalf("%d of %d wait", n, i)
		}
		if err := a.Learn(m.revoke(wire.PeerOf(newKey(t)), false)); err != nil {
			t.Fatal(err)
		}
	}
	if waits.news != nil || !waits.all {
		t.Errorf("%d wait one by one, all: %v", len(waits.news), waits.all)
	}
	a.pay(b.ID())
	if got := len(b.Revocations()); got != maxNews+1 {
		t.Errorf("%d of %d have arrived", got, maxNews+1)
	}
}

// A refusals handler counts the log's records of exchanges that failed.
type refusals struct{ n atomic.Int64 }

func (r *refusals) Enabled(context.Context, slog.Level) bool { return true }
func (r *refusals) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *refusals) WithGroup(string) slog.Handler            { return r }
func (r *refusals) Handle(_ context.Context, rec slog.Record) error {
	if strings.Contains(rec.Message, "were not exchanged") {
		r.n.Add(1)
	}
	return nil
}

// A peer that had no place for what it was told is told again on the same connection.
func TestRevocationIsToldAgain(t *testing.T) {
	m := newMesh(t)
	failed := &refusals{}
	a := m.host(both, func(c *Config) { c.Logger = slog.New(failed) })
	b, gone := m.host([]string{}), wire.PeerOf(newKey(t))
	connect(t, a, b)
	for range maxTellers {
		b.tellers <- struct{}{}
	}
	if err := a.Learn(m.revoke(gone, false)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it was not taken", func() bool { return failed.n.Load() > 0 })
	for range maxTellers {
		<-b.tellers
	}
	eventually(t, "it is told again", func() bool { return b.Revoked(gone) != nil })
	eventually(t, "nobody is told any more", func() bool { return debtsOf(a) == 0 })
}

// Nobody is told for ever: the end of the connection ends that, and so does Close.
func TestTellingEnds(t *testing.T) {
	m := newMesh(t)
	a := m.host(both)
	b, c := m.host([]string{}), m.host([]string{})
	connect(t, a, b, c)
	for _, h := range []*Host{b, c} {
		for range maxTellers {
			h.tellers <- struct{}{}
		}
	}
	if err := a.Learn(m.revoke(wire.PeerOf(newKey(t)), false)); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "who has left is told no more", func() bool { return !a.Connected(b.ID()) && debtsOf(a) == 1 })
	if err := a.Close(); err != nil { // it waits for the other
		t.Fatal(err)
	}
}

// What is learned while certificates are exchanged, after the answer was begun and before the peer
// counts as connected, is not lost to it.
func TestRevocationDuringExchange(t *testing.T) {
	m := newMesh(t)
	gone := wire.PeerOf(newKey(t))
	var a *Host
	var calls atomic.Int64
	a = m.host(both, func(c *Config) {
		c.Now = func() time.Time {
			if calls.Add(1) == 2 { // the first is for the answer, the second judges the certificate
				a.Learn(m.revoke(gone, false))
			}
			return time.Now()
		}
	})
	b := m.host([]string{})
	calls.Store(0)
	connect(t, a, b)
	eventually(t, "it hears", func() bool { return b.Revoked(gone) != nil })
}
