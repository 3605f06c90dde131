package overlay

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"
	"time"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// overPeers returns hosts of libp2p on loopback, and machines whose agents talk over them.
func overPeers(t testing.TB, n int, listen string) (hosts []*peer.Host, all []*machine) {
	t.Helper()
	_, mesh, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		h, err := peer.New(peer.Config{Key: k, Mesh: wire.PeerOf(mesh), Listen: []string{listen}, Cert: wire.SignCertificate(mesh, wire.Certificate{
			Peer: wire.PeerOf(k), Roles: wire.RoleNode, Owner: "anna", Tenants: []wire.Space{"lab"},
			NotBefore: now.Add(-time.Hour).Unix(), Expires: now.Add(time.Hour).Unix()})})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
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
