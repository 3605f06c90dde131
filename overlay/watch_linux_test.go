package overlay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	tcx "github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"gaggle/overlay/wired"
	"gaggle/wire"
)

// deafen has a site get no VXLAN by a device any more, until it hears again. Rules of a firewall would come
// after the plane's programs.
func (s *site) deafen(dev string) (hear func()) {
	s.t.Helper()
	const protocol, port = 14 + 9, 14 + 20 + 2 // where they stand in a frame
	drop, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadAbs(protocol, asm.Byte),
		asm.JNE.Imm(asm.R0, unix.IPPROTO_UDP, "pass"),
		asm.LoadAbs(port, asm.Half),
		asm.JNE.Imm(asm.R0, wired.DefaultPort, "pass"),
		asm.Mov.Imm(asm.R0, 2), // TCX_DROP
		asm.Return(),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("pass"), // TCX_NEXT
		asm.Return(),
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer drop.Close()
	var l tcx.Link
	s.do(func() error {
		i, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		l, err = tcx.AttachTCX(tcx.TCXOptions{Interface: i.Index, Program: drop, Attach: ebpf.AttachTCXIngress, Anchor: tcx.Head()})
		if errors.Is(err, ebpf.ErrNotSupported) {
			s.t.Log("no programs before the plane's: the kernel is older than 6.6")
		}
		return err
	})
	return func() { l.Close() }
}

// When the way between two hosts breaks under a connection it goes on by the mesh, whoever of the two
// sends, and whichever direction is broken; and back when the way is there again.
func TestWayBreaks(t *testing.T) {
	for _, c := range []struct {
		name               string
		sender, firstBroke bool // it is the host that decides, and it whose packets get lost
	}{{"who decides receives", false, false}, {"answers are lost", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x, y := newSite(t), newSite(t)
			connect(x, y, "192.168.77.1", "192.168.77.2")
			h := newHub(t)
			a, b := h.machine(t, 1), h.machine(t, 2)
			a.watchEvery, b.watchEvery = time.Second/5, time.Second/5
			a.on(x, cidr)
			b.on(y, cidr)
			decider, other := a, b
			if !a.plane.Load().decides(b.id) {
				decider, other = b, a
			}
			from, to := decider, other
			if !c.sender {
				from, to = other, decider
			}
			learn(t, 7, []wire.NetMember{from.member("from", 0, 1), to.member("to", 0, 1)}, a, b)
			one, two := from.join(7, 0), to.join(7, 1)
			const block = 64 << 10
			received := make(chan int)
			two.listen(80, func(c net.Conn) {
				buf := make([]byte, block)
				defer close(received)
				for i := 0; ; i++ {
					_, err := io.ReadFull(c, buf)
					if err == io.EOF {
						return
					}
					if err != nil || !bytes.Equal(buf, bytes.Repeat([]byte{byte(i)}, block)) {
						t.Errorf("block %d: %v, or other bytes", i, err)
						return
					}
					received <- i
				}
			})
			conn, err := one.dial("tcp", two.addr(80))
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Time{})
			sent := 0
			send := func() {
				t.Helper()
				if _, err := conn.Write(bytes.Repeat([]byte{byte(sent)}, block)); err != nil {
					t.Fatal(err)
				}
				sent++
				select {
				case _, ok := <-received:
					if !ok {
						t.FailNow()
					}
				case <-soon(t).Done():
					t.Fatalf("block %d does not arrive", sent)
				}
			}
			wantRoute := func(way wired.Way) {
				t.Helper()
				for _, m := range []*machine{a, b} {
					if r := m.Stats().Routes; r[way] != 1 || len(r) != 2 { // and that of the endpoint here
						t.Errorf("host %d has the routes %v, want one of way %s", m.host, r, way)
					}
				}
			}
			for range 20 {
				send()
			}
			wantRoute(wired.Direct)
			deaf, dev := x, deviceName
			if (decider == a) == c.firstBroke {
				deaf, dev = y, farName
			}
			hear := deaf.deafen(dev)
			for range 20 {
				send()
			}
			wantRoute(wired.Agent)
			hear()
			k := decider.plane.Load()
			p := k.pair(other.id)
			p.mu.Lock()
			p.path.until = time.Now() // so that nobody waits for half a minute
			p.mu.Unlock()
			waitUntil(t, "packets to go the old way again", func() bool {
				send()
				return a.Stats().Routes[wired.Direct] > 0 && b.Stats().Routes[wired.Direct] > 0
			})
			for range 20 {
				send()
			}
			wantRoute(wired.Direct)
			conn.Close()
			if _, more := <-received; more {
				t.Error("a block arrives that was not sent")
			}
		})
	}
}

// A way breaks while nothing goes by it, so that the host which decides does not look, and then only the other
// sends.
func TestIdleWayBreaks(t *testing.T) {
	t.Parallel()
	x, y := newSite(t), newSite(t)
	connect(x, y, "192.168.77.1", "192.168.77.2")
	h := newHub(t)
	a, b := h.machine(t, 1), h.machine(t, 2)
	a.watchEvery, b.watchEvery = time.Second/5, time.Second/5
	a.on(x, cidr)
	b.on(y, cidr)
	decider, other, deaf, dev := a, b, x, deviceName
	if !a.plane.Load().decides(b.id) {
		decider, other, deaf, dev = b, a, y, farName
	}
	learn(t, 7, []wire.NetMember{other.member("from", 0, 1), decider.member("to", 0, 1)}, a, b)
	one, two := other.join(7, 0), decider.join(7, 1)
	go sayBack(two.receives())
	conn, err := one.dial("udp", two.addr(7777))
	if err != nil {
		t.Fatal(err)
	}
	exchange := func() bool {
		m := []byte("x")
		conn.SetDeadline(time.Now().Add(time.Second / 5))
		_, _ = conn.Write(m)
		_, err := conn.Read(m)
		return err == nil
	}
	waitUntil(t, "an answer", exchange)
	a.wantWay(wired.Direct, 1)
	waitUntil(t, "the way to be idle", func() bool { return len(decider.plane.Load().used()) == 0 })
	deaf.deafen(dev)
	waitUntil(t, "an answer by the mesh", exchange)
}
