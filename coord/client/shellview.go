package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"gaggle/sandbox"
	"gaggle/wire"
)

// A ShellEnd is how a shell in a task's sandbox ended: with Code, as a shell tells of it.
type ShellEnd struct{ Code int }

func (e *ShellEnd) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// A shellView runs a shell, or a command, in the sandbox that the agent has laid out. Its last
// event ends with a *ShellEnd, or why there was none.
type shellView struct {
	argv     []string // none: a shell, or with trace what the task runs
	trace    bool     // tell what it looks for in vain
	in       *os.File
	out, err io.Writer
	terminal bool // in is one
	fetching bool // a line tells so
	sandbox  Shell
}

// NewShell returns the view of a command Shell, which carries it out: it runs argv, or without
// one a shell, on a terminal of its own if in is one.
func NewShell(argv []string, in *os.File, out, err io.Writer) View {
	return &shellView{argv: argv, in: in, out: out, err: err, terminal: Terminal(in) != nil}
}

// NewSeek is NewShell for a command that is watched: it tells at the end what that looked for in
// vain. Without argv it is what the task runs, with the task's standard input.
func NewSeek(argv []string, in *os.File, out, err io.Writer) View {
	return &shellView{argv: argv, trace: true, in: in, out: out, err: err, terminal: Terminal(in) != nil}
}

// Event takes the sandbox in, and runs the shell when it is complete.
func (v *shellView) Event(e *Event, _ time.Time) error {
	switch {
	case e.Fetching != nil && !v.fetching && v.terminal:
		v.fetching = true
		_, err := fmt.Fprintf(v.err, "fetching %s of its root and inputs\n", Bytes(e.Fetching.Total))
		return err
	case e.Shell == nil:
		return nil
	}
	if v.sandbox.Root == "" {
		v.sandbox = *e.Shell
	} else {
		v.sandbox.Inputs = append(v.sandbox.Inputs, e.Shell.Inputs...)
	}
	if e.Shell.More {
		return nil
	}
	code, err := v.run()
	if err != nil {
		return err
	}
	return &ShellEnd{code}
}

// Tick shows nothing.
func (v *shellView) Tick(time.Time) error { return nil }

// End shows nothing: the error is told by who asked.
func (v *shellView) End(*End, time.Time) error { return nil }

// run makes a sandbox of one slot and runs the shell in it.
func (v *shellView) run() (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	dir, err := os.MkdirTemp("", "coord-shell-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	engine, err := sandbox.New(sandbox.Config{Dir: dir, Slots: 1, Terminals: true, Lookups: v.trace})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	stdin, err := v.stdin()
	if err != nil {
		return 0, err
	}
	defer stdin.Close()
	spec := v.spec()
	if len(v.argv) == 0 {
		if err := v.chooseShell(ctx, engine, &spec, dir); err != nil {
			return 0, err
		}
	}
	spec.Session = &sandbox.Session{Stdin: stdin}
	if v.terminal && len(v.argv) == 0 {
		spec.Session = &sandbox.Session{Terminal: v.in}
		if err := v.greet(&spec); err != nil {
			return 0, err
		}
	}
	r, err := engine.Run(ctx, spec)
	switch {
	case ctx.Err() != nil:
		return 0, ErrInterrupted
	case err != nil:
		return 0, err
	}
	code, err = v.ended(r.Failure)
	if r.Lookups != nil && err == nil {
		_, err = io.WriteString(v.err, lookupsText(r.Lookups))
	}
	return code, err
}

// stdin returns the standard input: the person's, but of what the task runs the task's. A command
// that is traced without one is that.
func (v *shellView) stdin() (io.ReadCloser, error) {
	if !v.trace || len(v.argv) > 0 {
		return io.NopCloser(v.in), nil
	}
	sh := &v.sandbox
	v.argv = sh.Argv
	i := slices.IndexFunc(sh.Inputs, func(in sandbox.Input) bool { return in.Path == sh.Stdin })
	if i < 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	return os.Open(sh.Inputs[i].Source)
}

// shellWall is how long a shell may run: longer than a person stays. The task's timeout binds
// commands only.
const shellWall = 30 * 24 * time.Hour

func (v *shellView) spec() sandbox.Spec {
	sh := &v.sandbox
	spec := sandbox.Spec{
		Root: sh.Root, Inputs: sh.Inputs, Argv: v.argv, Env: sh.Env, Outputs: sh.Outputs, JobDir: sh.JobDir, WorkDir: sh.WorkDir, Stdout: v.out, Stderr: v.err,
		Limits: sandbox.Limits{Wall: sh.Hints.Deadline(), MemBytes: sh.Hints.Memory()},
	}
	if len(v.argv) == 0 {
		spec.Limits.Wall = shellWall
	}
	return spec
}

// greet tells a person where they are.
func (v *shellView) greet(spec *sandbox.Spec) error {
	if term := os.Getenv("TERM"); term != "" {
		spec.Env = with(spec.Env, "TERM", term)
	}
	sh := &v.sandbox
	_, err := fmt.Fprintf(v.err, "The sandbox of task %s, with its root, inputs and environment, on this machine (%s of memory).\nIt runs:  %s",
		printable(brief(sh.Task)), Bytes(sh.Hints.Memory()), printableText(quoteAll(sh.Argv)))
	if err == nil && sh.Stdin != "" {
		_, err = fmt.Fprintf(v.err, " <%s", printable(quote(sh.Stdin)))
	}
	if err == nil && sh.Network {
		_, err = fmt.Fprint(v.err, "\nThe others of its gang, and their network, are not here.")
	}
	if err == nil {
		_, err = fmt.Fprint(v.err, "\nNothing that you change here stays; exit leaves.\n")
	}
	return err
}

// Exit codes of shells.
const (
	exitNotFound = 127
	exitSignal   = 128 // and the number of the signal
)

// ended returns the exit code, having told what the command itself could not.
func (v *shellView) ended(f *wire.Failure) (int, error) {
	switch {
	case f == nil:
		return ExitOK, nil
	case f.Cause == wire.CauseExit && f.Exit != 0:
		return f.Exit, nil
	case f.Cause == wire.CauseSignal:
		return exitSignal + f.Signal, nil
	}
	_, err := fmt.Fprintf(v.err, "coord: %s\n", f.Message)
	if err == nil && f.Hint != "" {
		_, err = fmt.Fprintf(v.err, "       %s\n", f.Hint)
	}
	if f.Cause == wire.CauseNotInRoot {
		return exitNotFound, err
	}
	return ExitFailed, err
}
