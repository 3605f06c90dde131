//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
	"gaggle/coord/gate"
	"gaggle/coord/infer"
	"gaggle/wire"
)

// shimName is the program that stands in for compilers; it lies beside coord.
const shimName = infer.ShimName

// toolCmds are the commands that stand between a build and its compilers.
func (a *app) toolCmds() []*cobra.Command { return []*cobra.Command{a.makeCmd(), a.ccCmd()} }

func (a *app) makeCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "make [ARGS...]",
		Short: "Run make with its compilers' calls on the mesh",
		Long: `Run make as it is, with the arguments given, but have what its compilers, archivers and linkers
make be made by the nodes of the mesh, and not at all if it was made before. They are found by their
names on PATH. What cannot be done elsewhere is done here by the tool itself, so the result is that of
make; coord says at the end how often, and coord report says why.

--local, --mesh NAME and --state DIR are coord's own, as are:
  --models FILE  tools of yours that may run elsewhere: which of their words name files
  --portable     what was made of a tree is known in other directories, and to other users, too. Paths
                 in what compilers make (debug information, __FILE__) are then written from the directory
                 of coord make, and differ in nothing else from those of make: start a debugger there. A
                 call that names a directory of the build in another way, as by a macro or a run path,
                 is made as without the flag, and counted.
  --wait         a call of a tool ends when it is done, as it would without coord. Otherwise make
                 goes on meanwhile, so that it keeps the mesh busy without -j: whoever opens a file
                 that is still to be made waits for it, and so does a recipe that runs any program
                 but such tools. If a call fails, make is run again with calls that wait, and stops
                 as it always does. Programs of a recipe gain no privileges (sudo) unless you are root.`,
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			args, help, err := a.ownFlags(args)
			switch {
			case err != nil:
				return err
			case help:
				return c.Help()
			}
			args, waits := waitFlag(args)
			return a.build("make", args, !waits)
		},
	}
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

// shim returns the path of the stand-in for compilers.
func shim() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(self), shimName), nil
}

// build runs a program whose compilers are the shims.
func (a *app) build(program string, args []string, deferring bool) error {
	opt, err := a.options()
	if err != nil {
		return &result{err: err}
	}
	path := os.Getenv("PATH")
	standIn, err := shim()
	if err != nil {
		return &result{err: err}
	}
	models, tools, err := a.readModels()
	if err != nil {
		return &result{err: err}
	}
	dir, err := client.Shims(opt.State, path, standIn, tools)
	if err != nil {
		return &result{err: err}
	}
	cmd := &client.Command{Mesh: a.mesh, Local: a.local, Path: path, Build: &client.ToolBuild{Command: append([]string{program}, args...), Models: models}}
	if cmd.Dir, err = os.Getwd(); err == nil {
		cmd.Dir, err = filepath.EvalSymlinks(cmd.Dir) // as the shims see it
	}
	if err != nil {
		return &result{err: fmt.Errorf("finding the working directory: %w", err)}
	}
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // by nohup, say: then make ignores it as well
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	ctx, interrupted := context.WithCancel(context.Background())
	defer interrupted()
	b := &client.Builder{Command: cmd, Out: a.out, Err: a.err, Signals: signals, Interrupted: interrupted}
	stopped := false
	b.Run = func(at *client.Building, wait func(context.Context) bool) (code int, by bool, err error) {
		p := exec.Command(program, args...)
		p.Stdin, p.Stdout, p.Stderr = a.in, a.out, a.err
		p.Env = append(os.Environ(), "PATH="+dir+string(filepath.ListSeparator)+path, client.ToolsVar+"="+at.Socket, client.BuildVar+"="+at.Build)
		if wait == nil {
			err = p.Start()
		} else {
			var closes func() error
			if closes, err = gated(p, standIn, wait); err == nil {
				defer func() {
					if err := closes(); err != nil {
						fmt.Fprintln(a.err, err)
					}
				}()
			}
		}
		if err == nil {
			code, by, err = runTo(p, signals, b.Stop)
		}
		stopped = by
		return code, by, err
	}
	b.Command.Build.KeepGoing = keepsGoing(args)
	code, err := a.rounds(ctx, opt, b, deferring && !readsMakefile(args), &stopped)
	switch {
	case err != nil:
		return &result{err: err}
	case code != 0:
		return exitCode(code)
	}
	return nil
}

