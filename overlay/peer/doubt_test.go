package peer

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// A detour leads to a host by another address, until it swallows what is sent there, or both ways.
type detour struct {
	addr     string
	up, down atomic.Bool // swallowed
}

func newDetour(t *testing.T, to *Host) *detour {
	t.Helper()
	network, addr, err := manet.DialArgs(ma.StringCast(to.Addrs()[0]))
	if err != nil {
		t.Fatal(err)
	}
	d := &detour{}
	var ends ends
	t.Cleanup(ends.close)
	if network == "tcp4" {
		l, err := net.Listen(network, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		d.addr = "/ip4/127.0.0.1/tcp/" + portOf(l.Addr())
		ends.add(l)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if s, err := net.Dial(network, addr); err == nil && ends.add(c) && ends.add(s) {
					go pump(c.Read, s.Write, &d.up)
					go pump(s.Read, c.Write, &d.down)
				}
			}
		}()
		return d
	}
	p, err := net.ListenPacket(network, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	d.addr = "/ip4/127.0.0.1/udp/" + portOf(p.LocalAddr()) + "/quic-v1"
	ends.add(p)
	ends.add(s)
	var from atomic.Pointer[net.Addr] // the only one who sends here
	go pump(func(b []byte) (int, error) {
		n, a, err := p.ReadFrom(b)
		from.Store(&a)
		return n, err
	}, s.Write, &d.up)
	go pump(s.Read, func(b []byte) (int, error) { return p.WriteTo(b, *from.Load()) }, &d.down)
	return d
}

func portOf(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// pump carries bytes until one side ends, but for those that are swallowed.
func pump(read, write func([]byte) (int, error), swallow *atomic.Bool) {
	b := make([]byte, 64<<10)
	for {
		n, err := read(b)
		if err != nil {
			return
		}
		if !swallow.Load() {
			if _, err := write(b[:n]); err != nil {
				return
			}
		}
	}
}

// ends are closed together.
type ends struct {
	mu  sync.Mutex
	all []io.Closer // nil when closed
	end bool
}

func (e *ends) add(c io.Closer) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.end {
		_ = c.Close()
		return false
	}
	e.all = append(e.all, c)
	return true
}

func (e *ends) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end = true
	for _, c := range e.all {
		_ = c.Close()
	}
}

// settled waits until nobody doubts a connection.
func settled(t *testing.T, l *link) {
	t.Helper()
	for ctx := soon(t); l.doubted.Load(); time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatal("it is still doubted")
		}
	}
}

// overBoth runs a test over each transport, with a host whose first address is of that.
func overBoth(t *testing.T, run func(t *testing.T, m *mesh, a, b *Host)) {
	t.Parallel()
	for name, listen := range map[string][]string{"QUIC": quicOnly, "TCP": tcpOnly} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMesh(t)
			a, b := m.host(listen), m.host([]string{})
			serveEcho(a)
			run(t, m, a, b)
		})
	}
}

// A connection that is doubted and answers stays, whoever was silent, and whatever else is under way on it.
func TestDoubtedConnectionThatAnswersStays(t *testing.T) {
	overBoth(t, func(t *testing.T, m *mesh, a, b *Host) {
		b.AddAddrs(a.ID(), a.Addrs())
		s, err := b.Open(soon(t), a.ID(), echo)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		l := b.certified(a.ID())
		l.turn <- struct{}{} // a certificate is being shown for a while
		for _, h := range []*Host{a, m.host([]string{})} {
			b.Doubt(h.ID())
			settled(t, l)
			b.mu.Lock()
			b.doubt(l, func(sign) (time.Duration, bool) { return 0, true })
			b.mu.Unlock()
			settled(t, l)
		}
		<-l.turn
		if b.certified(a.ID()) != l || l.conn.IsClosed() {
			t.Error("it was given up")
		}
		if _, err := s.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			t.Error(err)
		}
	})
}

// One on which something still comes stays, though a question is not answered in time.
func TestConnectionThatIsReadStays(t *testing.T) {
	overBoth(t, func(t *testing.T, m *mesh, a, b *Host) {
		d := newDetour(t, a)
		a.Handle("/test/flow/1", func(s *Stream) {
			for _, err := s.Read(make([]byte, 1)); err == nil; time.Sleep(10 * time.Millisecond) {
				_, err = s.Write([]byte("x"))
			}
		})
		b.AddAddrs(a.ID(), []string{d.addr})
		s, err := b.Open(soon(t), a.ID(), "/test/flow/1")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Reset()
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		l := b.certified(a.ID())
		d.up.Store(true)
		go io.Copy(io.Discard, s)
		b.mu.Lock()
		b.doubt(l, func(sign) (time.Duration, bool) { return 0, true })
		b.mu.Unlock()
		settled(t, l)
		if l.conn.IsClosed() {
			t.Error("it was given up")
		}
	})
}

// One that answers nothing is closed only if its peer can be reached otherwise, and then there is another.
// Those that somebody waits for do not wait for others.
func TestDeadConnectionIsReplaced(t *testing.T) {
	overBoth(t, func(t *testing.T, m *mesh, a, b *Host) {
		d, c := newDetour(t, a), m.host(quicOnly)
		b.AddAddrs(a.ID(), []string{d.addr})
		s, err := b.Open(soon(t), a.ID(), echo)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Reset()
		l := b.certified(a.ID())
		d.up.Store(true)
		d.down.Store(true)
		b.AddAddrs(a.ID(), []string{"/ip4/127.0.0.1/tcp/1"}) // where nobody listens
		for ctx := soon(t); l.knocked.Load() == 0 && ctx.Err() == nil; settled(t, l) {
			b.Doubt(c.ID()) // once more if something was on its way to b
		}
		if l.conn.IsClosed() {
			t.Error("closed while there is no other way")
		}
		if l.knocked.Load() == 0 {
			t.Error("nobody knocked")
		}
		for range maxKnocks {
			b.knocks.others <- struct{}{}
		}
		b.AddAddrs(a.ID(), a.Addrs())
		b.Doubt(c.ID())
		settled(t, l)
		if l.conn.IsClosed() {
			t.Error("a stranger knocked again at once")
		}
		b.Doubt(a.ID())
		settled(t, l)
		if !l.conn.IsClosed() {
			t.Error("not closed though there is another way")
		}
		if now := b.certified(a.ID()); now == nil || now == l {
			t.Error("there is no new connection")
		}
		checkEcho(t, b, a.ID())
	})
}
