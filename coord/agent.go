package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
)

// agentCmd is the background process; other commands start it.
func (a *app) agentCmd() *cobra.Command {
	var stop bool
	var idle time.Duration
	c := &cobra.Command{
		Use:   "agent",
		Short: "End the background process (--stop), or be it",
		Long: `Be the background process of this machine's state directory. Other commands start it, and it ends
after five idle minutes, so what there is to do by hand is to end it with --stop: jobs that need this
machine's files wait until the next command begins another.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.stateDir()
			if err != nil {
				return &result{err: err}
			}
			if stop {
				return a.stopAgent(dir)
			}
			return a.runAgent(dir, idle)
		},
	}
	c.Flags().BoolVar(&stop, "stop", false, "end it, whatever it does")
	c.Flags().DurationVar(&idle, "idle", client.DefaultIdle, "end after this time without work")
	return c
}

func (a *app) stopAgent(dir string) error {
	ended, jobs, err := client.Stop(context.Background(), dir)
	switch {
	case err != nil:
		return &result{err: err}
	case !ended:
		fmt.Fprintf(a.err, "no background process for %s\n", dir)
	case jobs == 0:
		fmt.Fprintln(a.err, "the background process was ended")
	default:
		fmt.Fprintf(a.err, "the background process was ended; jobs under way: %d\n", jobs)
		fmt.Fprintln(a.err, "  they go on; what needs this machine waits for the next command, as coord status")
	}
	return nil
}

func (a *app) runAgent(dir string, idle time.Duration) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	build, err := client.BuildID()
	if err != nil {
		return &result{err: err}
	}
	err = client.RunAgent(ctx, client.AgentConfig{
		State: dir, Build: build, Idle: idle, Ready: a.out, Logger: slog.New(slog.NewTextHandler(a.err, nil)),
	})
	if err != nil {
		return &result{err: err}
	}
	return nil
}
