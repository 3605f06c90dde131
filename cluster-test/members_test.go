package clustertest

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// What a member listens on is what is documented, and one that is revoked is dropped by all, also by
// a node that was cut off meanwhile.
//
//	hub  stays  leaves  away  anna
//	 |     |      |      X     |
//	 +-----+------+------+-----+--- br0
func TestMembers(t *testing.T) {
	t.Parallel()
	m := NewMesh(t, bin, 0, 0)
	stays, _ := m.AddNode("stays", 1, "--label", "at=stays", "--http", "127.0.0.1:9070")
	_, leaves := m.AddNode("leaves", 1, "--label", "at=leaves")
	away, _ := m.AddNode("away", 1, "--label", "at=away")
	anna := m.Client("anna")
	dir := t.TempDir()
	WriteFiles(t, dir, map[string]string{"all.json": everyPair([]string{"stays", "leaves", "away"})})
	anna.Submit(dir, "all.json", "--out", filepath.Join(dir, "out")) // so that each dials each

	port := []string{"tcp 0.0.0.0:7070", "tcp [::]:7070", "udp 0.0.0.0:7070", "udp [::]:7070"}
	for h, want := range map[*Host][]string{m.Coord: port, stays: slices.Insert(slices.Clone(port), 1, "tcp 127.0.0.1:9070"), anna: port} {
		if got := sockets(h); !slices.Equal(got, want) {
			t.Errorf("%s listens on %q, want %q", h.Name, got, want)
		}
	}

	away.Cut()
	begun := time.Now()
	t.Log(m.Coord.Run("coord", "revoke", "--state", filepath.Join(m.Coord.Dir, "serve"), "leaves"))
	if code := leaves.WaitExit(); code != 3 || !strings.Contains(leaves.Log(), "was revoked at") {
		t.Errorf("the revoked node ended with %d:\n%s", code, leaves.Log())
	}
	t.Logf("it ended after %v", time.Since(begun))
	away.Heal()
	ticket, err := wire.ParseTicket(m.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*Host{stays, away} {
		Eventually(t, h.Name+" has heard of it", func() bool {
			known, err := peer.ReadRevoked(filepath.Join(h.Dir, "node", "revoked"), ticket.Mesh)
			return err == nil && len(known) == 1
		})
	}
	m.eye = anna // tickets are void for others
	m.WaitState("away", "up")
}

// sockets lists what listens on a host, or waits for datagrams.
func sockets(h *Host) (list []string) {
	for line := range strings.Lines(h.Run("ss", "-Hlntu")) {
		f := strings.Fields(line)
		list = append(list, f[0]+" "+strings.Replace(f[4], "*:", "[::]:", 1))
	}
	slices.Sort(list)
	return list
}
