package overlay

import (
	"encoding/binary"
)

// IPv4 and what it carries, as far as it matters here (RFC 791, 792, 768, 9293).
const (
	ipHead  = 20 // packets with options are not taken: no program needs them, and some lead astray
	tcpHead = 20
	udpHead = 8

	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17

	icmpUnreachable = 3
	codePort        = 3 // nobody is there: Linux has programs know of this at once, but not of 0 and 1
	codeNetwork     = 6 // nor could anybody be

	maxPacket = 1<<16 - 1
)

// A kind says what is left to do with a packet, as the frames between hosts do: see the package
// comment.
type kind byte

const (
	kindSum kind = 1 << 0
	kindCut kind = 1 << 1
	kindECN kind = 1 << 2
)

// A packet is an IPv4 packet and what is left to do with it.
type packet struct {
	kind    kind
	segment uint16 // bytes of payload in each, if it is to be cut up
	b       []byte
}

func (p *packet) src() address { return address(binary.BigEndian.Uint32(p.b[12:])) }
func (p *packet) dst() address { return address(binary.BigEndian.Uint32(p.b[16:])) }
func (p *packet) proto() byte  { return p.b[9] }

// ipv4 reports whether p is one whole IPv4 packet without options. src, dst and proto ask for that.
func (p *packet) ipv4() bool {
	return len(p.b) >= ipHead && len(p.b) <= maxPacket && p.b[0] == 4<<4|ipHead/4 &&
		int(binary.BigEndian.Uint16(p.b[2:])) == len(p.b)
}

// fragment reports whether p is a part of a packet.
func (p *packet) fragment() bool { return binary.BigEndian.Uint16(p.b[6:])&0x3fff != 0 }

// heads returns the length of all headers and where in the last one the checksum is; 0 unless the
// packet is whole TCP or UDP.
func (p *packet) heads() (length, sum int) {
	if p.fragment() {
		return 0, 0
	}
	body := p.b[ipHead:]
	switch {
	case p.proto() == protoTCP && len(body) >= tcpHead:
		if n := int(body[12]>>4) * 4; n >= tcpHead && n <= len(body) {
			return ipHead + n, 16
		}
	case p.proto() == protoUDP && len(body) >= udpHead:
		return ipHead + udpHead, 6
	}
	return 0, 0
}

// minSegment is the least that a packet is cut up into: less would be many packets of nothing.
const minSegment = 48

// sound reports whether what is left to do can be done. The kernel checks as well, but what a peer
// says should not get that far.
func (p *packet) sound() bool {
	if p.kind == 0 {
		return p.segment == 0
	}
	length, _ := p.heads()
	if p.kind&kindSum == 0 || length == 0 {
		return false
	}
	switch p.kind &^ (kindSum | kindECN) {
	case 0:
		return p.segment == 0 && p.kind&kindECN == 0
	case kindCut:
		return p.proto() == protoTCP && p.segment >= minSegment && len(p.b) > length
	}
	return false
}

// frameHead is the length of what stands before a packet between hosts.
const frameHead = 8

// appendFrame appends a packet of a network as it goes to another host.
func appendFrame(b []byte, vni uint32, p *packet) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.b)))
	b = append(b, byte(p.kind), byte(vni>>16), byte(vni>>8), byte(vni))
	b = binary.BigEndian.AppendUint16(b, p.segment)
	return append(b, p.b...)
}

// readHead reads what stands before a packet.
func readHead(b []byte) (length int, vni uint32, p packet) {
	p.kind, p.segment = kind(b[2]), binary.BigEndian.Uint16(b[6:])
	return int(binary.BigEndian.Uint16(b)), uint32(b[3])<<16 | uint32(b[4])<<8 | uint32(b[5]), p
}

// checksum is the Internet checksum (RFC 1071) of b on top of the sum of more.
func checksum(b []byte, more uint32) uint16 {
	s := more
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// answer returns an empty packet with room for n bytes that goes back to where p came from, from
// where p was to go.
func (p *packet) answer(proto byte, n int) packet {
	b := make([]byte, ipHead+n)
	b[0], b[8], b[9] = 4<<4|ipHead/4, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[6:], 0x4000) // not to be cut up
	copy(b[12:], p.b[16:20])
	copy(b[16:], p.b[12:16])
	binary.BigEndian.PutUint16(b[10:], checksum(b[:ipHead], 0))
	return packet{b: b}
}

// refusal returns what tells the sender of p that nobody is there, as if the port was closed, which
// ends connections of TCP, or that this is no address. It returns false for what must not be
// answered: refusals themselves, later fragments, and what cannot be understood.
func (p *packet) refusal(code byte) (packet, bool) {
	body := p.b[ipHead:]
	switch {
	case p.proto() == protoTCP && code == codePort:
		if length, _ := p.heads(); length != 0 {
			return p.reset(length)
		}
		return packet{}, false
	case binary.BigEndian.Uint16(p.b[6:])&0x1fff != 0:
		return packet{}, false
	case p.proto() == protoICMP && (len(body) < 8 || body[0] != 8): // an echo request asks for an answer
		return packet{}, false
	}
	quote := p.b[:min(len(p.b), ipHead+8)]
	r := p.answer(protoICMP, 8+len(quote))
	m := r.b[ipHead:]
	m[0], m[1] = icmpUnreachable, code
	copy(m[8:], quote)
	binary.BigEndian.PutUint16(m[2:], checksum(m, 0))
	return r, true
}

// reset returns the answer of a closed port to a TCP segment with headers of that length (RFC 9293,
// 3.10.7.1).
func (p *packet) reset(length int) (packet, bool) {
	const fin, syn, rst, ack = 1, 2, 4, 16
	t := p.b[ipHead:]
	flags := t[13]
	if flags&rst != 0 {
		return packet{}, false
	}
	r := p.answer(protoTCP, tcpHead)
	o := r.b[ipHead:]
	copy(o[0:], t[2:4])
	copy(o[2:], t[0:2])
	o[12], o[13] = tcpHead/4<<4, rst
	if flags&ack != 0 {
		copy(o[4:], t[8:12])
	} else {
		o[13] |= ack
		n := uint32(len(p.b) - length)
		for _, f := range []byte{syn, fin} {
			if flags&f != 0 {
				n++
			}
		}
		binary.BigEndian.PutUint32(o[8:], binary.BigEndian.Uint32(t[4:])+n)
	}
	pseudo := uint32(protoTCP + tcpHead)
	for i := 12; i < ipHead; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(r.b[i:]))
	}
	binary.BigEndian.PutUint16(o[16:], checksum(o, pseudo))
	return r, true
}
