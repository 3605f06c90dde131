package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	p2p "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

	"gaggle/wire"
)

// A stranger is a bare libp2p host that keeps no rule of ours.
type stranger struct {
	host.Host
	t *testing.T
	c network.Conn
}

func newStranger(t *testing.T, to *Host) *stranger {
	t.Helper()
	h, err := newP2P(newKey(t), newMeter(), newSightings())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	info := p2p.AddrInfo{ID: peerID(to.ID())}
	for _, a := range to.Addrs() {
		info.Addrs = append(info.Addrs, ma.StringCast(a))
	}
	if err := h.Connect(soon(t), info); err != nil {
		t.Fatal(err)
	}
	return &stranger{h, t, h.Network().ConnsToPeer(info.ID)[0]}
}

func (s *stranger) open(proto string) io.ReadWriteCloser {
	s.t.Helper()
	st, rw, err := openRaw(soon(s.t), s.c, proto)
	if err != nil {
		s.t.Fatal(err)
	}
	st.SetDeadline(time.Now().Add(60 * time.Second))
	return rw
}

// guarded counts the streams that a handler got to see.
func guarded(h *Host) chan wire.PeerID {
	seen := make(chan wire.PeerID, 100)
	h.Handle("/test/guarded/1", func(s *Stream) {
		seen <- s.Peer()
		s.Write([]byte("secret"))
		s.Close()
	})
	return seen
}

// An early stream waits for certificates and is reset when there are none in time.
func TestStrangerReachesNoHandler(t *testing.T) {
	t.Parallel() // waits for certTimeout
	h := newMesh(t).host(both)
	seen := guarded(h)
	s := newStranger(t, h)
	rw := s.open("/test/guarded/1")
	rw.Write([]byte("hello"))
	if b, err := io.ReadAll(rw); err == nil || bytes.Contains(b, []byte("secret")) {
		t.Errorf("read %q, %v; want a reset", b, err)
	}
	if len(seen) > 0 {
		t.Error("the handler ran")
	}
}

func TestStrangerMayNotKeepManyStreamsWaiting(t *testing.T) {
	t.Parallel()
	h := newMesh(t).host(both)
	seen := guarded(h)
	s := newStranger(t, h)
	reset := make(chan struct{}, 4*maxEarly)
	for range 4 * maxEarly {
		rw := s.open("/test/guarded/1")
		go func() {
			rw.Write([]byte("hello"))
			io.ReadAll(rw)
			reset <- struct{}{}
		}()
	}
	for range 3 * maxEarly { // these are not kept
		<-reset
	}
	if len(seen) > 0 {
		t.Error("the handler ran")
	}
}

func TestForgedCertificates(t *testing.T) {
	m := newMesh(t)
	h := m.host(both)
	seen := guarded(h)
	honest := m.host(both)
	forger := newKey(t)
	cases := map[string]func(me wire.PeerID) []byte{
		"none":    func(wire.PeerID) []byte { return nil },
		"garbage": func(wire.PeerID) []byte { return []byte{0x89, 1, 2, 3} },
		"signed by another key": func(me wire.PeerID) []byte {
			c := wire.SignCertificate(forger, wire.Certificate{Peer: me, Roles: 7, Expires: time.Now().Add(time.Hour).Unix()})
			c.Mesh = h.mesh
			return c.Encode()
		},
		"of an honest peer": func(wire.PeerID) []byte { return honest.Certificate().Encode() },
		"huge":              func(wire.PeerID) []byte { return make([]byte, wire.MaxText+1) },
	}
	for name, forge := range cases {
		t.Run(name, func(t *testing.T) {
			s := newStranger(t, h)
			me, err := wire.PeerFromBytes([]byte(s.ID()))
			if err != nil {
				t.Fatal(err)
			}
			rw := s.open(wire.ProtocolCert)
			wire.WriteFrame(rw, credential{Cert: forge(me), Now: time.Now().UnixMicro()})
			var answer credential
			if err := readFrame(rw, &answer); err != nil {
				t.Fatal(err)
			}
			if answer.Error == nil || answer.Error.Cause != wire.CauseUnauthorized {
				t.Errorf("answer %v, want unauthorized", answer.Error)
			}
			if h.Connected(me) || len(seen) > 0 {
				t.Error("the forger is a member")
			}
		})
	}
}

func TestOversizedHandshakeFrames(t *testing.T) {
	m := newMesh(t)
	h := m.coordinator()
	for _, proto := range []string{wire.ProtocolCert, wire.ProtocolJoin} {
		for name, announced := range map[string]uint64{"8 MiB": wire.MaxFrame, "2^63": 1 << 63, "17 KiB": 17 << 10} {
			t.Run(proto+" "+name, func(t *testing.T) {
				s := newStranger(t, h)
				rw := s.open(proto)
				rw.Write(binary.AppendUvarint(nil, announced))
				junk := make([]byte, 64<<10)
				for range 4 {
					if _, err := rw.Write(junk); err != nil {
						break
					}
				}
				if b, err := io.ReadAll(rw); err == nil {
					t.Errorf("answered %d bytes, want a reset", len(b))
				}
			})
		}
	}
}

// A peer that accepts the connection and then says nothing holds nobody up for ever.
func TestSilentPeer(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	key := newKey(t)
	mute, err := newP2P(key, newMeter(), newSightings())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	if err := mute.Network().Listen(ma.StringCast(both[0])); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	mute.SetStreamHandler(protocol.ID(wire.ProtocolCert), func(s network.Stream) {
		io.Copy(io.Discard, s)
		close(ended)
	})
	h := m.host([]string{})
	addr := slices.DeleteFunc(mute.Network().ListenAddresses(), isCircuit)[0].String()
	wantCause(t, h.Connect(soon(t), wire.PeerOf(key), []string{addr}), wire.CauseUnreachable, addr, "certificate")
	<-ended

	ctx, cancel := context.WithCancel(context.Background())
	mute.SetStreamHandler(protocol.ID(wire.ProtocolCert), func(s network.Stream) { cancel() })
	if err := h.Connect(ctx, wire.PeerOf(key), []string{addr}); err != context.Canceled {
		t.Errorf("Connect = %v, want %v", err, context.Canceled)
	}
}

