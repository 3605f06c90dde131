package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/sandbox"
	"gaggle/wire"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.WithoutCancel(t.Context()))
}

func TestLeaseRecall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.sleeps(time.Minute)
		far := l.exch.elsewhere("far")
		l.exch.takes = time.Hour
		l.start()
		s := l.accept()
		s.offer(l.thunk(1, "running"))
		synctest.Wait()
		fetching := l.thunk(3, "fetching", far)
		fetching.Holders = []wire.Held{{Object: far, Peers: []wire.PeerID{{}}}}
		s.offer(l.thunk(2, "waiting"), fetching)
		synctest.Wait()
		s.send(&wire.ToNode{Recall: []wire.LeaseID{1, 2, 3, 99}})
		got := s.heard()
		if !slices.Equal(got.Recalled, []wire.LeaseID{2, 3}) || !slices.Equal(got.Started, []wire.LeaseID{1}) {
			t.Errorf("given back %v, started %v, want 2 and 3, and 1", got.Recalled, got.Started)
		}
		time.Sleep(time.Hour)
		got = s.heard()
		if !slices.Equal(leases(got.Results), []wire.LeaseID{1}) || len(got.Failures) != 0 || len(l.commands()) != 1 {
			t.Errorf("results %v, failures %v, ran %v", leases(got.Results), got.Failures, l.commands())
		}
		if len(l.w.leases) != 0 || l.w.slots.free() != 1 || l.released != 2 {
			t.Errorf("left behind: leases %v, %d free slots, %d stages released", l.w.leases, l.w.slots.free(), l.released)
		}
	})
}

// Whatever the moment a recall comes in, a lease is given back or started, and never both; and one
// that started has an outcome.
func TestLeaseIsRecalledOrStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 2)
		r := rand.New(rand.NewPCG(1, 2))
		l.do(func(ctx context.Context, name string, _ sandbox.Spec) (string, *wire.Failure, error) {
			time.Sleep(time.Duration(len(name)) * time.Microsecond)
			return name, nil, ctx.Err()
		})
		l.start()
		s := l.accept()
		const n = 500
		for i := range wire.LeaseID(n) {
			s.offer(l.thunk(i+1, fmt.Sprint("c", i)))
			time.Sleep(time.Duration(r.IntN(5)) * time.Microsecond)
			switch r.IntN(3) {
			case 0:
				s.send(&wire.ToNode{Recall: []wire.LeaseID{i + 1, i}})
			case 1:
				s.send(&wire.ToNode{Cancel: []wire.LeaseID{i + 1}})
			}
		}
		time.Sleep(time.Second)
		got := s.heard()
		said := map[wire.LeaseID]string{}
		for _, id := range got.Started {
			said[id] += "started "
		}
		for _, id := range got.Recalled {
			said[id] += "recalled "
		}
		for _, id := range leases(got.Results) {
			said[id] += "result "
		}
		for _, f := range got.Failures {
			said[f.Lease] += f.Failure.Cause.String()
		}
		for i := range wire.LeaseID(n) {
			switch s := said[i+1]; s {
			case "recalled ", "started result ", "started cancelled":
			default:
				t.Errorf("of lease %d the coordinator heard %q", i+1, s)
			}
		}
		if len(l.w.leases) != 0 || l.w.slots.free() != 2 {
			t.Errorf("left behind: leases %v, %d free slots", l.w.leases, l.w.slots.free())
		}
	})
}

func TestLeaseCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.sleeps(time.Hour)
		l.start()
		s := l.accept()
		s.offer(l.thunk(1, "running"))
		synctest.Wait()
		s.offer(l.thunk(2, "waiting"))
		synctest.Wait()
		s.send(&wire.ToNode{Cancel: []wire.LeaseID{2}})
		synctest.Wait()
		s.send(&wire.ToNode{Cancel: []wire.LeaseID{1, 99}})
		got := s.heard()
		if len(got.Failures) != 1 || got.Failures[0].Lease != 1 || got.Failures[0].Failure.Cause != wire.CauseCancelled {
			t.Errorf("failures %+v, want lease 1 cancelled", got.Failures)
		}
		if !slices.Equal(got.Recalled, []wire.LeaseID{2}) || len(l.commands()) != 1 {
			t.Errorf("given back %v, ran %v", got.Recalled, l.commands())
		}
		s.cut()
		s = l.accept()
		if got := s.heard(); len(got.Failures) != 0 {
			t.Errorf("told again: %+v", got.Failures)
		}
	})
}

// A lease that ran out while the coordinator was away is not started any more, one that runs goes
// on.
func TestLeaseRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.sleeps(time.Minute)
		l.start()
		s := l.accept()
		first, second := l.thunk(1, "first"), l.thunk(2, "second")
		first.Lasts, second.Lasts = 30*time.Second, 30*time.Second
		s.offer(first)
		synctest.Wait()
		s.offer(second)
		synctest.Wait()
		l.down.Store(true)
		s.cut()
		time.Sleep(2 * time.Minute)
		l.down.Store(false)
		s = l.accept()
		if got := s.heard(); !slices.Equal(leases(got.Results), []wire.LeaseID{1}) || !slices.Equal(s.hello.Running, []wire.LeaseID{1}) {
			t.Errorf("results %v, running %v, want 1 only", leases(got.Results), s.hello.Running)
		}
		if got := l.commands(); len(got) != 1 {
			t.Errorf("ran %v", got)
		}
	})
}

// With a coordinator that is there, beats keep a lease alive.
func TestLeaseIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.sleeps(time.Minute)
		l.start()
		s := l.accept()
		second := l.thunk(2, "second")
		second.Lasts = 30 * time.Second
		s.offer(l.thunk(1, "first"))
		synctest.Wait()
		s.offer(second)
		time.Sleep(3 * time.Minute)
		if got := s.heard(); len(got.Results) != 2 {
			t.Errorf("results %v, given back %v", leases(got.Results), got.Recalled)
		}
	})
}

func TestWorkerTakesOnlyItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.cfg.Takes = func(s wire.Space) bool { return s == "mine" }
		l.start()
		s := l.accept()
		s.offer(l.thunk(1, "a"))
		got := s.heard()
		if len(got.Failures) != 1 || !got.Failures[0].Failure.Cause.Infrastructure() || len(l.commands()) > 0 {
			t.Errorf("failures %v, ran %v, want it refused for another node", got.Failures, l.commands())
		}
	})
}
