package overlay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"gaggle/wire"
)

// asker returns the resolver of an endpoint of a network whose members all run here.
func asker(t *testing.T, members []wire.NetMember) (*names, *network) {
	a := New(Config{Self: members[0].Peer})
	t.Cleanup(func() { a.Close() })
	a.Learn(&wire.Network{VNI: 7, Space: "lab", Members: members})
	n := a.network(7)
	e := &endpoint{agent: a, addr: addressOf(1, 1)}
	e.net.Store(n)
	return &names{e: e, ctx: context.Background()}, n
}

func (n *network) put(i int, e *endpoint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.here, i)
	if n.over[i] = e == nil; e != nil {
		n.here[i] = e
	}
	n.change()
}

// An answer waits for a member that is not there yet, but not for ever.
func TestNamesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := wire.PeerID{1}
		s, n := asker(t, []wire.NetMember{{Task: "web", Count: 1, Host: 1, Peer: p}, {Task: "db", Count: 1, Host: 1, Peer: p}})
		began := time.Now()
		if code, addrs := s.find("web", dnsmessage.TypeA); code != dnsmessage.RCodeServerFailure || len(addrs) != 0 || time.Since(began) != holdNames {
			t.Errorf("before it is there: %v, %v after %v", code, addrs, time.Since(began))
		}
		time.AfterFunc(time.Second, func() { n.put(0, &endpoint{addr: addressOf(1, 5)}) })
		began = time.Now()
		if code, addrs := s.find("web", dnsmessage.TypeA); code != dnsmessage.RCodeSuccess || len(addrs) != 1 || time.Since(began) != time.Second {
			t.Errorf("when it comes: %v, %v after %v", code, addrs, time.Since(began))
		}
		for kind, want := range map[dnsmessage.Type]int{dnsmessage.TypeA: 1, dnsmessage.TypeAAAA: 0, dnsmessage.TypeMX: 0} {
			if code, addrs := s.find("web-0", kind); code != dnsmessage.RCodeSuccess || len(addrs) != want {
				t.Errorf("%v: %v, %v", kind, code, addrs)
			}
		}
		n.put(0, nil)
		if code, addrs := s.find("web", dnsmessage.TypeA); code != dnsmessage.RCodeSuccess || len(addrs) != 0 {
			t.Errorf("when it has ended: %v, %v", code, addrs)
		}
		if code, _ := s.find("web-1", dnsmessage.TypeA); code != dnsmessage.RCodeNameError {
			t.Errorf("web-1 is %v", code)
		}
		s.e.net.Store(nil)
		if code, _ := s.find("web", dnsmessage.TypeA); code != dnsmessage.RCodeServerFailure {
			t.Errorf("on no network: %v", code)
		}
	})
}

func TestLongAnswers(t *testing.T) {
	var members []wire.NetMember
	for i := range wire.MaxGang {
		members = append(members, wire.NetMember{Task: "w", Index: i, Count: wire.MaxGang, Host: 1, Peer: wire.PeerID{1}})
	}
	s, n := asker(t, members)
	for i := range members {
		n.here[i] = &endpoint{addr: addressOf(1, uint16(i+1))}
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 99, RecursionDesired: true})
	b.StartQuestions()
	b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName("W."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET})
	q, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	for size, whole := range map[int]bool{maxUDPNames: false, maxNames - 1: true} {
		r := s.respond(q, size)
		var m dnsmessage.Message
		if err := m.Unpack(r); err != nil {
			t.Fatal(err)
		}
		if len(r) > size || m.Truncated == whole || whole != (len(m.Answers) == wire.MaxGang) || m.ID != 99 || len(m.Answers) == 0 {
			t.Errorf("in %d bytes: %d bytes, %d answers, truncated %t", size, len(r), len(m.Answers), m.Truncated)
		}
		for i, a := range m.Answers {
			if got := a.Body.(*dnsmessage.AResource).A; got != addressOf(1, uint16(i+1)).bytes() {
				t.Fatalf("answer %d is %v", i, got)
			}
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01"))
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03web\x00\x00\x1c\x00\x01\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"))
	a := New(Config{Self: wire.PeerID{1}})
	a.Learn(&wire.Network{VNI: 7, Space: "lab", Members: []wire.NetMember{{Task: "web", Count: 1, Host: 1, Peer: wire.PeerID{1}}}})
	e := &endpoint{agent: a}
	e.net.Store(a.network(7))
	a.network(7).here[0] = &endpoint{addr: addressOf(1, 1)}
	s := &names{e: e, ctx: context.Background()}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := s.respond(b, maxUDPNames)
		var m dnsmessage.Message
		if r != nil && (m.Unpack(r) != nil || !m.Response || len(r) > maxEDNS) {
			t.Fatalf("%x is answered by %x", b, r)
		}
	})
}
