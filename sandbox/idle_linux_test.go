package sandbox

import (
	"context"
	"testing"
)

// TestWarmSlot: commands one after the other share a slot, and those that are run again do not.
func TestWarmSlot(t *testing.T) {
	b := newBench(t, 3)
	run := func(again bool) *slot {
		b.run(Spec{Argv: []string{"true"}, Again: again})
		<-b.e.idle.some
		defer func() { b.e.idle.some <- struct{}{} }()
		b.e.idle.mu.Lock()
		defer b.e.idle.mu.Unlock()
		return b.e.idle.list[len(b.e.idle.list)-1]
	}
	first := run(false)
	if first.index != 0 || run(false) != first {
		t.Error("a start was not in the slot that is warm")
	}
	second := run(true)
	third := run(true)
	if second == first || third == first || third == second {
		t.Error("a command that was run again was in the same slot as before")
	}
	if run(false) != third {
		t.Error("a start was not in the slot used last")
	}
	if err := b.e.Close(); err != nil {
		t.Error(err)
	}
	if _, err := b.e.Run(context.Background(), Spec{Argv: []string{"true"}, Root: b.root, Sink: b.sink}); err != errClosed {
		t.Errorf("Run() after Close() = %v", err)
	}
}
