package overlay

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/overlay/wired"
	"gaggle/wire"
)

// syn builds the first packet of a TCP connection.
func syn(from, to address, port uint16) []byte {
	f, d := from.bytes(), to.bytes()
	turned := packet{b: slices.Concat(make([]byte, 12), d[:], f[:])}
	p := turned.answer(protoTCP, tcpHead)
	u := p.b[ipHead:]
	binary.BigEndian.PutUint16(u, 9)
	binary.BigEndian.PutUint16(u[2:], port)
	u[12], u[13] = tcpHead/4<<4, 2 // no options, SYN
	pseudo := slices.Concat(f[:], d[:], []byte{0, protoTCP, 0, tcpHead})
	binary.BigEndian.PutUint16(u[16:], checksum(slices.Concat(pseudo, u), 0))
	return p.b
}

// flood has the box send packets, one after the other and all again, as fast as it can until the
// function that it returns is called, which says how many those were.
func (b *box) flood(packets [][]byte) (end func() int) {
	b.t.Helper()
	var s int
	b.do(func() (err error) {
		s, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	ctx, cancel := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sent := 0
	sending.Go(func() {
		for ctx.Err() == nil {
			for _, p := range packets {
				var to unix.SockaddrInet4
				copy(to.Addr[:], p[16:20])
				if unix.Sendto(s, p, unix.MSG_DONTWAIT, &to) == nil { // else the device is full
					sent++
				}
			}
		}
	})
	end = sync.OnceValue(func() int {
		cancel()
		sending.Wait()
		unix.Close(s)
		return sent
	})
	b.t.Cleanup(func() { end() })
	return end
}

// flooded is a network whose member on a sends to whoever is not there, and pairs of another network
// on the same two hosts.
type flooded struct {
	a, b  *machine
	bad   *box
	junk  [][]byte
	pairs [][2]*box
}

func newFlooded(t testing.TB, a, b *machine, pairs int) *flooded {
	f := &flooded{a: a, b: b}
	learn(t, 7, []wire.NetMember{a.member("bad", 0, 1), b.member("closed", 0, 1)}, a, b)
	var members []wire.NetMember
	for i := range pairs {
		members = append(members, a.member("x", i, pairs), b.member("y", i, pairs))
	}
	learn(t, 8, members, a, b)
	f.bad = a.join(7, 0)
	closed, me := b.join(7, 1).e.addr, f.bad.e.addr
	for slot := range uint16(1000) {
		for _, to := range []address{addressOf(2, 1000+slot), addressOf(1, 1000+slot), closed} {
			f.junk = append(f.junk, datagram(me, to, "junk"), syn(me, to, 1000+slot))
		}
	}
	for i := range pairs {
		p := [2]*box{a.join(8, 2*i), b.join(8, 2*i+1)}
		in := p[1].receives()
		go func() {
			buf := make([]byte, 100)
			for {
				n, from, err := in.ReadFrom(buf)
				if err != nil {
					return
				}
				in.WriteTo(buf[:n], from)
			}
		}()
		f.pairs = append(f.pairs, p)
	}
	return f
}

// first returns how long the first packet of each pair takes there and back, one pair after the other.
func (f *flooded) first(t testing.TB) (all []time.Duration) {
	t.Helper()
	for _, m := range []*machine{f.a, f.b} {
		if k := m.plane.Load(); k != nil {
			k.forget(8)
		}
	}
	for _, p := range f.pairs {
		c, err := p[0].dial("udp", fmt.Sprintf("%s:7777", p[1].e.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		began := time.Now()
		for answered := false; !answered; {
			if time.Since(began) > 30*time.Second {
				t.Fatal("the first packet is not answered")
			}
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Now().Add(time.Second))
			_, err := c.Read(buf)
			answered = err == nil
		}
		all = append(all, time.Since(began))
		c.Close()
	}
	return all
}

// planes are two hosts of each kind.
func planes(t testing.TB) map[string]func(testing.TB) (a, b *machine) {
	return map[string]func(testing.TB) (a, b *machine){
		"TUN devices": func(t testing.TB) (a, b *machine) {
			h := newHub(t)
			return h.machine(t, 1), h.machine(t, 2)
		},
		"kernel": twoSites,
	}
}

// Who sends to whom there is not as fast as it can is dropped and counted, and others are not.
func TestFlood(t *testing.T) {
	for name, two := range planes(t) {
		t.Run(name, func(t *testing.T) {
			a, b := two(t)
			f := newFlooded(t, a, b, 8)
			end := f.bad.flood(f.junk)
			f.first(t)
			dropped := func(m *machine, vni uint32) (sum uint64) {
				n := m.Stats().Networks[vni]
				n.Drops[DropNotIPv4], n.Kernel[wired.Protocol], n.Kernel[wired.Unbound] = 0, 0, 0 // a kernel looks for others by IPv6
				for _, d := range slices.Concat(n.Drops[:], n.Kernel[:]) {
					sum += d
				}
				return sum
			}
			if a.plane.Load() != nil {
				waitUntil(t, "misses to be bounded", func() bool { return a.Stats().Networks[7].Kernel[wired.Rate] > 0 })
			} else {
				waitUntil(t, "absent ones to be dropped", func() bool { return b.Stats().Networks[7].Drops[DropAbsent] > 0 })
			}
			sent := end()
			t.Logf("of %d packets %d were dropped here and %d there; %d missed", sent, dropped(a, 7), dropped(b, 7), a.Stats().Networks[7].Missed)
			if n := dropped(a, 8) + dropped(b, 8); n > 0 {
				x, y := a.Stats().Networks[8], b.Stats().Networks[8]
				t.Errorf("%d packets of the other network were dropped, by the agents %v and %v, by the kernels %v and %v", n, x.Drops, y.Drops, x.Kernel, y.Kernel)
			}
		})
	}
}

// BenchmarkFirstPacketBesideFlood has first packets of 16 pairs answered when all is quiet and beside
// another network's member that floods, in turns.
func BenchmarkFirstPacketBesideFlood(b *testing.B) {
	for name, two := range planes(b) {
		b.Run(name, func(b *testing.B) {
			x, y := two(b)
			f := newFlooded(b, x, y, 16)
			f.first(b)
			var quiet, beside []time.Duration
			sent, took := 0, time.Duration(0)
			for b.Loop() {
				quiet = append(quiet, f.first(b)...)
				end, began := f.bad.flood(f.junk), time.Now()
				time.Sleep(300 * time.Millisecond)
				beside = append(beside, f.first(b)...)
				took += time.Since(began)
				sent += end()
				time.Sleep(300 * time.Millisecond)
			}
			slices.Sort(quiet)
			slices.Sort(beside)
			at := func(all []time.Duration, part float64) float64 {
				return float64(all[int(part*float64(len(all)-1))].Microseconds())
			}
			b.ReportMetric(at(quiet, 0.5), "us-median")
			b.ReportMetric(at(beside, 0.5), "us-median-flooded")
			b.ReportMetric(at(quiet, 0.99), "us-99")
			b.ReportMetric(at(beside, 0.99), "us-99-flooded")
			b.ReportMetric(float64(sent)/took.Seconds()/1000, "kpackets/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
