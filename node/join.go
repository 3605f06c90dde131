package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/user"
	"strings"
	"time"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// maxTicketFile bounds a ticket in a file: its text is at most 4/3 of wire.MaxText.
const maxTicketFile = 8 << 10

// readTicket reads a ticket, or the one in a file, and judges its time by this machine's clock.
func readTicket(arg string) (*wire.Ticket, error) {
	text := arg
	if !strings.HasPrefix(arg, "gag1-") {
		fi, err := os.Stat(arg)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, usagef("copy the whole line that coord serve printed, from gag1- on",
				"%q is neither a ticket nor a file with one", arg)
		case err != nil:
			return nil, &usageError{fmt.Errorf("reading the ticket: %w", err)}
		case fi.Size() > maxTicketFile:
			return nil, usagef("coord serve writes one to DIR/ticket",
				"%s is too large for a ticket", arg)
		}
		b, err := os.ReadFile(arg)
		if err != nil {
			return nil, &usageError{fmt.Errorf("reading the ticket: %w", err)}
		}
		text = string(b)
	}
	t, err := wire.ParseTicket(text)
	if err == nil {
		err = t.Verify(t.Mesh, time.Now())
	}
	if err != nil {
		return nil, &usageError{err}
	}
	return t, nil
}

// enroll makes this machine a member of the ticket's mesh and puts that into the settings.
func (c *call) enroll(ctx context.Context, s *settings, key ed25519.PrivateKey,
	t *wire.Ticket) error {
	if s.Mesh != "" && s.Mesh != t.Mesh.String() {
		return usagef("run a second node with --state DIR and --name NAME, or remove this directory first",
			"the state in %s belongs to a node of another mesh", c.state)
	}
	if t.Roles&wire.RoleNode == 0 { // said before it is spent
		return usagef("on the coordinator, coord ticket --role node makes one for nodes",
			"this ticket is for submitting, not for running tasks; it can still be used for that (coord login)")
	}
	cert, err := c.redeem(ctx, s, key, t)
	if err != nil {
		return err
	}
	s.Mesh, s.Coordinator, s.Addrs, s.Certificate = t.Mesh.String(), t.Coordinator.String(), t.Addrs, cert.Encode()
	return nil
}

// redeem trades the ticket for a certificate. While the coordinator cannot be reached it keeps
// trying.
func (c *call) redeem(ctx context.Context, s *settings, key ed25519.PrivateKey,
	t *wire.Ticket) (*wire.Certificate, error) {
	trouble := trouble{out: c.out, addrs: t.Addrs}
	for wait := time.Second; ; wait = min(2*wait, 15*time.Second) {
		cert, err := peer.Join(ctx, key, t, owner(), s.name())
		if err == nil {
			return cert, nil
		}
		if ctx.Err() != nil {
			return nil, context.Canceled
		}
		switch wire.CauseOf(err) {
		case wire.CauseUnreachable, wire.CauseBusy:
			trouble.say(err)
		case wire.CauseExpired, wire.CauseUnauthorized, wire.CauseInvalid, wire.CauseVersion, wire.CauseRevoked:
			return nil, &usageError{err}
		default:
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Canceled
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
	}
}

// owner is who answers for this machine, unless the ticket says.
func owner() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// name is what to call this machine.
func (s *settings) name() string {
	if s.Name != "" {
		return s.Name
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "node"
}
