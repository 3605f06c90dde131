package overlay

import (
	"encoding/binary"
	"sync/atomic"
)

// A lane is the packets of one network that go to one host.
type lane struct {
	net   *network
	queue []byte        // frames
	now   []byte        // frames that came first and are written now
	spare []byte        // a buffer for one of them
	moved chan struct{} // closed when there is room again; nil while nobody waits
	full  bool          // somebody has waited in vain since it moved, so nobody else does
}

func (n *lane) bytes() int { return len(n.queue) + len(n.now) }

// lanes are the packets that go to one host one way. The networks that share it take turns.
type lanes struct {
	queued *atomic.Int64 // bytes that wait for all hosts
	lost   func(n *network, packets int)
	most   int // bytes that wait in a lane
	turn   int // bytes that a network sends before the next
	all    map[uint32]*lane
	turns  []*lane // those of all in which something waits, the next first
	rest   *lane   // an empty one, for its buffers
}

// newLanes makes those of a link, which hold so many bytes each and send so many in turn.
func newLanes(l *link, most, turn int) *lanes {
	lost := func(n *network, packets int) { l.agent.count.dropBetween(n, l.peer, DropUnreachable, packets) }
	return &lanes{queued: &l.agent.count.queued, lost: lost, most: most, turn: turn, all: map[uint32]*lane{}}
}

func (s *lanes) waits() bool { return len(s.turns) > 0 }

// of returns the lane of a network.
func (s *lanes) of(net *network) *lane {
	n := s.all[net.vni]
	if n == nil {
		if n, s.rest = s.rest, nil; n == nil {
			n = new(lane)
		}
		n.net, n.moved, n.full = net, nil, false
	}
	return n
}

// room reports whether a packet fits into a lane.
func (s *lanes) room(n *lane, k *packet) bool { return n.bytes()+frameHead+len(k.b) <= s.most }

// add queues a packet in a lane. It returns false if too much waits for all hosts.
func (s *lanes) add(n *lane, k *packet) bool {
	need := int64(frameHead + len(k.b))
	if s.queued.Add(need) > maxQueues {
		s.queued.Add(-need)
		return false
	}
	if s.all[n.net.vni] == nil {
		s.all[n.net.vni] = n
		s.turns = append(s.turns, n)
	}
	n.queue = appendFrame(n.queue, n.net.vni, k)
	return true
}

// clear drops all that waits.
func (s *lanes) clear() {
	for _, n := range s.turns {
		s.queued.Add(int64(-n.bytes()))
		s.lost(n.net, frames(n.now)+frames(n.queue))
		n.queue, n.now, n.spare = nil, nil, nil
		n.move()
	}
	clear(s.all)
	s.turns = s.turns[:0]
}

// move lets those go on who wait for room.
func (n *lane) move() {
	if n.moved != nil {
		close(n.moved)
	}
	n.moved, n.full = nil, false
}

// awaited returns what is closed when a full lane has room again.
func (n *lane) awaited() <-chan struct{} {
	if n.moved == nil {
		n.moved = make(chan struct{})
	}
	return n.moved
}

// take returns the frames that are to be sent next, nil if nothing waits.
func (s *lanes) take() (n *lane, b []byte) {
	if len(s.turns) == 0 {
		return nil, nil
	}
	n = s.turns[0]
	if len(n.now) == 0 {
		n.now, n.queue, n.spare = n.queue, n.spare[:0], n.queue[:0]
	}
	size := 0
	for size < len(n.now) {
		next := frameHead + int(binary.BigEndian.Uint16(n.now[size:]))
		if size > 0 && size+next > s.turn {
			break
		}
		size += next
	}
	b, n.now = n.now[:size:size], n.now[size:]
	n.move()
	return n, b
}

// frames counts them.
func frames(b []byte) (count int) {
	for ; len(b) > 0; count++ {
		b = b[frameHead+int(binary.BigEndian.Uint16(b)):]
	}
	return count
}

// done ends what take began.
func (s *lanes) done(n *lane, b []byte) {
	s.queued.Add(int64(-len(b)))
	if s.all[n.net.vni] != n { // cleared meanwhile
		return
	}
	s.turns = s.turns[1:]
	if n.bytes() > 0 {
		s.turns = append(s.turns, n)
	} else {
		delete(s.all, n.net.vni)
		s.rest = n
	}
	n.full = false
}
