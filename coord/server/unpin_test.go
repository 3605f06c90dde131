package server

import (
	"testing"
	"time"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// letGo has the loop carry out unpins for a peer, and waits until they are recorded.
func letGo(t *testing.T, s *Server, peer wire.PeerID, n int) {
	t.Helper()
	var actions []sched.Action
	for i := range n {
		actions = append(actions, sched.Unpin{Node: peer, Pin: wire.Pin{Space: "anna", Owner: "j1", Object: wire.FileObject(wire.BlobID{byte(i)}, 1, false)}})
	}
	must(t, s.ask(func(*sched.State) { s.carryOut(actions) }))
	for owed := 0; owed < n; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		owed = len(s.unpins[peer])
		s.mu.Unlock()
	}
}

// toldUnpins connects a node and returns what it is told to let go of in its first frames.
func toldUnpins(t *testing.T, s *Server, cert *wire.Certificate) (n int) {
	t.Helper()
	conn, _ := node(t, s, cert)
	must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: hello()}))
	frames := wire.NewFrameReader(conn)
	for range 2 { // the welcome, and what comes with it or a second later
		var r wire.ToNode
		must(t, frames.Read(&r))
		n += len(r.Unpin)
	}
	return n
}

// TestUnpinSurvivesARestart: what a node that is away is to let go of, a later life of the coordinator
// tells it, until it must have heard.
func TestUnpinSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	cert := testCert(1, wire.RoleNode)
	life := func() (*Server, func() error) {
		return serveOn(t, openJournal(t, dir))
	}
	s, end := life()
	letGo(t, s, cert.Peer, 3)
	must(t, end())

	_, end = life() // it does not come in this one
	must(t, end())

	s, end = life()
	if n := toldUnpins(t, s, cert); n != 3 {
		t.Errorf("told to let go of %d objects after two restarts, want 3", n)
	}
	if rows := s.heard(time.Now().Add(deadFor / 2)); len(rows) > 0 {
		t.Errorf("%d of them count as heard at once", len(rows))
	}
	rows := s.heard(time.Now().Add(2 * deadFor))
	if len(rows) != 3 {
		t.Errorf("%d of them count as heard when it was there for long, want 3", len(rows))
	}
	s.write <- commit{rows: rows}
	must(t, end())

	s, end = life()
	if n := toldUnpins(t, s, cert); n != 0 {
		t.Errorf("told to let go of %d objects that it let go of before", n)
	}
	must(t, end())
}

// TestUnpinIsNotHeardByWhoWentAway, however long ago it was told.
func TestUnpinIsNotHeardByWhoWentAway(t *testing.T) {
	s := startServer(t)
	cert := testCert(1, wire.RoleNode)
	conn, ended := node(t, s, cert)
	must(t, wire.WriteFrame(conn, &wire.FromNode{Hello: hello()}))
	must(t, wire.NewFrameReader(conn).Read(new(wire.ToNode)))
	letGo(t, s, cert.Peer, 1)
	conn.Close()
	<-ended
	if rows := s.heard(time.Now().Add(10 * deadFor)); len(rows) > 0 {
		t.Errorf("%d count as heard by a node that went away", len(rows))
	}
	if n := toldUnpins(t, s, cert); n != 1 {
		t.Errorf("told to let go of %d objects when it is back, want 1", n)
	}
}

// TestPinEndsAnUnpin: a node is not told to let go of what it was to pin again meanwhile, be it after
// a restart, when nobody tells it to pin what a job made that has ended.
func TestPinEndsAnUnpin(t *testing.T) {
	for _, restart := range []bool{false, true} {
		dir := t.TempDir()
		cert := testCert(1, wire.RoleNode)
		s, end := serveOn(t, openJournal(t, dir))
		letGo(t, s, cert.Peer, 3)
		again := wire.Pin{Space: "anna", Owner: "j1", Object: wire.FileObject(wire.BlobID{1}, 1, false)}
		other := wire.Pin{Space: "anna", Owner: "j2", Object: again.Object}
		must(t, s.ask(func(*sched.State) {
			s.carryOut([]sched.Action{sched.Pin{Node: cert.Peer, Pin: again}, sched.Pin{Node: cert.Peer, Pin: other}})
			// Before either is recorded.
			s.carryOut([]sched.Action{sched.Unpin{Node: cert.Peer, Pin: other}, sched.Pin{Node: cert.Peer, Pin: other}})
		}))
		must(t, end())
		if restart {
			s, end = serveOn(t, openJournal(t, dir))
		} else {
			s.mu.Lock()
			n := len(s.unpins[cert.Peer])
			s.mu.Unlock()
			if n != 2 {
				t.Errorf("%d unpins are owed after one of three was pinned again", n)
			}
			continue
		}
		if n := toldUnpins(t, s, cert); n != 2 {
			t.Errorf("told to let go of %d objects, want the 2 of 3 that were not pinned again", n)
		}
		must(t, end())
	}
}
