package overlay

import (
	"cmp"
	"net/netip"

	"gaggle/wire"
)

// Agents with planes (package wired) agree by questions of ProtocolAsk on how packets go between their
// hosts. One of the two, whose PeerID is the smaller, decides, so that they never differ for long: a
// packet is taken from a host only the way that leads back to it. Both set their routes by the one
// question of who has a packet; before, who decides may ask where the other's plane is, with From and To 0.
//
// An agent without a plane, or of a version that knows none, answers without a way. Then the packets go
// by the link.

// A Trouble is in the way of a plane, or makes it slow.
type Trouble struct {
	Fatal bool   // UsePlane fails
	What  string // what was found, and what it does
	Do    string // what a person can do; "" if nothing need be done
}

// A planeAt is where a host's plane is reached; nowhere if Here is empty.
type planeAt struct {
	Here []netip.AddrPort `cbor:"here,omitempty"`
	MTU  int              `cbor:"mtu,omitempty"` // of its slots, in bytes
}

// maxHere bounds how many addresses of a host are tried.
const maxHere = 4

// A way is what one agent tells the other of how packets go between them.
type way struct {
	Kind uint32         `cbor:"kind"` // a wired.Way: Direct, External or Agent
	From netip.AddrPort `cbor:"from"` // whose agent tells: where its plane is reached, and sends from
	To   netip.AddrPort `cbor:"to"`   // the same of the other
}

// A wayQuestion says that From, of the asker's host, talks to To.
type wayQuestion struct {
	Plane planeAt   `cbor:"plane"`
	From  address   `cbor:"from,omitempty"`
	To    address   `cbor:"to,omitempty"`
	Way   *way      `cbor:"way,omitempty"`  // if the asker decides
	Gone  []address `cbor:"gone,omitempty"` // of the asker's host, where they are no more
}

type wayAnswer struct {
	Plane planeAt `cbor:"plane"`
	There bool    `cbor:"there,omitempty"` // To is, and has a route to From
	Way   *way    `cbor:"way,omitempty"`   // nil if that of the question will not do
}

// comparePeers is the order by which is known who of two decides.
func comparePeers(p, q wire.PeerID) int { return cmp.Compare(string(p[:]), string(q[:])) }
