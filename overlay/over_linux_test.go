package overlay

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"
	"time"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// A party makes members of one mesh.
type party struct {
	t   testing.TB
	key ed25519.PrivateKey
}

func newParty(t testing.TB) party { return party{t, newKey(t)} }

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (p party) host(listen ...string) *peer.Host {
	p.t.Helper()
	k, now := newKey(p.t), time.Now()
	h, err := peer.New(peer.Config{Key: k, Mesh: wire.PeerOf(p.key), Listen: append([]string{}, listen...), Cert: wire.SignCertificate(p.key, wire.Certificate{
		Peer: wire.PeerOf(k), Roles: wire.RoleNode, Owner: "anna", Tenants: []wire.Space{"lab"},
		NotBefore: now.Add(-time.Hour).Unix(), Expires: now.Add(time.Hour).Unix()})})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { h.Close() })
	return h
}

// overPeers returns hosts of libp2p on loopback, and machines whose agents talk over them; through a relay
// if they listen nowhere.
func overPeers(t testing.TB, n int, listen string) (hosts []*peer.Host, all []*machine) {
	t.Helper()
	mesh := newParty(t)
	var relay *peer.Host
	if listen == "" {
		relay = mesh.host(quicListen)
		if err := relay.ServeRelay(peer.RelayLimits{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		var h *peer.Host
		if relay == nil {
			h = mesh.host(listen)
		} else {
			h = mesh.host()
			h.UseRelay(relay.ID())
			if err := h.Connect(soon(t), relay.ID(), relay.Addrs()); err != nil {
				t.Fatal(err)
			}
			if err := h.Reserve(soon(t)); err != nil {
				t.Fatal(err)
			}
		}
		for _, o := range hosts {
			o.AddAddrs(h.ID(), h.Addrs())
			h.AddAddrs(o.ID(), o.Addrs())
		}
		hosts = append(hosts, h)
		all = append(all, newMachine(t, uint16(i+1), Config{Self: h.ID(), Peers: Over(h)}))
	}
	return hosts, all
}

func TestOverTheMesh(t *testing.T) {
	for name, listen := range map[string]string{"QUIC": "/ip4/127.0.0.1/udp/0/quic-v1", "TCP": "/ip4/127.0.0.1/tcp/0"} {
		t.Run(name, func(t *testing.T) {
			_, ms := overPeers(t, 2, listen)
			learn(t, 7, []wire.NetMember{ms[0].member("a", 0, 1), ms[1].member("b", 0, 1)}, ms...)
			a, b := ms[0].join(7, 0), ms[1].join(7, 1)
			a.listen(80, echo)
			got, err := b.lookUp("udp", "a")
			if err != nil || len(got) != 1 || got[0] != a.e.Addr().String() {
				t.Fatalf("a is at %v, %v", got, err)
			}
			c, err := b.dial("tcp", got[0]+":80")
			if err != nil {
				t.Fatal(err)
			}
			checkEcho(t, c, 5<<20)
		})
	}
}
