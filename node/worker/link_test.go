package worker

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

func TestLinkHoldsResultsUntilAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1).start()
		s := l.accept()
		s.offer(l.thunk(1, "a"))
		if got := s.heard(); len(got.Results) != 1 {
			t.Fatalf("results %v", got.Results)
		}
		s.cut()
		s = l.accept()
		if !slices.Equal(s.hello.Running, []wire.LeaseID{1}) || len(s.hello.Working) != 1 || !s.hello.Working[0].Started {
			t.Errorf("hello names %v, %v: want lease 1, whose result may be lost", s.hello.Running, s.hello.Working)
		}
		if got := s.heard(); !slices.Equal(leases(got.Results), []wire.LeaseID{1}) {
			t.Errorf("results %v, want the same again", leases(got.Results))
		}
		s.offer(l.thunk(1, "a"))
		if got := s.heard(); len(got.Results) != 1 || len(got.Recalled) != 0 {
			t.Errorf("results %v, given back %v: want an offer with a known outcome ignored", leases(got.Results), got.Recalled)
		}
		s.send(&wire.ToNode{Acked: []wire.LeaseID{1}})
		synctest.Wait()
		s.cut()
		s = l.accept()
		if got := s.heard(); len(got.Results) != 0 || len(s.hello.Running) != 0 {
			t.Errorf("after the acknowledgement: results %v, running %v", got.Results, s.hello.Running)
		}
		if len(objects(s.heard().Have)) != 1 {
			t.Errorf("have %v, want the output in the inventory", s.heard().Have)
		}
	})
}

// A result that is told again must not make the coordinator believe that its outputs are here if
// they were lost meanwhile.
func TestLinkTellsLostAfterResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1).start()
		s := l.accept()
		s.offer(l.thunk(1, "a"))
		v, err := wire.DecodeValue(s.heard().Results[0].Value)
		if err != nil {
			t.Fatal(err)
		}
		l.down.Store(true)
		s.cut()
		l.store.Lose(v.Outputs[0].Digest)
		l.down.Store(false)
		s = l.accept()
		s.heard()
		s.mu.Lock()
		defer s.mu.Unlock()
		told := ""
		for _, f := range s.frames {
			if len(f.Have)+len(f.Stored)+len(f.Results) > 0 {
				told += "here "
			}
			if lost := objects(f.Lost); len(lost) == 1 && lost[0].Digest == v.Outputs[0].Digest {
				told += "lost "
			}
		}
		if told != "here lost " {
			t.Errorf("the coordinator heard %q, want here lost", told)
		}
	})
}

func TestLinkKeepsLeasesAcrossReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.sleeps(30 * time.Second)
		l.start()
		s := l.accept()
		s.offer(l.thunk(1, "a"))
		synctest.Wait()
		s.offer(l.thunk(2, "b"))
		synctest.Wait()
		s.cut()
		s = l.accept()
		if !slices.Equal(s.hello.Running, []wire.LeaseID{1, 2}) || !s.hello.Working[0].Started || s.hello.Working[1].Started {
			t.Errorf("hello names %v, %v", s.hello.Running, s.hello.Working)
		}
		if got := s.heard(); !slices.Equal(got.Started, []wire.LeaseID{1}) {
			t.Errorf("started %v, want 1 told again", got.Started)
		}
		l.down.Store(true)
		s.cut()
		time.Sleep(2 * time.Minute) // both end meanwhile
		l.down.Store(false)
		s = l.accept()
		if got := s.heard(); !slices.Equal(leases(got.Results), []wire.LeaseID{1, 2}) {
			t.Errorf("results %v, want both", leases(got.Results))
		}
	})
}

func TestLinkObeysTheHighestEpochOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.cfg.EpochFile = filepath.Join(t.TempDir(), "epoch")
		l.start()
		l.epoch = 5
		s := l.accept()
		synctest.Wait()
		l.epoch = 4
		s.offer(l.thunk(1, "a"))
		<-s.ended
		for range 3 {
			s = l.accept()
			if s.hello.Epoch != 5 {
				t.Errorf("hello of epoch %d, want 5", s.hello.Epoch)
			}
			<-s.ended
		}
		if err := l.stop(); err != nil {
			t.Error(err)
		}
		for len(l.links) > 0 {
			<-l.links
		}
		l.start()
		s = l.accept()
		<-s.ended
		if s.hello.Epoch != 5 || len(l.commands()) != 0 {
			t.Errorf("after a restart: epoch %d, ran %v; want the old coordinator ignored", s.hello.Epoch, l.commands())
		}
		l.epoch = 6
		s = l.accept()
		s.offer(l.thunk(2, "b"))
		if got := s.heard(); len(got.Results) != 1 {
			t.Errorf("results %v under a new epoch", got.Results)
		}
	})
}

func TestLinkBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.down.Store(true)
		l.start()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		var gaps []time.Duration
		l.hub.mu.Lock()
		for i := 1; i < len(l.dials); i++ {
			gaps = append(gaps, l.dials[i].Sub(l.dials[i-1]))
		}
		l.hub.mu.Unlock()
		if len(gaps) < 12 || len(gaps) > 30 {
			t.Errorf("%d attempts in two minutes: %v", len(gaps), gaps)
		}
		if gaps[0] > firstRetry {
			t.Errorf("first retry after %v", gaps[0])
		}
		for _, g := range gaps {
			if g > lastRetry {
				t.Errorf("waited %v between attempts, the bound is %v", g, lastRetry)
			}
		}
		l.down.Store(false)
		s := l.accept()
		time.Sleep(time.Minute)
		s.cut()
		begun := time.Now()
		l.accept()
		if d := time.Since(begun); d > firstRetry {
			t.Errorf("back after %v: want the back-off to start over after a long session", d)
		}
	})
}

