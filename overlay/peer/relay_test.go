package peer

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	p2p "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"

	"gaggle/wire"
)

// hidden is a host that listens nowhere, with a place at a relay.
func (m *mesh) hidden(relay *Host) *Host {
	m.t.Helper()
	h := m.host([]string{})
	h.UseRelay(relay.ID())
	if err := h.Connect(soon(m.t), relay.ID(), relay.Addrs()); err != nil {
		m.t.Fatal(err)
	}
	if err := h.Reserve(soon(m.t)); err != nil {
		m.t.Fatal(err)
	}
	return h
}

// wantUse waits until a relay's counters are as wanted: it counts after it has answered.
func wantUse(t *testing.T, relay *Host, what string, ok func(RelayUse) bool) {
	t.Helper()
	for ctx := soon(t); !ok(relay.Relayed()); time.Sleep(10 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("Relayed() = %+v, want %s", relay.Relayed(), what)
		}
	}
}

func TestRelay(t *testing.T) {
	m := newMesh(t)
	r := m.host(both)
	if err := r.ServeRelay(RelayLimits{}); err != nil {
		t.Fatal(err)
	}
	a, b := m.hidden(r), m.hidden(r)
	serveEcho(a)
	addrs := a.Addrs()
	if len(addrs) != 1 || !strings.HasSuffix(addrs[0], "/p2p-circuit") {
		t.Fatalf("Addrs() = %q, want the place at the relay", addrs)
	}
	b.AddAddrs(a.ID(), addrs)
	checkEcho(t, b, a.ID())
	for _, p := range b.Paths() {
		if p.Peer == a.ID() && p.Way != WayRelayed {
			t.Errorf("it is reached %s, want relayed", p.Way)
		}
	}
	for _, h := range []*Host{a, b} { // who was dialled, too, and though no QUIC measures
		eventually(t, "the round trip of each pair is known", func() bool {
			return !slices.ContainsFunc(h.Paths(), func(p wire.Path) bool { return p.RTT == 0 })
		})
	}
	wantUse(t, r, "two places, one circuit and what was echoed", func(u RelayUse) bool {
		return u.Places == 2 && u.Open == 1 && u.Bytes >= 2*300_000
	})
}

// Nobody but members has a place at a relay, or is led to one.
func TestRelayRefusesStrangers(t *testing.T) {
	m := newMesh(t)
	r := m.host(both)
	if err := r.ServeRelay(RelayLimits{}); err != nil {
		t.Fatal(err)
	}
	a := m.hidden(r)
	s := newStranger(t, r)
	info := p2p.AddrInfo{ID: peerID(r.ID())}
	if _, err := client.Reserve(soon(t), s.Host, info); err == nil || !strings.Contains(err.Error(), "PERMISSION_DENIED") {
		t.Errorf("Reserve by a stranger = %v, want that it is denied", err)
	}
	guard := &relayGuard{h: r, limits: DefaultRelayLimits}
	if guard.AllowConnect(s.ID(), nil, peerID(a.ID())) || guard.AllowConnect(peerID(a.ID()), nil, s.ID()) {
		t.Error("a stranger may have a circuit")
	}
	wantUse(t, r, "one refused and one place", func(u RelayUse) bool { return u.Refused == 1 && u.Places == 1 })
}

// Who has sent its budget is cut off from the relay, and from it alone.
func TestRelayBudget(t *testing.T) {
	m := newMesh(t)
	r := m.host(both)
	const budget = 1 << 20
	if err := r.ServeRelay(RelayLimits{PeerBytes: budget}); err != nil {
		t.Fatal(err)
	}
	a, b := m.hidden(r), m.hidden(r)
	a.Handle(echo, func(s *Stream) { io.Copy(io.Discard, s) })
	serveEcho(r)
	b.AddAddrs(a.ID(), a.Addrs())
	s, err := b.Open(soon(t), a.ID(), echo)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sent, chunk := 0, make([]byte, 64<<10)
	for err == nil && sent < 64*budget {
		var n int
		n, err = s.Write(chunk)
		sent += n
	}
	if err == nil {
		t.Fatalf("%d bytes were sent through a relay that allows %d", sent, budget)
	}
	if _, err = b.Open(soon(t), a.ID(), echo); wire.CauseOf(err) != wire.CauseUnreachable {
		t.Errorf("Open after the budget is spent = %v, want cause unreachable", err)
	}
	wantUse(t, r, "a circuit was refused", func(u RelayUse) bool { return u.Refused > 0 })
	checkEcho(t, b, r.ID())
	t.Logf("%d bytes were sent, %d relayed, of %d", sent, r.Relayed().Bytes, budget)
}

// Addresses that lead through relays other than the coordinator are not used.
func TestOtherRelaysAreIgnored(t *testing.T) {
	m := newMesh(t)
	h, other, p := m.host([]string{}), m.host([]string{}), m.host([]string{})
	h.UseRelay(p.ID())
	h.AddAddrs(p.ID(), []string{"/ip4/192.0.2.1/udp/7070/quic-v1/p2p/" + peerID(other.ID()).String() + "/p2p-circuit"})
	h.mu.Lock()
	defer h.mu.Unlock()
	if got := h.book[p.ID()]; len(got) != 0 {
		t.Errorf("the book has %v, want nothing", got)
	}
}

// Who speaks over a relay is told when there is a direct connection.
func TestStreamIsSuperseded(t *testing.T) {
	m := newMesh(t)
	r := m.host(both)
	if err := r.ServeRelay(RelayLimits{}); err != nil {
		t.Fatal(err)
	}
	a, b := m.host(both), m.hidden(r)
	connect(t, r, a)
	a.UseRelay(r.ID())
	if err := a.Reserve(soon(t)); err != nil {
		t.Fatal(err)
	}
	serveEcho(a)
	addrs := a.Addrs()
	b.AddAddrs(a.ID(), addrs[len(addrs)-1:])
	s, err := b.Open(soon(t), a.ID(), echo)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Superseded() {
		t.Fatal("superseded, but there is no direct connection")
	}
	b.certified(a.ID()).direct.Store(0) // it may be tried again at once
	b.AddAddrs(a.ID(), addrs)
	checkEcho(t, b, a.ID())
	eventually(t, "the stream is superseded", s.Superseded)
	checkEcho(t, b, a.ID())
	direct, err := b.Open(soon(t), a.ID(), echo)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if direct.link.relayed || direct.Superseded() {
		t.Error("a new stream is on the relayed connection")
	}
}
