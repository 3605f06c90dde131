package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gaggle/coord/client"
	"gaggle/wire"
)

// maxTicketFile bounds a ticket in a file: its text is at most 4/3 of wire.MaxText.
const maxTicketFile = 8 << 10

func (a *app) loginCmd() *cobra.Command {
	l := new(client.Login)
	c := &cobra.Command{
		Use:   "login TICKET",
		Short: "Let this machine submit to the mesh of a ticket",
		Args:  someArgs("a ticket, or a file with one", "coord serve prints one, and coord ticket others", 1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			l.Ticket = args[0]
			if !strings.HasPrefix(l.Ticket, "gag") { // a file that holds it, as node --join takes
				b, err := os.ReadFile(l.Ticket)
				if err != nil || len(b) > maxTicketFile {
					return wire.Errorf(wire.CauseInvalid, "copy the whole line that coord serve printed, from gag1- on",
						"%q is neither a ticket nor a file with one", l.Ticket)
				}
				l.Ticket = string(b)
			}
			return a.ask(&client.Command{Login: l})
		},
	}
	c.Flags().StringVar(&l.Name, "name", "", "what to call the mesh here")
	return c
}

var oneMesh = someArgs("a mesh", "coord mesh ls lists them", 1, 1)

func (a *app) meshCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "mesh",
		Short: "Show or choose the meshes this machine is logged in to",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.ask(&client.Command{Meshes: new(client.MeshArg)})
		},
	}
	c.AddCommand(&cobra.Command{
		Use: "ls", Short: "List them", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.ask(&client.Command{Meshes: new(client.MeshArg)}) },
	}, &cobra.Command{
		Use: "use NAME", Short: "Submit to this one from now on; \"local\" is this machine alone", Args: oneMesh,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.ask(&client.Command{Meshes: &client.MeshArg{Use: args[0]}})
		},
	}, &cobra.Command{
		Use: "rm NAME", Short: "Forget one", Args: oneMesh,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.ask(&client.Command{Meshes: &client.MeshArg{Remove: args[0]}})
		},
	})
	return c
}

func (a *app) ticketCmd() *cobra.Command {
	var lasts time.Duration
	var once bool
	var owner string
	var tenants []string
	roles := "node,client"
	c := &cobra.Command{
		Use:   "ticket",
		Short: "Print a ticket with which other machines join the mesh",
		Long: `Print a ticket with which other machines join the mesh whose coordinator runs on this machine.
Its state directory is that of coord serve.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			terms := &ticketTerms{Lasts: lasts, Once: once, Owner: owner}
			for role := range strings.SplitSeq(roles, ",") {
				switch role {
				case "node":
					terms.Roles |= wire.RoleNode
				case "client":
					terms.Roles |= wire.RoleClient
				default:
					return wire.Errorf(wire.CauseInvalid, "use node, client or both", "%q is not a role", role)
				}
			}
			for _, t := range tenants {
				terms.Tenants = append(terms.Tenants, wire.Space(t))
			}
			dir := serveDir(a.state)
			if !isServeDir(dir) {
				return &result{err: wire.Errorf(wire.CauseInvalid, "run it on the coordinator's machine, with the --state of coord serve", "%s holds no mesh", dir)}
			}
			return a.done(a.signTicket(dir, terms))
		},
	}
	a.addServeState(c)
	c.Flags().DurationVar(&lasts, "lasts", 0, "how long it can be used (default 24h)")
	c.Flags().BoolVar(&once, "once", false, "good for one machine")
	c.Flags().StringVar(&owner, "owner", "", "who answers for the machines that join with it (default: as each says)")
	c.Flags().StringVar(&roles, "roles", roles, "what it lets machines do")
	c.Flags().StringSliceVar(&tenants, "tenant", nil, "whose jobs the machine may submit")
	return c
}
