package worker

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/blobstore"
	"gaggle/sandbox"
	"gaggle/sandbox/capture"
	"gaggle/wire"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// A bench is a worker with a store on disk and a sandbox, and a coordinator that waits in real
// time.
type bench struct {
	t     *testing.T
	hub   *hub
	store *blobstore.Store
	root  wire.Object
	w     *Worker
	s     *session
	next  wire.LeaseID
}

func newBench(t *testing.T, tools ...string) *bench {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the sandbox needs Linux")
	}
	dir := t.TempDir()
	engine, err := sandbox.New(sandbox.Config{Dir: filepath.Join(dir, "scratch"), Slots: 2})
	if err != nil {
		t.Skipf("no sandbox on this machine: %v", err)
	}
	b := &bench{t: t, hub: newHub(t)}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	b.store, err = blobstore.Open(filepath.Join(dir, "store"), blobstore.Options{OnLost: func(space wire.Space, ds []wire.Digest) { b.w.Lost(space, ds) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.store.Close(); err != nil {
			t.Error(err)
		}
	})
	root, err := capture.Tools(t.Context(), tools, capture.Options{Path: os.Getenv("PATH")}, &storeSink{store: b.store, space: space, shown: new(phase)})
	if err != nil {
		t.Skipf("cannot capture the programs of this machine: %v", err)
	}
	b.root = root.Object
	b.w, err = New(Config{
		Store: b.store, Exchange: new(fakeExchange), Engine: engine, Key: testKey(1), Dial: b.hub.dial,
		Hello: wire.Hello{Name: "bench", Slots: 2, Versions: wire.Versions{Platforms: []string{"linux/" + runtime.GOARCH}, ABIs: []uint64{wire.ABI}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	b.s = b.hub.accept()
	return b
}

// put stores a text.
func (b *bench) put(text string, exec bool) wire.Object {
	b.t.Helper()
	id, n, err := b.store.Put(b.t.Context(), space, strings.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	return wire.FileObject(id, uint64(n), exec)
}

// run offers a thunk and waits for its outcome.
func (b *bench) run(t wire.Thunk) (*wire.Result, *wire.Attempt) {
	b.t.Helper()
	t.Root, t.Platform, t.ABI = wire.TreeID(b.root.Digest), "linux/"+runtime.GOARCH, wire.ABI
	b.next++
	o := offerOf(b.t, b.next, t)
	o.Root, o.Hints.Timeout = &b.root, time.Minute
	b.s.offer(o)
	return b.outcome(b.next)
}

// outcome waits for what became of a lease.
func (b *bench) outcome(id wire.LeaseID) (r *wire.Result, a *wire.Attempt) {
	b.t.Helper()
	b.s.wait(func(f *wire.FromNode) bool {
		for i := range f.Results {
			if f.Results[i].Lease == id {
				r = &f.Results[i]
			}
		}
		for i := range f.Failures {
			if f.Failures[i].Lease == id {
				a = &f.Failures[i]
			}
		}
		return r != nil || a != nil
	})
	return r, a
}

// value runs a thunk, which must succeed, and returns its outputs.
func (b *bench) value(t wire.Thunk) []wire.Object {
	b.t.Helper()
	r, a := b.run(t)
	if a != nil {
		b.t.Fatalf("%v failed: %+v\n%s", t.Command, a.Failure, a.Failure.Stderr)
	}
	v, err := wire.DecodeValue(r.Value)
	if err != nil {
		b.t.Fatal(err)
	}
	return v.Outputs
}

func (b *bench) read(o wire.Object) string {
	b.t.Helper()
	f, err := b.store.Open(space, o.Digest)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

func TestRealRun(t *testing.T) {
	b := newBench(t, "sh", "cat", "ls", "mkdir")
	in := b.put("some text\n", false)
	script := b.put("#!/bin/sh\ncat in.txt\nls -l edit | cut -c1-3\n", true)
	one := b.value(wire.Thunk{
		Command: []string{"sh", "-c", "cat data/in.txt - > out; echo more >> edit; cat edit >> out; mkdir -p d/e; echo $NAME > d/e/f; ./tool > /dev/null || true; echo said"},
		Env:     []wire.EnvVar{{Name: "NAME", Value: "anna"}},
		Inputs:  []wire.Input{{Path: "data/in.txt", Object: in}, {Path: "edit", Object: in}, {Path: "tool", Object: script}},
		Stdin:   "data/in.txt",
		Outputs: []wire.Output{{Path: "out", Kind: wire.File}, {Path: "d", Kind: wire.Dir}, {Path: "edit", Kind: wire.File}, {Path: wire.Stdout, Kind: wire.File}},
	})
	// Outputs are in the order of their paths: d, edit, out, stdout.
	if got, want := b.read(one[2]), "some text\nsome text\nsome text\nmore\n"; got != want {
		t.Errorf("out = %q, want %q", got, want)
	}
	if got, want := b.read(one[1]), "some text\nmore\n"; got != want {
		t.Errorf("edit = %q, want %q", got, want)
	}
	if got := b.read(one[3]); got != "said\n" {
		t.Errorf("stdout = %q", got)
	}
	if got := b.read(in); got != "some text\n" {
		t.Errorf("the store's own file was changed: %q", got)
	}
	// The directory is an input of the next, and a part of it is selected.
	two := b.value(wire.Thunk{Command: []string{"cat", "in/e/f"}, Inputs: []wire.Input{{Path: "in", Object: one[0]}},
		Outputs: []wire.Output{{Path: wire.Stdout, Kind: wire.File}}})
	three := b.value(wire.Thunk{Command: []string{wire.BuiltinSelect, "e/f"}, Inputs: []wire.Input{{Path: "in", Object: one[0]}},
		Outputs: []wire.Output{{Path: "out", Kind: wire.File}}})
	if two[0] != three[0] || b.read(two[0]) != "anna\n" {
		t.Errorf("read %v, selected %v", two, three)
	}
	b.s.wait(func(f *wire.FromNode) bool {
		return slices.Contains(objects(f.Stored), one[0]) && slices.Contains(objects(f.Stored), two[0])
	})
}

func TestRealFailures(t *testing.T) {
	b := newBench(t, "sh", "sleep")
	_, a := b.run(wire.Thunk{Command: []string{"sh", "-c", "echo why >&2; exit 7"}, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}})
	if a == nil || a.Failure.Cause != wire.CauseExit || a.Failure.Exit != 7 || string(a.Failure.Stderr) != "why\n" {
		t.Errorf("exit 7: %+v", a)
	}
	_, a = b.run(wire.Thunk{Command: []string{"sh", "-c", ":"}, Outputs: []wire.Output{{Path: "out", Kind: wire.File}}})
	if a == nil || a.Failure.Cause != wire.CauseOutputMissing {
		t.Errorf("no output: %+v", a)
	}
	_, a = b.run(wire.Thunk{Command: []string{"sh", "-c", ":"}, Inputs: []wire.Input{{Path: "in", Object: wire.FileObject(wire.BlobID{1}, 1, false)}},
		Outputs: []wire.Output{{Path: "out", Kind: wire.File}}})
	if a == nil || a.Failure.Cause != wire.CauseFetch {
		t.Errorf("an input that nobody has: %+v", a)
	}
}

func TestRealCancel(t *testing.T) {
	b := newBench(t, "sh", "sleep")
	o := offerOf(t, 1, wire.Thunk{Command: []string{"sleep", "1000"}, Root: wire.TreeID(b.root.Digest), Platform: "linux/" + runtime.GOARCH, ABI: wire.ABI,
		Outputs: []wire.Output{{Path: "out", Kind: wire.File}}})
	b.s.offer(o)
	b.s.wait(func(f *wire.FromNode) bool { return len(f.Started) == 1 })
	b.s.send(&wire.ToNode{Cancel: []wire.LeaseID{1}})
	if _, a := b.outcome(1); a == nil || a.Failure.Cause != wire.CauseCancelled {
		t.Errorf("cancelled: %+v", a)
	}
}
