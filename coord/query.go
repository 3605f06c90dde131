package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
	"gaggle/coord/graph"
	"gaggle/wire"
)

func schema() []byte { return graph.Schema() }

// watchEvery is the time between two looks of status -w.
const watchEvery = time.Second

func (a *app) statusCmd() *cobra.Command {
	var watch, all bool
	c := &cobra.Command{
		Use:   "status [JOB]",
		Short: "Show jobs, or what the tasks of one do",
		Long: `Show the jobs that go on and the latest of those that ended, or of one JOB its tasks that run or could:
where they are, and what they wait for. Who waits for a slot is told which jobs hold them, and on which
networks gangs are. coord explain TASK tells more of one.`,
		Args: someArgs("", "", 0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			cmd := &client.Command{Status: &client.JobArg{Job: firstArg(args), All: all}}
			if !watch {
				return a.ask(cmd)
			}
			return a.watch(cmd)
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "show it anew every second")
	c.Flags().BoolVar(&all, "all", false, "show all jobs that are remembered, not only the latest")
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
	var shut, release, reason string
	var paths bool
	c := &cobra.Command{
		Use:   "nodes",
		Short: "Show the members of the mesh and what passed the coordinator",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			switch {
			case paths:
				return a.ask(&client.Command{Paths: &wire.Nothing{}})
			case shut != "":
				return a.ask(&client.Command{Judge: &client.Judge{Node: shut, Reason: reason}})
			case release != "":
				return a.ask(&client.Command{Judge: &client.Judge{Node: release, Release: true}})
			}
			return a.ask(&client.Command{Nodes: &wire.Nothing{}})
		},
	}
	c.Flags().StringVar(&shut, "quarantine", "", "offer this `NODE` nothing any more")
	c.Flags().StringVar(&reason, "reason", "", "why, for those who look")
	c.Flags().StringVar(&release, "release", "", "offer this `NODE` tasks again that was quarantined")
	c.Flags().BoolVar(&paths, "paths", false, "show how each reaches the others: direct, punched (through NATs), tcp, relayed")
	exclusive(c, "quarantine", "release", "paths")
	return c
}

func (a *app) cancelCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel JOB",
		Short: "Stop a job; runs that other jobs wait for go on",
		Args:  oneJob,
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
		Args:  someArgs("a task", "coord explain lists those of the latest job", 1, 1),
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
		Use:   "explain [TASK]",
		Short: "Tell all about a task of the latest job, or JOB/TASK: state, inputs, attempts; or list them",
		Args:  someArgs("", "", 0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			task := firstArg(args)
			full := task != "" && !strings.HasSuffix(task, "/") // JOB/ is all of it
			cmd := &client.Command{Explain: &client.TaskArg{Task: task}}
			return a.done(a.execute(cmd, nil, client.NewTable(a.out, a.err, full)))
		},
	}
}

func (a *app) gcCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "gc",
		Short: "Drop what no job needs from this machine's store",
		Long: `Drop from this machine's store whatever no job needs that is under way. What was computed before is
computed again when it is asked for, or comes from other members of the mesh. Without this the
background process drops what was unused for longest once the store takes more than half of what
is free on the disk, when it ends after five idle minutes.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.ask(&client.Command{GC: &wire.Nothing{}})
		},
	}
}

func (a *app) reportCmd() *cobra.Command {
	var all, json bool
	c := &cobra.Command{
		Use:   "report",
		Short: "Tell which compiler calls of the last build ran on the mesh, and why others ran here",
		Long: `Tell what became of the compilers' calls in the last coord make, or in the last working copy where
coord cc was called: how many a node ran, how many were known, and for those that ran on this
machine the reasons, with examples. The last 24 builds are remembered.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			cmd := &client.Command{Report: &client.JobArg{All: all}}
			return a.done(a.execute(cmd, nil, client.NewReport(a.out, a.err, json)))
		},
	}
	c.Flags().BoolVar(&all, "all", false, "tell of all builds that are remembered, the oldest first")
	c.Flags().BoolVar(&json, "json", false, "print a line of JSON for each build")
	return c
}
