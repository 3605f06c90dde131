package client

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"gaggle/wire"
)

// A session is one connection of a command, seen from the agent.
type session struct {
	a      *agent
	pid    int // of the command; 0 is not known
	conn   *net.UnixConn
	frames *wire.FrameReader
	w      *wire.FrameWriter

	gone      context.CancelFunc       // ends the context of what the command waits for
	input     *io.PipeWriter           // of a command that announces input
	interrupt chan struct{}            // closed when the user interrupts
	over      chan over                // of a Build
	deferral  atomic.Pointer[deferral] // of a Build
	from      *sources                 // of the inputs of the command's job
}

// serve carries out one command.
func (a *agent) serve(c *net.UnixConn) {
	defer c.Close()
	stop := context.AfterFunc(a.ctx, func() { c.Close() })
	defer stop()
	s := &session{a: a, conn: c, frames: wire.NewFrameReader(c), w: wire.NewFrameWriter(c), interrupt: make(chan struct{}), over: make(chan over, 1)}
	cmd, err := s.greet()
	if err != nil || cmd == nil {
		if err != nil && !errors.Is(err, io.EOF) {
			a.log.Info("command refused", "error", err)
			_ = s.send(&Event{End: &End{Error: wire.AsError(err)}}) // it may be gone
		}
		return
	}
	ctx, gone := context.WithCancel(a.ctx)
	defer gone()
	s.gone = gone
	r, w := io.Pipe()
	s.input = w
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		s.read()
	}()
	end := s.carryOut(ctx, cmd, r)
	if end.Error != nil && a.ctx.Err() != nil {
		a.log.Info("a command is left as this ends", "error", end.Error) // its connection ends, which tells it
	} else if err := s.send(&Event{End: end}); err != nil {
		a.log.Info("a command did not wait for its end", "error", err)
	}
	r.Close()
	c.Close()
	<-reading
}

// greet agrees on the build and reads the command; nil if there is none to carry out.
func (s *session) greet() (*Command, error) {
	var err error
	if s.pid, err = checkOwner(s.conn); err != nil {
		return nil, err
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	var f toAgent
	if err := s.frames.Read(&f); err != nil {
		return nil, err
	}
	if f.Hello == nil {
		return nil, wire.Errorf(wire.CauseVersion, "", "the first frame is no hello")
	}
	if err := s.send(&Event{Welcome: &welcome{Build: s.a.cfg.Build, PID: os.Getpid()}}); err != nil {
		return nil, err
	}
	f = toAgent{}
	if err := s.frames.Read(&f); err != nil {
		return nil, err
	}
	if f.Quit {
		return nil, s.makeWay(f.Force)
	}
	if f.Command == nil {
		return nil, wire.Errorf(wire.CauseVersion, "", "the second frame is no command")
	}
	return f.Command, s.conn.SetReadDeadline(time.Time{})
}

// makeWay ends the agent for one of another build if it is idle, or in any case if forced.
func (s *session) makeWay(force bool) error {
	busy := s.a.quit(1, force)
	quits := force || busy == ""
	err := s.send(&Event{Welcome: &welcome{Build: s.a.cfg.Build, PID: os.Getpid(), Busy: busy, Quits: quits, Jobs: s.a.backend.underWay()}})
	if quits {
		s.a.end()
	}
	return err
}

func (s *session) send(e *Event) error { return s.w.Write(e) }

// read takes what comes after the command: input, interruption, the end of the connection.
func (s *session) read() {
	defer s.gone()
	interrupted := false
	for {
		var f toAgent
		if err := s.frames.Read(&f); err != nil {
			s.input.CloseWithError(io.ErrUnexpectedEOF)
			return
		}
		switch {
		case f.InEnd:
			s.input.Close()
		case len(f.Input) > 0:
			if _, err := s.input.Write(f.Input); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				return
			}
		case f.Over != nil:
			select {
			case s.over <- *f.Over:
			default: // it was said before
			}
		case f.Pause != 0:
			go s.paused(f.Pause)
		case f.Cancel && !interrupted:
			interrupted = true
			close(s.interrupt)
		}
	}
}

// paused answers a pause when the calls that were deferred so far have ended.
func (s *session) paused(number uint64) {
	answer := resume{Number: number}
	if d := s.deferral.Load(); d != nil {
		answer.Failed = !d.passed()
	}
	if err := s.send(&Event{Resume: &answer}); err != nil {
		s.a.log.Info("a command that waits is gone", "error", err)
	}
}

// carryOut runs the command. A panic is our own bug; it ends the command, not the jobs of others.
func (s *session) carryOut(ctx context.Context, cmd *Command, input io.Reader) (end *End) {
	defer func() {
		if p := recover(); p != nil {
			s.a.log.Error("command panicked", "panic", p, "stack", string(debug.Stack()))
			end = &End{Error: wire.Errorf(wire.CauseInternal, "see "+s.a.dir.path("agent.log"), "the background process made a mistake: %v", p)}
		}
	}()
	end, err := s.do(ctx, cmd, input)
	if end == nil {
		end = new(End)
	}
	if err != nil {
		end.Error = asError(err)
	}
	return end
}
