package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

const (
	// revokedFile keeps the revocations that a coordinator knows, in its state directory.
	revokedFile = "revoked"
	// ordersDir has, there, the revocations that coord revoke leaves for coord serve, one a file.
	ordersDir = "orders"
	// ordersEvery is how often coord serve looks for them.
	ordersEvery = 500 * time.Millisecond
	// orderTaken is how long coord revoke waits for that.
	orderTaken = 5 * time.Second
)

func (a *app) revokeCmd() *cobra.Command {
	var keepTickets bool
	c := &cobra.Command{
		Use:   "revoke MEMBER",
		Short: "End the membership of a machine for good",
		Long: `End the membership of a machine, by its peer id or by its name in coord members, for good. Members
that are connected drop it at once, others when they next meet one that knows, or when its
certificate ends. The tickets printed before are void from then on, or it could join again under
another key. Run it on the coordinator's machine; its state directory is that of coord serve.`,
		Args: someArgs("a member", "coord members lists them", 1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := a.meshDir()
			if err != nil {
				return err
			}
			return a.revoke(dir, args[0], !keepTickets)
		},
	}
	a.addServeState(c)
	c.Flags().BoolVar(&keepTickets, "keep-tickets", false, "leave the tickets good that were printed before")
	return c
}

// revoke signs the end of a membership and leaves it for coord serve.
func (a *app) revoke(dir, who string, tickets bool) error {
	mesh, err := peer.LoadKey(filepath.Join(dir, "mesh.key"))
	if err != nil {
		return err
	}
	own, err := peer.LoadKey(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	p, name, err := findMember(dir, who)
	if err != nil {
		return err
	}
	if p == wire.PeerOf(own) {
		return wire.Errorf(wire.CauseInvalid, "stop coord serve instead", "%s is the coordinator itself", p)
	}
	ended, err := revokedIn(dir)
	if err != nil {
		return err
	}
	if e := ended[p]; e != nil && (e.Tickets || !tickets) {
		fmt.Fprintf(a.out, "%s was revoked at %s\n", name, time.Unix(e.At, 0).Format(time.DateTime))
		return nil
	}
	if len(ended) >= wire.MaxRevoked {
		return wire.Errorf(wire.CauseTooLarge, "set up a new mesh: another --state for coord serve, and new tickets",
			"members remember %d revocations at most, and there are as many", wire.MaxRevoked)
	}
	// Tickets are void that were issued before the second that is to come.
	order := wire.SignRevocation(mesh, p, time.Now().Add(time.Second), tickets)
	path := filepath.Join(dir, ordersDir, p.String())
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := replaceFile(path, order.Encode()); err != nil {
		return fmt.Errorf("leaving the order to revoke: %w", err)
	}
	return a.tellRevoked(path, name, tickets)
}

// tellRevoked says what becomes of an order.
func (a *app) tellRevoked(path, name string, tickets bool) error {
	taken := false
	for late := time.Now().Add(orderTaken); !taken && time.Now().Before(late); time.Sleep(ordersEvery / 10) {
		_, err := os.Stat(path)
		taken = errors.Is(err, fs.ErrNotExist)
	}
	if taken {
		fmt.Fprintf(a.out, "%s is revoked; connected members are being told\n", name)
	} else {
		fmt.Fprintf(a.out, "%s is revoked; coord serve is not running here, and tells the members when it does\n", name)
	}
	if tickets {
		fmt.Fprintln(a.out, "tickets printed before are void; coord ticket prints new ones")
	}
	return nil
}

// findMember returns the peer that was named, by its id, the end of it that is shown, or the name of
// one member, and what to call it.
func findMember(dir, who string) (p wire.PeerID, name string, err error) {
	rows, err := readMembers(filepath.Join(dir, membersFile))
	if err != nil {
		return p, "", err
	}
	if p, err = wire.ParsePeerID(who); err == nil {
		return p, who, nil
	}
	var found []memberRow
	for _, r := range rows {
		if r.Name == who || r.Peer.Short() == who {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 0:
		return p, "", wire.Errorf(wire.CauseNotFound, "coord members lists them; any peer id can be named", "no member %q has a certificate of this coordinator", who)
	case 1:
		return found[0].Peer, fmt.Sprintf("%s (%s)", found[0].Name, found[0].Peer), nil
	}
	var ids []string
	for _, r := range found {
		ids = append(ids, r.Peer.String())
	}
	return p, "", wire.Errorf(wire.CauseInvalid, "name one of them by its id: "+strings.Join(ids, ", "), "%d members are called %q", len(found), who)
}

// watchOrders carries out what coord revoke leaves, until ctx ends.
func (m *meshServer) watchOrders(ctx context.Context) error {
	tick := time.NewTicker(ordersEvery)
	defer tick.Stop()
	defer m.members.save()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		m.members.save()
		if !m.takeOrders() {
			continue
		}
		ticket, err := m.writeTicket()
		if err != nil {
			m.log.Error("renewing the ticket", "error", err)
			continue
		}
		fmt.Fprintf(m.out, "earlier tickets are void; on other machines run  node --join %s\n", ticket)
	}
}

// takeOrders tells the members of the revocations that were left here. It reports whether tickets
// became void.
func (m *meshServer) takeOrders() (void bool) {
	dir := filepath.Join(m.dir, ordersDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Error("looking for revocations", "error", err)
	}
	before := m.host.TicketsFrom()
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".new") {
			continue // it is being written
		}
		if err := m.takeOrder(filepath.Join(dir, e.Name())); err != nil {
			m.log.Error("carrying out a revocation", "file", e.Name(), "error", err)
		}
	}
	return m.host.TicketsFrom() != before
}

// takeOrder carries out one, and removes it once that is kept.
func (m *meshServer) takeOrder(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	r, err := wire.DecodeRevocation(b)
	if err == nil {
		err = m.host.Learn([][]byte{b})
	}
	if err == nil {
		err = m.server.Revoked(r.Peer)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path)) // it will not get better
	}
	kept, err := peer.ReadRevoked(filepath.Join(m.dir, revokedFile), wire.PeerOf(m.mesh))
	if err != nil {
		return err
	}
	if kept[r.Peer] == nil {
		return wire.Errorf(wire.CauseDisk, "see to it that there is room", "the revocation of %s holds, but is not kept yet", r.Peer)
	}
	return os.Remove(path)
}
