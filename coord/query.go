package main

import (
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
	"gaggle/coord/graph"
	"gaggle/wire"
)

func schema() []byte { return graph.Schema() }

// firstArg returns the first argument, "" if there is none.
func firstArg(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// watchEvery is the time between two looks of status -w.
const watchEvery = time.Second

func (a *app) statusCmd() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use:   "status [JOB]",
		Short: "Show jobs, or what the tasks of one do",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cmd := &client.Command{Status: &client.JobArg{Job: firstArg(args)}}
			if !watch {
				return a.ask(cmd)
			}
			return a.watch(cmd)
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "show it anew every second")
	return c
}

// watch asks again and again until interrupted.
func (a *app) watch(cmd *client.Command) error {
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	every := time.NewTicker(watchEvery)
	defer every.Stop()
	for {
		if client.Terminal(a.out) != nil {
			fmt.Fprint(a.out, "\x1b[H\x1b[J") // home, clear
		}
		if err := a.ask(cmd); err != nil {
			return err
		}
		select {
		case <-interrupts:
			return nil
		case <-every.C:
		}
	}
}

func (a *app) nodesCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "nodes",
		Short: "Show the members of the mesh and what passed the coordinator",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.ask(&client.Command{Nodes: &wire.Nothing{}})
		},
	}
}

func (a *app) cancelCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel JOB",
		Short: "Stop a job; runs that other jobs wait for go on",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.ask(&client.Command{Cancel: &client.JobArg{Job: args[0]}})
		},
	}
}

func (a *app) logsCmd() *cobra.Command {
	l := new(client.Logs)
	c := &cobra.Command{
		Use:   "logs TASK",
		Short: "Show what a task of the latest job, or JOB/TASK, writes or wrote",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			l.Task = args[0]
			return a.ask(&client.Command{Logs: l})
		},
	}
	c.Flags().BoolVarP(&l.Follow, "follow", "f", false, "go on until the task ends")
	return c
}

func (a *app) explainCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "explain TASK",
		Short: "Tell all about a task of the latest job, or JOB/TASK: state, inputs, attempts",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cmd := &client.Command{Explain: &client.TaskArg{Task: args[0]}}
			return a.done(a.execute(cmd, nil, client.NewTable(a.out, a.err, true)))
		},
	}
}

func (a *app) gcCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "gc",
		Short: "Drop what no job needs from this machine's store",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.ask(&client.Command{GC: &wire.Nothing{}})
		},
	}
}
