package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
	"gaggle/wire"
)

// jobFlags are the flags of commands that follow a job.
type jobFlags struct {
	json  bool
	trace string
}

func (f *jobFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.json, "json", false, "print events as lines of JSON, a summary last")
	c.Flags().StringVar(&f.trace, "trace", "", "write a Chrome trace to `FILE` (chrome://tracing, ui.perfetto.dev)")
}

// view returns what shows a job: JSON, a live block on a terminal, or lines. The summary goes to
// last. The error is that a trace could not be written in the end.
func (a *app) view(f *jobFlags, last io.Writer, out string) (client.View, error) {
	now := time.Now()
	var v client.View
	size := client.Terminal(a.err)
	switch {
	case f.json:
		v = client.NewJSON(a.out, now)
	case size != nil:
		v = client.NewLive(a.out, a.err, last, out, size, now)
	default:
		v = client.NewPlain(a.out, a.err, last, out, now)
	}
	if f.trace == "" {
		return v, nil
	}
	to, err := os.OpenFile(f.trace, os.O_WRONLY|os.O_CREATE, 0o666)
	if err == nil {
		err = to.Close()
	}
	if err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "name another file with --trace", "the trace cannot be written: %v", err)
	}
	return client.Views{client.NewTrace(f.trace), v}, nil
}

// A percent is a flag's value from 0% to 100%.
type percent int

func (p *percent) String() string { return strconv.Itoa(int(*p)) + "%" }
func (p *percent) Type() string   { return "N%" }

func (p *percent) Set(s string) error {
	n, err := strconv.Atoi(strings.TrimSuffix(s, "%"))
	if err != nil || n < 0 || n > 100 {
		return wire.Errorf(wire.CauseInvalid, "", "%q is not a share: give 0%% to 100%%", s)
	}
	*p = percent(n)
	return nil
}

// A trust is a flag's value: whose claims to believe.
type trust wire.Trust

func (t *trust) String() string { return wire.Trust(*t).String() }
func (t *trust) Type() string   { return "any|own|K" }

func (t *trust) Set(s string) error {
	v, err := wire.ParseTrust(s)
	*t = trust(v)
	return err
}

// defaultTrust takes the policy of the environment if the command was given none.
func defaultTrust(c *cobra.Command, t *wire.Trust) error {
	env := os.Getenv(client.TrustVar)
	if env == "" || c.Flags().Changed("trust") {
		return nil
	}
	var err error
	if *t, err = wire.ParseTrust(env); err != nil {
		return fmt.Errorf("$%s: %w", client.TrustVar, err)
	}
	return nil
}

func trustFlags(c *cobra.Command, twice *bool, verify *int, believe *wire.Trust) {
	c.Flags().Var((*trust)(believe), "trust", "believe values of any node, of your own nodes only, or those that nodes of K owners give alike (default $"+client.TrustVar+", else any)")
	c.Flags().Lookup("trust").DefValue = "" // that is said already
	c.Flags().Var((*percent)(verify), "verify", "have nodes of another owner run this share of the tasks, too: a node that gives other values than all others is shut out")
	c.Flags().BoolVar(twice, "check-determinism", false, "run every task twice, on different nodes or slots, and fail those that give two values")
	exclusive(c, "verify", "check-determinism")
}

func (a *app) submitCmd() *cobra.Command {
	var f jobFlags
	var params []string
	sub := new(client.Submit)
	c := &cobra.Command{
		Use:   "submit [GRAPH|-]",
		Short: "Run a graph and write its targets",
		Long: `Run a graph file, or one on standard input, and write its targets below --out.

Exit codes: 0 done, 1 a task failed, 2 the graph is refused, 3 infrastructure, 130 interrupted or
cancelled (143 by SIGTERM, 129 by SIGHUP). Ctrl-C or SIGTERM once cancels the job, twice leaves at once;
when the terminal is lost (SIGHUP) the job goes on. What has finished is not run again.`,
		Args: someArgs("", "", 0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := defaultTrust(c, &sub.Trust); err != nil {
				return err
			}
			sub.Params = map[string]string{}
			for _, p := range params {
				name, value, ok := strings.Cut(p, "=")
				if !ok || name == "" {
					return wire.Errorf(wire.CauseInvalid, "write it as -p name=value", "parameter %q has no value", p)
				}
				sub.Params[name] = value
			}
			var input io.Reader
			switch {
			case len(args) == 1 && args[0] == "":
				return wire.Errorf(wire.CauseInvalid, "coord submit graph.yaml, or gen.py | coord submit -", "the name of the graph is empty")
			case len(args) == 1 && args[0] != "-":
				sub.Graph = args[0]
			case len(args) == 0 && client.Terminal(a.in) != nil:
				return wire.Errorf(wire.CauseInvalid, "coord submit graph.yaml, or gen.py | coord submit -", "no graph to submit")
			default:
				input = a.in
			}
			view, err := a.view(&f, a.out, sub.Out)
			if err != nil {
				return err
			}
			if sub.Plan && !f.json {
				view = client.NewTable(a.out, a.err, false)
			}
			return a.done(a.execute(&client.Command{Submit: sub}, input, view))
		},
	}
	f.add(c)
	flags := c.Flags()
	flags.StringArrayVarP(&params, "param", "p", nil, "set a parameter of the graph: `NAME=VALUE`")
	flags.StringVar(&sub.Out, "out", ".", "`DIR` that the targets are written to")
	flags.BoolVar(&sub.Plan, "plan", false, "list the tasks and what is known already, run nothing")
	flags.BoolVarP(&sub.KeepGoing, "keep-going", "k", false, "after a failure finish what does not need the failed task")
	flags.BoolVar(&sub.Detach, "detach", false, "return once the mesh has all it needs; coord get fetches the targets")
	flags.BoolVar(&sub.Replace, "replace", false, "let target directories replace those that are there")
	trustFlags(c, &sub.Twice, &sub.Verify, &sub.Trust)
	flags.StringVar(&sub.Only, "only", "", "run `TASK` and what it needs; its outputs become the targets")
	flags.StringVar(&sub.GraphDir, "dir", "", "`DIR` that paths in the graph are relative to (default where the graph is)")
	return c
}

