package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/sandbox"
	"gaggle/wire"
)

// The test binary is also the slots of the tests with a sandbox.
func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

func newPeer(t testing.TB) wire.PeerID { return wire.PeerOf(newKey(t)) }

// soon bounds waits that end at once unless something is broken.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A hub is a mesh in memory.
type hub struct {
	mu       sync.Mutex
	handlers map[wire.PeerID]map[string]func(Stream)
	work     sync.WaitGroup
}

func newHub(t testing.TB) *hub {
	h := &hub{handlers: map[wire.PeerID]map[string]func(Stream){}}
	t.Cleanup(h.work.Wait)
	return h
}

// A hubPeers is the mesh as one member sees it.
type hubPeers struct {
	hub  *hub
	self wire.PeerID
}

func (p hubPeers) Handle(protocol string, fn func(Stream)) {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	if p.hub.handlers[p.self] == nil {
		p.hub.handlers[p.self] = map[string]func(Stream){}
	}
	p.hub.handlers[p.self][protocol] = fn
}

func (p hubPeers) Open(_ context.Context, to wire.PeerID, protocol string) (Stream, error) {
	p.hub.mu.Lock()
	fn := p.hub.handlers[to][protocol]
	p.hub.mu.Unlock()
	if fn == nil {
		return nil, errors.New("no such peer")
	}
	here, there := net.Pipe()
	p.hub.work.Go(func() {
		defer there.Close()
		fn(pipeStream{there, p.self})
	})
	return pipeStream{here, to}, nil
}

type pipeStream struct {
	net.Conn
	peer wire.PeerID
}

func (s pipeStream) Reset()               { s.Close() }
func (s pipeStream) Peer() wire.PeerID    { return s.peer }
func (s pipeStream) Datagrams() Datagrams { return nil }
func (s pipeStream) Superseded() bool     { return false }

// A machine is an agent and who it is.
type machine struct {
	*Agent
	t    testing.TB
	id   wire.PeerID
	host uint16
	far  bool // its endpoints have a pair of devices
}

func (h *hub) machine(t testing.TB, host uint16) *machine {
	t.Helper()
	id := newPeer(t)
	return newMachine(t, host, Config{Self: id, Peers: hubPeers{h, id}})
}

func newMachine(t testing.TB, host uint16, c Config) *machine {
	t.Helper()
	m := &machine{Agent: New(c), t: t, id: c.Self, host: host}
	m.SetHost(host)
	t.Cleanup(func() { m.Close() })
	return m
}

// member describes a member of a network on a machine.
func (m *machine) member(task string, index, count int) wire.NetMember {
	return wire.NetMember{Task: task, Index: index, Count: count, Host: m.host, Peer: m.id}
}

// learn tells all machines of a network.
func learn(t testing.TB, vni uint32, members []wire.NetMember, machines ...*machine) {
	t.Helper()
	for _, m := range machines {
		m.Learn(&wire.Network{VNI: vni, Space: "lab", Members: members})
	}
}

// A box is a network namespace, as a slot's process makes it, and a thread in it.
type box struct {
	t     testing.TB
	calls chan func()
	e     *endpoint
	leave func()
}

// join makes a box a member of a network.
func (m *machine) join(vni uint32, member int) *box {
	m.t.Helper()
	b := m.box()
	var err error
	if b.leave, err = m.Member(vni, member).Join(b.e); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(b.out)
	return b
}

// out takes the box off its network.
func (b *box) out() {
	if b.leave != nil {
		b.leave()
		b.leave = nil
	}
}

// box lays a namespace. It skips where that is not possible.
func (m *machine) box() *box {
	m.t.Helper()
	if os.Geteuid() != 0 {
		m.t.Skip("making network namespaces needs root")
	}
	b := &box{t: m.t, calls: make(chan func())}
	go func() {
		runtime.LockOSThread() // and left so: the thread ends with the box
		for f := range b.calls {
			f()
		}
	}()
	m.t.Cleanup(func() { close(b.calls) })
	var n *sandbox.Namespace
	b.do(func() error {
		var err error
		if m.far {
			if n, err = namespace(); err == nil {
				err = addFar(n)
			}
			return err
		}
		n, err = namespace()
		return err
	})
	if n.Tun == nil && n.Far == nil {
		m.t.Skip("no /dev/net/tun")
	}
	c, err := m.Lay(n)
	if err != nil {
		m.t.Fatal(err)
	}
	b.e = c.(*endpoint)
	m.t.Cleanup(func() { c.Close() })
	return b
}

