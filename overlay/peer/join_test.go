package peer

import (
	"sync"
	"testing"
	"time"

	"gaggle/wire"
)

// coordinator returns a host that lets machines join.
func (m *mesh) coordinator(change ...func(*Config)) *Host {
	h := m.host(both, change...)
	var mu sync.Mutex
	used := map[uint64]uint64{}
	h.ServeJoin(Registry{Mesh: m.key, Redeem: func(serial, uses uint64) bool {
		mu.Lock()
		defer mu.Unlock()
		used[serial]++
		return used[serial] <= uses
	}})
	return h
}

// ticket returns a ticket for h as people hand it on.
func (m *mesh) ticket(h *Host, change func(*wire.Ticket)) *wire.Ticket {
	m.t.Helper()
	t := wire.Ticket{
		Coordinator: h.ID(), Addrs: h.Addrs(), Roles: wire.RoleNode | wire.RoleClient, Tenants: []wire.Space{"lab"},
		Issued: time.Now().Unix(), Expires: time.Now().Add(wire.TicketLife).Unix(),
	}
	if change != nil {
		change(&t)
	}
	signed, err := wire.ParseTicket(wire.SignTicket(m.key, t).Text())
	if err != nil {
		m.t.Fatal(err)
	}
	return signed
}

func TestJoin(t *testing.T) {
	m := newMesh(t)
	a := m.coordinator()
	serveEcho(a)
	key := newKey(t)
	cert, err := Join(soon(t), key, m.ticket(a, nil), "anna\x1b[2J", "laptop")
	if err != nil {
		t.Fatal(err)
	}
	if cert.Peer != wire.PeerOf(key) || !cert.Has(wire.RoleNode|wire.RoleClient) || cert.Has(wire.RoleCoordinator) ||
		!cert.May("lab") || cert.May("other") || cert.Owner != "anna[2J" {
		t.Errorf("certificate %+v", cert)
	}
	if left := time.Until(time.Unix(cert.Expires, 0)); left < wire.CertLife-time.Minute || left > wire.CertLife+time.Minute {
		t.Errorf("certificate lasts %v, want %v", left, wire.CertLife)
	}
	b, err := New(Config{Key: key, Mesh: wire.PeerOf(m.key), Cert: cert, Listen: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.AddAddrs(a.ID(), a.Addrs())
	checkEcho(t, b, a.ID())
}

func TestJoinOnce(t *testing.T) {
	m := newMesh(t)
	a := m.coordinator()
	once := m.ticket(a, func(t *wire.Ticket) { t.Serial, t.Owner = 7, "bert" })
	key := newKey(t)
	for range 2 { // whoever lost the answer asks again
		cert, err := Join(soon(t), key, once, "anna", "laptop")
		if err != nil {
			t.Fatal(err)
		}
		if cert.Owner != "bert" {
			t.Errorf("owner %q, want the ticket's", cert.Owner)
		}
	}
	_, err := Join(soon(t), newKey(t), once, "anna", "laptop")
	wantCause(t, err, wire.CauseUnauthorized, "has been used", "coord ticket")
}

// A ticket for three machines lets in three, each as often as it asks.
func TestJoinThreeTimes(t *testing.T) {
	m := newMesh(t)
	a := m.coordinator()
	three := m.ticket(a, func(t *wire.Ticket) { t.Serial, t.Uses = 8, 3 })
	for range 3 {
		key := newKey(t)
		for range 2 {
			if _, err := Join(soon(t), key, three, "anna", "laptop"); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err := Join(soon(t), newKey(t), three, "anna", "laptop")
	wantCause(t, err, wire.CauseUnauthorized, "good for 3 machines and has been used")
}

func TestJoinRefused(t *testing.T) {
	m, other := newMesh(t), newMesh(t)
	a := m.coordinator()
	plain := m.host(both)
	gone := m.host(both)
	goneTicket := m.ticket(gone, nil)
	oldGone := m.ticket(gone, func(t *wire.Ticket) { t.Issued -= 1e6; t.Expires -= 1e6 })
	gone.Close()
	late := func() time.Time { return time.Now().Add(-48 * time.Hour) }
	cases := []struct {
		name   string
		ticket *wire.Ticket
		now    func() time.Time
		cause  wire.Cause
		parts  []string
	}{
		{"expired", m.ticket(a, func(t *wire.Ticket) { t.Issued -= 1e6; t.Expires -= 1e6 }), nil,
			wire.CauseExpired, []string{"ticket ran out", "coord ticket"}},
		{"another mesh", other.ticket(a, nil), nil, wire.CauseUnauthorized, []string{"another mesh"}},
		{"our clock is wrong", m.ticket(a, nil), late, wire.CauseClock, []string{"clocks differ by 48h0m0s", "set the clock"}},
		{"clock is wrong and ticket old", m.ticket(a, func(t *wire.Ticket) { t.Issued -= 1e6; t.Expires -= 1e6 }), late,
			wire.CauseClock, []string{"clocks differ"}},
		{"not a coordinator", m.ticket(plain, nil), nil, wire.CauseUnreachable, []string{"/ip4/127.0.0.1/"}},
		{"coordinator is down", goneTicket, nil, wire.CauseUnreachable, []string{goneTicket.Addrs[0], "firewall"}},
		{"coordinator is down and ticket old", oldGone, nil, wire.CauseExpired, []string{"ran out"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.ticket.Coordinator == gone.ID() {
				t.Parallel() // QUIC gives up after 5 s
			}
			cfg := Config{Key: newKey(t), Mesh: c.ticket.Mesh, Listen: []string{}, Now: c.now}
			_, err := join(soon(t), cfg, c.ticket, "anna", "laptop")
			wantCause(t, err, c.cause, c.parts...)
		})
	}
}

func TestRenew(t *testing.T) {
	m, other := newMesh(t), newMesh(t)
	a := m.coordinator()
	cases := []struct {
		name  string
		mesh  *mesh
		until time.Duration
		cause wire.Cause // of failure; 0 is success
	}{
		{"not expired", m, time.Hour, 0},
		{"expired", m, -time.Hour, 0},
		{"expired long ago", m, time.Hour - wire.RenewGrace, 0},
		{"expired too long ago", m, -time.Hour - wire.RenewGrace, wire.CauseExpired},
		{"of another mesh", other, time.Hour, wire.CauseUnauthorized},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := m.host([]string{}, func(cfg *Config) {
				cfg.Cert = c.mesh.cert(cfg.Key, -2*wire.RenewGrace, c.until)
			})
			b.AddAddrs(a.ID(), a.Addrs())
			cert, err := b.Renew(soon(t), a.ID())
			if c.cause != 0 {
				wantCause(t, err, c.cause)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if cert.Owner != "anna" || !cert.May("lab") || time.Until(time.Unix(cert.Expires, 0)) < wire.CertLife/2 {
				t.Errorf("renewed certificate %+v", cert)
			}
			if err := b.Connect(soon(t), a.ID(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("by another key", func(t *testing.T) {
		b := m.host([]string{}, func(cfg *Config) { cfg.Cert = m.cert(newKey(t), -time.Hour, time.Hour) })
		b.AddAddrs(a.ID(), a.Addrs())
		_, err := b.Renew(soon(t), a.ID())
		wantCause(t, err, wire.CauseUnauthorized)
	})
}
