package sim

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/wire"
)

// What becomes of a machine beside its process and its network: it sleeps, its wall clock jumps, or it
// is copied with its key.

// boot is CLOCK_BOOTTIME, as its process sees it: while it sleeps nobody looks.
func (h *host) boot() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.awake != nil {
		return h.slept
	}
	return time.Since(epochStart)
}

// suspend stops the machine with all its processes. Packets to it are lost.
func (h *host) suspend() {
	slept := h.boot()
	h.mu.Lock()
	already := h.awake != nil
	if !already {
		h.slept, h.awake = slept, make(chan struct{})
	}
	h.mu.Unlock()
	if !already {
		h.w.net.setCut(h.name, true)
	}
}

// wake ends that: its boot time has gone on.
func (h *host) wake() {
	h.mu.Lock()
	awake := h.awake
	h.awake = nil
	h.mu.Unlock()
	if awake != nil {
		h.w.net.setCut(h.name, false)
		close(awake)
	}
}

// untilAwake holds up what a process of the machine does while it sleeps, or until ctx ends.
func (h *host) untilAwake(ctx context.Context) {
	h.mu.Lock()
	awake := h.awake
	h.mu.Unlock()
	if awake == nil {
		return
	}
	select {
	case <-awake:
	case <-ctx.Done():
	}
}

// jump sets the wall clock.
func (h *host) jump(ahead time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ahead = ahead
}

func (h *host) wall() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.ahead)
}

// skewed is what the coordinator says when they exchange certificates, see peer.skewError.
func (h *host) skewed() error {
	if d := time.Until(h.wall()); d.Abs() > wire.MaxClockSkew {
		return wire.Errorf(wire.CauseClock, "set the clock", "clocks differ by %v", d)
	}
	return nil
}

// granted takes a grant from the coordinator.
func (h *host) granted(g *wire.Grant) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.grant == nil || g.Expires > h.grant.Expires {
		h.grant = g
	}
}

// refusedBy is what a holder says to this machine's grant, see exchange's server.
func (h *host) refusedBy(from *host) error {
	h.mu.Lock()
	g := h.grant
	h.mu.Unlock()
	if g == nil {
		return nil // the coordinator's own
	}
	return g.Verify(h.id(), from.clock.Now(), func(p wire.PeerID) bool { return p == wire.PeerOf(hubKey) })
}

// copied is a machine made of the image of h, with its key and without what it stores.
func (h *host) copied() *host {
	c := newHost(h.w, h.name+"-copy", h.slots)
	c.key = h.key
	return c
}

// isCopied reports whether several machines have a key.
func (w *world) isCopied(key ed25519.PrivateKey) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, h := range slices.Concat(w.hosts, w.copies) {
		if h.key.Equal(key) {
			n++
		}
	}
	return n > 1
}

// wideJob is n tasks of so many milliseconds each, and one that needs them all.
func wideJob(id byte, n, ms int, put func([]byte) wire.Object) *job {
	_, root := rootOf()
	j := &job{id: wire.JobID{id}, leaves: []wire.Object{put(fmt.Appendf(nil, "leaf of job %d", id))}}
	add := func(name string, inputs []wire.Input) wire.ThunkID {
		t, err := wire.NewThunk(wire.Thunk{Command: []string{"mix", name, strconv.Itoa(ms)}, Root: root, Inputs: inputs,
			Outputs: []wire.Output{{Path: "out", Kind: wire.File}}, Platform: "linux/amd64", ABI: wire.ABI})
		if err != nil {
			panic(err)
		}
		id, enc := t.Encode()
		j.tasks = append(j.tasks, wire.TaskSpec{Name: name, Thunk: enc})
		return id
	}
	var all []wire.Input
	for i := range n {
		id := add(fmt.Sprint("job ", id, " part ", i), []wire.Input{{Path: "in", Object: j.leaves[0]}})
		all = append(all, wire.Input{Path: fmt.Sprint("in", i), Output: "out", Object: wire.Object{Kind: wire.Pending, Digest: wire.Digest(id)}})
	}
	j.targets = []wire.TargetSpec{{Path: "all", Thunk: add("all", all), Output: "out"}}
	return j
}

// A lab is a small world without chance: nodes of two slots and one client, with 20 ms between them.
type lab struct {
	*world
	t     *testing.T
	truth *serial
	jobs  sync.WaitGroup
}

func newLab(t *testing.T, nodes int) *lab {
	w := newWorld(1, nodes, 1)
	w.net.delay = 20 * time.Millisecond
	w.startHub()
	for _, h := range w.hosts {
		if h.slots > 0 {
			h.slots = 2
		}
		h.start()
	}
	time.Sleep(time.Second)
	return &lab{world: w, t: t, truth: newSerial()}
}

// run has the client submit a job, and its targets compared when it has ended.
func (l *lab) run(j *job) {
	s := &submitter{l.hosts[len(l.hosts)-1], j}
	l.truth.run(j.tasks)
	s.hold(l.t, l.truth)
	l.jobs.Go(func() { check(l.t, s, l.truth) })
}

