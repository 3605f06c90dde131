package peer

import (
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	p2p "github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A fakeConn is a connection from an address.
type fakeConn struct {
	network.Conn
	from   ma.Multiaddr
	closed bool
}

func (c *fakeConn) RemoteMultiaddr() ma.Multiaddr { return c.from }
func (c *fakeConn) IsClosed() bool                { return c.closed }

// An address is believed by the word of the coordinator, or of two members from different places.
func TestSightings(t *testing.T) {
	at := func(ip string) ma.Multiaddr {
		if strings.Contains(ip, ":") {
			return ma.StringCast("/ip6/" + ip + "/udp/7070/quic-v1")
		}
		return ma.StringCast("/ip4/" + ip + "/udp/7070/quic-v1")
	}
	nat, victim := at("203.0.113.7"), at("198.51.100.1")
	s := newSightings()
	s.trust("coordinator")
	hear := func(who p2p.ID, from string, a ma.Multiaddr) *fakeConn {
		c := &fakeConn{from: at(from)}
		s.note(event.EvtPeerIdentificationCompleted{Peer: who, Conn: c, ObservedAddr: a})
		return c
	}
	say := func(who p2p.ID, from string, a ma.Multiaddr) *fakeConn {
		c := hear(who, from, a)
		s.admit(c)
		return c
	}
	say("liar", "192.0.2.1", victim)
	say("liar", "192.0.2.1", victim) // twice
	say("its other key", "192.0.2.1", victim)
	if s.believed(victim) {
		t.Error("one place's word is believed")
	}
	other := at("198.51.100.2")
	say("liar", "192.0.2.1", other)
	say("liar", "192.0.2.5", other)
	say("liar", "2001:db8::5", other)
	if s.believed(other) {
		t.Error("one member's word, from all its addresses, is believed")
	}
	hear("stranger", "192.0.2.6", other)
	hear("its other key", "2001:db8::6", other)
	if s.believed(other) {
		t.Error("one member and strangers are believed")
	}
	if got := s.FilterLocal("", []ma.Multiaddr{victim, at("127.0.0.1")}); len(got) != 1 {
		t.Errorf("a peer is told to punch to %v", got)
	}
	first, second := say("ann", "192.0.2.2", nat), say("ben", "192.0.2.3", nat)
	if !s.believed(nat) {
		t.Error("two members are not believed")
	}
	if s.believed(at("203.0.113.8")) || s.believed(ma.StringCast("/ip4/203.0.113.7/udp/7071/quic-v1")) {
		t.Error("another address is believed")
	}
	s.forget(first)
	if len(s.members) != len(s.seen)-2 { // the strangers' two
		t.Errorf("%d of %d count", len(s.members), len(s.seen))
	}
	if s.believed(nat) {
		t.Error("one that is left is believed")
	}
	s.forget(second)
	say("coordinator", "192.0.2.9", nat)
	if !s.believed(nat) {
		t.Error("the coordinator is not believed")
	}
	s.note(event.EvtPeerIdentificationCompleted{Peer: "gone", Conn: &fakeConn{from: at("192.0.2.4"), closed: true}, ObservedAddr: victim})
	if s.believed(victim) {
		t.Error("a connection that has ended counts")
	}
}

func TestPunchedAddresses(t *testing.T) {
	s := newSightings()
	good := ma.StringCast("/ip4/203.0.113.7/udp/7070/quic-v1")
	told := []ma.Multiaddr{good}
	for _, ip := range []string{"127.0.0.1", "0.0.0.0", "224.0.0.1", "169.254.1.1"} {
		told = append(told, ma.StringCast("/ip4/"+ip+"/udp/7070/quic-v1"))
	}
	if got := s.FilterRemote("", told); len(got) != 1 || !got[0].Equal(good) {
		t.Errorf("holes are punched to %v", got)
	}
}

// What strangers say before they show a certificate, or without one, does not count; that of members
// does, though they say it before.
func TestStrangersSeeNothing(t *testing.T) {
	m := newMesh(t)
	h, member := m.host(both), m.host([]string{})
	newStranger(t, h)
	connect(t, h, member)
	eventually(t, "only the member counts of two who see this host", func() bool {
		h.seen.mu.Lock()
		defer h.seen.mu.Unlock()
		counted := map[p2p.ID]bool{}
		for c, o := range h.seen.seen {
			if h.seen.members[c] {
				counted[o.by] = true
			}
		}
		return len(h.seen.seen) == 2 && len(counted) == 1 && counted[peerID(member.ID())]
	})
	if err := member.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "who has left does not", func() bool {
		h.seen.mu.Lock()
		defer h.seen.mu.Unlock()
		return len(h.seen.members) == 0
	})
}
