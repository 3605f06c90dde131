package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gaggle/wire"
)

// leakSlots is over how many slots starts are spread where leaks are looked for.
const leakSlots = 4

// A census counts what might pile up.
type census struct {
	fds, mounts, processes int   // of the engine and its zygotes
	memory                 int64 // resident, of the zygotes
	heap                   int64 // of the engine
}

// count takes a census while no slot runs anything.
func (e *Engine) count(t testing.TB) (c census) {
	files := func(dir string) int {
		list, _ := os.ReadDir(dir) // a zygote hides its descriptors from an ordinary user
		return len(list)
	}
	c.fds = files("/proc/self/fd")
	for _, s := range e.idle.all() {
		pid := s.zygote.cmd.Process.Pid
		proc := fmt.Sprintf("/proc/%d/", pid)
		c.fds += files(proc + "fd")
		mounts, _ := os.ReadFile(proc + "mountinfo")
		c.mounts += bytes.Count(mounts, []byte("\n"))
		children, err := os.ReadFile(fmt.Sprintf("%stask/%d/children", proc, pid))
		if err != nil {
			t.Error(err)
		}
		c.processes += len(bytes.Fields(children))
		status, err := os.Open(proc + "status")
		if err != nil {
			t.Fatal(err)
		}
		c.memory += number(status, "VmRSS:") << 10
		status.Close()
		e.idle.put(s)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.heap = int64(m.HeapAlloc)
	return c
}

// leaky returns a command that leaves much behind: a process, sockets, files, a mount for a large
// input.
func leaky(t testing.TB) Spec {
	dir := t.TempDir()
	return Spec{Argv: []string{"sh", "-c", "cat a big >out; sleep 1000 & :"},
		Outputs: []wire.Output{{Path: "out", Kind: wire.File}},
		Inputs: []Input{
			{Path: "a", Source: writeFile(t, filepath.Join(dir, "a"), "text", 0o444)},
			{Path: "big", Source: writeFile(t, filepath.Join(dir, "b"), strings.Repeat("x", 100_000), 0o444)},
		}}
}

// start runs s n times over all slots.
func (b *bench) start(s Spec, n int) {
	s.Root, s.Sink = b.root, b.sink
	var wg sync.WaitGroup
	for i := range leakSlots {
		wg.Go(func() {
			for range (n + i) / leakSlots {
				if r, err := b.e.Run(context.Background(), s); err != nil || r.Failure != nil {
					b.t.Errorf("%v, %+v", err, r.Failure)
					return
				}
			}
		})
	}
	wg.Wait()
}

// checkLeaks fails if n more starts leave more than a few of anything. It returns the time they
// took.
func (b *bench) checkLeaks(s Spec, n int) time.Duration {
	b.start(s, 20*leakSlots) // what is kept for good is there
	before := b.e.count(b.t)
	begun := time.Now()
	b.start(s, n)
	took := time.Since(begun)
	after := b.e.count(b.t)
	b.t.Logf("%d starts: before %+v, after %+v", n, before, after)
	// Zygotes are still tidying up after a run when they are counted, their runtime may not have
	// collected garbage, and Go keeps heap that it has had: some 4 MiB, with the race detector 8.
	const few, memory = 5 * leakSlots, leakSlots * 16 << 20
	if after.fds > before.fds+few || after.mounts > before.mounts+few ||
		after.processes > before.processes+few || after.memory > before.memory+memory ||
		after.heap > before.heap+memory {
		b.t.Errorf("%d starts left something: before %+v, after %+v", n, before, after)
	}
	return took
}

// TestNoLeaks starts commands that leave things behind; nothing may pile up.
func TestNoLeaks(t *testing.T) {
	b := newBench(t, leakSlots)
	b.checkLeaks(leaky(t), 200)
	if r := b.run(Spec{Argv: []string{"probe", "confined"}}); r.Failure != nil {
		t.Errorf("%s\n%s", r.Failure.Message, r.Stderr)
	}
}

// BenchmarkLeaks looks for leaks in as many starts as it is told to: -benchtime=100000x.
func BenchmarkLeaks(b *testing.B) {
	x := newBench(b, leakSlots)
	took := x.checkLeaks(Spec{Argv: []string{"true"}}, b.N)
	b.ReportMetric(float64(b.N)/took.Seconds(), "starts/s")
}
