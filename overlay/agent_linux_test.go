package overlay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gaggle/wire"
)

func echo(c net.Conn) { io.Copy(c, c) }

// checkEcho sends bytes over a connection and wants them back.
func checkEcho(t *testing.T, c net.Conn, n int) {
	t.Helper()
	want := bytes.Repeat([]byte("gaggle"), n/6+1)
	go func() {
		c.Write(want)
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came back of %d: %v", len(got), len(want), err)
	}
}

func TestMembersTalk(t *testing.T) {
	for name, far := range map[string]bool{"TUN devices": false, "a pair of devices": true} {
		t.Run(name, func(t *testing.T) { membersTalk(t, far) })
	}
}

// membersTalk has members on two hosts, of which one may be without /dev/net/tun.
func membersTalk(t *testing.T, far bool) {
	h := newHub(t)
	a, b := h.machine(t, 1), h.machine(t, 8191)
	b.far = far
	members := []wire.NetMember{a.member("Web", 0, 1), b.member("load", 0, 3), a.member("load", 1, 3), b.member("load", 2, 3)}
	learn(t, 7, members, a, b)
	web := a.join(7, 0)
	loads := []*box{b.join(7, 1), a.join(7, 2), b.join(7, 3)}
	web.listen(80, echo)
	loads[2].listen(80, echo) // the same port on the host of another member
	for i, load := range loads {
		for _, network := range []string{"udp", "tcp"} {
			got, err := load.lookUp(network, "web")
			if err != nil || !slices.Equal(got, []string{web.e.Addr().String()}) {
				t.Fatalf("load-%d finds web over %s at %v, %v, want %v", i, network, got, err, web.e.Addr())
			}
		}
		c, err := load.dial("tcp", web.addr(80))
		if err != nil {
			t.Fatalf("load-%d: %v", i, err)
		}
		checkEcho(t, c, 3<<20)
	}
	var want []string
	for _, l := range loads {
		want = append(want, l.e.Addr().String())
	}
	if got, err := web.lookUp("udp", "LOAD"); err != nil || !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("load is at %v, %v, want %v", got, err, want)
	}
	if got, err := web.lookUp("udp", "load-2"); err != nil || !slices.Equal(got, want[2:]) {
		t.Errorf("load-2 is at %v, %v, want %v", got, err, want[2:])
	}
	if got, err := web.lookUp("udp", "other"); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("other is at %v, %v", got, err)
	}
}

func TestDatagrams(t *testing.T) {
	h := newHub(t)
	a, b := h.machine(t, 1), h.machine(t, 2)
	b.far = true
	learn(t, 7, []wire.NetMember{a.member("a", 0, 1), b.member("b", 0, 1)}, a, b)
	one, two := a.join(7, 0), b.join(7, 1)
	var server net.PacketConn
	two.do(func() (err error) {
		server, err = net.ListenPacket("udp4", "0.0.0.0:53000")
		return err
	})
	defer server.Close()
	go sayBack(server)
	c, err := one.dial("udp", two.addr(53000))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	for _, size := range []int{1, 1372, 1373, 9000, 60_000} { // fragments from the third on
		want := bytes.Repeat([]byte{byte(size)}, size)
		if _, err := c.Write(want); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if err != nil || !bytes.Equal(buf[:n], want) {
			t.Fatalf("%d of %d bytes came back: %v", n, size, err)
		}
	}
}

// Who is not there refuses at once, and what was connected to it is reset.
func TestNobodyThere(t *testing.T) {
	h := newHub(t)
	a, b := h.machine(t, 1), h.machine(t, 2)
	members := []wire.NetMember{a.member("a", 0, 1), b.member("b", 0, 1), a.member("c", 0, 1)}
	learn(t, 7, members, a, b)
	learn(t, 8, members, a, b)
	one, two, three := a.join(7, 0), b.join(7, 1), a.join(8, 2)
	two.listen(80, func(c net.Conn) { io.Copy(io.Discard, c) })
	three.listen(80, echo)
	for _, to := range []struct {
		what, addr string
		want       error
	}{
		{"no such slot there", addressOf(2, 2000).ip().String() + ":80", syscall.ECONNREFUSED},
		{"no such slot here", addressOf(1, 2000).ip().String() + ":80", syscall.ECONNREFUSED},
		{"another network", three.addr(80), syscall.ECONNREFUSED},
		{"no such host", addressOf(3, 1).ip().String() + ":80", syscall.ENETUNREACH},
		{"outside", "192.0.2.1:80", syscall.ENETUNREACH},
	} {
		if _, err := one.dial("tcp", to.addr); !errors.Is(err, to.want) {
			t.Errorf("%s: %v, want %v", to.what, err, to.want)
		}
		c, err := one.dial("udp", to.addr)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("hello"))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, to.want) {
			t.Errorf("%s: datagrams: %v, want %v", to.what, err, to.want)
		}
	}
	c, err := one.dial("tcp", two.addr(80))
	if err != nil {
		t.Fatal(err)
	}
	two.out()
	for err == nil {
		_, err = c.Write([]byte("hello"))
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("after the other has gone: %v, want a reset", err)
	}
}
