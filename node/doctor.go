package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gaggle/node/worker"
	"gaggle/overlay"
	"gaggle/overlay/peer"
	"gaggle/sandbox/doctor"
	"gaggle/wire"
)

const doctorLong = `doctor looks for what keeps tasks from running on this machine, or from running within all limits,
and names for each thing the command that mends it and what still works. The last thing it does is
to run a real task in a real slot.

It ends with 0 if tasks can run, and with 3 if they cannot.`

// errSick says that tasks cannot run here; why was printed.
var errSick = errors.New("tasks cannot run on this machine")

func newDoctor() *cobra.Command {
	var state string
	var trusted []netip.Prefix
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
			s, err := stateDir(dir).load()
			if err == nil && s.Listen != "" && !cmd.Flags().Changed("listen") {
				listen = peer.ListenFlag(s.Listen)
			}
			found := doctor.Look(cmd.Context(), doctor.Config{Dir: dir, UDP: hostPorts(string(listen)), Build: program(), Thunk: worker.SelfTest})
			more := []doctor.Finding{networks(cmd.Context())}
			if s != nil && len(s.Trusted) > 0 && !cmd.Flags().Changed("trusted-cidr") {
				trusted = s.Trusted
			}
			if len(trusted) > 0 {
				more = append(more, kernelPlane(trusted))
			}
			if s != nil && s.Mesh != "" {
				more = append(more, reach(cmd.Context(), s))
			}
			found = slices.Insert(found, len(found)-1, more...) // before the thunk, which has the last word
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
	cmd.Flags().Var(&cidrFlag{&trusted}, "trusted-cidr", "a network `CIDR` that it would trust; may be repeated")
	return cmd
}

// networks says whether tasks can be on networks here.
func networks(ctx context.Context) doctor.Finding {
	f := doctor.Finding{Name: "networks"}
	how, err := overlay.Trial(ctx)
	if err != nil {
		e := wire.AsError(err)
		f.State, f.Found, f.Fix, f.Works = doctor.Limited, e.Message, e.Hint, "all tasks without network: overlay"
		return f
	}
	f.Found = "a task can be on one, by " + how
	return f
}

// kernelPlane says whether the kernel can move the packets of tasks in trusted networks.
func kernelPlane(trusted []netip.Prefix) doctor.Finding {
	f := doctor.Finding{Name: "trusted networks"}
	troubles, err := overlay.PlaneTroubles(trusted)
	if err != nil {
		f.State, f.Found, f.Works = doctor.Limited, message(err), "the node moves the packets itself"
		return f
	}
	f.Found = fmt.Sprintf("the kernel moves packets of tasks to hosts in %v, in the clear, and below the INPUT and OUTPUT rules of this machine's firewall", trusted)
	if len(troubles) == 0 {
		return f
	}
	f.State = doctor.Limited
	var found, fix []string
	for _, t := range troubles {
		found = append(found, t.What)
		if t.Do != "" {
			fix = append(fix, t.Do)
		}
		if t.Fatal {
			f.Works = "the node moves the packets itself"
		}
	}
	if f.Works == "" {
		found = append([]string{f.Found}, found...)
	}
	f.Found, f.Fix = strings.Join(found, "; "), strings.Join(fix, "; ")
	return f
}

// reach says how the coordinator of the node's mesh answers, and until when the node is a member.
func reach(ctx context.Context, s *settings) doctor.Finding {
	f := doctor.Finding{Name: "mesh"}
	m, err := s.membership()
	if err != nil {
		f.State, f.Found, f.Fix = doctor.Limited, err.Error(), "join again: node --join TICKET"
		return f
	}
	var good, bad []string
	for _, a := range peer.Knock(ctx, m.mesh, m.coordinator, s.Addrs) {
		switch {
		case a.Err == nil:
			good = append(good, fmt.Sprintf("%s in %.1f ms", a.Transport, float64(a.Took.Microseconds())/1000))
		case wire.CauseOf(a.Err) == wire.CauseUnauthorized:
			f.State, f.Found, f.Fix = doctor.Limited, message(a.Err), "ask for a new ticket, and join again: node --join TICKET"
			return f
		default:
			bad = append(bad, a.Transport)
		}
	}
	where := strings.Join(s.Addrs, ", ")
	switch {
	case len(good) == 0:
		f.State, f.Found = doctor.Limited, "the coordinator does not answer at "+where
		f.Fix = "see that coord serve runs there, and that firewalls between let its port through, UDP and TCP"
		f.Works = "the node tries again until it does"
		return f
	case len(bad) > 0:
		f.State, f.Found = doctor.Limited, fmt.Sprintf("the coordinator answers by %s, not by %s", strings.Join(good, " and "), strings.Join(bad, " and "))
		f.Fix = fmt.Sprintf("let %s through to %s, here and in between", strings.Join(bad, " and "), where)
		f.Works = "everything; without UDP no holes are punched in NATs, and more is relayed"
		return f
	}
	f.Found = "the coordinator answers by " + strings.Join(good, " and ")
	if end := time.Unix(m.cert.Expires, 0); time.Now().After(end) {
		f.Found += "; the certificate ran out at " + end.Format(time.DateTime) + " and is renewed when the node starts"
	}
	return f
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
