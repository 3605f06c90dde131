package server

import (
	"testing"
	"time"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// TestUnpinOnADeadConnection: an unpin queued on a connection whose node was killed, but that has not ended yet.
func TestUnpinOnADeadConnection(t *testing.T) {
	s := startServer(t)
	cert := testCert(1, wire.RoleNode)
	conn, _ := node(t, s, cert)
	must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: hello()}))
	frames := wire.NewFrameReader(conn)
	var r wire.ToNode
	must(t, frames.Read(&r)) // welcomed; from here on it is dead and reads nothing
	p := wire.Pin{Space: "anna", Owner: "j1", Object: wire.FileObject(wire.BlobID{1}, 1, false)}
	s.toNode(sched.Unpin{Node: cert.Peer, Pin: p})
	s.flushOutboxes()
	time.Sleep(100 * time.Millisecond)
	again, _ := node(t, s, cert)
	must(t, wire.WriteFrame(again, &wire.FromNode{Hello: hello()}))
	frames = wire.NewFrameReader(again)
	got := 0
	for range 3 {
		var r wire.ToNode
		must(t, frames.Read(&r))
		got += len(r.Unpin)
	}
	if got != 1 {
		t.Errorf("told to let go of %d objects after it came back, want 1", got)
	}
}

// TestNoOwnerReleasesItsLiar, neither by shutting it out by hand first.
func TestNoOwnerReleasesItsLiar(t *testing.T) {
	s := startServer(t)
	cert := testCert(1, wire.RoleNode|wire.RoleClient)
	cert.Owner = "evil"
	conn, _ := node(t, s, cert)
	must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: hello()}))
	go discard(conn)
	must(t, s.send(sched.NodeUp{Peer: cert.Peer, Hello: *hello(), Owner: "evil"}))
	must(t, s.send(sched.Quarantined{Peer: cert.Peer, Reason: "it lied", Lied: true, At: time.Now()}))
	time.Sleep(200 * time.Millisecond)
	ask := func(j wire.Judge) error {
		c := &client{s: s, cert: cert, rw: nopRW{}}
		return c.judge(&j)
	}
	t.Log("release:", ask(wire.Judge{Peer: cert.Peer, Release: true}))
	t.Log("shut out by hand:", ask(wire.Judge{Peer: cert.Peer, Reason: "x"}))
	err := ask(wire.Judge{Peer: cert.Peer, Release: true})
	t.Log("release again:", err)
	if err == nil {
		t.Error("the liar's owner released it")
	}
}

type nopRW struct{}

func (nopRW) Read([]byte) (int, error)    { select {} }
func (nopRW) Write(b []byte) (int, error) { return len(b), nil }
func (nopRW) Close() error                { return nil }
