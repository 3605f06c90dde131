package overlay

import (
	"encoding/binary"
	"net/netip"

	"gaggle/wire"
)

const (
	slotBits = 11
	// prefix is 10.0.0.0/8.
	prefix     = 10 << 24
	prefixMask = 0xff << 24
)

// An address is an IPv4 address as a number.
type address uint32

// addressOf returns the address of a slot of a host.
func addressOf(host, slot uint16) address {
	return address(prefix | uint32(host)<<slotBits | uint32(slot))
}

// split returns where an endpoint is. It returns false if the address can be none's.
func (a address) split() (host, slot uint16, ok bool) {
	host = uint16(a >> slotBits & wire.MaxHost)
	slot = uint16(a & (1<<slotBits - 1))
	return host, slot, a&prefixMask == prefix && host != 0 && slot != 0 && slot <= MaxSlot
}

func (a address) bytes() (b [4]byte) {
	binary.BigEndian.PutUint32(b[:], uint32(a))
	return b
}

// addressAt returns the address that an IPv4 one is.
func addressAt(ip netip.Addr) address {
	b := ip.As4()
	return address(binary.BigEndian.Uint32(b[:]))
}

func (a address) ip() netip.Addr { return netip.AddrFrom4(a.bytes()) }
