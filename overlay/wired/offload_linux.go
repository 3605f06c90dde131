package wired

import (
	"encoding/binary"
	"errors"
)

// A Cut says how a packet is to be cut up into segments.
type Cut uint8

const (
	Whole  Cut = iota // it is not
	CutTCP            // as TCP does
	CutUDP            // into datagrams
)

// An Offload says what the kernel has left to be done to a packet, if it is ever to be done: from
// one slot to another it need not be.
type Offload struct {
	Sum     bool   // the checksum of TCP or UDP is that of the pseudo header, and yet to be completed
	Cut     Cut    // Sum is set if it is not Whole
	ECN     bool   // CutTCP: the first segment alone has CWR
	Segment uint16 // bytes of payload in each segment
}

// What struct virtio_net_hdr has in its first two bytes.
const (
	needsSum = 1
	gsoTCP4  = 1
	gsoUDP   = 5 // VIRTIO_NET_HDR_GSO_UDP_L4
	gsoECN   = 0x80
)

// parseOffload reads struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start,
// csum_offset, in the machine's order.
func parseOffload(b []byte) Offload {
	o := Offload{Sum: b[0]&needsSum != 0, ECN: b[1]&gsoECN != 0}
	switch b[1] &^ gsoECN {
	case gsoTCP4:
		o.Cut = CutTCP
	case gsoUDP:
		o.Cut = CutUDP
	}
	if o.Cut != Whole {
		o.Segment = native.Uint16(b[4:])
	}
	return o
}

var errOffload = errors.New("what is left to do does not fit the packet")

// put writes struct virtio_net_hdr before the packet of a frame. It takes all lengths from the
// packet, which may be of another machine.
func (o Offload) put(frame []byte) error {
	if o == (Offload{}) {
		return nil
	}
	packet := frame[Room:]
	const tcp, udp = 6, 17
	start := int(packet[0]&15) * 4
	protocol := packet[9]
	if !o.Sum || start < ipHeader || len(packet) < start+8 || binary.BigEndian.Uint16(packet[6:])&0x3fff != 0 {
		return errOffload
	}
	head, at := 8, 6 // of UDP: the length of its header, and where its checksum is
	switch protocol {
	case udp:
	case tcp:
		if at = 16; len(packet) < start+ipHeader {
			return errOffload
		}
		if head = int(packet[start+12]>>4) * 4; head < 20 {
			return errOffload
		}
	default:
		return errOffload
	}
	frame[0] = needsSum
	native.PutUint16(frame[6:], uint16(ethHead+start))
	native.PutUint16(frame[8:], uint16(at))
	if o.Cut == Whole {
		return nil
	}
	if o.Segment == 0 || len(packet) < start+head || (o.Cut == CutTCP) != (protocol == tcp) {
		return errOffload
	}
	frame[1] = gsoUDP
	if o.Cut == CutTCP {
		frame[1] = gsoTCP4
		if o.ECN {
			frame[1] |= gsoECN
		}
	}
	native.PutUint16(frame[2:], uint16(ethHead+start+head))
	native.PutUint16(frame[4:], o.Segment)
	return nil
}
