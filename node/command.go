package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// Exit codes (GRAPH.md, 'Commands').
const (
	exitOK          = 0
	exitUsage       = 2
	exitMachine     = 3
	exitInterrupted = 130
)

// A call is what the command line says.
type call struct {
	join    string // ticket or file
	state   string
	verbose bool
	change  func(*settings) // applies the flags that were given
	out     io.Writer       // for people
	err     io.Writer       // for logs
}

// execute runs the command and returns its exit code.
func execute(args []string, stdout, stderr io.Writer) int {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	defer onSignal(stop)()
	cmd := newCommand()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	var code exitCode
	if errors.As(context.Cause(ctx), &code) && (err == nil || errors.Is(err, context.Canceled)) {
		return int(code)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "node: %v\n", err)
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitMachine
}

// A usageError is the caller's mistake.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// An exitCode is why a context ended: a signal that asks for this code.
type exitCode int

func (c exitCode) Error() string { return "ended by a signal" }

// onSignal has the first SIGINT or SIGTERM end the context; a second one ends the process. The
// function it returns undoes that.
func onSignal(stop context.CancelCauseFunc) (undo func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case s := <-c:
			signal.Stop(c)
			if s == os.Interrupt {
				stop(exitCode(exitInterrupted))
			} else {
				stop(exitCode(exitOK))
			}
		case <-done:
			signal.Stop(c)
		}
	}()
	return func() {
		close(done)
		<-watched
	}
}

const long = `node runs tasks for a mesh of machines.

The first time, give it the ticket that coord serve prints on the coordinator's machine, or a
file with it:

  node --join gag1-...

What else is said then is kept: from then on, just start it. Flags given later change what is
kept. The ticket is good for any number of machines until it runs out.`

func newCommand() *cobra.Command {
	c := new(call)
	cmd := &cobra.Command{
		Use: "node [--join TICKET|FILE]", Short: "Run tasks for a mesh of machines", Long: long,
		Version: wire.Release, SilenceErrors: true, SilenceUsage: true, DisableAutoGenTag: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("node --help lists the flags", "unexpected argument %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.out, c.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return c.run(cmd.Context())
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usagef("node --help lists the flags", "%v", err)
	})
	cmd.CompletionOptions.DisableDefaultCmd = true
	c.flags(cmd)
	cmd.AddCommand(newDoctor())
	return cmd
}

func (c *call) flags(cmd *cobra.Command) {
	var given settings
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&c.join, "join", "", "join a mesh with this `TICKET`, or the one in a file")
	f.StringVar(&c.state, "state", "",
		"`DIR` of identity, settings and store (default "+defaultState()+")")
	f.StringVar(&given.Name, "name", "", "what to call this machine (default its host name)")
	f.IntVar(&given.Slots, "slots", 0,
		fmt.Sprintf("tasks to run at once (default %d: one core is left for you)", defaultSlots()))
	f.Var((*peer.ListenFlag)(&given.Listen), "listen",
		"`ADDR` to listen on: host:port, :port, or multiaddrs (default :7070, else any port)")
	f.Var((*sizeFlag)(&given.StoreMax), "store-max",
		"most the store may take on disk, a `SIZE` like 20GiB (default half of what is free)")
	f.Var((*sizeFlag)(&given.MaxUpload), "max-upload",
		"most to send to other machines in a second, a `SIZE` like 2MiB (default no bound)")
	f.BoolVar(&given.Metered, "metered", false,
		"what the link moves costs you (a phone's hotspot): get tasks only where they are worth fetching their inputs, send only what no other machine has, keep no copies for others; --metered=false: no more")
	f.Var(&labelFlag{&given.Labels}, "label",
		"a label `k=v` that tasks can ask for; may be repeated, replaces earlier ones")
	f.StringVar(&given.HTTP, "http", "", "serve /metrics on this `ADDR` of the loopback interface, to who shows the token in DIR/http.token")
	f.Var(&cidrFlag{&given.Trusted}, "trusted-cidr",
		"a network `CIDR` in which packets of tasks may go as they are, unencrypted, moved by the kernel; needs root; may be repeated, replaces earlier ones, none: none")
	f.BoolVar(&given.Battery, "battery", false, "take work on battery power, too")
	f.BoolVar(&given.Unbounded, "unbounded", false, "take tasks of other tenants even where their memory cannot be bounded")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "log what happens")
	c.change = func(s *settings) {
		for name, set := range map[string]func(){
			"name":         func() { s.Name = given.Name },
			"slots":        func() { s.Slots = given.Slots },
			"listen":       func() { s.Listen = given.Listen },
			"store-max":    func() { s.StoreMax = given.StoreMax },
			"max-upload":   func() { s.MaxUpload = given.MaxUpload },
			"metered":      func() { s.Metered = given.Metered },
			"label":        func() { s.Labels = given.Labels },
			"http":         func() { s.HTTP = given.HTTP },
			"trusted-cidr": func() { s.Trusted = given.Trusted },
			"battery":      func() { s.Battery = given.Battery },
			"unbounded":    func() { s.Unbounded = given.Unbounded },
		} {
			if f.Changed(name) {
				set()
			}
		}
	}
}

func usagef(hint, format string, args ...any) error {
	return &usageError{wire.Errorf(wire.CauseInvalid, hint, format, args...)}
}

// defaultSlots leaves a core to whoever sits at the machine.
func defaultSlots() int { return max(1, runtime.GOMAXPROCS(0)-1) }

// defaultState is where a node keeps its state unless told otherwise.
func defaultState() string {
	if dir := os.Getenv("GAGGLE_NODE_STATE"); dir != "" {
		return dir
	}
	if dir := os.Getenv("GAGGLE_STATE"); dir != "" {
		return filepath.Join(dir, "node") // beside what coord has there
	}
	if os.Geteuid() == 0 {
		return "/var/lib/gaggle-node"
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "gaggle-node"
	}
	return filepath.Join(home, ".local", "state", "gaggle", "node")
}
