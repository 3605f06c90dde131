package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"gaggle/wire"
)

// A View shows a command's events. Its methods are called from one goroutine.
type View interface {
	// Event shows an event; never the last.
	Event(e *Event, now time.Time) error
	// Tick is called about ten times a second.
	Tick(now time.Time) error
	// End is called once and last, with what the agent said, or with why it said nothing.
	End(e *End, now time.Time) error
}

// Views shows the same in several.
type Views []View

// Event shows an event in each.
func (v Views) Event(e *Event, now time.Time) error {
	return v.each(func(w View) error { return w.Event(e, now) })
}

// Tick lets each redraw.
func (v Views) Tick(now time.Time) error { return v.each(func(w View) error { return w.Tick(now) }) }

// End ends each.
func (v Views) End(e *End, now time.Time) error {
	return v.each(func(w View) error { return w.End(e, now) })
}

func (v Views) each(f func(View) error) error {
	var errs []error
	for _, w := range v {
		errs = append(errs, f(w))
	}
	return errors.Join(errs...)
}

// redrawEvery is the time between two ticks of a view.
const redrawEvery = 100 * time.Millisecond

// Execute has the agent carry out a command and shows what it tells, unless a signal stops it (see
// Interrupted). The error is the agent's, in End, or an Interrupted, or why the agent cannot be talked
// to.
func Execute(ctx context.Context, opt Options, cmd *Command, input io.Reader, view View, signals <-chan os.Signal) (*End, error) {
	end, err := execute(ctx, opt, cmd, input, view, signals)
	last := end
	if last == nil {
		last = &End{Error: cmp.Or(Told(err), wire.AsError(err)), Cancelled: errors.Is(err, ErrInterrupted), left: true}
	}
	if viewErr := view.End(last, time.Now()); viewErr != nil && err == nil {
		err = viewErr
	}
	return end, err
}

// arrival is an event from the agent, or why none follows.
type arrival struct {
	event *Event
	err   error
}

func execute(ctx context.Context, opt Options, cmd *Command, input io.Reader, view View, signals <-chan os.Signal) (*End, error) {
	c, err := Dial(ctx, opt)
	if err != nil {
		return nil, err
	}
	events, ended := make(chan arrival), make(chan struct{})
	defer func() {
		close(ended)
		c.Close()
	}()
	// Not waited for: a read of standard input cannot be ended, and the process ends soon.
	go receive(c, cmd, input, events, ended)
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	stop := &stop{cmd: cmd}
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case sig := <-signals:
			if err := stop.signal(sig, c, view); err != nil {
				return nil, err
			}
		case now := <-tick.C:
			if err := view.Tick(now); err != nil {
				return nil, err
			}
		case a := <-events:
			if a.err != nil {
				return nil, stop.lost(a.err)
			}
			if a.event.End != nil {
				return a.event.End, stop.ended(a.event.End)
			}
			if a.event.Started != nil {
				stop.job = a.event.Started.Job.String()
			}
			if err := view.Event(a.event, time.Now()); err != nil {
				return nil, err
			}
		}
	}
}

// receive sends the command and passes on what comes back.
func receive(c *Conn, cmd *Command, input io.Reader, events chan<- arrival, ended <-chan struct{}) {
	err := c.Start(cmd, input)
	for {
		a := arrival{err: err}
		if err == nil {
			a.event, a.err = c.Next()
		}
		select {
		case events <- a:
		case <-ended:
			return
		}
		if a.err != nil || a.event.End != nil {
			return
		}
	}
}

// Exit codes of the commands.
const (
	ExitOK             = 0
	ExitFailed         = 1 // a task failed
	ExitUsage          = 2 // usage, or a graph that is refused
	ExitInfrastructure = 3
	ExitInterrupted    = 130 // as a shell tells of SIGINT; of other signals 128 and their number, too
)

// ExitCode returns the code that a command ends with.
func ExitCode(end *End, err error) int {
	var shell *ShellEnd
	if errors.As(err, &shell) {
		return shell.Code
	}
	var i *Interrupted
	if errors.As(err, &i) {
		return 128 + int(i.Signal)
	}
	switch cause := wire.CauseOf(err); {
	case errors.Is(err, ErrInterrupted), cause == wire.CauseCancelled, errors.Is(err, context.Canceled):
		return ExitInterrupted
	case err == nil && end != nil && end.Counts.Failed > 0:
		return ExitFailed
	case err == nil:
		return ExitOK
	case cause.Task():
		return ExitFailed
	case cause == wire.CauseInvalid, cause == wire.CauseTooLarge, cause == wire.CauseNotFound:
		return ExitUsage
	}
	return ExitInfrastructure
}
