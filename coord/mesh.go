package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
		Args:  knownCommand,
		RunE: func(*cobra.Command, []string) error {
			return a.ask(&client.Command{Meshes: new(client.MeshArg)})
		},
	}
	c.AddCommand(&cobra.Command{
		Use: "ls", Short: "List them", Args: noArgs,
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

// maxTicket bounds what a ticket may last: less than a revocation is kept, which may have made it void.
const maxTicket = 90 * 24 * time.Hour

// maxUses bounds the machines that a counted ticket lets in.
const maxUses = wire.MaxPeers

func (a *app) ticketCmd() *cobra.Command {
	terms := new(ticketTerms)
	var once bool
	var tenants []string
	roles := "node,tenant"
	c := &cobra.Command{
		Use:   "ticket",
		Short: "Print a ticket with which other machines join the mesh",
		Long: `Print a ticket with which other machines join the mesh whose coordinator runs on this machine.
Its state directory is that of coord serve.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if once {
				terms.Uses = 1
			}
			if err := terms.check(c, roles); err != nil {
				return err
			}
			for _, t := range tenants {
				terms.Tenants = append(terms.Tenants, wire.Space(t))
			}
			dir, err := a.meshDir()
			if err != nil {
				return err
			}
			return a.done(a.signTicket(dir, terms))
		},
	}
	a.addServeState(c)
	f := c.Flags()
	f.DurationVar(&terms.Expires, "expires", 0, "how long it can be used (default 24h)")
	f.Uint64Var(&terms.Uses, "uses", 0, "how many machines it lets in (default any number)")
	f.BoolVar(&once, "once", false, "good for one machine: --uses 1")
	f.StringVar(&terms.Owner, "owner", "", "who answers for the machines that join with it (default: as each says)")
	f.StringVar(&roles, "role", roles, "what it lets machines do: node (run tasks), tenant (submit) or both")
	f.StringSliceVar(&tenants, "tenant", nil, "whose jobs the machine may submit")
	exclusive(c, "once", "uses")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		switch name { // as they were called once
		case "lasts":
			name = "expires"
		case "roles":
			name = "role"
		}
		return pflag.NormalizedName(name)
	})
	return c
}

// check judges the terms that were given, and reads the roles.
func (t *ticketTerms) check(c *cobra.Command, roles string) error {
	if c.Flags().Changed("expires") && (t.Expires < time.Second || t.Expires > maxTicket) {
		return wire.Errorf(wire.CauseInvalid, fmt.Sprintf("give 1s to %s", maxTicket), "a ticket cannot last %s", t.Expires)
	}
	if c.Flags().Changed("uses") && (t.Uses < 1 || t.Uses > maxUses) {
		return wire.Errorf(wire.CauseInvalid, fmt.Sprintf("give 1 to %d, or leave it out", maxUses), "a ticket cannot be good for %d machines", t.Uses)
	}
	for role := range strings.SplitSeq(roles, ",") {
		switch role {
		case "node":
			t.Roles |= wire.RoleNode
		case "tenant", "client":
			t.Roles |= wire.RoleClient
		default:
			return wire.Errorf(wire.CauseInvalid, "use node, tenant or both", "%q is not a role", role)
		}
	}
	return nil
}

// meshDir returns the state directory of the coordinator that a command is about.
func (a *app) meshDir() (string, error) {
	dir := serveDir(a.state)
	if !isServeDir(dir) {
		return "", &result{err: wire.Errorf(wire.CauseInvalid, "run it on the coordinator's machine, with the --state of coord serve", "%s holds no mesh", dir)}
	}
	return dir, nil
}