// do calls f in the namespace.
func (b *box) do(f func() error) {
	b.t.Helper()
	done := make(chan error)
	b.calls <- func() { done <- f() }
	if err := <-done; err != nil {
		b.t.Fatal(err)
	}
}

// namespace makes what the slot's process makes, on the thread it is called on.
func namespace() (*sandbox.Namespace, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	n := &sandbox.Namespace{}
	open := func(name string, flags int) (*os.File, error) {
		fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
		return os.NewFile(uintptr(fd), name), err
	}
	socket := func(family, kind, proto int) (int, error) {
		s, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto)
		if err != nil || family == unix.AF_NETLINK {
			return s, err
		}
		err = errors.Join(unix.SetsockoptInt(s, unix.SOL_IP, unix.IP_FREEBIND, 1),
			unix.Bind(s, &unix.SockaddrInet4{Port: 53, Addr: sandbox.Resolver.As4()}))
		if err == nil && kind == unix.SOCK_STREAM {
			err = unix.Listen(s, 16)
		}
		return s, err
	}
	route, err1 := socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	udp, err2 := socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	tcp, err3 := socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	ns, err4 := open("/proc/thread-self/ns/net", unix.O_RDONLY)
	table, err5 := open("/proc/thread-self/net/tcp", unix.O_RDONLY)
	n.Route, n.NamesUDP, n.NamesTCP = os.NewFile(uintptr(route), "route"), os.NewFile(uintptr(udp), "udp"), os.NewFile(uintptr(tcp), "tcp")
	n.NS, n.Tables = ns, []*os.File{table}
	if tun, err := open("/dev/net/tun", unix.O_RDWR); err == nil {
		n.Tun = tun
	}
	s, err6 := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err6 == nil {
		defer unix.Close(s)
		r, _ := unix.NewIfreq("lo")
		r.SetUint16(unix.IFF_UP)
		err6 = unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
	}
	return n, errors.Join(err1, err2, err3, err4, err5, err6)
}

// addFar puts a Far in the place of the TUN device.
func addFar(n *sandbox.Namespace) error {
	err := n.Tun.Close()
	n.Tun, n.Far = nil, &sandbox.Far{}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and left so
		err := unix.Unshare(unix.CLONE_NEWNET)
		ns, err1 := os.Open("/proc/thread-self/ns/net")
		route, err2 := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		packets, err3 := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		n.Far.NS, n.Far.Route, n.Far.Packets = ns, os.NewFile(uintptr(route), "route"), os.NewFile(uintptr(packets), "packets")
		done <- errors.Join(err, err1, err2, err3)
	}()
	return errors.Join(err, <-done)
}

// listen listens in the box and serves each connection with f.
func (b *box) listen(port int, f func(net.Conn)) {
	b.t.Helper()
	var l net.Listener
	b.do(func() (err error) {
		l, err = net.Listen("tcp4", "0.0.0.0:"+strconv.Itoa(port))
		return err
	})
	var serving sync.WaitGroup
	ctx, end := context.WithCancel(context.Background()) // what it talks to may be gone without a word
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer context.AfterFunc(ctx, func() { c.Close() })()
				defer c.Close()
				f(c)
			})
		}
	})
	b.t.Cleanup(func() {
		end()
		l.Close()
		serving.Wait()
	})
}

// dial connects from the box.
func (b *box) dial(network, addr string) (c net.Conn, err error) {
	b.do(func() error {
		d := net.Dialer{Timeout: 20 * time.Second}
		c, err = d.Dial(network, addr)
		return nil
	})
	if err == nil {
		b.t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(30 * time.Second))
	}
	return c, err
}

// lookUp asks the box's resolver, over UDP or over TCP.
func (b *box) lookUp(network, name string) ([]string, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return b.dial(network, fmt.Sprintf("%s:53", sandbox.Resolver))
	}}
	return r.LookupHost(soon(b.t), name+".")
}

func (b *box) addr(port int) string { return net.JoinHostPort(b.e.Addr().String(), strconv.Itoa(port)) }

// brief bounds waits that nothing ends.
func brief(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// sayBack sends every datagram back until the socket is closed.
func sayBack(c net.PacketConn) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		c.WriteTo(buf[:n], from)
	}
}
