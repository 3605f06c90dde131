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
		if err := g.enter(t.Context(), 0, 1, 1); err != nil {
			t.Fatal(err)
		}
		order := make(chan uint64, 4)
		for _, w := range []struct {
			priority int
			seq      uint64
		}{{0, 4}, {5, 5}, {0, 3}, {5, 6}} {
			go func() {
				if err := g.enter(t.Context(), w.priority, w.seq, 1); err != nil {
					t.Error(err)
				}
				order <- w.seq
				g.leave(1)
			}()
		}
		synctest.Wait()
		g.leave(1)
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
		if err := g.enter(t.Context(), 0, 1, 1); err != nil {
			t.Fatal(err)
		}
		cause := errors.New("no more")
		ctx, cancel := context.WithCancelCause(t.Context())
		got := make(chan error)
		go func() { got <- g.enter(ctx, 0, 2, 1) }()
		synctest.Wait()
		cancel(cause)
		if err := <-got; err != cause {
			t.Errorf("enter = %v, want the cause of the context", err)
		}
		g.leave(1)
		if n := g.free(); n != 1 {
			t.Errorf("free() = %d, want 1: who gave up waiting has no place", n)
		}
		if err := g.enter(ctx, 0, 3, 1); err != cause || g.free() != 1 {
			t.Errorf("enter of an ended context = %v, free %d", err, g.free())
		}
	})
}

// Whoever is admitted in the very moment its context ends gives the place on.
func TestGateAdmittedAndEnded(t *testing.T) {
	g := newGate(1)
	for range 1000 {
		if err := g.enter(t.Context(), 0, 1, 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if g.enter(ctx, 0, 2, 1) == nil {
				g.leave(1)
			}
		}()
		go cancel()
		g.leave(1)
		<-done
		if n := g.free(); n != 1 {
			t.Fatalf("free() = %d, want 1", n)
		}
	}
}

// Who needs several places is not overtaken by those who need fewer.
func TestGateIsFairToTheWide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(3)
		order := make(chan uint64, 3)
		enter := func(ctx context.Context, seq uint64, places int) {
			go func() {
				if g.enter(ctx, 0, seq, places) == nil {
					order <- seq
				}
			}()
			synctest.Wait()
		}
		enter(t.Context(), 1, 2)
		ctx, cancel := context.WithCancel(t.Context())
		enter(ctx, 2, 3)
		enter(t.Context(), 3, 1)
		if len(order) != 1 || g.free() != 1 {
			t.Fatalf("%d entered, %d free, want the first alone", len(order), g.free())
		}
		cancel() // the one behind it fits
		synctest.Wait()
		if len(order) != 2 || g.free() != 0 {
			t.Errorf("%d entered, %d free, want two and none", len(order), g.free())
		}
		g.leave(2)
		g.leave(1)
		if g.free() != 3 {
			t.Errorf("%d free at the end, want 3", g.free())
		}
	})
}
