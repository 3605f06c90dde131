package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"gaggle/wire"
)

func TestTimeout(t *testing.T) {
	b := newBench(t, 1)
	for _, script := range []string{"sleep 1000", "while :; do :; done",
		"trap '' TERM INT HUP; setsid sleep 1000 & sleep 1000 & sleep 1000"} {
		r := b.run(Spec{Argv: []string{"sh", "-c", "echo begun; " + script}, Limits: Limits{Wall: 500 * time.Millisecond}})
		if f := r.Failure; f == nil || f.Cause != wire.CauseTimeout || f.Hint == "" || string(f.Stdout) != "begun\n" {
			t.Errorf("%s: %+v", script, f)
		}
	}
	b.run(Spec{Argv: []string{"probe", "confined"}})
}

func TestMemory(t *testing.T) {
	b := newBench(t, 1)
	const limit = 64 << 20
	for _, script := range []string{
		"dd if=/dev/zero of=/dev/null bs=300M",
		"dd if=/dev/zero of=/tmp/x bs=1M count=300 && sleep 1000; echo went on",
		"dd if=/dev/zero of=/dev/null bs=300M || echo went on",
		"for i in 1 2 3 4; do dd if=/dev/zero of=/dev/null bs=40M & done; wait",
		"yes & dd if=/dev/zero of=/dev/null bs=300M; wait",                       // it always says something
		"exec >/dev/null 2>&1; dd if=/dev/zero of=/dev/null bs=300M; sleep 1000", // it never does
	} {
		r := b.run(Spec{Argv: []string{"sh", "-c", script}, Limits: Limits{MemBytes: limit}})
		if f := r.Failure; f == nil || f.Cause != wire.CauseMemory || f.Hint == "" || r.PeakMem < limit {
			t.Errorf("%s: %+v, peak %d", script, f, r.PeakMem)
		}
		r = b.run(Spec{Argv: []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=20M", "count=1"},
			Limits: Limits{MemBytes: limit}})
		if r.Failure != nil || r.PeakMem < 20<<20 {
			t.Errorf("after %s: %+v, peak %d", script, r.Failure, r.PeakMem)
		}
	}
}

func TestProcesses(t *testing.T) {
	b := newBench(t, 1)
	for _, argv := range [][]string{{"probe", "bomb"}, {"probe", "threads", "200"}} {
		r := b.run(Spec{Argv: argv, Limits: Limits{Pids: 60, Wall: 20 * time.Second}})
		want := wire.CauseProcesses
		if b.e.groups.pids == "" {
			want = wire.CauseExit
		}
		if f := r.Failure; f == nil || f.Cause != want {
			t.Errorf("%v: %+v", argv, f)
		}
		if r := b.run(Spec{Argv: []string{"probe", "threads", "100"}, Limits: Limits{Pids: 200}}); r.Failure != nil {
			t.Errorf("after %v: %+v", argv, r.Failure)
		}
	}
}

func TestRoom(t *testing.T) {
	b := newBench(t, 1)
	for _, c := range []struct {
		script string
		limits Limits
	}{
		{"dd if=/dev/zero of=x bs=1M count=30", Limits{OutputBytes: 8 << 20}},
		{"dd if=/dev/zero of=/tmp/x bs=1M count=30", Limits{OutputBytes: 8 << 20}},
		{"for i in $(seq 500); do echo >f$i || exit 1; done", Limits{OutputFiles: 100}},
	} {
		r := b.run(Spec{Argv: []string{"sh", "-c", c.script}, Limits: c.limits})
		if f := r.Failure; f == nil || f.Cause != wire.CauseOutputBound || f.Hint == "" {
			t.Errorf("%s: %+v", c.script, f)
		}
	}
	b.sh("dd if=/dev/zero of=x bs=1M count=30; rm x", Spec{})
}

