package main

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// writeTicket makes a ticket that any number of machines may use within a day, puts it into the
// file "ticket" and returns it.
func (m *meshServer) writeTicket() (string, error) {
	now := time.Now()
	t := wire.SignTicket(m.mesh, wire.Ticket{
		Coordinator: m.host.ID(), Addrs: m.host.Addrs(), Roles: wire.RoleNode | wire.RoleClient, Tenants: []wire.Space{defaultTenant},
		Issued: max(now.Unix(), m.host.TicketsFrom()), Expires: now.Add(wire.TicketLife).Unix(),
	})
	path := filepath.Join(m.dir, "ticket")
	if err := os.WriteFile(path+".new", []byte(t.Text()+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing the ticket: %w", err)
	}
	return t.Text(), os.Rename(path+".new", path)
}

// ticketTerms is what a ticket is to be good for.
type ticketTerms struct {
	Roles   wire.Role
	Tenants []wire.Space  // none are those of the coordinator's own ticket
	Expires time.Duration // from now; 0 is wire.TicketLife
	Uses    uint64        // machines it lets in; 0 is any number
	Owner   string        // who answers for the machine; "" lets it say so itself
}

// signTicket prints a ticket with other terms than the one in the file of the coordinator whose
// state directory dir is; from there it has the addresses.
func (a *app) signTicket(dir string, terms *ticketTerms) *result {
	text, err := os.ReadFile(filepath.Join(dir, "ticket"))
	if err != nil {
		return &result{err: wire.Errorf(wire.CauseInvalid, "run coord serve there first", "no ticket yet: %v", err)}
	}
	old, err := wire.ParseTicket(string(text))
	if err != nil {
		return &result{err: err}
	}
	mesh, err := peer.LoadKey(filepath.Join(dir, "mesh.key"))
	if err != nil {
		return &result{err: err}
	}
	t := wire.Ticket{Coordinator: old.Coordinator, Addrs: old.Addrs, Roles: terms.Roles, Tenants: terms.Tenants, Owner: terms.Owner}
	if len(t.Tenants) == 0 {
		t.Tenants = old.Tenants
	}
	for _, s := range t.Tenants {
		if !s.Valid() {
			return &result{err: wire.Errorf(wire.CauseInvalid, "use letters, digits, '_', '.' and '-'", "%q cannot be the name of a tenant", s)}
		}
	}
	ended, err := revokedIn(dir)
	if err != nil {
		return &result{err: err}
	}
	now := time.Now()
	t.Issued, t.Expires, t.Uses = now.Unix(), now.Add(cmp.Or(terms.Expires, wire.TicketLife)).Unix(), terms.Uses
	for _, e := range ended {
		if e.Tickets {
			t.Issued = max(t.Issued, e.At) // within a second of it
		}
	}
	if terms.Uses > 0 {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return &result{err: err}
		}
		t.Serial = binary.BigEndian.Uint64(b[:]) | 1 // 0 would be reusable
	}
	if _, err := fmt.Fprintln(a.out, wire.SignTicket(mesh, t).Text()); err != nil {
		return &result{err: err}
	}
	return nil
}
