package peer

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gaggle/wire"
)

// eventually waits for what others do in the background.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for ctx := soon(t); !ok(); time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("never: %s", what)
		}
	}
}

// revoke returns a revocation of p by the mesh.
func (m *mesh) revoke(p wire.PeerID, tickets bool) [][]byte {
	return [][]byte{wire.SignRevocation(m.key, p, time.Now(), tickets).Encode()}
}

// connect connects hosts to the first of them.
func connect(t *testing.T, to *Host, hosts ...*Host) {
	t.Helper()
	for _, h := range hosts {
		if err := h.Connect(soon(t), to.ID(), to.Addrs()); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever is connected hears of a revocation at once and drops the peer, which is shown why and
// gives up.
func TestRevocationReachesConnectedMembers(t *testing.T) {
	m := newMesh(t)
	c, a, b, gone := m.host(both), m.host(both), m.host(both), m.host([]string{})
	connect(t, c, a, b, gone)
	connect(t, a, gone) // and b knows nobody but c
	serveEcho(a)
	s, err := gone.Open(soon(t), a.ID(), echo)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := c.Learn(m.revoke(gone.ID(), false)); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*Host{c, a, b} {
		eventually(t, "a member hears of it and drops the peer", func() bool { return h.Revoked(gone.ID()) != nil && !h.Connected(gone.ID()) })
	}
	t.Logf("all members have dropped it after %v", time.Since(begun))
	s.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("a stream of it goes on")
	}
	wantCause(t, a.Connect(soon(t), gone.ID(), nil), wire.CauseRevoked, gone.ID().String())
	wantCause(t, gone.Connect(soon(t), b.ID(), b.Addrs()), wire.CauseRevoked, "was revoked at", "new identity")
	wantCause(t, gone.Revoked(gone.ID()), wire.CauseRevoked)
	if !a.Connected(c.ID()) {
		t.Error("other members were disconnected, too")
	}
	checkEcho(t, b, addrsOf(b, a)) // the others go on
}

// addrsOf lets h know where p is.
func addrsOf(h, p *Host) wire.PeerID {
	h.AddAddrs(p.ID(), p.Addrs())
	return p.ID()
}

// Who was away hears of it from the first member that it meets, whoever dials, and keeps it.
func TestRevocationOnFirstContact(t *testing.T) {
	for name, dials := range map[string]bool{"it dials": true, "it is dialled": false} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			file := filepath.Join(t.TempDir(), "revoked")
			informed := m.host(both)
			gone := newKey(t)
			if err := informed.Learn(m.revoke(wire.PeerOf(gone), false)); err != nil {
				t.Fatal(err)
			}
			late := m.host(both, func(c *Config) { c.RevokedFile = file })
			if dials {
				connect(t, informed, late)
			} else {
				connect(t, late, informed)
			}
			eventually(t, "it hears", func() bool { return late.Revoked(wire.PeerOf(gone)) != nil })
			eventually(t, "it has kept that", func() bool {
				return openRevoked(file, late.mesh, time.Now(), late.log).of(wire.PeerOf(gone)) != nil
			})
			// The one that was revoked is told by it, too, though nobody is left to ask.
			cert := m.cert(gone, -time.Hour, time.Hour)
			g := m.host([]string{}, func(c *Config) { c.Key, c.Cert = gone, cert })
			wantCause(t, g.Connect(soon(t), late.ID(), late.Addrs()), wire.CauseRevoked)
		})
	}
}

// What two members know differently is merged, both ways.
func TestRevocationsAreMerged(t *testing.T) {
	m := newMesh(t)
	a, b := m.host(both), m.host([]string{})
	x, y := wire.PeerOf(newKey(t)), wire.PeerOf(newKey(t))
	if err := a.Learn(m.revoke(x, false)); err != nil {
		t.Fatal(err)
	}
	if err := b.Learn(m.revoke(y, false)); err != nil {
		t.Fatal(err)
	}
	connect(t, a, b)
	for _, h := range []*Host{a, b} {
		eventually(t, "both are known", func() bool { return h.Revoked(x) != nil && h.Revoked(y) != nil })
	}
	if !bytes.Equal(a.revoked.known(), b.revoked.known()) {
		t.Error("equal sets have different digests")
	}
}

// A revoked member gets no certificate, neither for its old one nor for a ticket; tickets from
// before are void if that was asked for.
func TestRevokedMayNotReturn(t *testing.T) {
	m := newMesh(t)
	a := m.coordinator()
	old := m.ticket(a, func(t *wire.Ticket) { t.Issued -= 10 })
	gone := m.host([]string{})
	key := gone.key
	gone.AddAddrs(a.ID(), a.Addrs())
	if err := a.Learn(m.revoke(gone.ID(), false)); err != nil {
		t.Fatal(err)
	}
	_, err := gone.Renew(soon(t), a.ID())
	wantCause(t, err, wire.CauseRevoked, "was revoked at")
	_, err = Join(soon(t), key, old, "anna", "laptop")
	wantCause(t, err, wire.CauseRevoked, "was revoked at")
	if _, err := Join(soon(t), newKey(t), old, "anna", "laptop"); err != nil {
		t.Errorf("another machine may not join: %v", err)
	}
	if err := a.Learn(m.revoke(wire.PeerOf(newKey(t)), true)); err != nil {
		t.Fatal(err)
	}
	_, err = Join(soon(t), newKey(t), old, "anna", "laptop")
	wantCause(t, err, wire.CauseRevoked, "the ticket is void", "coord ticket")
	fresh := m.ticket(a, func(t *wire.Ticket) { t.Issued += 2 })
	if _, err := Join(soon(t), newKey(t), fresh, "anna", "laptop"); err != nil {
		t.Errorf("with a ticket of later: %v", err)
	}
}

