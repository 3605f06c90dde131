package peer

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"

	"gaggle/wire"
)

// A whole mesh may be behind one address. libp2p exempts loopback from its limits, so the address
// here is another one.
func TestLimitsOfOneAddress(t *testing.T) {
	rm, err := limits()
	if err != nil {
		t.Fatal(err)
	}
	defer rm.Close()
	for _, addr := range []string{"/ip4/203.0.113.7/udp/%d/quic-v1", "/ip6/2001:db8::7/udp/%d/quic-v1"} {
		for i := range wire.MaxPeers / 2 {
			c, err := rm.OpenConnection(network.DirInbound, false, ma.StringCast(fmt.Sprintf(addr, 1+i)))
			if err != nil {
				t.Fatalf("connection %d from "+addr+": %v", i, 1+i, err)
			}
			key := newKey(t)
			if err := c.SetPeer(peerID(wire.PeerOf(key))); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// 100 hosts connect to one at once from one address and keep a stream each.
func TestHundredHostsBehindOneAddress(t *testing.T) {
	m := newMesh(t)
	a := m.host([]string{"/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0"})
	if strings.Contains(a.Addrs()[0], "/127.") {
		t.Log("this machine has only loopback, which libp2p's limits exempt")
	}
	serveEcho(a)
	hosts := make([]*Host, 100)
	for i := range hosts {
		hosts[i] = m.host([]string{})
	}
	var wg sync.WaitGroup
	for _, h := range hosts {
		wg.Go(func() {
			h.AddAddrs(a.ID(), a.Addrs())
			s, err := h.Open(soon(t), a.ID(), echo)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { s.Close() })
			if _, err := s.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			if _, err := s.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, h := range hosts {
		if !a.Connected(h.ID()) {
			t.Errorf("%s is not connected", h.ID())
		}
	}
}

// More streams than QUIC lets one side have open wait for their turn.
func TestManyStreams(t *testing.T) {
	m := newMesh(t)
	a, b := m.host(both), m.host([]string{})
	serveEcho(a)
	b.AddAddrs(a.ID(), a.Addrs())
	var wg sync.WaitGroup
	for range 400 {
		wg.Go(func() {
			s, err := b.Open(soon(t), a.ID(), echo)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if _, err := s.Write([]byte("x")); err != nil {
				t.Error(err)
				return
			}
			if _, err := s.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
