package server

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// TestClockCountsSleep: Now goes on while the machine sleeps, so that a grant signed then is good for who
// judges it by a wall clock; that somebody sets this machine's is only said.
func TestClockCountsSleep(t *testing.T) {
	boot := 1000 * time.Hour
	var logged bytes.Buffer
	s, err := New(Config{Key: testKey(0), Mesh: "test", Journal: openJournal(t, t.TempDir()), Boot: func() time.Duration { return boot },
		Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.end()
		if err := s.cfg.Journal.Close(); err != nil {
			t.Error(err)
		}
	})
	began := s.Now()
	boot += 2 * time.Hour
	if got := s.Now().Sub(began); got != 2*time.Hour {
		t.Errorf("after a sleep of 2 h Now went on by %v", got)
	}
	peer := wire.PeerOf(testKey(1))
	g, err := wire.DecodeGrant(s.grantFor("anna", peer))
	if err != nil {
		t.Fatal(err)
	}
	wall := began.Add(2 * time.Hour) // of a member
	if err := g.Verify(peer, wall, func(wire.PeerID) bool { return true }); err != nil {
		t.Errorf("a grant signed after a sleep of 2 h: %v", err)
	}
	for _, off := range []time.Duration{0, 24 * time.Hour, 25 * time.Hour, 0, -time.Hour} {
		s.compareClocks(wall.Add(off))
	}
	if n := strings.Count(logged.String(), "the clock was set"); n != 2 {
		t.Errorf("said %d times that the clock was set, want twice:\n%s", n, logged.String())
	}
}

// TestCertificatesKept: beyond the bound those go first that ran out by the coordinator's own time.
func TestCertificatesKept(t *testing.T) {
	boot := time.Duration(0)
	s := &Server{cfg: Config{Boot: func() time.Duration { return boot }}, start: time.Now(), certs: map[wire.PeerID]*wire.Certificate{}}
	now := s.start.Unix()
	cert := func(i int, expires int64) *wire.Certificate {
		return &wire.Certificate{Peer: wire.PeerID{byte(i), byte(i >> 8)}, Roles: wire.RoleNode, Expires: expires}
	}
	s.nodes = map[wire.PeerID]*nodeSession{}
	for i := range maxCerts { // half last an hour, half a day
		c := cert(i, now+3600+int64(i%2)*82_800)
		s.nodes[c.Peer] = nil
		s.certs[c.Peer] = c
	}
	boot = 2 * time.Hour
	s.keepCert(cert(maxCerts, now+86_400))
	if len(s.certs) != maxCerts/2+1 {
		t.Errorf("%d certificates are kept, want the %d that hold", len(s.certs), maxCerts/2+1)
	}
}
