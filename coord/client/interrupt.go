package client

import (
	"errors"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"gaggle/wire"
)

// What a signal does to a command that follows a job: an interrupt (Ctrl-C) or SIGTERM cancels the
// job, a second one leaves at once. A terminal that is lost (SIGHUP) leaves it: it goes on. coord
// attach, which did not begin the job, leaves it at any of them.

// ErrInterrupted is what an Interrupted is.
var ErrInterrupted = errors.New("interrupted")

// An Interrupted is the error of Execute if a signal ended the command, or the job.
type Interrupted struct {
	Signal syscall.Signal
	Told   *wire.Error // what to say of it; nil is nothing
}

func (i *Interrupted) Error() string { return ErrInterrupted.Error() + " by " + i.Signal.String() }

// Is reports that every Interrupted is ErrInterrupted.
func (i *Interrupted) Is(target error) bool { return target == ErrInterrupted }

// Told returns what to say of an error, nil if it is an interruption of which nothing is to be said.
func Told(err error) *wire.Error {
	var i *Interrupted
	switch {
	case errors.As(err, &i):
		return i.Told
	case errors.Is(err, ErrInterrupted):
		return nil
	}
	return asError(err)
}

// Signals returns where the signals arrive that end a command, until stop is called. Those that are
// ignored, as by nohup, stay so, but for heard: shells have what a script begins with & ignore interrupts,
// and a job that it submitted would go on after Ctrl-C.
func Signals(heard ...os.Signal) (signals <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 2)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) || slices.Contains(heard, s) {
			signal.Notify(c, s)
		}
	}
	return c, func() { signal.Stop(c) }
}

// A stop is what the signals so far have made of a command.
type stop struct {
	cmd        *Command
	job        string         // that it follows; "" is none yet
	cancelling syscall.Signal // that had the job cancelled; 0 if none has
	since      time.Time
}

// sameKill is how soon after it a further SIGTERM is the same: timeout(1) sends one to the program and one
// to its group.
const sameKill = time.Second

// signal takes one in. An error says that the command leaves now.
func (s *stop) signal(sig os.Signal, c *Conn, view View) error {
	by, ok := sig.(syscall.Signal)
	if !ok {
		by = syscall.SIGINT
	}
	begins := s.cmd.Submit != nil && !s.cmd.Submit.Plan || s.cmd.Run != nil
	switch {
	case s.job == "" && begins: // it may have begun, and the agent not have told of it yet
		return errors.Join(&Interrupted{by, wire.Errorf(wire.CauseCancelled, "", "stopped before the job began")}, c.Cancel())
	case s.job == "":
		return &Interrupted{Signal: by}
	case s.cancelling == syscall.SIGTERM && by == s.cancelling && time.Since(s.since) < sameKill:
		return nil
	case s.cancelling != 0:
		return &Interrupted{by, wire.Errorf(wire.CauseCancelled, "coord status tells when it is", "left while job %s is being cancelled", s.job)}
	case !begins || by == syscall.SIGHUP:
		return &Interrupted{by, wire.Errorf(wire.CauseCancelled, s.follows(), "left job %s, which goes on", s.job)}
	}
	s.cancelling, s.since = by, time.Now()
	note := &Event{Note: "cancelling the job; what has finished stays in the memo (interrupt again to leave at once)"}
	return errors.Join(c.Cancel(), view.Event(note, time.Now()))
}

// follows says how to go on with the job that was left.
func (s *stop) follows() string {
	return "coord attach " + s.job + " follows it, coord cancel " + s.job + " stops it"
}

// lost returns the error of a command whose agent has ended before the last word. Its job goes on.
func (s *stop) lost(err error) error {
	switch {
	case s.job == "":
		return err
	case s.cancelling != 0:
		return wire.Errorf(wire.CauseUnreachable, "coord cancel "+s.job+" does it", "the background process was ended; job %s may not be cancelled yet", s.job)
	}
	return wire.Errorf(wire.CauseUnreachable, s.follows(), "the background process was ended; job %s goes on", s.job)
}

// ended returns the error of a command whose agent has said the last word.
func (s *stop) ended(e *End) error {
	switch {
	case e.Error == nil:
		return nil
	case s.cancelling != 0 && e.Cancelled:
		return &Interrupted{s.cancelling, e.Error}
	}
	return e.Error
}