// close waits for the jobs, and ends the world.
func (l *lab) close() {
	l.t.Helper()
	l.jobs.Wait()
	for _, err := range l.errs {
		l.t.Error(err)
	}
	l.end()
}

// until waits until what it asks for is so, and returns how long that took.
func (l *lab) until(what string, is func() bool) time.Duration {
	l.t.Helper()
	begun := time.Now()
	for !is() {
		if time.Since(begun) > time.Hour {
			l.t.Errorf("not so within an hour: %s", what)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begun)
}

// state returns what the coordinator says of a node.
func (l *lab) state(h *host) (found wire.NodeStatus) {
	for _, n := range ask(l.t.Context(), l.world, &wire.Request{Nodes: &wire.Nothing{}}).Nodes {
		if n.Info.Peer == h.id() {
			found = n
		}
	}
	return found
}

func (h *host) hasRun() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ran
}

// TestSuspendedLaptopIsBack: whatever it slept, a machine is a member like others within three seconds
// of waking, and computes; what it ran when it fell asleep is neither lost nor waited for.
func TestSuspendedLaptopIsBack(t *testing.T) {
	sleeps := []time.Duration{2 * time.Second, 8 * time.Second, 20 * time.Second, time.Minute, 10 * time.Minute}
	if !raced {
		sleeps = append(sleeps, wire.GrantLife+10*time.Minute)
	}
	for _, sleep := range sleeps {
		t.Run(sleep.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, 3)
				laptop := l.hosts[0]
				laptop.kill()
				laptop.laptop = true
				laptop.start()
				l.run(wideJob(1, 30, 1000, l.truth.put))
				l.until("it computes", func() bool { return l.state(laptop).Busy > 0 })
				laptop.suspend()
				time.Sleep(sleep)
				laptop.wake()
				if took := l.until("it is up", func() bool { return l.state(laptop).State == "up" }); took > 3*time.Second {
					t.Errorf("it is a member again %v after it woke", took)
				}
				before := laptop.hasRun()
				l.run(wideJob(2, 30, 1000, l.truth.put))
				if took := l.until("it computes again", func() bool { return laptop.hasRun() > before }); took > 3*time.Second {
					t.Errorf("it computes again only %v after that", took)
				}
				l.close()
			})
		})
	}
}

// TestWrongClocks: a machine whose wall clock jumps by hours while it is connected works on, and others
// get what it holds.
func TestWrongClocks(t *testing.T) {
	for _, who := range []string{"node0", "client0"} {
		for _, ahead := range []time.Duration{2 * time.Hour, 300 * time.Hour, -2 * time.Hour, -300 * time.Hour} {
			t.Run(fmt.Sprint(who, " ", ahead), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t, 3)
					l.run(wideJob(1, 30, 1000, l.truth.put))
					l.until("it goes on", func() bool { return l.hosts[0].hasRun() > 2 })
					for _, h := range l.hosts {
						if h.name == who {
							h.jump(ahead)
						}
					}
					began := time.Now()
					l.run(wideJob(2, 30, 1000, l.truth.put))
					l.jobs.Wait()
					if took := time.Since(began); took > 30*time.Second {
						t.Errorf("60 s of work for 6 slots took %v", took)
					}
					l.close()
				})
			})
		}
	}
}

// TestTwoMachinesWithOneKey: the coordinator names them, believes neither, and takes the one that is
// left when the other is gone.
func TestTwoMachinesWithOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 3)
		l.run(wideJob(1, 60, 1000, l.truth.put))
		l.until("it goes on", func() bool { return l.hosts[0].hasRun() > 2 })
		c := l.copy(l.hosts[0])
		took := l.until("both are refused", func() bool { return !c.running() && !l.hosts[0].running() })
		if took > 5*time.Second {
			t.Errorf("they were found out %v after the second began", took)
		}
		if n := l.state(c); n.State != "quarantined" || !strings.Contains(n.Quarantine, "two processes use the key of node0") {
			t.Errorf("the coordinator says of them: %s, %q", n.State, n.Quarantine)
		}
		if err := l.hosts[0].refused; wire.CauseOf(err) != wire.CauseUnauthorized || !strings.Contains(err.Error(), "two processes") {
			t.Errorf("one is told %v", err)
		}
		ran := l.hosts[0].hasRun() + c.hasRun()
		l.jobs.Wait()
		if now := l.hosts[0].hasRun() + c.hasRun(); now != ran {
			t.Errorf("they ran %d thunks after they were refused", now-ran)
		}
		time.Sleep(untilTrusted)
		l.hosts[0].start()
		l.until("the one that is left is up", func() bool { return l.state(c).State == "up" })
		l.run(wideJob(2, 30, 1000, l.truth.put))
		l.until("it computes", func() bool { return l.hosts[0].hasRun() > ran })
		l.close()
	})
}
