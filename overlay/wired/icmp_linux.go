package wired

import (
	"encoding/binary"
	"net/netip"
)

// putIPv4 writes the header of a packet that fills b.
func putIPv4(b []byte, protocol byte, src, dst netip.Addr) {
	s, d := src.As4(), dst.As4()
	copy(b, []byte{0x45, 0, byte(len(b) >> 8), byte(len(b)), 0, 0, 0x40, 0, 64, protocol, 0, 0})
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[10:], checksum(b[:ipHeader]))
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

const (
	hostUnreachable     = 1 // codes of ICMP's "destination unreachable"
	fragmentationNeeded = 4
)

// refuseLarge tells a slot that its packet does not fit the MTU of the slot that it is for
// (RFC 1191), as a router would.
func (p *Plane) refuseLarge(f Frame) {
	var r planeRoute
	dst := netip.AddrFrom4([4]byte(f.Packet[16:20]))
	p.gate.RLock()
	err := p.objects.Routes.Lookup(planeKey{Vni: f.VNI, Ip: be(dst)}, &r)
	p.gate.RUnlock()
	if err == nil && r.Mtu > 0 {
		p.unreachable(f, fragmentationNeeded, r.Mtu)
	}
}

// refuse tells a slot that nobody has the address, so that it does not wait.
func (p *Plane) refuse(f Frame) { p.unreachable(f, hostUnreachable, 0) }

// unreachable answers a packet in the name of whom it is for (RFC 792). Of ICMP only questions of
// ping are answered, of fragments only the first.
func (p *Plane) unreachable(f Frame, code byte, mtu uint16) {
	header := max(int(f.Packet[0]&15)*4, ipHeader)
	const icmp, echo = 1, 8
	if len(f.Packet) < header+8 || f.Packet[9] == icmp && f.Packet[header] != echo ||
		binary.BigEndian.Uint16(f.Packet[6:])&0x1fff != 0 {
		return
	}
	quoted := f.Packet[:header+8]
	b := make([]byte, Room+ipHeader+8+len(quoted))
	m := b[Room+ipHeader:]
	m[0], m[1] = 3, code
	binary.BigEndian.PutUint16(m[6:], mtu)
	copy(m[8:], quoted)
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	src, dst := [4]byte(f.Packet[12:16]), [4]byte(f.Packet[16:20])
	putIPv4(b[Room:], icmp, netip.AddrFrom4(dst), netip.AddrFrom4(src))
	if err := p.Answer(f.VNI, b, Offload{}); err != nil {
		p.log.Debug("refusing a packet", "error", err)
	}
}
