package client

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"gaggle/sandbox"
	"gaggle/wire"
)

func TestMain(m *testing.M) {
	sandbox.Main() // the agent of a test is a node
	os.Exit(m.Run())
}

// TestInterruptionBeforeStartedIsRead: the command is interrupted, and goes away at once, before it
// has read that its job began. The job does not go on behind the user's back.
func TestInterruptionBeforeStartedIsRead(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("needs sh to capture")
	}
	state, dir := t.TempDir(), t.TempDir()
	startAgent(t, AgentConfig{State: state, Build: "b"})
	// No node has the label: the job stays open for half a minute.
	const text = `{"gaggle": 1, "tasks": {"a": {"labels": {"moon": "yes"}, "tools": ["sh"], "shell": "true", "outputs": ["x"]}}, "targets": {"x": "@a/x"}}`
	file := filepath.Join(dir, "a.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sock, err := stateDir(state).socket()
	if err != nil {
		t.Fatal(err)
	}
	submit := &Command{Local: true, Dir: dir, Path: os.Getenv("PATH"), Submit: &Submit{Graph: file, Out: filepath.Join(dir, "out")}}
	for range 6 { // whether the command first sees the interruption or the start is chance
		interrupts := make(chan os.Signal, 1)
		v := &held{until: func() {
			awaitOpenJobs(t, sock, 1)
			interrupts <- os.Interrupt
		}}
		end, err := Execute(t.Context(), Options{State: state, Build: "b"}, submit, nil, v, interrupts)
		if code := ExitCode(end, err); code != ExitInterrupted {
			t.Errorf("Execute ends with code %d, want %d", code, ExitInterrupted)
		}
		for _, s := range awaitOpenJobs(t, sock, 0) {
			if s.State != "cancelled" {
				t.Fatalf("a job %s behind the user's back", s.State)
			}
		}
	}
}

// TestInterruptionIsReadAfterASendFails: the command has gone, having said that it was interrupted;
// the agent finds out as it tells it something, and only then reads that.
func TestInterruptionIsReadAfterASendFails(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	command, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	if err := wire.NewFrameWriter(command).Write(&toAgent{Cancel: true}); err != nil {
		t.Fatal(err)
	}
	command.Close()
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, gone := context.WithCancel(t.Context())
	_, input := io.Pipe()
	s := &session{conn: conn, frames: wire.NewFrameReader(conn), w: wire.NewFrameWriter(conn), gone: gone, input: input, interrupt: make(chan struct{})}
	over := make(chan struct{})
	close(over) // nothing is left to cancel, so nobody is asked
	j := &job{b: &backend{ctx: ctx}, over: over, accepted: make(chan struct{}), started: new(Started), watchers: map[*watcher]struct{}{}}
	j.board = NewBoard(j.started, time.Now())
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		if _, err := s.follow(ctx, j); err == nil {
			t.Error("follow says that the command is there to the end")
		}
	}()
	for told := false; !told; time.Sleep(time.Millisecond) {
		j.mu.Lock()
		told = len(j.watchers) > 0
		j.tellLocked(&Event{Note: "something happens"})
		j.mu.Unlock()
	}
	s.read()
	<-followed
	j.b.work.Wait()
	if !j.stopping {
		t.Error("the job goes on behind the user's back")
	}
}

// A held view is that of a command that is slow to read until something has happened.
type held struct {
	once  sync.Once
	until func()
}

func (h *held) Event(*Event, time.Time) error { return nil }
func (h *held) End(*End, time.Time) error     { return nil }

func (h *held) Tick(time.Time) error {
	h.once.Do(h.until)
	return nil
}

// awaitOpenJobs waits until so many jobs have not ended, and returns all.
func awaitOpenJobs(t *testing.T, sock string, want int) []wire.JobStatus {
	t.Helper()
	for {
		c, err := connect(t.Context(), sock, "b")
		if err != nil {
			t.Fatal(err)
		}
		var jobs []wire.JobStatus
		for err = c.Start(&Command{Local: true, Dir: "/", Status: new(JobArg)}, nil); err == nil; {
			var e *Event
			if e, err = c.Next(); err == nil && e.End != nil {
				break
			} else if err == nil {
				jobs = append(jobs, e.Jobs...)
			}
		}
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		open := 0
		for i := range jobs {
			if jobs[i].Ended == 0 {
				open++
			}
		}
		if open == want {
			return jobs
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%d jobs are open, want %d", open, want)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A full disk is told with what to do, wherever it was met.
func TestFullDiskIsTold(t *testing.T) {
	e := Told(&os.PathError{Op: "write", Path: "/st/agent.lock", Err: syscall.ENOSPC})
	if e.Cause != wire.CauseDiskFull || e.Hint == "" {
		t.Errorf("told %+v", e)
	}
}
