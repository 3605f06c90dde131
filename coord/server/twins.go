package server

import (
	"slices"
	"strings"
	"time"

	"gaggle/wire"
)

// A uses is what is known of the processes that showed one key. A process that comes back after
// another one has taken its place was not replaced by a restart: there are two of them, as when a
// state directory or the image of a machine is copied. Which one is the copy nobody can tell from
// here, so neither is believed.
type uses struct {
	life   uint64   // of the process that connected last
	addr   string   // where it is
	gone   []uint64 // those before, the latest last
	twins  string   // that there are two, for people; "" if there are not
	barred time.Time
}

const (
	// barFor is how long a key is refused that two processes use: whoever starts them again by
	// itself does not win by trying.
	barFor = 10 * time.Second
	// maxGone bounds the earlier processes of a key that are remembered.
	maxGone = 8
)

// twins judges whether the key that a node shows is used by another one, too, at this moment, and
// returns the refusal for both.
func (s *Server) twins(peer wire.PeerID, h *wire.Hello, now time.Time) *wire.Error {
	if h.Life == 0 {
		return nil // a version that does not say
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uses[peer]
	if u == nil {
		if len(s.uses) >= 2*wire.MaxPeers {
			clear(s.uses)
		}
		u = &uses{life: h.Life, addr: hostOf(h.Addrs)}
		s.uses[peer] = u
	}
	again := slices.Contains(u.gone, h.Life)
	if again && u.twins == "" {
		u.barred = now.Add(barFor)
		u.twins = "two processes use the key of " + h.Name + ", one at " + hostOf(h.Addrs) + " and one at " + u.addr
		s.cfg.Logger.Error("a key is used twice; both are refused", "node", h.Name, "peer", peer, "at", hostOf(h.Addrs), "and", u.addr)
		for _, ws := range s.watch {
			for _, w := range ws {
				w.add(wire.Response{Notices: []wire.Notice{{Note: u.twins + "; neither is given work"}}})
			}
		}
		if n := s.nodes[peer]; n != nil {
			n.rw.Close() // it is told why when it comes back
		}
	}
	if now.Before(u.barred) {
		return wire.Errorf(wire.CauseUnauthorized, "start the copy with a state directory of its own: node --state DIR --join TICKET; then start this one again",
			"%s; neither is given work until one is gone", u.twins)
	}
	u.twins = ""
	if h.Life != u.life && !again {
		u.gone = append(u.gone[max(0, len(u.gone)-maxGone+1):], u.life)
	}
	u.gone = slices.DeleteFunc(u.gone, func(l uint64) bool { return l == h.Life })
	u.life, u.addr = h.Life, hostOf(h.Addrs)
	return nil
}

// barredKeys marks the members whose key is used twice.
func (s *Server) barredKeys(nodes []wire.NodeStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range nodes {
		if u := s.uses[nodes[i].Info.Peer]; u != nil && u.twins != "" {
			nodes[i].State, nodes[i].Quarantine = "quarantined", u.twins
		}
	}
}

// hostOf returns the host of the first multiaddr that is not of the loopback interface.
func hostOf(addrs []string) string {
	for _, a := range addrs {
		if f := strings.Split(a, "/"); len(f) > 2 && f[2] != "127.0.0.1" && f[2] != "::1" {
			return f[2]
		}
	}
	return "an unknown address"
}
