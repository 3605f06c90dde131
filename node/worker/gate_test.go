package worker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

func TestGateOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		if err := g.enter(t.Context(), 0, 1); err != nil {
			t.Fatal(err)
		}
		order := make(chan uint64, 4)
		for _, w := range []struct {
			priority int
			seq      uint64
		}{{0, 4}, {5, 5}, {0, 3}, {5, 6}} {
			go func() {
				if err := g.enter(t.Context(), w.priority, w.seq); err != nil {
					t.Error(err)
				}
				order <- w.seq
				g.leave()
			}()
		}
		synctest.Wait()
		g.leave()
		var got []uint64
		for range 4 {
			got = append(got, <-order)
		}
		if want := []uint64{5, 6, 3, 4}; !slices.Equal(got, want) {
			t.Errorf("admitted %v, want %v", got, want)
		}
		synctest.Wait()
		if n := g.free(); n != 1 {
			t.Errorf("free() = %d after all have left, want 1", n)
		}
	})
}

func TestGateEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		if err := g.enter(t.Context(), 0, 1); err != nil {
			t.Fatal(err)
		}
		cause := errors.New("no more")
		ctx, cancel := context.WithCancelCause(t.Context())
		got := make(chan error)
		go func() { got <- g.enter(ctx, 0, 2) }()
		synctest.Wait()
		cancel(cause)
		if err := <-got; err != cause {
			t.Errorf("enter = %v, want the cause of the context", err)
		}
		g.leave()
		if n := g.free(); n != 1 {
			t.Errorf("free() = %d, want 1: who gave up waiting has no place", n)
		}
		if err := g.enter(ctx, 0, 3); err != cause || g.free() != 1 {
			t.Errorf("enter of an ended context = %v, free %d", err, g.free())
		}
	})
}

// Whoever is admitted in the very moment its context ends gives the place on.
func TestGateAdmittedAndEnded(t *testing.T) {
	g := newGate(1)
	for range 1000 {
		if err := g.enter(t.Context(), 0, 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if g.enter(ctx, 0, 2) == nil {
				g.leave()
			}
		}()
		go cancel()
		g.leave()
		<-done
		if n := g.free(); n != 1 {
			t.Fatalf("free() = %d, want 1", n)
		}
	}
}
