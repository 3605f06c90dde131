package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gaggle/node/worker"
	"gaggle/overlay/peer"
	"gaggle/sandbox/doctor"
)

const doctorLong = `doctor looks for what keeps tasks from running on this machine, or from running within all limits,
and names for each thing the command that mends it and what still works. The last thing it does is
to run a real task in a real slot.

It ends with 0 if tasks can run, and with 3 if they cannot.`

// errSick says that tasks cannot run here; why was printed.
var errSick = errors.New("tasks cannot run on this machine")

func newDoctor() *cobra.Command {
	var state string
	listen := peer.ListenFlag(":7070")
	cmd := &cobra.Command{
		Use: "doctor", Short: "Say what is missing on this machine, and what to do about it", Long: doctorLong,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if state == "" {
				state = defaultState()
			}
			dir, err := filepath.Abs(state)
			if err != nil {
				return fmt.Errorf("finding the state directory: %w", err)
			}
			if s, err := stateDir(dir).load(); err == nil && s.Listen != "" && !cmd.Flags().Changed("listen") {
				listen = peer.ListenFlag(s.Listen)
			}
			found := doctor.Look(cmd.Context(), doctor.Config{Dir: dir, UDP: hostPorts(string(listen)), Build: program(), Thunk: worker.SelfTest})
			if err := doctor.Print(cmd.OutOrStdout(), found); err != nil {
				return err
			}
			if !doctor.CanRun(found) {
				return errSick
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "`DIR` that the node has or will have (default "+defaultState()+")")
	cmd.Flags().Var(&listen, "listen", "`ADDR` that it would listen on")
	return cmd
}

// hostPorts returns the addresses among listen addresses that can be tried.
func hostPorts(listen string) (addrs []string) {
	if !strings.HasPrefix(listen, "/") {
		return []string{listen}
	}
	for addr := range strings.SplitSeq(listen, ",") {
		// /ip4/1.2.3.4/udp/7070/quic-v1
		if f := strings.Split(addr, "/"); len(f) >= 5 && f[3] == "udp" && f[1] == "ip4" {
			addrs = append(addrs, f[2]+":"+f[4])
		}
	}
	return addrs
}

// program is what starts a node, for commands that are shown.
func program() string {
	if p, err := os.Executable(); err == nil {
		return p
	}
	return "gaggle-node"
}
