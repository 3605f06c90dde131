package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// DefaultIdle is how long an agent without work waits for a command before it ends.
const DefaultIdle = 5 * time.Minute

// AgentConfig is what an agent is made of.
type AgentConfig struct {
	State  string // directory, absolute
	Build  string
	Idle   time.Duration // 0 is DefaultIdle
	Ready  io.WriteCloser
	Logger *slog.Logger
}

// An agent owns a state directory.
type agent struct {
	cfg  AgentConfig
	dir  stateDir
	log  *slog.Logger
	ctx  context.Context // ends when the agent does
	end  context.CancelFunc
	work sync.WaitGroup // connections and jobs
	wake chan struct{}  // has one element when what idle depends on has changed

	backend *backend
	tools   *tools

	mu    sync.Mutex // guards the fields below
	conns int
	quits bool // no new connection is served any more
}

// RunAgent owns the state directory until ctx ends, or it was idle for long enough, or a command
// of another build asks for the place. Whether it has started it tells on cfg.Ready, which it
// closes: that another process owns the directory is told there and is no error.
func RunAgent(ctx context.Context, cfg AgentConfig) error {
	usualTimers()
	if cfg.Idle == 0 {
		cfg.Idle = DefaultIdle
	}
	err := runAgent(ctx, &cfg)
	if cfg.Ready == nil || err == nil {
		return err
	}
	b, jsonErr := json.Marshal(asError(err))
	return errors.Join(err, jsonErr, tell(&cfg, string(b)))
}

// tell says how the start went and closes Ready. Whoever waited may be gone.
func tell(cfg *AgentConfig, s string) error {
	_, err := io.WriteString(cfg.Ready, s)
	err = errors.Join(err, cfg.Ready.Close())
	cfg.Ready = nil
	return err
}

func runAgent(ctx context.Context, cfg *AgentConfig) error {
	release, _, held, err := LockDir(cfg.State, "agent.lock")
	if err != nil {
		return err
	}
	if !held {
		return tell(cfg, saidTaken)
	}
	defer release()
	dir := stateDir(cfg.State)
	backend, err := openBackend(dir, cfg.Logger)
	if err != nil {
		return err
	}
	a := &agent{cfg: *cfg, dir: dir, log: cfg.Logger, wake: make(chan struct{}, 1), backend: backend, tools: newTools(backend)}
	dir.repair(cfg.Logger)
	commands, shims, err := a.listen()
	if err != nil {
		return errors.Join(err, backend.close())
	}
	a.ctx, a.end = context.WithCancel(ctx)
	backend.begin(a.ctx, a.nudge)
	if err := tell(cfg, saidReady); err != nil {
		a.log.Info("the command that started this has gone", "error", err)
	}
	a.log.Info("serving", "state", cfg.State, "pid", os.Getpid(), "build", cfg.Build)
	a.work.Go(func() { a.accept(commands, a.serve) })
	a.work.Go(func() { a.accept(shims, a.serveTool) })
	a.waitIdle()
	a.end()
	err = errors.Join(commands.Close(), shims.Close()) // removes the sockets, so that nobody dials what ends
	a.work.Wait()
	a.tools.reports.close()
	if ctx.Err() == nil {
		backend.tidy(ctx)
	}
	err = errors.Join(err, backend.close())
	a.log.Info("ended", "error", err)
	return err
}

// listen makes the sockets, of commands and of tools.
func (a *agent) listen() (commands, shims *net.UnixListener, err error) {
	var paths [2]string
	if paths[0], err = a.dir.socket(); err == nil {
		paths[1], err = a.dir.toolSocket()
	}
	if err == nil {
		commands, err = listen(paths[0])
	}
	if err != nil {
		return nil, nil, err
	}
	if shims, err = listen(paths[1]); err != nil {
		return nil, nil, errors.Join(err, commands.Close())
	}
	return commands, shims, nil
}

// listen makes a socket. The lock is ours, so a socket that lies there is a dead agent's.
func listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the socket of an earlier process: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening on a socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (a *agent) accept(l *net.UnixListener, serve func(*net.UnixConn)) {
	for {
		c, err := l.AcceptUnix()
		switch {
		case err == nil && a.enter():
			a.work.Go(func() {
				defer a.leave()
				serve(c)
			})
		case err == nil:
			c.Close()
		case a.ctx.Err() != nil:
			return
		default: // out of file descriptors: those who wait may get one when others leave
			a.log.Error("accepting a command", "error", err)
			select {
			case <-a.ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// enter counts a connection in, unless the agent is about to end.
func (a *agent) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.quits {
		return false
	}
	a.conns++
	return true
}

func (a *agent) leave() {
	a.mu.Lock()
	a.conns--
	a.mu.Unlock()
	a.nudge()
}

// nudge has waitIdle look again.
func (a *agent) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// waitIdle returns when the agent is to end.
func (a *agent) waitIdle() {
	idle := time.NewTimer(a.cfg.Idle)
	defer idle.Stop()
	for {
		select {
		case <-a.ctx.Done():
			a.quit(0, true)
			return
		case <-a.wake:
			idle.Reset(a.cfg.Idle)
		case <-idle.C:
			if a.quit(0, false) == "" {
				a.log.Info("idle")
				return
			}
		}
	}
}

// quit decides that the agent ends, unless there is something to do besides self connections;
// it returns what.
func (a *agent) quit(self int, anyway bool) (busy string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if jobs := a.backend.busy(); jobs != "" {
		busy = jobs
	} else if a.conns > self {
		busy = "another command is running"
	}
	if busy == "" || anyway {
		a.quits = true
	}
	return busy
}
