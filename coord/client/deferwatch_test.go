package client

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestUntilClosed tells of a wait after 2, 6, 14 and 30 s, and not when it is over.
func TestUntilClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, over := time.Now(), make(chan struct{})
		time.AfterFunc(40*time.Second, func() { close(over) })
		var told []int
		untilClosed(over, func() { told = append(told, int(time.Since(begun).Seconds())) })
		if want := []int{2, 6, 14, 30}; !slices.Equal(told, want) {
			t.Errorf("told after %v s, want %v", told, want)
		}
		if took := time.Since(begun); took != 40*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestTellWaiting says what is waited for, once for several that wait at the same time.
func TestTellWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		d := &deferral{demanded: 3, ended: 1, say: func(e *Event) error { said = append(said, e.Note); return nil }}
		d.calls = []*deferredCall{{name: "gcc[a.c]", demanded: true, ended: true}, {name: "gcc[b.c]"}, {name: "gcc[c.c]", demanded: true}}
		time.Sleep(tellsWaiting)
		d.tellWaiting("make is done; waiting")
		d.tellWaiting("make is done; waiting")
		time.Sleep(tellsWaiting)
		d.ended = 3
		d.tellWaiting("make is done; waiting")
		if want := []string{"make is done; waiting for 2 of 3 calls, first for gcc[c.c]"}; !slices.Equal(said, want) {
			t.Errorf("said %q, want %q", said, want)
		}
	})
}
