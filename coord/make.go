//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
	"gaggle/coord/gate"
	"gaggle/wire"
)

// toolCmds are the commands that stand between a build and its compilers.
func (a *app) toolCmds() []*cobra.Command {
	return []*cobra.Command{a.makeCmd(), a.ccCmd(), a.inferCmd(), a.forceCmd()}
}

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
  --plan         what make would have the mesh do is told, and not done, but for what programs of the
                 build need, as in coord infer.
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
			args, waits := takeFlag(args, "--wait")
			args, plan := takeFlag(args, "--plan")
			return a.make(args, !waits, plan)
		},
	}
}

// make runs make.
func (a *app) make(args []string, deferring, plan bool) error {
	command := append([]string{"make"}, args...)
	shown := command
	if plan {
		shown = append([]string{"make", "--plan"}, args...)
	}
	t, ctx, done, err := a.newToolBuild(command, shown)
	if err != nil {
		return &result{err: err}
	}
	defer done()
	t.builder.Command.Build.KeepGoing = keepsGoing(args)
	if t.builder.Command.Build.Plan = plan; plan {
		return ended(t.infer(ctx))
	}
	return ended(t.rounds(ctx, deferring && !readsMakefile(args)))
}

// rounds runs the build, and once more if a call failed that was deferred, or the agent went away: the
// second time nothing is, so that all is said and done as it always is. Not so if the user has
// stopped it.
func (t *toolBuild) rounds(ctx context.Context, deferring bool) (code int, err error) {
	a, b := t.a, t.builder
	var lost []string
	earlier := new(client.Calls)
	if deferring && b.Command.Build.Deferring() {
		calls, code, err := b.Build(ctx, t.opt)
		switch {
		case errors.Is(err, gate.ErrUnsupported):
			fmt.Fprintf(a.err, "make waits for each call of a tool: %v\n", err)
		case err != nil:
			return code, err
		case t.stopped || calls != nil && calls.Again == "":
			a.tellCalls(calls)
			return code, nil
		case calls != nil:
			lost, earlier = calls.Lost, calls
			fmt.Fprintf(a.err, "%s; make runs again, and waits for each call\n", calls.Again)
		default:
			fmt.Fprintln(a.err, "the background process went away; make runs again, and waits for each call")
		}
		b.Command.Build.Again = true
	}
	b.Command.Build.Defer, b.Command.Build.Lost = false, lost
	calls, code, err := b.Build(ctx, t.opt)
	switch {
	case err != nil:
		return code, err
	case calls == nil:
		fmt.Fprintln(a.err, "the background process went away; what it had not answered was compiled here")
	default:
		earlier.Add(calls)
		a.tellCalls(earlier)
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
