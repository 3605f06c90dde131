package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
	"gaggle/wire"
)

func (a *app) captureCmd() *cobra.Command {
	var out string
	var unchecked bool
	c := &cobra.Command{
		Use:   "capture [--out GRAPH] -- COMMAND [ARGUMENT...]",
		Short: "Find the smallest root that a command needs by running it once",
		Long: `Run a command once on this machine, watch which files it looks at, and print a task whose root
has those alone. It is then run in the sandbox with that root, to see that nothing is missing.

The command runs as you, and does here what it does, in the environment of a task: with your PATH,
nothing on standard input, LC_ALL=C and an empty HOME. Another run of
it, with other arguments or data, may need more files: tools takes what programs need in general.
What it leaves running in the background is watched for five seconds more, then ended.
Files in your home directory are left out unless a program or library there is run; files below
the working directory become inputs.`,
		Args: someArgs("a command", "coord capture -- ./plot.py data.csv", 1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.done(a.capture(args, out, unchecked))
		},
	}
	c.Flags().StringVar(&out, "out", "", "write a whole graph to the new `FILE` and print no task")
	c.Flags().BoolVar(&unchecked, "no-check", false, "do not run it in the sandbox")
	c.Flags().SetInterspersed(false) // the command's flags are its own
	return c
}

func (a *app) capture(argv []string, out string, unchecked bool) *result {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.Getwd()
	if err != nil {
		return &result{err: fmt.Errorf("finding the working directory: %w", err)}
	}
	home, _ := os.UserHomeDir() // none is no reason to stop
	// What the kernel tells of a running command has no links in it.
	for _, d := range []*string{&dir, &home} {
		if real, err := filepath.EvalSymlinks(*d); err == nil {
			*d = real
		}
	}
	m, err := client.Watch(ctx, argv, os.Getenv("PATH"), dir, home, a.err, a.err)
	if err != nil {
		return &result{err: err}
	}
	m.Explain(a.err)
	if err := a.saveMinimal(m, out); err != nil {
		return &result{err: err}
	}
	if unchecked {
		return nil
	}
	opt, err := a.options()
	if err != nil {
		return &result{err: err}
	}
	same, err := m.Check(ctx, opt, dir)
	switch {
	case err != nil:
		return &result{err: err}
	case same:
		fmt.Fprintln(a.err, "checked   with that root alone it prints the same")
	default:
		fmt.Fprintln(a.err, "checked   with that root alone it ends well, but prints something else")
	}
	return nil
}

// saveMinimal prints the task, or writes a graph of it to a new file.
func (a *app) saveMinimal(m *client.Minimal, out string) error {
	if out == "" {
		b, err := m.Snippet()
		if err == nil {
			_, err = a.out.Write(b)
		}
		return err
	}
	b, err := m.Graph()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return wire.Errorf(wire.CauseInvalid, "name a file that is not there yet", "writing the graph: %v", err)
	}
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
