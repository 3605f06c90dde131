package overlay

import (
	"bytes"
	"testing"
)

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		host, slot uint16
		want       string
	}{{1, 1, "10.0.8.1"}, {8191, MaxSlot, "10.255.255.254"}, {37, 300, "10.1.41.44"}} {
		a := addressOf(c.host, c.slot)
		host, slot, ok := a.split()
		if a.ip().String() != c.want || host != c.host || slot != c.slot || !ok {
			t.Errorf("addressOf(%d, %d) = %s, want %s; and back %d, %d, %t", c.host, c.slot, a.ip(), c.want, host, slot, ok)
		}
	}
	for _, a := range []address{0, 10 << 24, 10<<24 | 1, 10<<24 | 1<<11, 10<<24 | 1<<11 | 2047, 10<<24 | 0xffffff, 11<<24 | 1<<11 | 1, 127<<24 | 1<<11 | 1} {
		if _, _, ok := a.split(); ok {
			t.Errorf("%s is taken for an endpoint", a.ip())
		}
	}
}

func FuzzPacket(f *testing.F) {
	syn := []byte{0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 8, 1, 10, 0, 16, 1, 1, 2, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0}
	f.Add(byte(1), uint16(0), syn)
	f.Add(byte(3), uint16(1360), append(bytes.Clone(syn), 1, 2, 3))
	f.Add(byte(0), uint16(0), []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 8, 1, 10, 0, 16, 1, 1, 2, 0, 80, 0, 8, 0, 0})
	f.Fuzz(func(t *testing.T, k byte, segment uint16, b []byte) {
		p := packet{kind: kind(k), segment: segment, b: b}
		if !p.ipv4() || !p.sound() {
			return
		}
		var head [10]byte
		writeVnet(head[:], &p)
		back := readVnet(append(head[:], b...))
		if back.kind != p.kind || back.segment != p.segment {
			t.Fatalf("kind %b of %d becomes %b of %d", p.kind, p.segment, back.kind, back.segment)
		}
		frame := appendFrame(nil, 0xabcdef, &p)
		if n, vni, q := readHead(frame); n != len(b) || vni != 0xabcdef || q.kind != p.kind || q.segment != p.segment {
			t.Fatalf("a frame is read as %d bytes of %x, %+v", n, vni, q)
		}
		if r, ok := p.refusal(codePort); ok {
			if !r.ipv4() || r.src() != p.dst() || r.dst() != p.src() || checksum(r.b[:ipHead], 0) != 0 {
				t.Fatalf("a refusal is %x", r.b)
			}
			if again, ok := r.refusal(codePort); ok {
				t.Fatalf("a refusal is refused by %x", again.b)
			}
		}
	})
}
