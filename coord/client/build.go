package client

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"gaggle/coord/placeholder"
)

// A Builder is a command under which tools are called.
type Builder struct {
	Command  *Command
	Out, Err io.Writer // of what deferred calls say; Err has notes for people as well
	// Run runs the command to its end and returns its exit code, and whether the user stopped it. The
	// signals are its own meanwhile. If calls are deferred, wait returns when those so far have ended,
	// false if one has failed: nothing may go on.
	Run func(at *Building, wait func(context.Context) (ok bool)) (code int, stopped bool, err error)

	// Plan prints what calls are left, of coord make --plan.
	Plan func(*Event) error

	// A signal that comes before or after Run ends the waiting by Interrupted, which ends the context
	// of Build.
	Signals     <-chan os.Signal
	Interrupted func()

	pauses pauses
}

// Build asks the agent to answer the calls of tools while the command runs, and returns what became of
// them and the command's exit code. If the agent goes away meanwhile, tools run here, and the calls are
// nil; a command whose calls are deferred is then ended.
func (b *Builder) Build(ctx context.Context, opt Options) (calls *Calls, code int, err error) {
	waiting := watchSignals(b.Signals, b.Interrupted)
	defer func() { waiting() }()
	c, err := Dial(ctx, opt)
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := c.Start(b.Command, nil); err != nil {
		return nil, 0, err
	}
	building, err := b.answered(ctx, c)
	if err != nil {
		return nil, 0, err
	}
	waiting()
	left := func() *placeholder.Kept { return new(placeholder.Kept) }
	if b.Command.Build.Defer {
		if left, err = keep(ctx, building); err != nil {
			return nil, 0, err
		}
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		calls, err = b.events(c)
		if calls == nil && b.Command.Build.Defer {
			b.gone(building, left)
		}
	}()
	var wait func(context.Context) bool
	if b.Command.Build.Defer {
		wait = func(ctx context.Context) bool { return b.pauses.wait(ctx, c) }
	}
	code, stopped, runErr := b.Run(building, wait)
	waiting = watchSignals(b.Signals, b.Interrupted)
	if runErr != nil {
		c.Close()
	} else {
		_ = c.over(over{code, stopped}) // an agent that is gone is no matter
	}
	<-told
	switch {
	case runErr != nil:
		return nil, 0, runErr
	case ctx.Err() != nil:
		return nil, code, ErrInterrupted
	}
	return calls, code, err
}

// Stop has programs that wait for deferred calls end, now and from now on: the user stops the command.
func (b *Builder) Stop() { b.pauses.fail() }

// answered waits until the agent answers calls.
func (b *Builder) answered(ctx context.Context, c *Conn) (*Building, error) {
	for {
		e, err := c.Next()
		switch {
		case ctx.Err() != nil:
			return nil, ErrInterrupted
		case err != nil:
			return nil, err
		case e.Note != "":
			fmt.Fprintln(b.Err, e.Note)
		case e.Building != nil:
			return e.Building, nil
		case e.End != nil && e.End.Error != nil:
			return nil, e.End.Error
		}
	}
}

// events prints what comes from the agent until it has told the sum, or is gone.
func (b *Builder) events(c *Conn) (calls *Calls, err error) {
	for {
		e, err := c.Next()
		switch {
		case err != nil:
			return calls, nil
		case e.Note != "":
			fmt.Fprintln(b.Err, e.Note)
		case e.Output != nil && e.Output.Stderr:
			_, err = b.Err.Write(e.Output.Data)
		case e.Output != nil:
			_, err = b.Out.Write(e.Output.Data)
		case e.Plan != nil:
			err = b.Plan(e)
		case e.Resume != nil:
			b.pauses.end(e.Resume)
		case e.Calls != nil:
			calls = e.Calls
		case e.End != nil && e.End.Error != nil:
			return nil, e.End.Error
		case e.End != nil:
			return calls, nil
		}
		if err != nil {
			return nil, fmt.Errorf("printing what a tool said: %w", err)
		}
	}
}

// gone ends a build whose agent is: what was deferred is not made.
func (b *Builder) gone(building *Building, left func() *placeholder.Kept) {
	p := placeholder.Processes{Variable: BuildVar + "=" + building.Build}
	if err := p.End(true); err != nil {
		fmt.Fprintln(b.Err, "ending the build:", err)
	}
	b.pauses.fail()
	if err := left().Remove(); err != nil {
		fmt.Fprintln(b.Err, "removing what was not made:", err)
	}
	if b.Command.Build.Lazy {
		if _, err := clean(b.Command.Dir); err != nil {
			fmt.Fprintln(b.Err, "putting back what was there before:", err)
		}
	}
}

// watchSignals calls interrupted at a signal, until the function that it returns is called.
func watchSignals(signals <-chan os.Signal, interrupted func()) (stop func()) {
	enough, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-signals:
			interrupted()
		case <-enough:
		}
	}()
	return sync.OnceFunc(func() { close(enough); <-over })
}

// Wait starts an agent if there is none, and returns where it answers tools.
func Wait(ctx context.Context, opt Options) (socket string, err error) {
	c, err := Dial(ctx, opt)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return stateDir(opt.State).toolSocket()
}

// Deferring has calls deferred that a recipe of make makes; false says that this cannot be done here.
func (t *ToolBuild) Deferring() bool {
	s, err := streamsOf(os.Getpid())
	t.Defer, t.Streams = err == nil, s
	return t.Defer
}
