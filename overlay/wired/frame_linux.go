package wired

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
)

// A Why says why the agent gets a frame.
type Why uint8

const (
	Miss     Why = 1 + iota // of a slot here, to an address without a route
	Stranger                // from another host to a slot here, from an address without a route
	tooBig                  // of a slot here, larger than its route takes
	Carry                   // of a slot here, to an address whose route leads to the agent, or to the Gateway
	deliver                 // from the agent to a slot
	probe                   // from another host, to try the path
)

// Room is what a frame has before its packet, in bytes.
const Room = 14

// A Frame is a packet between slots and agent.
type Frame struct {
	Why    Why
	VNI    uint32     // never 0
	Slot   int        // the number of the slot here
	Remote netip.Addr // Stranger: underlay address of the host that sent it
	Packet []byte     // IPv4
	raw    []byte     // Room and Packet
}

// A tap is a device whose other end is the agent.
type tap struct{ file *os.File }

func newTAP(f *os.File) *tap { return &tap{f} }

func (t *tap) close() error { return t.file.Close() }

// recv waits for a frame that the programs sent.
func (t *tap) recv(b []byte) (Frame, error) {
	for {
		n, err := t.file.Read(b)
		if err != nil {
			if errors.Is(err, os.ErrClosed) {
				err = ErrClosed
			}
			return Frame{}, fmt.Errorf("reading frames: %w", err)
		}
		if f, ok := parseFrame(b[:n]); ok {
			return f, nil
		}
	}
}

func (t *tap) send(b []byte) error {
	if _, err := t.file.Write(b); err != nil {
		if errors.Is(err, os.ErrClosed) {
			err = ErrClosed
		}
		return fmt.Errorf("writing a frame: %w", err)
	}
	return nil
}

// parseFrame reads the header that the programs write; it is false for what the host's own
// stack may send on the device.
func parseFrame(b []byte) (Frame, bool) {
	if len(b) < Room+20 || b[0] != 2 || b[6] != 2 || b[12] != 8 || b[13] != 0 {
		return Frame{}, false
	}
	f := Frame{Why: Why(b[1]), VNI: uint32(b[7])<<16 | uint32(b[8])<<8 | uint32(b[9]),
		Slot: int(b[10])<<8 | int(b[11]), Packet: b[Room:], raw: b}
	if f.Why == Stranger || f.Why == probe {
		f.Remote = netip.AddrFrom4([4]byte(b[2:6]))
	}
	return f, f.VNI != 0 && f.Why >= Miss && f.Why <= probe && f.Why != deliver
}

// putHeader writes the header of a frame of the agent's into its Room.
func putHeader(b []byte, why Why, vni uint32) {
	copy(b[:Room], []byte{2, byte(why), 0, 0, 0, 0, 2, byte(vni >> 16), byte(vni >> 8), byte(vni), 0, 0, 8, 0})
}

// RecvMiss waits for a packet that has no route: a Miss or a Stranger. It is read into b, which
// should have the plane's MTU and Room. The agent sets the route and gives the packet to Resend.
// Probes of other hosts and packets that are too large for their route are dealt with here.
func (p *Plane) RecvMiss(b []byte) (Frame, error) {
	for {
		f, err := p.miss.recv(b)
		switch {
		case err != nil || f.Why == Miss || f.Why == Stranger:
			return f, err
		case f.Why == tooBig:
			p.refuseLarge(f)
		case f.Why == probe:
			p.probed(f)
		}
	}
}

// Recv waits for a packet that the agent is to carry: one to the Gateway, or to an address
// whose route leads to the agent. It is read into b, which should have the plane's MTU and Room.
func (p *Plane) Recv(b []byte) (Frame, error) { return p.carry.recv(b) }

// Resend has a frame of RecvMiss go on, as if it came just now. If there still is no route it is
// dropped.
func (p *Plane) Resend(f Frame) error {
	if f.Why != Miss && f.Why != Stranger {
		return fmt.Errorf("frame that has not missed (%d) cannot be sent again", f.Why)
	}
	return p.miss.send(f.raw)
}

// Deliver gives a packet that the agent brought, or that the Gateway answers, to the slot it is
// for. The frame b is Room followed by the IPv4 packet. It is dropped, and counted, if its destination
// is not bound here, or its source has no route that leads to the agent.
func (p *Plane) Deliver(vni uint32, b []byte) error {
	if len(b) < Room+20 || vni == 0 || vni > MaxVNI {
		return fmt.Errorf("no packet for network %d in %d bytes", vni, len(b))
	}
	putHeader(b, deliver, vni)
	return p.carry.send(b)
}
