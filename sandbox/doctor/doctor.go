// Package doctor looks at a machine and says what keeps tasks from running there, or from running
// within all limits: what was found, the command that mends it, and what still works until then.
package doctor

import (
	"context"
	"fmt"
	"io"
	"strings"

	"gaggle/wire"
)

// A State is how a finding is.
type State uint8

// States of a finding.
const (
	Fine    State = iota // nothing to do
	Limited              // tasks run, but something is worse than it could be
	Broken               // it keeps tasks from running
)

func (s State) String() string { return [...]string{"ok", "limited", "BROKEN"}[s] }

// A Finding is one thing that was looked at.
type Finding struct {
	Name  string
	State State
	Found string
	Fix   string // a command, or what else to do; "" if Fine
	Works string // what works all the same; "" if nothing is to be said
}

// Config says what a node on this machine would use.
type Config struct {
	Dir   string   // where its state is or will be
	UDP   []string // addresses it would listen on, as host:port; none: it does not listen
	Build string   // path of the program, for commands that start it
	// Thunk runs a thunk below a directory as the node would. It is the last thing tried.
	Thunk func(ctx context.Context, dir string) error
}

// Look looks at everything. The findings end with that of a thunk that was run: tasks can run here
// if, and only if, it is not Broken. It takes about a second.
func Look(ctx context.Context, c Config) []Finding {
	found := look(c)
	last := c.thunk(ctx, found)
	for i := range found {
		if last.State == Fine && found[i].State == Broken { // not for what tasks need, it turns out
			found[i].State = Limited
		}
	}
	return append(found, last)
}

// CanRun reports whether a thunk has run.
func CanRun(found []Finding) bool {
	return len(found) > 0 && found[len(found)-1].State != Broken
}

// thunk runs one. What broke may have been named before; then that is what to mend.
func (c Config) thunk(ctx context.Context, before []Finding) Finding {
	f := Finding{Name: "a real thunk", Found: "ran in a real slot"}
	err := c.Thunk(ctx, near(c.Dir))
	if err == nil {
		return f
	}
	e := wire.AsError(err)
	f.State, f.Found, f.Fix = Broken, e.Message, e.Hint
	var named []string
	for _, b := range before {
		if b.State == Broken {
			named = append(named, b.Name)
		}
	}
	if len(named) > 0 {
		f.Fix = "mend what is broken above: " + strings.Join(named, ", ")
	}
	f.Works = "coord: submitting to a mesh, fetching targets, serving inputs"
	return f
}

// Print writes findings for people.
func Print(w io.Writer, found []Finding) error {
	width := 0
	for _, f := range found {
		width = max(width, len(f.Name))
	}
	for _, f := range found {
		if _, err := fmt.Fprintf(w, "%-8s %-*s  %s\n", f.State, width, f.Name, f.Found); err != nil {
			return err
		}
		for _, more := range [][2]string{{"fix", f.Fix}, {"still works", f.Works}} {
			if more[1] == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "%*s%s: %s\n", 8+1+width+2, "", more[0], more[1]); err != nil {
				return err
			}
		}
	}
	return nil
}
