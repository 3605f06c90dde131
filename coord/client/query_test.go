package client

import (
	"testing"

	"gaggle/wire"
)

// Of a job that has more tasks than an answer holds, all that could run are counted.
func TestAllThatCouldRunAreCounted(t *testing.T) {
	var tasks []wire.TaskStatus
	for st, n := range map[wire.State]int{wire.StateRunning: 3, wire.StateOffered: 4, wire.StateReady: 993} {
		for range n {
			tasks = append(tasks, wire.TaskStatus{State: st})
		}
	}
	for _, c := range []struct{ ready, more int }{{100_000, 100_000 - 4 - shownReady}, {993 + 4, 993 - shownReady}, {2, 0}} {
		shown, more := underWay(tasks, wire.Counts{Ready: c.ready})
		if len(shown) != 3+4+shownReady || more != c.more {
			t.Errorf("of %d that could run %d tasks are shown, and %d more could; want %d", c.ready, len(shown), more, c.more)
		}
	}
}
