package client

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gaggle/wire"
)

// An agentRun is an agent in this process.
type agentRun struct {
	said string // on Ready
	stop context.CancelFunc
	done chan struct{} // closed when it has ended
	err  error         // why; valid then
}

// startAgent runs an agent until it has said how its start went.
func startAgent(t *testing.T, cfg AgentConfig) *agentRun {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r, w := io.Pipe()
	cfg.Ready, cfg.Logger = w, slog.New(slog.DiscardHandler)
	run := &agentRun{done: make(chan struct{}), stop: stop}
	go func() {
		defer close(run.done)
		run.err = RunAgent(ctx, cfg)
	}()
	t.Cleanup(func() {
		stop()
		<-run.done
	})
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	run.said = string(b)
	return run
}

func (r *agentRun) wait(t *testing.T) {
	t.Helper()
	<-r.done
	if r.err != nil {
		t.Errorf("the agent ended with %v", r.err)
	}
}

// listMeshes is the cheapest command.
func listMeshes(t *testing.T, state, build string) (*End, error) {
	t.Helper()
	opt := Options{State: state, Build: build, Program: "/nonexistent/coord"}
	return Execute(t.Context(), opt, &Command{Dir: "/", Meshes: new(MeshArg)}, nil, NewTable(io.Discard, io.Discard, false), nil)
}

func TestAgentServesCommands(t *testing.T) {
	state := t.TempDir()
	run := startAgent(t, AgentConfig{State: state, Build: "b1"})
	if run.said != saidReady {
		t.Fatalf("the agent said %q, want %q", run.said, saidReady)
	}
	if _, err := listMeshes(t, state, "b1"); err != nil {
		t.Fatal(err)
	}
	opt := Options{State: state, Build: "b1"}
	_, err := Execute(t.Context(), opt, &Command{Dir: "/", Meshes: &MeshArg{Use: "lab"}}, nil, NewTable(io.Discard, io.Discard, false), nil)
	if ExitCode(nil, err) != ExitUsage || !strings.Contains(err.Error(), "not logged in to a mesh \"lab\"") {
		t.Errorf("using an unknown mesh gives %v", err)
	}
	run.stop()
	run.wait(t)
	if _, err := os.Stat(filepath.Join(state, "agent.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestAgentEndsWhenIdle(t *testing.T) {
	run := startAgent(t, AgentConfig{State: t.TempDir(), Build: "b1", Idle: time.Millisecond})
	run.wait(t)
}

func TestAgentIsTheOnlyOne(t *testing.T) {
	state := t.TempDir()
	first := startAgent(t, AgentConfig{State: state, Build: "b1"})
	second := startAgent(t, AgentConfig{State: state, Build: "b1"})
	if second.said != saidTaken {
		t.Errorf("the second agent said %q, want %q", second.said, saidTaken)
	}
	second.wait(t)
	if _, err := listMeshes(t, state, "b1"); err != nil {
		t.Errorf("the first does not serve any more: %v", err)
	}
	first.stop()
	first.wait(t)
}

func TestAgentRemovesAStaleSocket(t *testing.T) {
	state := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(state, "agent.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as kill -9 does
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	run := startAgent(t, AgentConfig{State: state, Build: "b1"})
	if run.said != saidReady {
		t.Fatalf("the agent said %q, want %q", run.said, saidReady)
	}
	if _, err := listMeshes(t, state, "b1"); err != nil {
		t.Fatal(err)
	}
}

func TestAgentOfAnotherBuildMakesWay(t *testing.T) {
	state := t.TempDir()
	run := startAgent(t, AgentConfig{State: state, Build: "old"})
	_, err := listMeshes(t, state, "new")
	run.wait(t)
	// A new one cannot be started here: there is no program.
	if err == nil || !strings.Contains(err.Error(), "starting the background process") {
		t.Errorf("got %v, want the old one gone and a new one tried", err)
	}
}

func TestAgentOfAnotherBuildStaysIfBusy(t *testing.T) {
	state := t.TempDir()
	startAgent(t, AgentConfig{State: state, Build: "old"})
	sock, err := stateDir(state).socket()
	if err != nil {
		t.Fatal(err)
	}
	busy, err := connect(t.Context(), sock, "old")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, err = listMeshes(t, state, "new")
	if wire.CauseOf(err) != wire.CauseVersion || !strings.Contains(err.Error(), "another command is running") {
		t.Errorf("got %v, want to be told that it is busy", err)
	}
}

func TestStopEndsABusyAgent(t *testing.T) {
	state := t.TempDir()
	run := startAgent(t, AgentConfig{State: state, Build: "b"})
	sock, err := stateDir(state).socket()
	if err != nil {
		t.Fatal(err)
	}
	busy, err := connect(t.Context(), sock, "b")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if ended, _, err := Stop(t.Context(), state); err != nil || !ended {
		t.Errorf("Stop = %v, %v, want it ended", ended, err)
	}
	run.wait(t)
	if ended, _, err := Stop(t.Context(), state); err != nil || ended {
		t.Errorf("Stop without an agent = %v, %v", ended, err)
	}
}

func TestAgentRefusesNonsense(t *testing.T) {
	state := t.TempDir()
	startAgent(t, AgentConfig{State: state, Build: "b"})
	for name, bytes := range map[string]string{
		"not a frame": "GET / HTTP/1.1\r\n\r\n", "huge frame": "\xff\xff\xff\xff\x0f", "nothing": "", "another message": "\x05\xa1dquit\xf5",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("unix", filepath.Join(state, "agent.sock"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, bytes); err != nil {
				t.Fatal(err)
			}
			if err := c.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Logf("closed with %v", err)
			}
		})
	}
	if _, err := listMeshes(t, state, "b"); err != nil {
		t.Errorf("after nonsense: %v", err)
	}
}

func TestSocketOfALongPath(t *testing.T) {
	tmp, err := os.MkdirTemp("/tmp", "g")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	t.Setenv("TMPDIR", tmp)
	long := stateDir("/" + strings.Repeat("d/", 100))
	sock, err := long.socket()
	if err != nil {
		t.Fatal(err)
	}
	if len(sock) > maxSocketPath || !strings.HasPrefix(sock, tmp) {
		t.Errorf("socket %q of %d bytes, want at most %d below %s", sock, len(sock), maxSocketPath, tmp)
	}
	other, err := stateDir(string(long) + "x").socket()
	if err != nil || other == sock {
		t.Errorf("another directory has the socket %q, %v", other, err)
	}
	if err := os.Chmod(filepath.Dir(sock), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := long.socket(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Dir(sock)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory of the socket is open to others: %v, %v", info.Mode(), err)
	}
}

func TestWatcherDropsTheOldestWhenSlow(t *testing.T) {
	w := newWatcher()
	many := make([]wire.Notice, 1000)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range maxWaiting / 1000 {
				w.add(&Event{Notices: many})
			}
		})
	}
	wg.Wait()
	w.add(&Event{End: new(End)})
	events, over := w.take()
	n := 0
	for _, e := range events {
		n += len(e.Notices)
	}
	if !over || n > maxWaiting || n < maxWaiting-1000 {
		t.Errorf("took %d notices, over %v; want about %d and the end", n, over, maxWaiting)
	}
	if events[len(events)-1].End == nil {
		t.Error("the end is not the last")
	}
}
