package peer

import (
	"context"
	"testing"
)

// A connection that is doubted and answers stays, whatever other ways there are.
func TestDoubtedConnectionThatAnswersStays(t *testing.T) {
	m := newMesh(t)
	a, b := m.host(both), m.host(both)
	serveEcho(a)
	b.AddAddrs(a.ID(), a.Addrs())
	checkEcho(t, b, a.ID())
	l := b.certified(a.ID())
	b.work.Add(1)
	b.prove(l, func(context.Context) bool { return true })
	b.Doubt(a.ID())
	if b.certified(a.ID()) != l || l.conn.IsClosed() {
		t.Error("it was given up")
	}
	checkEcho(t, b, a.ID())
}

// One that answers nothing is closed only if its peer can be reached otherwise, and then there is another.
func TestDeadConnectionIsReplaced(t *testing.T) {
	m := newMesh(t)
	a, b := m.host(both), m.host(both)
	serveEcho(a)
	b.AddAddrs(a.ID(), a.Addrs())
	checkEcho(t, b, a.ID())
	l := b.certified(a.ID())
	l.turn <- struct{}{} // nothing is asked, so nothing is answered in time
	for _, other := range []bool{false, true} {
		b.work.Add(1)
		b.prove(l, func(context.Context) bool { return other })
		if l.conn.IsClosed() != other {
			t.Errorf("closed: %v, while there is another way: %v", l.conn.IsClosed(), other)
		}
	}
	if now := b.certified(a.ID()); now == nil || now == l {
		t.Error("there is no new connection")
	}
	checkEcho(t, b, a.ID())
}
