package main

import (
	"github.com/spf13/cobra"

	"gaggle/node/worker"
	"gaggle/sandbox/doctor"
	"gaggle/wire"
)

func (a *app) doctorCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what keeps tasks from running on this machine, and what to do about it",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.stateDir()
			if err != nil {
				return &result{err: err}
			}
			found := doctor.Look(c.Context(), doctor.Config{Dir: dir, Build: "coord", Thunk: worker.SelfTest})
			if err := doctor.Print(a.out, found); err != nil {
				return &result{err: err}
			}
			if !doctor.CanRun(found) {
				return &result{err: wire.Errorf(wire.CauseSandbox, "coord login TICKET has them run on a mesh", "tasks cannot run on this machine")}
			}
			return nil
		},
	}
}
