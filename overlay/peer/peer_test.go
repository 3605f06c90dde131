package peer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

var (
	quicOnly = []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	tcpOnly  = []string{"/ip4/127.0.0.1/tcp/0"}
	both     = []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"}
)

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A mesh hands out hosts that are its members.
type mesh struct {
	t   testing.TB
	key ed25519.PrivateKey
}

func newMesh(t testing.TB) *mesh { return &mesh{t, newKey(t)} }

func (m *mesh) cert(key ed25519.PrivateKey, from, until time.Duration) *wire.Certificate {
	now := time.Now()
	return wire.SignCertificate(m.key, wire.Certificate{
		Peer: wire.PeerOf(key), Roles: wire.RoleNode, Owner: "anna", Tenants: []wire.Space{"lab"},
		NotBefore: now.Add(from).Unix(), Expires: now.Add(until).Unix(),
	})
}

func (m *mesh) host(listen []string, change ...func(*Config)) *Host {
	m.t.Helper()
	key := newKey(m.t)
	cfg := Config{Key: key, Mesh: wire.PeerOf(m.key), Cert: m.cert(key, -time.Hour, time.Hour), Listen: listen}
	for _, f := range change {
		f(&cfg)
	}
	h, err := New(cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { h.Close() })
	return h
}

// soon bounds waits that end at once unless something is broken.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func wantCause(t *testing.T, err error, want wire.Cause, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("error = nil, want cause %s", want)
	}
	if got := wire.CauseOf(err); got != want {
		t.Fatalf("error %q has cause %s, want %s", err, got, want)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

const echo = "/test/echo/1"

func serveEcho(h *Host) {
	h.Handle(echo, func(s *Stream) {
		if _, err := io.Copy(s, s); err == nil {
			s.Close()
		}
	})
}

// checkEcho sends bytes to p and wants them back.
func checkEcho(t testing.TB, h *Host, p wire.PeerID) {
	t.Helper()
	s, err := h.Open(soon(t), p, echo)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := bytes.Repeat([]byte("gaggle"), 50_000)
	go func() {
		s.Write(want)
		s.CloseWrite()
	}()
	s.SetReadDeadline(time.Now().Add(60 * time.Second))
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("echo of %d bytes = %d bytes, %v", len(want), len(got), err)
	}
}

func TestIdentityIsTheLibp2pID(t *testing.T) {
	h := newMesh(t).host([]string{})
	if got, want := h.p2p.ID().String(), h.ID().String(); got != want {
		t.Errorf("libp2p calls the host %s, want %s", got, want)
	}
	if got := peerID(h.ID()); got != h.p2p.ID() {
		t.Errorf("peerID(%s) = %s", h.ID(), got)
	}
}

func TestStreams(t *testing.T) {
	for name, listen := range map[string][]string{"QUIC": quicOnly, "TCP": tcpOnly, "both": both} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			a, b := m.host(listen), m.host([]string{})
			serveEcho(a)
			if err := b.Connect(soon(t), a.ID(), a.Addrs()); err != nil {
				t.Fatal(err)
			}
			checkEcho(t, b, a.ID())
			serveEcho(b) // the other way, over the connection that b has dialled
			checkEcho(t, a, b.ID())
			if c := b.Member(a.ID()); c == nil || c.Owner != "anna" {
				t.Errorf("Member = %v, want the certificate of anna", c)
			}
			addr := b.certified(a.ID()).conn.RemoteMultiaddr().String()
			if quic := strings.Contains(addr, "quic"); quic != (name != "TCP") {
				t.Errorf("connected over %s", addr)
			}
		})
	}
}