// Nobody but the holder of the mesh key revokes anything.
func TestForgedRevocations(t *testing.T) {
	m, other := newMesh(t), newMesh(t)
	a, liar, victim := m.host(both), m.host([]string{}), m.host([]string{})
	connect(t, a, liar, victim)
	signed := wire.SignRevocation(liar.key, victim.ID(), time.Now(), false)
	signed.Mesh = a.mesh
	moved := wire.SignRevocation(m.key, liar.ID(), time.Now(), false)
	moved.Peer = victim.ID()
	for name, entries := range map[string][][]byte{
		"signed by a member":         {signed.Encode()},
		"of another mesh":            other.revoke(victim.ID(), true),
		"of another peer":            {moved.Encode()},
		"garbage":                    {{0x87, 1, 2}},
		"what is good, after a lie":  {signed.Encode(), m.revoke(victim.ID(), false)[0]},
		"what has run out long ago":  {wire.SignRevocation(m.key, victim.ID(), time.Now().Add(-200*24*time.Hour), false).Encode()},
		"nothing, in a million rows": slices.Repeat([][]byte{{}}, wire.MaxList),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := liar.Open(soon(t), a.ID(), wire.ProtocolRevoked)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Reset()
			go wire.WriteFrame(s, wire.Revocations{Entries: entries, All: true})
			io.Copy(io.Discard, s) // until a has answered or broken off
			if a.Revoked(victim.ID()) != nil || !a.Connected(victim.ID()) {
				t.Error("the victim is revoked")
			}
		})
	}
	answer := credential{Ended: signed.Encode()}
	if err := victim.ended(&answer); err != nil || victim.Revoked(victim.ID()) != nil {
		t.Errorf("a member believes that it was revoked: %v", err)
	}
}

func TestOversizedRevocations(t *testing.T) {
	m := newMesh(t)
	a, liar := m.host(both), m.host([]string{})
	connect(t, a, liar)
	for name, announced := range map[string]uint64{"8 MiB": wire.MaxFrame, "2^63": 1 << 63} {
		t.Run(name, func(t *testing.T) {
			s, err := liar.Open(soon(t), a.ID(), wire.ProtocolRevoked)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Reset()
			go func() {
				s.Write(binary.AppendUvarint(nil, announced))
				for junk := make([]byte, 64<<10); err == nil; {
					_, err = s.Write(junk)
				}
			}()
			if b, err := io.ReadAll(s); err == nil {
				t.Errorf("answered %d bytes, want a reset", len(b))
			}
		})
	}
}

// The set is bounded, and equal whatever order its entries came in.
func TestRevokedSet(t *testing.T) {
	m := newMesh(t)
	now := time.Now()
	var entries [][]byte
	for i := range wire.MaxRevoked + 3 {
		var p wire.PeerID
		binary.BigEndian.PutUint32(p[:], uint32(i))
		entries = append(entries, wire.SignRevocation(m.key, p, now.Add(time.Duration(i)*time.Second), false).Encode())
	}
	log := slog.New(slog.DiscardHandler)
	r := openRevoked("", wire.PeerOf(m.key), now, log)
	for i := 0; i < len(entries); i += 1000 {
		if _, err := r.add(entries[i:min(i+1000, len(entries))], now); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.list(nil)); n != wire.MaxRevoked {
		t.Errorf("%d entries are kept, want %d", n, wire.MaxRevoked)
	}
	var first wire.PeerID
	if r.of(first) != nil {
		t.Error("the one that runs out first was kept at the bound")
	}
	few := openRevoked("", wire.PeerOf(m.key), now, log)
	back := openRevoked("", wire.PeerOf(m.key), now, log)
	if _, err := few.add(entries[:5], now); err != nil {
		t.Fatal(err)
	}
	for _, e := range slices.Backward(entries[:5]) {
		if _, err := back.add([][]byte{e, e}, now); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(few.known(), back.known()) {
		t.Error("equal sets have different digests")
	}
	if rest := few.list(entries[:4]); len(rest) != 1 || !bytes.Equal(rest[0], entries[4]) {
		t.Errorf("beside four of five entries it has %d", len(rest))
	}
}

// A file that is damaged keeps nobody from starting: what it said is learned again.
func TestDamagedRevokedFile(t *testing.T) {
	m := newMesh(t)
	gone := wire.PeerOf(newKey(t))
	file := filepath.Join(t.TempDir(), "revoked")
	h := m.host(both, func(c *Config) { c.RevokedFile = file })
	if err := h.Learn(m.revoke(gone, false)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if r := openRevoked(file, h.mesh, time.Now(), h.log); r.of(gone) != nil {
			t.Fatalf("%d of %d bytes are believed", n, len(whole))
		}
	}
	late := m.host([]string{}, func(c *Config) { c.RevokedFile = file })
	connect(t, h, late)
	eventually(t, "it is learned again", func() bool { return late.Revoked(gone) != nil })
}
