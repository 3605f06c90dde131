package peer

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	p2p "github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"gaggle/wire"
)

// Sightings are at which addresses others say that they see this host, by connection. What one
// member says is not believed, or it could have all others knock at an address of its choice: it
// takes two of them, at different addresses of their own, or the relay, which is the coordinator.
// What a peer says that has shown no certificate is kept, as it may say it before, but does not count.
type sightings struct {
	mu      sync.Mutex // guards the fields below
	relay   p2p.ID     // "" for none
	seen    map[network.Conn]sighting
	members map[network.Conn]bool // on which a certificate was shown
	more    chan struct{}         // closed, and replaced, with each sighting
}

type sighting struct {
	at ma.Multiaddr // network address and port alone
	by p2p.ID
	ip string // of who says so
}

// observers is how many members must say the same.
const observers = 2

func newSightings() *sightings {
	return &sightings{seen: map[network.Conn]sighting{}, members: map[network.Conn]bool{}, more: make(chan struct{})}
}

// note takes down what a peer has said. There is one for each connection, until it ends.
func (s *sightings) note(e event.EvtPeerIdentificationCompleted) {
	ip, err := manet.ToIP(e.Conn.RemoteMultiaddr())
	if len(e.ObservedAddr) < 2 || err != nil || relayed(e.Conn) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[e.Conn] = sighting{e.ObservedAddr[:2], e.Peer, ip.String()}
	if e.Conn.IsClosed() { // its end may have been told before
		delete(s.seen, e.Conn)
	}
	close(s.more)
	s.more = make(chan struct{})
}

// admit lets count what is said on a connection: its peer is a member.
func (s *sightings) admit(c network.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[c] = true
}

// forget leaves out a connection that has ended.
func (s *sightings) forget(c network.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, c)
	delete(s.members, c)
}

// trust makes a peer's word enough.
func (s *sightings) trust(p p2p.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.relay = p
}

// await waits, not for long, until the relay has said something.
func (s *sightings) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sightLimit)
	defer cancel()
	for {
		s.mu.Lock()
		said, more := false, s.more
		for _, o := range s.seen {
			said = said || o.by == s.relay
		}
		s.mu.Unlock()
		if said {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// sightLimit bounds the wait for an event of libp2p that is due.
const sightLimit = time.Second

// believed reports whether enough say that they see this host at an address.
func (s *sightings) believed(a ma.Multiaddr) bool {
	if len(a) < 2 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	who, from := map[p2p.ID]bool{}, map[string]bool{}
	for c, o := range s.seen {
		switch {
		case !o.at.Equal(a[:2]):
		case o.by == s.relay:
			return true
		case s.members[c]:
			who[o.by], from[o.ip] = true, true
		}
	}
	// Of two members and two addresses there are always two that differ in both.
	return len(who) >= observers && len(from) >= observers
}

// FilterLocal leaves out, of the addresses that a peer is told to punch holes to, those that are
// not of this machine and not believed. It is a holepunch.AddrFilter.
func (s *sightings) FilterLocal(_ p2p.ID, addrs []ma.Multiaddr) []ma.Multiaddr {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool {
		ip, err := manet.ToIP(a)
		ours := slices.ContainsFunc(own, func(o net.Addr) bool {
			n, ok := o.(*net.IPNet)
			return ok && err == nil && n.IP.Equal(ip)
		})
		return !ours && !s.believed(a)
	})
}

// FilterRemote leaves out of a peer's addresses what leads to this machine itself or to nobody in
// particular, and more than it may tell.
func (s *sightings) FilterRemote(_ p2p.ID, addrs []ma.Multiaddr) []ma.Multiaddr {
	good := slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool {
		ip, err := manet.ToIP(a)
		return err != nil || ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast()
	})
	return good[:min(len(good), wire.MaxAddrs)]
}

// watchSightings notes what libp2p hears of each peer about this host, until the host is closed.
func (h *Host) watchSightings() error {
	sub, err := h.p2p.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted))
	if err != nil {
		return err
	}
	h.work.Go(func() {
		defer sub.Close()
		for {
			select {
			case <-h.ctx.Done():
				return
			case e, ok := <-sub.Out():
				if !ok {
					return
				}
				h.seen.note(e.(event.EvtPeerIdentificationCompleted))
			}
		}
	})
	return nil
}
