package worker

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/blobstore/exchange"
	"gaggle/sandbox"
	"gaggle/wire"
)

func TestWorkerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 2).start()
		s := l.accept()
		in := l.put("input")
		s.offer(l.thunk(1, "a", in), l.thunk(2, "b"))
		got := s.heard()
		if !slices.Equal(got.Started, []wire.LeaseID{1, 2}) && !slices.Equal(got.Started, []wire.LeaseID{2, 1}) {
			t.Errorf("started %v, want 1 and 2", got.Started)
		}
		if len(got.Results) != 2 || len(got.Failures) != 0 {
			t.Fatalf("results %v, failures %v", got.Results, got.Failures)
		}
		for _, r := range got.Results {
			want := map[wire.LeaseID]string{1: "a", 2: "b"}[r.Lease]
			if text := l.text(r); text != want || r.Space != space {
				t.Errorf("result of lease %d holds %q of %s, want %q", r.Lease, text, r.Space, want)
			}
		}
		if stored := objects(got.Stored); len(stored) < 2 {
			t.Errorf("stored %v, want both outputs", stored)
		}
		if l.released != 2 {
			t.Errorf("%d stages released, want 2", l.released)
		}
	})
}

func TestWorkerReportsTaskFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.do(func(context.Context, string, sandbox.Spec) (string, *wire.Failure, error) {
			return "", &wire.Failure{Cause: wire.CauseExit, Exit: 3, Message: "exit 3", Stderr: []byte(strings.Repeat("e", 2*wire.MaxTail))}, nil
		})
		l.start()
		s := l.accept()
		s.offer(l.thunk(1, "a"))
		got := s.heard()
		if len(got.Failures) != 1 {
			t.Fatalf("failures %v, want one", got.Failures)
		}
		f := got.Failures[0].Failure
		if f.Cause != wire.CauseExit || f.Exit != 3 || f.Node != l.w.self || f.NodeName != "lab" || len(f.Stderr) != wire.MaxTail {
			t.Errorf("failure %+v, %d bytes of stderr", f, len(f.Stderr))
		}
		if c, err := l.store.Claims(space, got.Failures[0].Thunk); len(c) > 0 || err != nil {
			t.Errorf("a failure was remembered: %v, %v", c, err)
		}
	})
}

func TestWorkerNeverRunsMoreThanItsSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 3)
		l.sleeps(time.Second)
		l.start()
		s := l.accept()
		for i := range 20 {
			s.offer(l.thunk(wire.LeaseID(i+1), string(rune('a'+i))))
		}
		time.Sleep(10 * time.Second)
		if got := s.heard(); len(got.Results) != 20 || l.most != 3 {
			t.Errorf("%d results, %d ran at once, want 20 and 3", len(got.Results), l.most)
		}
	})
}

func TestWorkerPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.sleeps(time.Second)
		l.start()
		s := l.accept()
		offers := []wire.Offer{l.thunk(1, "first"), l.thunk(2, "second"), l.thunk(3, "third"), l.thunk(4, "urgent")}
		offers[3].Hints.Priority = 5
		for _, o := range offers {
			s.offer(o)
			synctest.Wait()
		}
		time.Sleep(5 * time.Second)
		if got, want := l.commands(), []string{"first", "urgent", "second", "third"}; !slices.Equal(got, want) {
			t.Errorf("ran %v, want %v", got, want)
		}
	})
}

// While a thunk computes, the inputs of the next are fetched.
func TestWorkerFetchesAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.sleeps(10 * time.Second)
		l.exch.takes = 9 * time.Second
		far := l.exch.elsewhere("far away")
		peer := wire.PeerOf(testKey(9))
		l.start()
		s := l.accept()
		begun := time.Now()
		second := l.thunk(2, "second", far)
		second.Holders = []wire.Held{{Object: far, Peers: []wire.PeerID{peer}}}
		s.offer(l.thunk(1, "first"), second)
		time.Sleep(8 * time.Second)
		if p := s.heard().Progress; len(p) == 0 || p[len(p)-1].Phase != "fetch" || p[len(p)-1].From != peer || p[len(p)-1].Lease != 2 {
			t.Errorf("progress %+v, want lease 2 to fetch from %s", p, peer)
		}
		for len(s.heard().Results) < 2 {
			time.Sleep(100 * time.Millisecond)
		}
		if d := time.Since(begun); d > 21*time.Second {
			t.Errorf("both took %v, want the fetch hidden behind the first run", d)
		}
		got := s.heard()
		if len(l.exch.fetches) != 1 || !slices.Equal(l.exch.fetches[0][0].Peers, []wire.PeerID{peer}) {
			t.Errorf("fetches %v", l.exch.fetches)
		}
		if !slices.Contains(objects(got.Have), far) || got.Results[1].Fetched != int64(far.Size) {
			t.Errorf("have %v, results %+v: want the fetched input reported", got.Have, got.Results)
		}
	})
}

func TestWorkerPassesOnWhatAFetchLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		p := wire.PeerOf(testKey(9))
		absent := wire.FileObject(wire.BlobID{1}, 3, false)
		l.exch.report = exchange.Report{Gone: []wire.Gone{{Peer: p, Space: space, Digest: absent.Digest, Wrong: true}},
			Links: []wire.Link{{From: p, BytesPerSec: 5, RTT: 1}}}
		l.start()
		s := l.accept()
		o := l.thunk(1, "a", absent)
		o.Holders = []wire.Held{{Object: absent, Peers: []wire.PeerID{p}}}
		s.offer(o)
		time.Sleep(time.Second)
		got := s.heard()
		if len(got.Failures) != 1 || got.Failures[0].Failure.Cause != wire.CauseFetch {
			t.Errorf("failures %+v, want one of fetching", got.Failures)
		}
		if len(got.Gone) != 1 || !got.Gone[0].Wrong || len(got.Links) != 1 || got.Links[0].From != p {
			t.Errorf("gone %v, links %v", got.Gone, got.Links)
		}
	})
}

// An input that is trimmed between being fetched and being laid out is fetched again.
func TestWorkerFetchesAgainWhatVanished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		far := l.exch.elsewhere("far")
		vanish := true
		l.cfg.Executor = stageFunc(func(ctx context.Context, space wire.Space, t *wire.Thunk) (Staged, error) {
			if vanish {
				vanish = false
				l.store.Lose(far.Digest)
			}
			return l.Stage(ctx, space, t)
		})
		l.start()
		s := l.accept()
		o := l.thunk(1, "a", far)
		o.Holders = []wire.Held{{Object: far, Peers: []wire.PeerID{{}}}}
		s.offer(o)
		if got := s.heard(); len(got.Results) != 1 || len(l.exch.fetches) != 2 {
			t.Errorf("results %v after %d fetches, want one after two", got.Results, len(l.exch.fetches))
		}
	})
}

type stageFunc func(context.Context, wire.Space, *wire.Thunk) (Staged, error)

func (f stageFunc) Stage(ctx context.Context, space wire.Space, t *wire.Thunk) (Staged, error) {
	return f(ctx, space, t)
}

func TestWorkerRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1).start()
		s := l.accept()
		s.offer(l.thunk(1, "a"))
		first := s.heard().Results
		s.offer(l.thunk(2, "a"))
		got := s.heard()
		if len(got.Results) != 2 || len(l.commands()) != 1 || len(got.Started) != 1 {
			t.Fatalf("%d results of %v, started %v: want the second without running", len(got.Results), l.commands(), got.Started)
		}
		if string(got.Results[1].Value) != string(first[0].Value) {
			t.Error("the remembered value differs")
		}
		v, err := wire.DecodeValue(first[0].Value)
		if err != nil {
			t.Fatal(err)
		}
		l.store.Lose(v.Outputs[0].Digest)
		s.offer(l.thunk(3, "a"))
		if got := s.heard(); len(got.Results) != 3 || len(l.commands()) != 2 {
			t.Errorf("%d results of %v: want it to run again, its output is gone", len(got.Results), l.commands())
		}
		if lost := objects(s.heard().Lost); len(lost) != 1 || lost[0].Digest != v.Outputs[0].Digest {
			t.Errorf("lost %v, want the output", lost)
		}
	})
}

func TestWorkerDoesNotBelieveOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1).start()
		s := l.accept()
		o := l.thunk(1, "a")
		lie := wire.NewValue([]wire.Object{l.put("a lie")})
		if err := l.store.AddClaim(wire.SignClaim(testKey(2), space, wire.ThunkID(wire.Sum(o.Thunk)), lie)); err != nil {
			t.Fatal(err)
		}
		s.offer(o)
		if got := s.heard(); len(got.Results) != 1 || l.text(got.Results[0]) != "a" {
			t.Errorf("results %v, want that of running", got.Results)
		}
	})
}

