package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gaggle/wire"
)

// TestFreeze holds a command still: nothing of it goes on, and what it ran is counted without.
func TestFreeze(t *testing.T) {
	b := newBench(t, 1)
	p := new(Pause)
	if err := p.Freeze(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Freeze before the run = %v", err)
	}
	started := signalWriter{c: make(chan bool)}
	done := make(chan Report)
	go func() {
		done <- b.run(Spec{Argv: []string{"sh", "-c", "echo x; sleep 2; echo y"}, Stdout: &started, Pause: p})
	}()
	<-started.c
	if err := p.Freeze(); err != nil {
		r := <-done
		if b.e.groups.freeze != "" || !errors.Is(err, ErrCannotFreeze) || r.Failure != nil {
			t.Errorf("Freeze = %v; %+v", err, r.Failure)
		}
		t.Skip("without cgroups: ", err)
	}
	const held = 500 * time.Millisecond
	time.Sleep(held) // what is tested is that nothing happens
	select {
	case r := <-done:
		t.Fatalf("a frozen command ended: %+v", r.Failure)
	default:
	}
	if now, total := p.Frozen(); !now || total < held {
		t.Errorf("Frozen() = %v, %v", now, total)
	}
	if err := errors.Join(p.Freeze(), p.Thaw(), p.Thaw()); err != nil {
		t.Error(err)
	}
	r := <-done
	if r.Failure != nil || string(r.Stdout) != "x\ny\n" || r.Frozen < held || r.Run <= 0 {
		t.Errorf("%+v, frozen %v, ran %v", r.Failure, r.Frozen, r.Run)
	}
	if err := p.Freeze(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Freeze after the run = %v", err)
	}
}

// TestKillFrozen: a frozen command can be cancelled, and its engine closed.
func TestKillFrozen(t *testing.T) {
	b := newBench(t, 1)
	if b.e.groups.freeze == "" {
		t.Skip("without cgroups nothing can be frozen")
	}
	for _, end := range []string{"cancel", "close"} {
		p := new(Pause)
		started := signalWriter{c: make(chan bool)}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			_, err := b.e.Run(ctx, Spec{Root: b.root, Argv: []string{"sh", "-c", "echo x; sleep 1000"},
				Stdout: &started, Pause: p, Sink: b.sink})
			done <- err
		}()
		<-started.c
		if err := p.Freeze(); err != nil {
			t.Fatal(err)
		}
		if end == "cancel" {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Run = %v", err)
			}
			b.sh("true", Spec{})
			continue
		}
		if err := b.e.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if err := <-done; wire.CauseOf(err) != wire.CauseSandbox {
			t.Errorf("Run = %v", err)
		}
		cancel()
	}
}

// TestWeight: a command's weight is that of its slot's cgroup while it runs.
func TestWeight(t *testing.T) {
	b := newBench(t, 1)
	if b.e.groups.cpu == "" {
		t.Skip("no cgroup shares the CPU by weight here")
	}
	file, want := "cpu.shares", map[int]string{0: "1024\n", 25: "256\n", 1: "10\n", 1_000_000: "102400\n"}
	if b.e.groups.v2 {
		file, want = "cpu.weight", map[int]string{0: "100\n", 25: "25\n", 1: "1\n", 1_000_000: "10000\n"}
	}
	for weight, text := range want {
		b.run(Spec{Argv: []string{"true"}, Limits: Limits{CPUWeight: weight}})
		got, err := os.ReadFile(filepath.Join(b.e.groups.cpu, "slot0", file))
		if err != nil || string(got) != text {
			t.Errorf("weight %d: %s is %q, %v, want %q", weight, file, got, err, text)
		}
	}
}