func TestLinkRefused(t *testing.T) {
	for _, c := range []struct {
		cause wire.Cause
		final bool
	}{{wire.CauseVersion, true}, {wire.CauseUnauthorized, true}, {wire.CauseBusy, false}, {wire.CauseExpired, false}} {
		t.Run(c.cause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, 1)
				w, err := New(l.cfg)
				if err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				ctx, cancel := contextOf(t)
				go func() { ended <- w.Run(ctx) }()
				l.answer(&wire.ToNode{Refuse: wire.Errorf(c.cause, "", "no")})
				if !c.final {
					l.accept()
					cancel()
				}
				err = <-ended
				if c.final != (err != nil) || c.final && wire.CauseOf(err) != c.cause {
					t.Errorf("Run = %v", err)
				}
			})
		})
	}
}

// A thousand small thunks are not a thousand frames.
func TestLinkBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 4).start()
		s := l.accept()
		const n = 1000
		var offers []wire.Offer
		for i := range n {
			offers = append(offers, l.thunk(wire.LeaseID(i+1), fmt.Sprint("c", i)))
		}
		for part := range slices.Chunk(offers, 100) {
			s.offer(part...)
		}
		got := s.heard()
		if len(got.Results) != n {
			t.Fatalf("%d results, want %d", len(got.Results), n)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.frames) > n/4 {
			t.Errorf("%d frames for %d thunks", len(s.frames), n)
		}
		for _, f := range s.frames {
			if items := len(f.Started) + len(f.Results) + len(f.Have) + len(f.Stored); items > 2*wire.MaxBatch {
				t.Errorf("frame of %d items", items)
			}
		}
	})
}

func TestLinkInventoryInFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 0)
		l.cfg.Executor = nil
		const n = 3*wire.MaxBatch + 1
		for i := range n {
			l.store.Hold(space, l.put(fmt.Sprint("object ", i)))
		}
		l.start()
		s := l.accept()
		got := s.heard()
		if s.hello.Inventory != n || len(objects(got.Have)) != n {
			t.Errorf("inventory %d, have %d, want %d", s.hello.Inventory, len(objects(got.Have)), n)
		}
		time.Sleep(time.Second)
		if got := len(objects(s.heard().Stored)); got != n {
			t.Errorf("%d stored, want %d", got, n)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range s.frames {
			if len(objects(f.Have)) > wire.MaxBatch {
				t.Errorf("frame with %d objects", len(objects(f.Have)))
			}
		}
	})
}

// A link on which nothing happens carries beats twice as often as asked.
func TestLinkBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 2).start()
		s := l.accept()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := len(s.frames); n < 19 || n > 25 {
			t.Errorf("%d frames in 20 s, want one a second", n)
		}
		if b := s.frames[len(s.frames)-1].Beat; b == nil || b.FreeSlots != 2 || b.Draining || b.Paused {
			t.Errorf("beat %+v", b)
		}
	})
}

// A coordinator that accepts the link and then says nothing does not hold the node for ever.
func TestLinkWithoutWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1).start()
		silent := <-l.links
		var f wire.FromNode
		if err := wire.NewFrameReader(silent).Read(&f); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		l.accept()
		if d := time.Since(begun); d < welcomeLimit || d > welcomeLimit+lastRetry {
			t.Errorf("tried again after %v", d)
		}
	})
}

func TestLinkRefusesOverlongLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1).start()
		s := l.accept()
		s.send(&wire.ToNode{Cancel: make([]wire.LeaseID, wire.MaxBatch+1)})
		<-s.ended
	})
}

// A coordinator that promised to say something every second and does not is told that nothing
// arrives, and then left for a new connection.
func TestLinkToASilentCoordinatorIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		hungUp := make(chan struct{}, 1)
		l.cfg.HangUp = func() { hungUp <- struct{}{} }
		doubted := make(chan struct{}, 2)
		l.cfg.Doubt = func() { doubted <- struct{}{} }
		l.start()
		welcome := &wire.ToNode{Welcome: &wire.Welcome{Beat: time.Second, Says: time.Second, Now: time.Now().UnixMicro()}}
		s := l.answer(welcome)
		for range 20 {
			time.Sleep(time.Second)
			s.send(&wire.ToNode{})
		}
		if all := s.heard(); all.Beat == nil || all.Beat.Deaf {
			t.Errorf("beat %+v of a node that is told something every second", all.Beat)
		}
		begun := time.Now()
		s.wait(func(f *wire.FromNode) bool { return f.Beat != nil && f.Beat.Deaf })
		if d := time.Since(begun); d < deafAfter-time.Second || d > deafAfter+time.Second {
			t.Errorf("it says after %v that it hears nothing, want about %v", d, deafAfter)
		}
		<-doubted
		s.send(&wire.ToNode{})
		s.wait(func(f *wire.FromNode) bool { return !f.Beat.Deaf })
		begun = time.Now()
		<-doubted // once for each silence
		<-hungUp
		<-s.ended
		if d := time.Since(begun); d < hangUpAfter-time.Second || d > hangUpAfter+time.Second {
			t.Errorf("given up after %v, want about %v", d, hangUpAfter)
		}
		s = l.answer(welcome)
		if all := s.heard(); all.Beat == nil || all.Beat.Deaf {
			t.Errorf("beat %+v on a new connection", all.Beat)
		}
	})
}
