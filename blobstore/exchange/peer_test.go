package exchange

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"gaggle/blobstore"
	"gaggle/overlay/peer"
	"gaggle/wire"
)

var (
	overQUIC = []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	overTCP  = []string{"/ip4/127.0.0.1/tcp/0"}
)

// meshKey signs the certificates of members that speak over real connections.
var meshKey = detKey(199)

// meshNode returns a member of the mesh whose exchange speaks over real connections.
func meshNode(t testing.TB, key ed25519.PrivateKey, listen []string) (*node, *peer.Host) {
	t.Helper()
	now := time.Now()
	cert := wire.SignCertificate(meshKey, wire.Certificate{
		Peer: wire.PeerOf(key), Roles: wire.RoleNode, NotBefore: now.Unix(), Expires: now.Add(time.Hour).Unix()})
	h, err := peer.New(peer.Config{Key: key, Mesh: wire.PeerOf(meshKey), Cert: cert, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{store: blobstore.NewMemory(), id: h.ID()}
	n.Exchange = New(Config{
		Store: n.store, Self: h.ID(), Trusted: func(p wire.PeerID) bool { return p == wire.PeerOf(coordKey) },
		Dialer: DialFunc(func(ctx context.Context, p wire.PeerID, proto string) (Stream, error) { return h.Open(ctx, p, proto) }),
	})
	h.Handle(wire.ProtocolBlob, func(s *peer.Stream) { n.Serve(s) })
	n.SetGrant(wire.SignGrant(coordKey, lab, n.id, now.Add(time.Hour)))
	t.Cleanup(func() { h.Close() })
	t.Cleanup(func() { n.Close() })
	return n, h
}

// overlay returns two members, the second of which knows where the first is.
func overlay(t testing.TB, listen []string) (a, b *node) {
	t.Helper()
	a, at := meshNode(t, detKey(1), listen)
	b, from := meshNode(t, detKey(2), listen)
	from.AddAddrs(at.ID(), at.Addrs())
	return a, b
}

func TestOverPeers(t *testing.T) {
	for name, listen := range map[string][]string{"QUIC": overQUIC, "TCP": overTCP} {
		t.Run(name, func(t *testing.T) {
			a, b := overlay(t, listen)
			var entries []wire.Entry
			for i := range 1000 {
				entries = append(entries, wire.Entry{Name: fmt.Sprint(i), Object: a.put(t, lab, noise(uint64(i), 20+i))})
			}
			big := noise(7, 8<<20)
			entries = append(entries, wire.Entry{Name: "big", Object: a.put(t, lab, big)})
			top := a.putTree(t, entries...)
			r, err := b.fetch(top, a.id)
			if err != nil {
				t.Fatal(err)
			}
			if !b.has(top) || !bytes.Equal(b.read(t, entries[1000].Object), big) {
				t.Error("not whole")
			}
			if len(r.Links) != 1 || r.Links[0].RTT <= 0 {
				t.Errorf("Links = %+v", r.Links)
			}
			if _, err := b.Probe(context.Background(), a.id); err != nil {
				t.Error(err)
			}
			absent := wire.FileObject(wire.BlobID{1}, 1, false)
			_, err = b.fetch(absent, a.id)
			wantCause(t, err, wire.CauseFetch, "does not have it")
		})
	}
}

// A peer refused for its grant, and one told busy, read the reason though the stream is closed
// under them.
func TestRefusalsOverPeers(t *testing.T) {
	a, b := overlay(t, overQUIC)
	o := a.put(t, "other", noise(1, 100))
	b.SetGrant(wire.SignGrant(detKey(77), "other", b.id, time.Now().Add(time.Hour)))
	_, err := b.Fetch(context.Background(), "other", held(o, a.id), nil)
	wantCause(t, err, wire.CauseFetch, "no coordinator")

	for free := false; !free; time.Sleep(time.Millisecond) { // the stream of the fetch counts until it is left
		a.mu.Lock()
		if free = a.serving == 0; free {
			a.cfg.Limits.StreamsPerPeer = 1
		}
		a.mu.Unlock()
	}
	s, err := b.cfg.Dialer.Open(context.Background(), a.id, wire.ProtocolBlob)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(appendGet(appendOpen(nil, b.grant(lab)), []wish{{o.Digest, 0}})); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err != nil { // it is being served
		t.Fatal(err)
	}
	_, err = b.Probe(context.Background(), a.id)
	wantCause(t, err, wire.CauseBusy)
	s.Close()
}

// An agingStream is superseded once told so.
type agingStream struct {
	Stream
	old *atomic.Bool
}

func (s agingStream) Superseded() bool { return s.old.Load() }

// A stream of the exchange is kept for the next objects, but not when there is a better connection.
func TestSupersededStreamIsReplaced(t *testing.T) {
	a, b := overlay(t, overQUIC)
	var opened atomic.Int64
	var old atomic.Bool
	dialer := b.cfg.Dialer
	b.cfg.Dialer = DialFunc(func(ctx context.Context, p wire.PeerID, proto string) (Stream, error) {
		opened.Add(1)
		s, err := dialer.Open(ctx, p, proto)
		if err != nil {
			return nil, err
		}
		return agingStream{s, &old}, nil
	})
	for i, want := range []int64{1, 1, 2} {
		old.Store(i == 2)
		if _, err := b.fetch(a.put(t, lab, noise(uint64(i), 100)), a.id); err != nil {
			t.Fatal(err)
		}
		if got := opened.Load(); got != want {
			t.Errorf("after object %d there were %d streams, want %d", i, got, want)
		}
	}
}
