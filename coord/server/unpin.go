package server

import (
	"slices"
	"time"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// A node's pins outlive it, and once a job has let go of one nobody would think of it again. So what a
// member is to let go of is kept, durably, until it must have heard of it: it is told again when it
// connects anew, to this coordinator or to its next life. If it is to pin the same again before that,
// the unpin is forgotten: it would come after the pin.

// maxUnpins bounds the pins that are kept in mind for one member that is away.
const maxUnpins = 4096

// An owedUnpin is a pin that a member is to let go of.
type owedUnpin struct {
	wire.Pin
	told time.Time // on the connection it has; zero if it has none
}

// deadFor is longer than a connection goes on for us whose other end is gone.
const deadFor = time.Minute

// owe keeps in mind that an unpin is recorded. It reports false if that would be too many.
func (s *Server) owe(r sched.RowUnpin) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mayOwe(r.Peer) {
		return false
	}
	s.owed[r] = true
	return true
}

// A repin is a Pin of what an unpin was recorded of, which it ends.
type repin struct{ sched.Pin }

// repins returns the row that ends the unpin of what is to be pinned, if one was recorded.
func (s *Server) repins(p sched.Pin) (over sched.RowUnpin, owed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := sched.RowUnpin{Peer: p.Node, Pin: p.Pin}
	owed = s.owed[r]
	delete(s.owed, r)
	r.Over = true
	return r, owed
}

// repin has a node pin an object, and not hear of an earlier unpin again.
func (s *Server) repin(p sched.Pin) {
	s.mu.Lock()
	s.unpins[p.Node] = slices.DeleteFunc(s.unpins[p.Node], func(u owedUnpin) bool { return u.Pin == p.Pin })
	if len(s.unpins[p.Node]) == 0 {
		delete(s.unpins, p.Node)
	}
	s.mu.Unlock()
	s.toNode(p)
}

func (s *Server) mayOwe(peer wire.PeerID) bool {
	owed, known := s.unpins[peer]
	return len(owed) < maxUnpins && (known || len(s.unpins) < wire.MaxPeers)
}

// unpin has a node let go of an object.
func (s *Server) unpin(peer wire.PeerID, p wire.Pin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := owedUnpin{Pin: p}
	if n := s.nodes[peer]; n != nil {
		u.told = time.Now()
		n.outbox.add(func(f *wire.ToNode) { f.Unpin = append(f.Unpin, p) })
	}
	if s.mayOwe(peer) {
		s.unpins[peer] = append(s.unpins[peer], u)
	}
}

// tellUnpins tells a node that connected what it is to let go of. It comes before it is told again what
// to pin. Called under s.mu.
func (s *Server) tellUnpins(n *nodeSession) {
	for i := range s.unpins[n.peer] {
		u := &s.unpins[n.peer][i]
		u.told = time.Now()
		n.outbox.add(func(f *wire.ToNode) { f.Unpin = append(f.Unpin, u.Pin) })
	}
}

// heard forgets what members must have heard by now, and returns the rows that say so.
func (s *Server) heard(now time.Time) (rows []sched.Row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for peer := range s.nodes { // which one comes first does not matter
		owed := s.unpins[peer]
		for len(owed) > 0 && !owed[0].told.IsZero() && now.Sub(owed[0].told) > deadFor {
			r := sched.RowUnpin{Peer: peer, Pin: owed[0].Pin}
			delete(s.owed, r)
			r.Over = true
			rows = append(rows, r)
			owed = owed[1:]
		}
		if len(owed) == 0 {
			delete(s.unpins, peer)
		} else {
			s.unpins[peer] = owed
		}
	}
	return rows
}
