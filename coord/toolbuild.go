//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"gaggle/coord/client"
	"gaggle/coord/gate"
	"gaggle/coord/infer"
	"gaggle/wire"
)

// shimName is the program that stands in for compilers; it lies beside coord.
const shimName = infer.ShimName

// shim returns the path of the stand-in for compilers.
func shim() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(self), shimName), nil
}

// A toolBuild is a command below which compilers are stood for by shims.
type toolBuild struct {
	a    *app
	opt  client.Options
	shim string // the program
	dir  string // with its names
	path string // PATH without that

	builder  *client.Builder
	programs *client.Programs // nil before the command has begun
	stopped  bool             // by the user
}

// newToolBuild prepares one of a command, nil if Run is to be set, which reports call as shown. Signals are its own until done is called; interrupted ends ctx.
func (a *app) newToolBuild(command, shown []string) (t *toolBuild, ctx context.Context, done func(), err error) {
	t = &toolBuild{a: a, path: os.Getenv("PATH")}
	if t.opt, err = a.options(); err != nil {
		return nil, nil, nil, err
	}
	if t.shim, err = shim(); err != nil {
		return nil, nil, nil, err
	}
	models, tools, err := a.readModels()
	if err != nil {
		return nil, nil, nil, err
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			fmt.Fprintf(a.err, "%s has a tool %s, which is not on PATH\n", a.models, tool)
		}
	}
	if t.dir, err = client.Shims(t.opt.State, t.path, t.shim, tools); err != nil {
		return nil, nil, nil, err
	}
	cmd := &client.Command{Mesh: a.mesh, Local: a.local, Path: t.path, Build: &client.ToolBuild{Command: shown, Models: models}}
	if cmd.Dir, err = os.Getwd(); err == nil {
		cmd.Dir, err = filepath.EvalSymlinks(cmd.Dir) // as the shims see it
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("finding the working directory: %w", err)
	}
	signals, stop := client.Signals() // what is ignored make ignores as well
	ctx, interrupted := context.WithCancel(context.Background())
	t.builder = &client.Builder{Command: cmd, Out: a.out, Err: a.err, Signals: signals, Interrupted: interrupted}
	t.builder.Run = func(at *client.Building, wait func(context.Context) bool) (int, bool, error) {
		return t.run(at, command, wait)
	}
	return t, ctx, func() { stop(); interrupted() }, nil
}

// variables are what tells shims where to ask.
func (t *toolBuild) variables(at *client.Building) []string {
	return []string{client.ToolsVar + "=" + at.Socket, client.BuildVar + "=" + at.Build}
}

// run runs the command; see client.Builder.
func (t *toolBuild) run(at *client.Building, command []string, wait func(context.Context) bool) (code int, by bool, err error) {
	p := exec.Command(command[0], command[1:]...)
	p.Stdin, p.Stdout, p.Stderr = t.a.in, t.a.out, t.a.err
	p.Env = append(append(os.Environ(), "PATH="+t.dir+string(filepath.ListSeparator)+t.path), t.variables(at)...)
	if wait == nil {
		err = p.Start()
	} else {
		var closes func() error
		if closes, err = t.gated(p, wait); err == nil {
			defer func() {
				if err := closes(); err != nil {
					fmt.Fprintln(t.a.err, err)
				}
			}()
		}
	}
	if err == nil {
		code, by, err = runTo(p, t.builder.Signals, t.builder.Stop)
	}
	t.stopped = by
	return code, by, err
}

// readModels reads the user's models, if a file of them was named, and returns which tools it has.
func (a *app) readModels() (file []byte, tools []string, err error) {
	if a.models == "" {
		return nil, nil, nil
	}
	if file, err = os.ReadFile(a.models); err != nil {
		return nil, nil, wire.Errorf(wire.CauseInvalid, "", "reading models of tools: %v", err)
	}
	models, err := infer.Decode(a.models, file)
	if err != nil {
		return nil, nil, wire.Errorf(wire.CauseInvalid, "examples/models/models.yaml has examples", "%v", err)
	}
	return file, models.Tools(), nil
}

// gated starts a command whose programs wait for deferred calls.
func (t *toolBuild) gated(p *exec.Cmd, wait func(context.Context) bool) (closes func() error, err error) {
	t.programs, err = client.NewPrograms(t.shim, t.builder.Command.Build.Lazy, wait)
	if err != nil {
		return nil, err
	}
	g, err := gate.Start(p, t.programs.Free, t.programs.Hold)
	if err != nil {
		return nil, err
	}
	return g.Close, nil
}

// runTo waits until a program has ended and returns its exit code as a shell does, and whether a signal
// came, at which stop is called. Signals are passed on but for an interrupt, which the terminal sends to
// both.
func runTo(p *exec.Cmd, signals <-chan os.Signal, stop func()) (code int, stopped bool, err error) {
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	for {
		select {
		case s := <-signals:
			stopped = true
			if s != os.Interrupt {
				_ = p.Process.Signal(s) // it may have ended
			}
			stop() // make takes no signal while a program that it starts is held back
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				return 0, stopped, err
			}
			if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				return 128 + int(status.Signal()), stopped, nil
			}
			return exit.ExitCode(), stopped, nil
		}
	}
}
