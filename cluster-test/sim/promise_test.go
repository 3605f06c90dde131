package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"gaggle/node/worker"
	"gaggle/wire"
)

// What the coordinator promises must be on its disk by then: that a job is accepted, that it has ended,
// and that a node may forget an outcome or let go of an object.

// promised fails the world if what somebody was told rests on something that a crash would lose.
func (w *world) promised(what string, to *host, key any) {
	if !w.disk.has(key) {
		w.fail(fmt.Errorf("%w: %s was told %s", errEarly, to.name, what))
	}
}

var errEarly = errors.New("told before it was durable")

// A witness listens to what a node and the coordinator say to each other.
type witness struct {
	worker.Link
	h *host

	mu   sync.Mutex                // guards sent
	sent map[wire.LeaseID]valueKey // the results of this connection
}

func (l *witness) Write(f *wire.FromNode) error {
	l.h.untilAwake(context.Background())
	l.mu.Lock()
	for _, r := range f.Results {
		l.sent[r.Lease] = valueKey{r.Space, r.Thunk}
	}
	l.mu.Unlock()
	return l.Link.Write(f)
}

func (l *witness) Read(f *wire.ToNode) error {
	err := l.Link.Read(f)
	l.h.untilAwake(context.Background())
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range f.Acked {
		if k, ok := l.sent[id]; ok {
			l.h.w.promised(fmt.Sprintf("to forget a result of %s", k.thunk), l.h, k)
		}
	}
	for _, p := range f.Unpin {
		l.h.w.promised("to let go of "+p.Object.CID(), l.h, unpinKey{l.h.id(), p})
	}
	return nil
}

// TestPromisesOfALyingDisk: were anything told before it is durable, the seeds would show it. Here it is
// the disk's fault, which says that rows are flushed when they are not.
func TestPromisesOfALyingDisk(t *testing.T) {
	missing := map[string]bool{"accepted": true, "ended": true, "forget": true}
	seed := uint64(0)
	for ; len(missing) > 0 && seed < 20; seed++ {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(1000+seed, 4, 2)
			w.disk.lies = true
			runWorld(t, w)
			for _, err := range w.errs {
				for what := range missing {
					if errors.Is(err, errEarly) && strings.Contains(err.Error(), what) {
						delete(missing, what)
					}
				}
			}
		})
	}
	if len(missing) > 0 {
		t.Errorf("nobody noticed in %d seeds that %v was told too early", seed, missing)
	}
	t.Logf("all were seen within %d seeds", seed)
}