func (a *app) runCmd() *cobra.Command {
	var f jobFlags
	r := new(client.Run)
	c := &cobra.Command{
		Use:   "run [--out TEMPLATE] [--gang N] [--network] COMMAND... [::: ARGUMENT...]",
		Short: "Run a command line once for each argument",
		Long: `Run a shell command line once for each argument, as GNU parallel does:

  coord run --out '{.}.png' 'convert {} {.}.png' ::: *.jpg

  {} the argument   {.} without extension   {/} its last element   {/.} both   {#} its number

Programs named in the line are captured, files named in it and arguments that exist are its
inputs. With --out that one file comes back, else every file that is new or changed.

With --gang N it is run N times for each argument, and all start together or none; $GAGGLE_INDEX is
0 to N-1. With --network they reach each other, and nobody else, as peer-0, peer-1 and so on, or
peer1-0 and so on for the first argument. What comes back of each is in a directory of its name:

  coord run --network --gang 2 'if test $GAGGLE_INDEX = 0; then nc -lN 80 </dev/null; else sleep 1; echo hello | nc -N peer-0 80; fi'`,
		Args: someArgs("a command", "coord run 'convert {} {.}.png' ::: *.jpg", 1, -1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := defaultTrust(c, &r.Trust); err != nil {
				return err
			}
			if c.Flags().Changed("gang") && r.Gang == 0 {
				return wire.Errorf(wire.CauseInvalid, "give how many, or leave --gang out", "--gang 0 runs nothing")
			}
			if i := slices.Index(args, ":::"); i >= 0 {
				r.Words, r.Args = args[:i], args[i+1:]
				if len(r.Args) == 0 {
					return wire.Errorf(wire.CauseInvalid, "name some, or leave out :::", "no arguments after :::")
				}
			} else {
				r.Words = args
			}
			if slices.Contains(r.Args, ":::") {
				return wire.Errorf(wire.CauseInvalid, "give one list of arguments", "::: is there twice")
			}
			view, err := a.view(&f, a.err, ".")
			if err != nil {
				return err
			}
			return a.done(a.execute(&client.Command{Run: r}, nil, view))
		},
	}
	f.add(c)
	c.Flags().StringVar(&r.Out, "out", "", "`TEMPLATE` of the file that the command makes")
	c.Flags().IntVar(&r.Gang, "gang", 0, "run `N` of each at the same time")
	c.Flags().BoolVar(&r.Network, "network", false, "run all at the same time, on a network of their own")
	c.Flags().DurationVar(&r.Timeout, "timeout", 0, "kill a command that runs for longer, as 90s or 10m (default 1h)")
	trustFlags(c, &r.Twice, &r.Verify, &r.Trust)
	c.Flags().SetInterspersed(false) // the command's flags are its own
	return c
}

func (a *app) attachCmd() *cobra.Command {
	var f jobFlags
	at := new(client.Attach)
	c := &cobra.Command{
		Use:   "attach JOB",
		Short: "Follow a job to its end and write its targets",
		Long: `Follow a job to its end and write its targets. Ctrl-C leaves it, and it goes on; coord cancel JOB
stops it.`,
		Args: oneJob,
		RunE: func(_ *cobra.Command, args []string) error {
			at.Job = args[0]
			out := at.Out
			if out == "" {
				out = "where it was submitted to"
			}
			view, err := a.view(&f, a.out, out)
			if err != nil {
				return err
			}
			return a.done(a.execute(&client.Command{Attach: at}, nil, view))
		},
	}
	f.add(c)
	c.Flags().StringVar(&at.Out, "out", "", "`DIR` for the targets (default that of coord submit)")
	c.Flags().BoolVar(&at.Replace, "replace", false, "let target directories replace those that are there")
	return c
}

func (a *app) getCmd() *cobra.Command {
	g := new(client.Get)
	c := &cobra.Command{
		Use:   "get JOB [TARGET...]",
		Short: "Fetch targets of a job that has ended",
		Args:  someArgs("a job", "coord status lists them", 1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			g.Job, g.Targets = args[0], args[1:]
			return a.ask(&client.Command{Get: g})
		},
	}
	c.Flags().StringVar(&g.Out, "out", ".", "`DIR` that the targets are written to")
	c.Flags().BoolVar(&g.Replace, "replace", false, "let target directories replace those that are there")
	return c
}

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of graph files",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(schema())
			return err
		},
	}
}
