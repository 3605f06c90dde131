package worker

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

// chain makes an offer of a thunk that goes on with n more, each of which reads what the one before
// wrote. Its leases are numbered from 1.
func (l *lab) chain(n int) wire.Offer {
	l.t.Helper()
	o := l.thunk(1, "link1")
	for i := range n {
		pending := wire.Object{Kind: wire.Pending, Digest: wire.Digest{byte(i)}}
		t := wire.Thunk{Command: []string{"link" + string(rune('2'+i))}, Root: l.root(), Platform: "linux/amd64", ABI: wire.ABI,
			Inputs:  []wire.Input{{Path: "in", Object: pending, Output: "out"}},
			Outputs: []wire.Output{{Path: "out", Kind: wire.File}}}
		x := offerOf(l.t, wire.LeaseID(2+i), t)
		o.Then = append(o.Then, wire.Next{Lease: x.Lease, Name: x.Name, Thunk: x.Thunk})
	}
	return o
}

// TestThenGoesOn: the links of a continuation run one after the other without a word from the
// coordinator, and their results come in order.
func TestThenGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 2)
		l.sleeps(time.Second)
		l.start()
		s := l.accept()
		s.offer(l.chain(4))
		time.Sleep(time.Minute)
		got := s.heard()
		if ids := leases(got.Results); !slices.Equal(ids, []wire.LeaseID{1, 2, 3, 4, 5}) {
			t.Fatalf("results of %v, failures %v", ids, got.Failures)
		}
		if c := l.commands(); !slices.Equal(c, []string{"link1", "link2", "link3", "link4", "link5"}) {
			t.Errorf("ran %v", c)
		}
		if len(l.w.leases) != 0 || l.w.slots.free() != 2 {
			t.Errorf("left behind: leases %v, %d free slots", l.w.leases, l.w.slots.free())
		}
	})
}

// TestThenEnds: a link that is cancelled, before its turn or while it runs, takes those behind it along.
func TestThenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.sleeps(time.Second)
		l.start()
		s := l.accept()
		s.offer(l.chain(4))
		time.Sleep(500 * time.Millisecond)
		s.send(&wire.ToNode{Cancel: []wire.LeaseID{3}})
		time.Sleep(time.Minute)
		if got := s.heard(); !slices.Equal(leases(got.Results), []wire.LeaseID{1, 2}) || len(l.w.leases) != 0 {
			t.Errorf("results of %v, want of 1 and 2; %d leases are left", leases(got.Results), len(l.w.leases))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.sleeps(time.Hour)
		l.start()
		s := l.accept()
		s.offer(l.chain(4))
		time.Sleep(time.Second)
		s.send(&wire.ToNode{Cancel: []wire.LeaseID{1}})
		time.Sleep(time.Minute)
		if got := s.heard(); len(got.Results) != 0 || len(l.w.leases) != 0 || len(l.commands()) != 1 {
			t.Errorf("results of %v, ran %v, %d leases are left", leases(got.Results), l.commands(), len(l.w.leases))
		}
	})
}

// TestThenIsBounded: a longer continuation than there may be ends the connection.
func TestThenIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.start()
		l.accept()
		o := l.chain(1)
		o.Then = slices.Repeat(o.Then, wire.MaxThen+1)
		if err := l.w.receive(&wire.ToNode{Epoch: 1, Offers: []wire.Offer{o}}); wire.CauseOf(err) != wire.CauseTooLarge {
			t.Errorf("receive = %v, want it too large", err)
		}
	})
}

// TestThenWhileAwayAndPaused: a continuation's turn comes while the node has no connection and takes no work.
func TestThenWhileAwayAndPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 2)
		l.sleeps(10 * time.Second)
		var away atomic.Bool
		dial := l.cfg.Dial
		l.cfg.Dial = func(ctx context.Context) (Link, error) {
			if away.Load() {
				return nil, errors.New("no route")
			}
			return dial(ctx)
		}
		l.start()
		s := l.accept()
		s.offer(l.chain(2))
		time.Sleep(time.Second)
		away.Store(true)
		s.cut()
		time.Sleep(time.Second)
		l.w.setPaused(true)
		time.Sleep(time.Minute)
		l.w.mu.Lock()
		defer l.w.mu.Unlock()
		if c := l.commands(); !slices.Equal(c, []string{"link1"}) || len(l.w.leases) != 0 || len(l.w.outcomes) != 1 {
			t.Errorf("ran %v; %d leases and %d outcomes are left, want the outcome of link1", c, len(l.w.leases), len(l.w.outcomes))
		}
	})
}

// TestThenCancelledAfterTheEnd: a lease is cancelled that has ended, and whose continuation runs.
func TestThenCancelledAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 2)
		l.sleeps(10 * time.Second)
		l.start()
		s := l.accept()
		s.offer(l.chain(4))
		time.Sleep(11 * time.Second)
		s.send(&wire.ToNode{Cancel: []wire.LeaseID{1}})
		time.Sleep(2 * time.Minute)
		t.Log(l.commands())
		if len(l.commands()) > 2 {
			t.Error("goes on to the end")
		}
	})
}
