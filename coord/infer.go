//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
	"gaggle/coord/gate"
	"gaggle/wire"
)

func (a *app) inferCmd() *cobra.Command {
	var save string
	c := &cobra.Command{
		Use:   "infer [--save FILE] -- COMMAND [ARGS...]",
		Short: "Find out what a build would make, and make none of it: coord force does",
		Long: `Run a command that runs make, as coord make does, but have nothing made that nobody looks at: the calls
of compilers, archivers and linkers are noted, with what each reads of the others. If a program that the
build runs opens what they make, or does not say what it looks at, the calls before it are carried out.
In the end the tree is as it was, but for what had to be made and what other programs did.

coord force makes files of it, or all. It makes them of the sources as they are then.`,
		Args: someArgs("a command that runs make", "coord infer -- make", 1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			t, ctx, done, err := a.newToolBuild(args, append([]string{"infer", "--"}, args...))
			if err != nil {
				return &result{err: err}
			}
			defer done()
			if save != "" {
				if t.builder.Command.Build.Save, err = filepath.Abs(save); err != nil {
					return &result{err: err}
				}
			}
			return ended(t.infer(ctx))
		},
	}
	c.Flags().StringVar(&save, "save", "", "write what was found to a `FILE` as well, as JSON; coord force --from reads it. It has the build's environment")
	c.Flags().StringVar(&a.models, "models", "", "`FILE` with tools of yours that may run elsewhere")
	c.Flags().SetInterspersed(false) // what follows the command is its own
	return c
}

// ended is how coord ends after a program that has said what was wrong.
func ended(code int, err error) error {
	switch {
	case err != nil:
		return &result{err: err}
	case code != 0:
		return exitCode(code)
	}
	return nil
}

// infer runs the command and carries out no call that nobody waits for.
func (t *toolBuild) infer(ctx context.Context) (code int, err error) {
	args := t.builder.Command.Build
	args.Lazy = true
	if !args.Deferring() {
		return 0, errNotLazy(errors.New("standard output and error cannot be looked at"))
	}
	table := client.NewTable(t.a.out, t.a.err, false)
	known := 0
	t.builder.Plan = func(e *client.Event) error {
		for _, task := range e.Plan.Tasks {
			if task.Known == client.KnownMemo {
				known++
			}
		}
		return table.Event(e, time.Now())
	}
	calls, code, err := t.builder.Build(ctx, t.opt)
	if t.programs != nil {
		err = errors.Join(err, t.programs.PutBack())
	}
	switch {
	case errors.Is(err, gate.ErrUnsupported):
		return 0, errNotLazy(err)
	case err != nil || t.stopped:
		return code, err
	case calls == nil:
		return 0, wire.Errorf(wire.CauseUnreachable, "run it again", "the background process went away")
	case calls.Again != "":
		return 0, wire.Errorf(wire.CauseExit, "coord make says what was wrong", "%s, which the build needs to go on", calls.Again)
	case code != 0:
		return code, nil
	}
	made := calls.Ran + calls.Memo + calls.Shared
	text := fmt.Sprintf("%d of %d compiler calls are left", calls.Left, calls.Left+made+calls.Here)
	switch {
	case args.Plan:
		text += fmt.Sprintf(", %d of them known", known)
	case calls.Left > 0:
		text += ": coord force makes what they make"
	}
	if made > 0 {
		text += fmt.Sprintf("; %d had to be made", made)
	}
	if calls.Here > 0 {
		text += fmt.Sprintf("; %d ran here: coord report", calls.Here)
	}
	fmt.Fprintln(t.a.err, text)
	return 0, nil
}

// errNotLazy is why nothing can be inferred.
func errNotLazy(why error) error {
	return wire.Errorf(wire.CauseInvalid, "coord make makes all", "what the build makes cannot be put off here: %v", why)
}