// rounds runs the build, and once more if a call failed that was deferred, or the agent went away: the
// second time nothing is, so that all is said and done as it always is. Not so if the user has
// stopped it.
func (a *app) rounds(ctx context.Context, opt client.Options, b *client.Builder, deferring bool, stopped *bool) (code int, err error) {
	var lost []string
	if deferring && b.Command.Build.Deferring() {
		calls, code, err := b.Build(ctx, opt)
		switch {
		case errors.Is(err, gate.ErrUnsupported):
			fmt.Fprintf(a.err, "make waits for each call of a tool: %v\n", err)
		case err != nil:
			return code, err
		case *stopped || calls != nil && calls.Again == "":
			a.tellCalls(calls)
			return code, nil
		case calls != nil:
			lost = calls.Lost
			fmt.Fprintf(a.err, "%s; make runs again, and waits for each call\n", calls.Again)
		default:
			fmt.Fprintln(a.err, "the background process went away; make runs again, and waits for each call")
		}
		b.Command.Build.Again = true
	}
	b.Command.Build.Defer, b.Command.Build.Lost = false, lost
	calls, code, err := b.Build(ctx, opt)
	switch {
	case err != nil:
		return code, err
	case calls == nil:
		fmt.Fprintln(a.err, "the background process went away; what it had not answered was compiled here")
	default:
		a.tellCalls(calls)
	}
	if calls != nil {
		lost = calls.Lost
	}
	return code, missing(lost, code)
}

// tellCalls says what became of a build's calls, if there were some.
func (a *app) tellCalls(calls *client.Calls) {
	if calls != nil && calls.Ran+calls.Memo+calls.Shared+calls.Here > 0 {
		fmt.Fprintln(a.err, calls)
	}
}

// missing says which files are not there that a call was to make and that make, which says that all is
// well, has not asked for again: it takes what was made of them for good. If make has failed it may
// not have come to them.
func missing(lost []string, code int) error {
	if len(lost) == 0 || code != 0 {
		return nil
	}
	return wire.Errorf(wire.CauseExit, "remove what is made of it, or make clean and run coord make --wait",
		"%s could not be made, and make did not make it again", lost[0])
}

// readsMakefile reports whether make reads its makefile from standard input, which is there once.
func readsMakefile(args []string) bool {
	for i, a := range args {
		if a == "-f-" || a == "--file=-" || a == "--makefile=-" || a == "-" && i > 0 && args[i-1] == "-f" {
			return true
		}
	}
	return false
}

// keepsGoing reports whether make was told to go on after an error, here or by a make above.
func keepsGoing(args []string) bool {
	flags, _, _ := strings.Cut(os.Getenv("MAKEFLAGS"), " ")
	if !strings.HasPrefix(flags, "-") && !strings.Contains(flags, "=") && strings.Contains(flags, "k") {
		return true
	}
	for _, a := range args {
		switch {
		case a == "--":
			return false
		case a == "--keep-going":
			return true
		case strings.HasPrefix(a, "--") || !strings.HasPrefix(a, "-"):
			continue
		}
		for _, c := range a[1:] {
			if c == 'k' {
				return true
			}
			if strings.ContainsRune("CEfIjloOW", c) { // the rest is its value
				break
			}
		}
	}
	return false
}

// gated starts a command whose programs wait for deferred calls.
func gated(p *exec.Cmd, shim string, wait func(context.Context) bool) (closes func() error, err error) {
	programs, err := client.NewPrograms(shim, wait)
	if err != nil {
		return nil, err
	}
	g, err := gate.Start(p, programs.Pass)
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