func TestWorkerSelects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1).start()
		s := l.accept()
		x := l.put("x")
		sub, err := wire.NewTree([]wire.Entry{{Name: "x", Object: x}})
		if err != nil {
			t.Fatal(err)
		}
		subID, err := l.store.PutTree(t.Context(), space, sub)
		if err != nil {
			t.Fatal(err)
		}
		top, err := wire.NewTree([]wire.Entry{{Name: "d", Object: wire.DirObject(subID, sub.Size())}})
		if err != nil {
			t.Fatal(err)
		}
		topID, err := l.store.PutTree(t.Context(), space, top)
		if err != nil {
			t.Fatal(err)
		}
		choice := func(lease wire.LeaseID, path string) wire.Offer {
			return offerOf(t, lease, wire.Thunk{Command: []string{wire.BuiltinSelect, path}, Platform: "any/any",
				Inputs:  []wire.Input{{Path: "in", Object: wire.DirObject(topID, top.Size())}},
				Outputs: []wire.Output{{Path: "out", Kind: wire.File}}})
		}
		s.offer(choice(1, "d/x"), choice(2, "d/y"))
		got := s.heard()
		if len(got.Results) != 1 || l.text(got.Results[0]) != "x" {
			t.Errorf("results %v, want x", got.Results)
		}
		if len(got.Failures) != 1 || got.Failures[0].Failure.Cause != wire.CauseOutputMissing || !strings.Contains(got.Failures[0].Failure.Message, `d holds "x"`) {
			t.Errorf("failures %+v, want a missing output that names what is there", got.Failures)
		}
		if len(l.commands()) != 0 {
			t.Errorf("ran %v in the sandbox", l.commands())
		}
	})
}

func TestWorkerRefusesWhatItCannotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1).start()
		s := l.accept()
		base := wire.Thunk{Command: []string{"a"}, Root: l.root(), Outputs: []wire.Output{{Path: "out", Kind: wire.File}}, Platform: "linux/amd64", ABI: wire.ABI}
		old := base
		old.ABI = 77
		other := base
		other.Platform = "plan9/mips"
		pending := base
		pending.Inputs = []wire.Input{{Path: "in", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest{1}}, Output: "out"}}
		s.offer(offerOf(t, 1, old), offerOf(t, 2, other), offerOf(t, 3, pending), wire.Offer{Lease: 4, Space: space, Thunk: []byte("rubbish")})
		got := s.heard()
		var causes []wire.Cause
		for _, f := range got.Failures {
			causes = append(causes, f.Failure.Cause)
		}
		if want := []wire.Cause{wire.CauseVersion, wire.CauseNoPlatform, wire.CauseInternal, wire.CauseInternal}; !slices.Equal(causes, want) {
			t.Errorf("causes %v, want %v", causes, want)
		}
	})
}

func TestWorkerDrainsWhenTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		var room atomic.Bool
		l.cfg.Room = room.Load
		l.do(func(context.Context, string, sandbox.Spec) (string, *wire.Failure, error) {
			time.Sleep(time.Second)
			return "", nil, wire.Errorf(wire.CauseDiskFull, "", "no room")
		})
		l.start()
		s := l.accept()
		s.offer(l.thunk(1, "a"))
		synctest.Wait()
		s.offer(l.thunk(2, "b"))
		time.Sleep(1500 * time.Millisecond)
		got := s.heard()
		if len(got.Failures) != 1 || got.Failures[0].Failure.Cause != wire.CauseDiskFull || !got.Beat.Draining {
			t.Fatalf("failures %+v, beat %+v", got.Failures, got.Beat)
		}
		if !slices.Equal(got.Recalled, []wire.LeaseID{2}) {
			t.Errorf("given back %v, want 2", got.Recalled)
		}
		s.offer(l.thunk(3, "c"))
		if got := s.heard(); !slices.Equal(got.Recalled, []wire.LeaseID{2, 3}) {
			t.Errorf("given back %v, want 2 and 3", got.Recalled)
		}
		time.Sleep(20 * time.Second)
		if !s.heard().Beat.Draining {
			t.Error("takes work although there is no room")
		}
		room.Store(true)
		time.Sleep(drainFor)
		if s.heard().Beat.Draining {
			t.Error("still draining although there is room")
		}
	})
}

func TestWorkerPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		var battery atomic.Bool
		l.cfg.Paused = battery.Load
		l.sleeps(time.Minute)
		l.start()
		s := l.accept()
		s.offer(l.thunk(1, "a"), l.thunk(2, "b"))
		synctest.Wait()
		battery.Store(true)
		time.Sleep(pauseEvery)
		got := s.heard()
		if !got.Beat.Paused || len(got.Started) != 1 || len(got.Recalled) != 1 {
			t.Errorf("beat %+v, started %v, given back %v", got.Beat, got.Started, got.Recalled)
		}
		battery.Store(false)
		time.Sleep(pauseEvery)
		if s.heard().Beat.Paused {
			t.Error("still paused on mains power")
		}
	})
}

func TestWorkerWithoutSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 0)
		l.cfg.Executor = nil
		before := l.put("before")
		l.store.Hold(space, before)
		l.start()
		s := l.accept()
		if s.hello.Inventory != 1 {
			t.Errorf("inventory of %d announced, want 1", s.hello.Inventory)
		}
		s.heard()
		after := l.put("after")
		l.w.Announce(space, []wire.Object{after})
		s.offer(l.thunk(1, "a"))
		got := s.heard()
		if want := []wire.Object{before, after}; !slices.Equal(objects(got.Have), want) || !slices.Equal(objects(got.Stored), want) {
			t.Errorf("have %v, stored %v, want %v", got.Have, got.Stored, want)
		}
		if !slices.Equal(got.Recalled, []wire.LeaseID{1}) {
			t.Errorf("given back %v, want 1: there are no slots", got.Recalled)
		}
		l.store.Lose(after.Digest)
		if lost := objects(s.heard().Lost); len(lost) != 1 || lost[0].Digest != after.Digest {
			t.Errorf("lost %v", lost)
		}
	})
}

func TestWorkerCopiesPinsAndProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 0).start()
		s := l.accept()
		far := l.exch.elsewhere("far")
		here := l.put("here")
		p := wire.PeerOf(testKey(9))
		grant := wire.SignGrant(testKey(3), space, l.w.self, time.Now().Add(time.Hour))
		s.send(&wire.ToNode{
			Grants: [][]byte{grant.Encode()},
			Copy: []wire.CopyOrder{
				{Space: space, Held: wire.Held{Object: far, Peers: []wire.PeerID{p}}},
				{Space: space, Held: wire.Held{Object: here}},
				{Space: space, Held: wire.Held{Object: wire.FileObject(wire.BlobID{1}, 1, false), Peers: []wire.PeerID{p}}},
			},
			Pin:   []wire.Pin{{Space: space, Object: far, Owner: "j1"}},
			Probe: []wire.PeerID{p},
		})
		time.Sleep(time.Second)
		got := s.heard()
		for _, o := range []wire.Object{far, here} {
			if !slices.Contains(objects(got.Have), o) || !slices.Contains(objects(got.Stored), o) {
				t.Errorf("have %v, stored %v, want %v in both", got.Have, got.Stored, o)
			}
		}
		if len(objects(got.Stored)) != 2 || len(got.Links) != 1 || len(l.exch.grants) != 1 {
			t.Errorf("stored %v, links %v, %d grants", got.Stored, got.Links, len(l.exch.grants))
		}
	})
}

// Many copies travel in few requests, and one that cannot be had does not keep the others.
func TestWorkerCopiesManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 0).start()
		s := l.accept()
		var orders []wire.CopyOrder
		var want []wire.Object
		for i := range 500 {
			o := wire.FileObject(wire.BlobID{1}, 1, false)
			if i != 300 {
				o = l.exch.elsewhere(fmt.Sprint("object ", i))
				want = append(want, o)
			}
			orders = append(orders, wire.CopyOrder{Space: space, Held: wire.Held{Object: o, Peers: []wire.PeerID{{}}}})
		}
		s.send(&wire.ToNode{Copy: orders})
		time.Sleep(time.Second)
		stored := objects(s.heard().Stored)
		slices.SortFunc(stored, byDigest)
		slices.SortFunc(want, byDigest)
		if !slices.Equal(stored, want) {
			t.Errorf("%d stored, want %d", len(stored), len(want))
		}
		if n := len(l.exch.fetches); n < 2 || n > 2+copyBatch {
			t.Errorf("%d requests", n)
		}
		if len(l.w.toCopy) != 0 || l.w.copiers != 0 {
			t.Errorf("%d orders and %d copiers left", len(l.w.toCopy), l.w.copiers)
		}
	})
}

func byDigest(a, b wire.Object) int { return bytes.Compare(a.Digest[:], b.Digest[:]) }

func TestWorkerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.sleeps(time.Hour)
		l.start()
		s := l.accept()
		s.offer(l.thunk(1, "a"), l.thunk(2, "b"))
		synctest.Wait()
		begun := time.Now()
		if err := l.stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if d := time.Since(begun); d > lastWords {
			t.Errorf("stopping took %v", d)
		}
		got := s.heard()
		if len(got.Failures) != 1 || got.Failures[0].Failure.Cause != wire.CauseNodeLost || len(got.Recalled) != 1 || !got.Beat.Draining {
			t.Errorf("failures %+v, given back %v, beat %+v", got.Failures, got.Recalled, got.Beat)
		}
	})
}

func TestWorkerStopsWithoutACoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 1)
		l.down.Store(true)
		l.start()
		time.Sleep(time.Minute)
		begun := time.Now()
		if err := l.stop(); err != nil || time.Since(begun) > 0 {
			t.Errorf("Run = %v after %v", err, time.Since(begun))
		}
	})
}

func TestNewNeedsWhatItRuns(t *testing.T) {
	l := newLab(t, 1)
	l.cfg.Executor = nil
	if _, err := New(l.cfg); err == nil {
		t.Error("a worker with slots and without an engine")
	}
	l.cfg.EpochFile = filepath.Join(t.TempDir(), "absent", "epoch")
	l.cfg.Hello.Slots = 0
	if _, err := New(l.cfg); err != nil {
		t.Errorf("New = %v", err)
	}
}
