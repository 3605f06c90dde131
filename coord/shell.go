package main

import (
	"errors"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
)

// oneTask asks for a task, before a COMMAND if there is one.
var oneTask = someArgs("a task", "coord explain lists those of the latest job; then  coord shell TASK", 1, -1)

func (a *app) shellCmd() *cobra.Command {
	var trace bool
	c := &cobra.Command{
		Use:   "shell TASK [--trace] [-- COMMAND...]",
		Short: "Open the sandbox of a task, or run a command in it",
		Long: `Open the sandbox of a task of the latest job, or JOB/TASK, on this machine: with its root, its
inputs in /job, its environment, its limits but the timeout, and a shell on your terminal. What the
task needs is fetched from those who hold it. Nothing that you change stays.

With a COMMAND that is run instead, on standard input, output and error, within the timeout of the
task; coord ends with its exit code.

With --trace the COMMAND, or without one what the task itself runs, is watched, and at the end all
files are told that it looked for and did not find, in that order: what to add to tools, include or
inputs is usually among the last. It then runs slower.`,
		Args: func(c *cobra.Command, args []string) error {
			if at := c.ArgsLenAtDash(); at > 1 || at < 0 && len(args) > 1 {
				return usage(c, "coord shell TASK -- COMMAND...", "name one task, and the command behind --")
			}
			return oneTask(c, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			view := client.NewShell
			if trace {
				view = client.NewSeek
			}
			r := a.execute(&client.Command{Shell: &client.TaskArg{Task: args[0]}}, nil, view(args[1:], a.in, a.out, a.err))
			var over *client.ShellEnd
			if r != nil && errors.As(r.err, &over) {
				r.shown = true
			}
			return a.done(r)
		},
	}
	c.Flags().BoolVar(&trace, "trace", false, "tell what it looks for in vain; without a COMMAND run what the task runs")
	return c
}
