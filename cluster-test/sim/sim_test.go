// Package sim runs the real scheduler, server loop, worker and client protocol over a simulated
// network, disk and executor in virtual time, does them harm by a seed, and compares what every
// job gives with a serial evaluation.
//
//	go test ./cluster-test/sim -run Seeds -seed 17 -v    replays one seed
package sim

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

var (
	oneSeed = flag.Uint64("seed", 0, "run only this seed")
	seeds   = flag.Int("seeds", 200, "how many seeds to run")
)

func TestSeedsGiveTheValuesOfASerialRun(t *testing.T) {
	first, last := uint64(1), uint64(*seeds)
	if testing.Short() || raced { // make test runs all of them without the race detector, too
		last = min(last, 30)
	}
	if *oneSeed != 0 {
		first, last = *oneSeed, *oneSeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(seed, 4, 2)
				runWorld(t, w)
				for _, err := range w.errs {
					t.Errorf("seed %d: %v", seed, err)
				}
			})
		})
	}
}

const (
	troubles = 25              // bad things that happen
	patience = 2 * time.Hour   // of virtual time, after calm, for every job to end
	between  = 2 * time.Second // longest time between two bad things
)

// runWorld runs jobs in a world while bad things happen to it.
func runWorld(t *testing.T, w *world) {
	w.startHub()
	for _, h := range w.hosts {
		h.start()
	}
	defer w.end()
	truth := newSerial()
	var jobs sync.WaitGroup
	for i := range 1 + w.rng.IntN(3) {
		j := drawJob(w.rng, truth.put)
		truth.run(j.tasks)
		s := &submitter{w.hosts[4+i%2], j}
		s.hold(t, truth)
		jobs.Go(func() { check(t, s, truth) })
	}
	for range troubles {
		time.Sleep(time.Duration(w.rng.Int64N(int64(between))))
		what := w.trouble()
		if *oneSeed != 0 {
			t.Logf("%s: %s", time.Since(epochStart), what)
		}
	}
	w.calm()
	ended := make(chan struct{})
	go func() { jobs.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("a job does not end")
		w.explain(t)
	}
}

// hold puts a job's inputs and root into the submitter's store.
func (s *submitter) hold(t *testing.T, truth *serial) {
	root, _ := rootOf()
	if _, err := s.h.store.PutTree(t.Context(), space, root); err != nil {
		t.Fatal(err)
	}
	_, id := rootOf()
	objs := append([]wire.Object{wire.DirObject(id, 0)}, s.job.leaves...)
	for _, o := range s.job.leaves {
		if _, _, err := s.h.store.Put(t.Context(), space, bytes.NewReader(truth.blobs[o.Digest])); err != nil {
			t.Fatal(err)
		}
	}
	s.h.work.Announce(space, objs)
}

// check runs the job and compares its targets. A target that was lost between the job's end and
// its fetching is made again by submitting again, as the client does.
func check(t *testing.T, s *submitter, truth *serial) {
	for {
		done := s.run()
		if done == nil {
			return
		}
		if done.Error != nil || len(done.Failures) > 0 || len(done.Targets) != len(s.job.targets) {
			t.Errorf("job %s: error %v, failures %+v, %d targets", s.job.id, done.Error, done.Failures, len(done.Targets))
			return
		}
		if s.compare(t, done.Targets, truth) == nil {
			return
		}
		s.job.id[0]++
	}
}

// compare reports the error of a target that cannot be had, and fails the test for a wrong one.
func (s *submitter) compare(t *testing.T, targets []wire.Target, truth *serial) error {
	want := map[string]string{}
	for _, spec := range s.job.targets {
		want[spec.Path] = string(truth.blobs[truth.values[spec.Thunk].Digest])
	}
	for _, target := range targets {
		got, err := s.fetch(target)
		if err != nil {
			return err
		}
		if string(got) != want[target.Path] {
			t.Errorf("job %s: target %s = %q, want %q", s.job.id, target.Path, got, want[target.Path])
		}
	}
	return nil
}

// explain logs where every job stands, for a seed that fails.
func (w *world) explain(t *testing.T) {
	s, ctx := w.server()
	if s == nil {
		t.Log("the coordinator is not running")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	explain(t, ctx, w)
}