func TestStreamTellsWhoAsks(t *testing.T) {
	m := newMesh(t)
	a, b := m.host(both), m.host(both)
	got := make(chan *Stream, 1)
	a.Handle("/test/who/1", func(s *Stream) { got <- s })
	b.AddAddrs(a.ID(), a.Addrs())
	s, err := b.Open(soon(t), a.ID(), "/test/who/1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	in := <-got
	if in.Peer() != b.ID() || in.Cert().Peer != b.ID() {
		t.Errorf("stream of %s with certificate of %s, want %s", in.Peer(), in.Cert().Peer, b.ID())
	}
	if !in.Inflates() || !s.Inflates() {
		t.Error("a member of this version does not say that it reads compressed answers")
	}
	// The handler returned without closing: the stream is reset.
	if _, err := io.ReadAll(s); err == nil {
		t.Error("reading from a stream that the handler left open: no error")
	}
}

func TestOpenOfUnknownProtocolFailsOnRead(t *testing.T) {
	m := newMesh(t)
	a, b := m.host(both), m.host(both)
	b.AddAddrs(a.ID(), a.Addrs())
	s, err := b.Open(soon(t), a.ID(), "/test/nothing/1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("Read = %v, want an error", err)
	}
	checkStill(t, b, a)
}

func checkStill(t *testing.T, from, to *Host) {
	t.Helper()
	serveEcho(to)
	checkEcho(t, from, to.ID())
}

func TestRefusals(t *testing.T) {
	m, other := newMesh(t), newMesh(t)
	a := m.host(both)
	cases := []struct {
		name   string
		mesh   *mesh
		change func(*Config)
		cause  wire.Cause
		parts  []string
	}{
		{"another mesh", other, func(*Config) {}, wire.CauseUnauthorized, []string{"another mesh"}},
		{"no certificate", m, func(c *Config) { c.Cert = nil }, wire.CauseUnauthorized, []string{"no certificate"}},
		{"certificate of another peer", m, func(c *Config) { c.Cert = m.cert(newKey(t), -time.Hour, time.Hour) },
			wire.CauseUnauthorized, nil},
		{"certificate we forged", m, func(c *Config) {
			forged := *c.Cert
			forged.Roles |= wire.RoleCoordinator
			c.Cert = &forged
		}, wire.CauseUnauthorized, nil},
		{"expired", m, func(c *Config) { c.Cert = m.cert(c.Key, -2*time.Hour, -time.Hour) },
			wire.CauseExpired, []string{"ran out", "coord ticket"}},
		{"from the future", m, func(c *Config) { c.Cert = m.cert(c.Key, time.Hour, 2*time.Hour) },
			wire.CauseClock, []string{"valid from"}},
		{"wrong clock", m, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(-30 * time.Minute) } },
			wire.CauseClock, []string{"clocks differ by 30m", "set the clock"}},
		{"very wrong clock", m, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(-10 * 365 * 24 * time.Hour) } },
			wire.CauseClock, []string{"clocks differ", "set the clock"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := c.mesh.host([]string{}, c.change)
			err := b.Connect(soon(t), a.ID(), a.Addrs())
			wantCause(t, err, c.cause, append(c.parts, a.ID().String())...)
			if b.Connected(a.ID()) || a.Connected(b.ID()) {
				t.Error("Connected after a refusal")
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	m := newMesh(t)
	gone := m.host(both)
	addrs := gone.Addrs()
	gone.Close()
	h := m.host([]string{})
	t.Run("no address", func(t *testing.T) {
		wantCause(t, h.Connect(soon(t), gone.ID(), nil), wire.CauseUnreachable, "no address", gone.ID().String())
	})
	t.Run("nobody there", func(t *testing.T) {
		tcp := addrs[len(addrs)-1]
		wantCause(t, h.Connect(soon(t), gone.ID(), []string{tcp}), wire.CauseUnreachable, tcp, "firewall", "7070")
	})
	t.Run("again at once", func(t *testing.T) { // no back-off of libp2p's hides the reason
		tcp := addrs[len(addrs)-1]
		wantCause(t, h.Connect(soon(t), gone.ID(), []string{tcp}), wire.CauseUnreachable, tcp, "refused")
	})
	for name, listen := range map[string][]string{"QUIC": quicOnly, "TCP": tcpOnly} {
		t.Run("another peer there by "+name, func(t *testing.T) {
			a := m.host(listen)
			wantCause(t, h.Connect(soon(t), gone.ID(), a.Addrs()), wire.CauseUnauthorized, "another peer")
		})
	}
	t.Run("ourselves", func(t *testing.T) {
		wantCause(t, h.Connect(soon(t), h.ID(), addrs), wire.CauseInvalid, "this machine itself")
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := h.Connect(ctx, gone.ID(), addrs); err != context.Canceled {
			t.Errorf("Connect = %v, want %v", err, context.Canceled)
		}
	})
}

func TestCallbacks(t *testing.T) {
	m := newMesh(t)
	a, b := m.host(both), m.host(both)
	type seen struct {
		peer wire.PeerID
		up   bool
	}
	events := make(chan seen, 8)
	a.OnConnect(func(p wire.PeerID) { events <- seen{p, true} })
	a.OnDisconnect(func(p wire.PeerID) { events <- seen{p, false} })
	for range 2 {
		if err := b.Connect(soon(t), a.ID(), a.Addrs()); err != nil {
			t.Fatal(err)
		}
		if got, want := <-events, (seen{b.ID(), true}); got != want {
			t.Fatalf("event %v, want %v", got, want)
		}
		b.Disconnect(a.ID())
		if got, want := <-events, (seen{b.ID(), false}); got != want {
			t.Fatalf("event %v, want %v", got, want)
		}
		if a.Connected(b.ID()) || b.Connected(a.ID()) {
			t.Error("Connected after Disconnect")
		}
	}
}

// A member that restarted comes back under the same key while its old connection still counts.
func TestRestartedPeerReplacesItsConnection(t *testing.T) {
	m := newMesh(t)
	a := m.host(both)
	serveEcho(a)
	key := newKey(t)
	same := func(c *Config) { c.Key, c.Cert = key, m.cert(key, -time.Hour, time.Hour) }
	old := m.host([]string{}, same)
	if err := old.Connect(soon(t), a.ID(), a.Addrs()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan wire.PeerID, 1)
	old.OnDisconnect(func(p wire.PeerID) { ended <- p })
	young := m.host([]string{}, same)
	if err := young.Connect(soon(t), a.ID(), a.Addrs()); err != nil {
		t.Fatal(err)
	}
	<-ended
	checkEcho(t, young, a.ID())
}

func TestRenewedCertificateIsShown(t *testing.T) {
	m := newMesh(t)
	a := m.host(both)
	b := m.host(both)
	serveEcho(a)
	if err := b.Connect(soon(t), a.ID(), a.Addrs()); err != nil {
		t.Fatal(err)
	}
	young := m.cert(b.key, -time.Hour, 24*time.Hour)
	b.SetCertificate(young)
	for a.Member(b.ID()).Expires != young.Expires {
		checkEcho(t, b, a.ID()) // takes a round trip
	}
}

func TestListen(t *testing.T) {
	m := newMesh(t)
	a := m.host(both)
	for _, addr := range a.Addrs() {
		cfg := Config{Key: newKey(t), Mesh: wire.PeerOf(m.key), Listen: []string{addr}}
		_, err := New(cfg)
		wantCause(t, err, wire.CauseInvalid, addr, "taken")
	}
	_, err := New(Config{Key: newKey(t), Mesh: wire.PeerOf(m.key), Listen: []string{"localhost:7070"}})
	wantCause(t, err, wire.CauseInvalid, "localhost:7070", "/ip4/")
}

// Without Listen the default port is tried, and any other where that is allowed.
func TestListenDefault(t *testing.T) {
	m := newMesh(t)
	key := newKey(t)
	first, err := New(Config{Key: key, Mesh: wire.PeerOf(m.key), AnyPort: true}) // at 7070 unless something else is
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = New(Config{Key: key, Mesh: wire.PeerOf(m.key)})
	wantCause(t, err, wire.CauseInvalid, "7070", "taken")
	second := m.host(nil, func(c *Config) { c.AnyPort = true })
	if len(second.Addrs()) == 0 {
		t.Error("no addresses")
	}
	for _, a := range second.Addrs() {
		if strings.Contains(a, "/7070") {
			t.Errorf("second host at %s", a)
		}
	}
}

func TestAddAddrsBounds(t *testing.T) {
	h := newMesh(t).host([]string{})
	p := wire.PeerOf(newKey(t))
	many := []string{"nonsense", "/ip4/10.0.0.1/tcp/1/p2p/" + p.String()}
	for len(many) < 1000 {
		many = append(many, "/ip4/10.0.0.2/tcp/7070")
	}
	h.AddAddrs(p, many)
	if got := h.book[p]; len(got) != wire.MaxAddrs-1 || got[0].String() != "/ip4/10.0.0.1/tcp/1" {
		t.Errorf("remembered %d addresses, first %s", len(got), got[0])
	}
	for range maxBook + 10 {
		var p wire.PeerID
		rand.Read(p[:])
		h.AddAddrs(p, many[1:2])
	}
	if len(h.book) > maxBook {
		t.Errorf("remembered %d peers, want at most %d", len(h.book), maxBook)
	}
}

// A process that was killed says nothing; that another one has its key ends connections to it.
func TestMetInAnotherLife(t *testing.T) {
	m := newMesh(t)
	a, b := m.host(quicOnly), m.host(quicOnly)
	info := wire.PeerInfo{Peer: b.ID(), Addrs: b.Addrs(), Life: 1}
	a.Met(info)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := a.Connect(ctx, b.ID(), nil); err != nil {
		t.Fatal(err)
	}
	a.Met(info)
	a.Met(wire.PeerInfo{Peer: b.ID(), Addrs: b.Addrs()}) // of a version that does not say
	if !a.Connected(b.ID()) {
		t.Error("the connection ended though the other side is in the same life")
	}
	gone := make(chan struct{})
	a.OnDisconnect(func(wire.PeerID) { close(gone) })
	info.Life = 2
	a.Met(info)
	select {
	case <-gone:
	case <-ctx.Done():
		t.Error("the connection goes on though the other side is in another life")
	}
}
