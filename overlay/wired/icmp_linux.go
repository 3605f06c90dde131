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

// refuseLarge tells a slot that its packet does not fit the MTU of the slot that it is for
// (RFC 1191), as a router would.
func (p *Plane) refuseLarge(f Frame) {
	var r planeRoute
	dst := netip.AddrFrom4([4]byte(f.Packet[16:20]))
	if p.objects.Routes.Lookup(planeKey{Vni: f.VNI, Ip: be(dst)}, &r) != nil || r.Mtu == 0 {
		return
	}
	header := int(f.Packet[0]&15) * 4
	quoted := f.Packet[:min(max(header, ipHeader)+8, len(f.Packet))]
	b := make([]byte, Room+ipHeader+8+len(quoted))
	m := b[Room+ipHeader:]
	m[0], m[1] = 3, 4 // destination unreachable, fragmentation needed
	binary.BigEndian.PutUint16(m[6:], r.Mtu)
	copy(m[8:], quoted)
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	putIPv4(b[Room:], 1, netip.AddrFrom4(Gateway), netip.AddrFrom4([4]byte(f.Packet[12:16])))
	if err := p.Deliver(f.VNI, b); err != nil {
		p.log.Debug("refusing a large packet", "error", err)
	}
}