func TestStreams(t *testing.T) {
	b := newBench(t, 1)
	t.Run("live", func(t *testing.T) {
		var out, err bytes.Buffer
		b.run(Spec{Argv: []string{"sh", "-c", "seq 100000; echo problem >&2"}, Stdout: &out, Stderr: &err})
		if lines := strings.Count(out.String(), "\n"); lines != 100000 || err.String() != "problem\n" {
			t.Errorf("%d lines, %q", lines, err.String())
		}
	})
	t.Run("kept end", func(t *testing.T) {
		r := b.run(Spec{Argv: []string{"sh", "-c", "seq 1000000 >&2; exit 1"}})
		end := string(r.Failure.Stderr)
		if len(end) > wire.MaxTail || !strings.HasPrefix(end, "[") || !strings.Contains(end[:40],
			" bytes cut]\n") || !strings.HasSuffix(end, "\n1000000\n") {
			t.Errorf("%d bytes: %q ... %q", len(end), end[:40], end[len(end)-40:])
		}
	})
	t.Run("bound of live", func(t *testing.T) {
		var out bytes.Buffer
		b.run(Spec{Argv: []string{"seq", "100000"}, Stdout: &out, Limits: Limits{StreamBytes: 10}})
		if got := out.String(); !strings.HasPrefix(got, "1\n2\n3\n4\n5\n\n[the rest") || len(got) > 200 {
			t.Errorf("%q", got)
		}
	})
	t.Run("listener that left", func(t *testing.T) {
		b.run(Spec{Argv: []string{"seq", "100000"}, Stdout: brokenWriter{}})
	})
	t.Run("whole", func(t *testing.T) {
		r := b.run(Spec{Argv: []string{"seq", "100000"}, Outputs: []wire.Output{{Path: wire.Stdout, Kind: wire.File}}})
		if got := b.sink.text(r.Outputs[0]); strings.Count(got, "\n") != 100000 || uint64(len(got)) != r.Outputs[0].Size {
			t.Errorf("%d bytes of %d", len(got), r.Outputs[0].Size)
		}
	})
	t.Run("whole beyond its bound", func(t *testing.T) {
		r := b.run(Spec{Argv: []string{"seq", "100000"}, Outputs: []wire.Output{{Path: wire.Stdout, Kind: wire.File}},
			Limits: Limits{OutputBytes: 100 << 10}})
		if r.Failure == nil || r.Failure.Cause != wire.CauseOutputBound {
			t.Errorf("%+v", r.Failure)
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestTwoRoots(t *testing.T) {
	b := newBench(t, 1)
	roots := []string{b.root}
	for i := range 2 * keptRoots {
		roots = append(roots, testRoot(t, map[string]string{"etc/which": fmt.Sprint(i)}))
	}
	for round := range 3 {
		for i, root := range roots[1:] {
			if got := b.sh("cat /etc/which; echo /job/* /tmp/*; touch a /tmp/b",
				Spec{Root: root}); got != fmt.Sprintf("%d/job/* /tmp/*", i) {
				t.Errorf("root %d: %q", i, got)
			}
			if round == 1 {
				if got := b.sh("cat /etc/which", Spec{Root: roots[1]}); got != "0" {
					t.Errorf("first root: %q", got)
				}
			}
		}
	}
	// A tree that was trimmed and made again at its path is another one.
	if err := os.RemoveAll(roots[1]); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(testRoot(t, map[string]string{"etc/which": "again"}), roots[1]); err != nil {
		t.Fatal(err)
	}
	if got := b.sh("cat /etc/which", Spec{Root: roots[1]}); got != "again" {
		t.Errorf("new tree at an old path: %q", got)
	}
}

func TestConcurrent(t *testing.T) {
	b := newBench(t, 8)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			text := fmt.Sprint(i)
			r, err := b.e.Run(context.Background(), Spec{Root: b.root, Sink: b.sink,
				Argv: []string{"sh", "-c", "echo $1 >out; echo /proc/[0-9]*", "sh", text}, Outputs: []wire.Output{{Path: "out",
					Kind: wire.File}}})
			if err != nil || r.Failure != nil {
				t.Errorf("%d: %v, %+v", i, err, r.Failure)
				return
			}
			if got := b.sink.text(r.Outputs[0]); got != text+"\n" || string(r.Stdout) != "/proc/100\n" {
				t.Errorf("%d: %q, %q", i, got, r.Stdout)
			}
		})
	}
	wg.Wait()
}