// Streams that come before the certificates are handled once those are there.
func TestEarlyStreamWaits(t *testing.T) {
	m := newMesh(t)
	h := m.host(both)
	seen := guarded(h)
	s := newStranger(t, h)
	me, err := wire.PeerFromBytes([]byte(s.ID()))
	if err != nil {
		t.Fatal(err)
	}
	inflates := make(chan bool, 1)
	h.Handle("/test/old/1", func(s *Stream) { inflates <- s.Inflates() })
	early, old := s.open("/test/guarded/1"), s.open("/test/old/1")
	early.Write([]byte("hello"))
	old.Write([]byte("hello"))
	rw := s.open(wire.ProtocolCert)
	c := wire.SignCertificate(m.key, wire.Certificate{Peer: me, Expires: time.Now().Add(time.Hour).Unix()})
	wire.WriteFrame(rw, credential{Cert: c.Encode(), Now: time.Now().UnixMicro()})
	if b, err := io.ReadAll(early); err != nil || string(b) != "secret" {
		t.Errorf("read %q, %v", b, err)
	}
	if got := <-seen; got != me {
		t.Errorf("handled for %s, want %s", got, me)
	}
	if <-inflates {
		t.Error("who does not say that it reads compressed answers is sent some")
	}
}

func FuzzCredential(f *testing.F) {
	m := newMesh(f)
	h := m.host([]string{})
	p := wire.PeerOf(newKey(f))
	var good bytes.Buffer
	wire.WriteFrame(&good, h.credential())
	f.Add(good.Bytes())
	f.Add([]byte{0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c credential
		if readFrame(bytes.NewReader(b), &c) != nil {
			return
		}
		if _, err := h.judge(p, &c); err == nil {
			t.Error("a certificate of nobody's is accepted")
		}
	})
}

func FuzzJoinRequest(f *testing.F) {
	m := newMesh(f)
	h := m.host([]string{})
	r := &registrar{h: h, used: map[use]bool{}, Registry: Registry{Mesh: newKey(f), Redeem: func(_, _ uint64) bool { return true }}}
	var good bytes.Buffer
	wire.WriteFrame(&good, joinRequest{Ticket: m.ticket(m.host(both), nil).Text(), Owner: "anna", Now: 1})
	f.Add(good.Bytes())
	good.Reset()
	wire.WriteFrame(&good, joinRequest{Cert: h.Certificate().Encode(), Now: 1})
	f.Add(good.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		var req joinRequest
		if readFrame(bytes.NewReader(b), &req) != nil {
			return
		}
		if _, err := r.certify(h.ID(), &req); err == nil {
			t.Error("a certificate for nothing of this mesh")
		}
	})
}

// Who begins many requests and says nothing keeps none but itself waiting.
func TestSilentAskersKeepNobodyOut(t *testing.T) {
	m := newMesh(t)
	h := m.coordinator()
	for _, proto := range []string{wire.ProtocolCert, wire.ProtocolJoin} {
		s := newStranger(t, h)
		reset := make(chan struct{}, 2*maxJoins)
		for range 2 * maxJoins {
			rw := s.open(proto)
			go func() {
				rw.Write([]byte{0x80}) // the beginning of a length
				io.ReadAll(rw)
				reset <- struct{}{}
			}()
		}
		for range 2*maxJoins - maxAsking { // the rest may yet go on
			<-reset
		}
	}
	if _, err := Join(soon(t), newKey(t), m.ticket(h, nil), "anna", "laptop"); err != nil {
		t.Errorf("Join meanwhile = %v", err)
	}
	b := m.host([]string{})
	connect(t, h, b)
}

// A member that tells of no revocations, for long and often, does not keep the others from it.
func TestSilentTellersKeepNobodyOut(t *testing.T) {
	m := newMesh(t)
	a, liar, honest := m.host(both), m.host([]string{}), m.host([]string{})
	connect(t, a, liar, honest)
	for range 2 * maxTellers {
		s, err := liar.Open(soon(t), a.ID(), wire.ProtocolRevoked)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Reset()
		if _, err := s.Write([]byte{0x80}); err != nil {
			t.Fatal(err)
		}
	}
	if err := honest.Learn(m.revoke(liar.ID(), false)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the liar is dropped", func() bool { return !a.Connected(liar.ID()) })
}

// What members say of where they are is neither a name nor everybody.
func TestAddressesOfMembers(t *testing.T) {
	m := newMesh(t)
	h, p := m.host([]string{}), wire.PeerOf(newKey(t))
	h.Met(wire.PeerInfo{Peer: p, Addrs: []string{"/dns4/example.com/tcp/7070", "/dnsaddr/example.com", "/ip4/224.0.0.1/udp/7070/quic-v1",
		"/ip4/0.0.0.0/tcp/7070", "/ip6/::/tcp/7070", "/ip4/255.255.255.255/udp/7070/quic-v1", "/unix/tmp/x", "nonsense", "/ip4/192.0.2.1/tcp/7070"}})
	h.mu.Lock()
	defer h.mu.Unlock()
	if got := h.book[p]; len(got) != 1 || got[0].String() != "/ip4/192.0.2.1/tcp/7070" {
		t.Errorf("the book has %v, want the one good address", got)
	}
}
