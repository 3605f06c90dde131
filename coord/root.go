package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
)

// An app is one invocation of coord.
type app struct {
	in       *os.File
	out, err *os.File
	state    string // --state
	mesh     string // --mesh
	models   string // --models of coord make
	local    bool   // --local
}

// A result is how a command ended: the agent's last word and the error, either of which may be
// nil. It is the error of the cobra command, so that errors of cobra's own are told apart: those
// are about usage.
type result struct {
	end   *client.End
	err   error
	shown bool // the error was told already
}

func (r *result) Error() string {
	if r.err == nil {
		return "a task failed"
	}
	return r.err.Error()
}

// An exitCode ends coord with that of a program it ran, which has said why.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// run carries out a command line and returns the exit code.
func run(args []string, in, out, errOut *os.File) int {
	a := &app{in: in, out: out, err: errOut}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.Execute()
	var r *result
	var other exitCode
	switch {
	case err == nil:
		return client.ExitOK
	case errors.As(err, &other):
		return int(other)
	case !errors.As(err, &r):
		printError(errOut, err)
		return client.ExitUsage
	}
	if r.err != nil && !r.shown {
		printError(errOut, r.err)
	}
	return client.ExitCode(r.end, r.err)
}

// printError says what went wrong, and on a line of its own what to do.
func printError(w io.Writer, err error) {
	e := client.Told(err)
	if e == nil {
		return
	}
	head := "coord: "
	if strings.HasPrefix(e.Message, "coord ") { // a command of it
		head = ""
	}
	fmt.Fprintf(w, "%s%s\n", head, e.Message)
	if e.Hint != "" {
		fmt.Fprintf(w, "       %s\n", e.Hint)
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "coord",
		Short:         "Run graphs of hermetic commands on the machines you have",
		Version:       client.Release,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(badFlag)
	root.CompletionOptions.HiddenDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringVar(&a.state, "state", "", "`DIR` of all that is kept (default $GAGGLE_STATE, else ~/.local/state/gaggle/coord)")
	flags.StringVar(&a.mesh, "mesh", os.Getenv("GAGGLE_MESH"), "mesh to use, by the `NAME` that coord mesh ls shows (default $GAGGLE_MESH, else the one in use)")
	flags.Lookup("mesh").DefValue = "" // that is said already
	flags.BoolVar(&a.local, "local", false, "use this machine only, whatever mesh is configured")
	group := func(title string, commands ...*cobra.Command) {
		root.AddGroup(&cobra.Group{ID: title, Title: title + ":"})
		for _, c := range commands {
			c.GroupID = title
		}
		root.AddCommand(commands...)
	}
	cobra.EnableCommandSorting = false // within a group what comes first is needed first
	group("Jobs", a.submitCmd(), a.runCmd(), a.statusCmd(), a.attachCmd(), a.getCmd(), a.cancelCmd(), a.logsCmd(), a.explainCmd(), a.shellCmd())
	if tools := a.toolCmds(); len(tools) > 0 { // not on every system
		group("Builds", append(tools, a.reportCmd())...)
	} else {
		root.AddCommand(a.reportCmd())
	}
	group("Graphs", a.captureCmd(), a.schemaCmd())
	group("Meshes", a.serveCmd(), a.ticketCmd(), a.loginCmd(), a.meshCmd(), a.nodesCmd(), a.membersCmd(), a.revokeCmd())
	group("This machine", a.doctorCmd(), a.gcCmd(), a.agentCmd())
	knownTopic(root)
	return root
}

// stateDir returns the state directory, absolute.
func (a *app) stateDir() (string, error) {
	if a.state != "" {
		return filepath.Abs(a.state)
	}
	return client.DefaultState()
}

// options say how to reach the background process, and how to start it.
func (a *app) options() (opt client.Options, err error) {
	opt.Args = []string{"agent", "--state"}
	if opt.State, err = a.stateDir(); err != nil {
		return opt, err
	}
	if opt.Program, err = os.Executable(); err != nil {
		return opt, err
	}
	opt.Build, err = client.BuildID()
	return opt, err
}

// execute has the background process carry out a command. The result is nil if all went well.
func (a *app) execute(cmd *client.Command, input io.Reader, view client.View) *result {
	cmd.Mesh, cmd.Local, cmd.Path = a.mesh, a.local, os.Getenv("PATH")
	var err error
	if cmd.Dir, err = os.Getwd(); err != nil {
		return &result{err: fmt.Errorf("finding the working directory: %w", err)}
	}
	opt, err := a.options()
	if err != nil {
		return &result{err: err}
	}
	signals, stop := client.Signals(os.Interrupt)
	defer stop()
	end, err := client.Execute(context.Background(), opt, cmd, input, view, signals)
	if err == nil && client.ExitCode(end, nil) == client.ExitOK {
		return nil
	}
	return &result{end: end, err: err, shown: end != nil && end.Told}
}

// ask carries out a question whose answer is a table or a text.
func (a *app) ask(cmd *client.Command) error {
	return a.done(a.execute(cmd, nil, client.NewTable(a.out, a.err, false)))
}

// done makes an error of a result; a nil *result in an error would not be nil.
func (a *app) done(r *result) error {
	if r == nil {
		return nil
	}
	return r
}
