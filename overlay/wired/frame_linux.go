package wired

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// A Why says why the agent gets a frame.
type Why uint8

const (
	Miss     Why = 1 + iota // of a slot here, to an address without a route
	Stranger                // from another host to a slot here, from an address without a route
	tooBig                  // of a slot here, larger than its route takes
	Carry                   // of a slot here, to an address whose route leads to the agent
	deliver                 // from the agent to a slot
	probe                   // from another host, to try the path
	unwanted                // of a slot here, dropped because of its destination
	toAnswer                // from the agent to a slot, of its own
)

const (
	// Room is what a frame has before its packet, in bytes: struct virtio_net_hdr, and the Ethernet
	// header.
	Room     = vnetHead + ethHead
	vnetHead = 10
	ethHead  = 14

	// MaxPacket is how large a packet can be that is yet to be cut up.
	MaxPacket = 1<<16 - 1
)

// A Frame is a packet between slots and agent.
type Frame struct {
	Why    Why
	VNI    uint32     // never 0
	Slot   int        // the number of the slot here
	Remote netip.Addr // Stranger: underlay address of the host that sent it
	Packet []byte     // IPv4
	Offload
	raw []byte // Room and Packet
}

// A tap is a device whose other end is the agent. Its readers wait in poll, each with a thread:
// by the runtime's poller it would take another thread's waking up until a packet goes on.
type tap struct {
	fd   int
	stop int // an eventfd, readable once the tap is closed

	mu     sync.RWMutex // held for reading by who uses the descriptors
	closed bool
}

func newTAP(fd int) (*tap, error) {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("opening an eventfd: %w", err)
	}
	return &tap{fd: fd, stop: stop}, nil
}

// close wakes all readers and waits for them.
func (t *tap) close() error {
	one := native.AppendUint64(nil, 1)
	if _, err := unix.Write(t.stop, one); err != nil {
		return fmt.Errorf("stopping readers of frames: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return errors.Join(unix.Close(t.fd), unix.Close(t.stop))
}

// recv waits for a frame that the programs sent.
func (t *tap) recv(b []byte) (Frame, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return Frame{}, ErrClosed
	}
	for {
		n, err := unix.Read(t.fd, b)
		switch {
		case err == unix.EAGAIN:
			wait := []unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLIN}, {Fd: int32(t.stop), Events: unix.POLLIN}}
			if _, err := unix.Poll(wait, -1); err != nil && err != unix.EINTR {
				return Frame{}, fmt.Errorf("waiting for frames: %w", err)
			}
			if wait[1].Revents != 0 {
				return Frame{}, ErrClosed
			}
		case err == unix.EINTR:
		case err != nil:
			return Frame{}, fmt.Errorf("reading frames: %w", err)
		default:
			if f, ok := parseFrame(b[:n]); ok {
				return f, nil
			}
		}
	}
}

func (t *tap) send(b []byte) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return ErrClosed
	}
	if _, err := unix.Write(t.fd, b); err != nil {
		return fmt.Errorf("writing a frame: %w", err)
	}
	return nil
}

// parseFrame reads the header that the programs write; it is false for what the host's own
// stack may send on the device.
func parseFrame(b []byte) (Frame, bool) {
	if len(b) < Room+ipHeader {
		return Frame{}, false
	}
	e := b[vnetHead:Room]
	if e[0] != 2 || e[6] != 2 || e[12] != 8 || e[13] != 0 {
		return Frame{}, false
	}
	f := Frame{Why: Why(e[1]), VNI: uint32(e[7])<<16 | uint32(e[8])<<8 | uint32(e[9]),
		Slot: int(e[10])<<8 | int(e[11]), Packet: b[Room:], Offload: parseOffload(b), raw: b}
	if f.Why == Stranger || f.Why == probe {
		f.Remote = netip.AddrFrom4([4]byte(e[2:6]))
	}
	return f, f.VNI != 0 && f.Why >= Miss && f.Why < toAnswer && f.Why != deliver
}

// putHeader writes the header of a frame of the agent's into its Room.
func putHeader(b []byte, why Why, vni uint32) {
	clear(b[:vnetHead])
	copy(b[vnetHead:Room], []byte{2, byte(why), 0, 0, 0, 0, 2, byte(vni >> 16), byte(vni >> 8), byte(vni), 0, 0, 8, 0})
}

// RecvMiss waits for a packet that has no route: a Miss or a Stranger. It is read into b, which
// should have Room and the plane's MTU. The agent sets the route and gives the packet to Resend.
// Dealt with here are probes of other hosts, and packets that were dropped because they are too
// large for their route, or it leads nowhere: the slot is told by ICMP.
func (p *Plane) RecvMiss(b []byte) (Frame, error) {
	for {
		f, err := p.miss.recv(b)
		switch {
		case err != nil || f.Why == Miss || f.Why == Stranger:
			return f, err
		case f.Why == tooBig:
			p.refuseLarge(f)
		case f.Why == unwanted:
			p.refuse(f)
		case f.Why == probe:
			p.probed(f)
		}
	}
}

// Recv waits for a packet that the agent is to carry: one to an address whose route
// leads to the agent. It is read into b, which should have Room and MaxPacket: a packet
// that is to be cut up comes as a whole.
func (p *Plane) Recv(b []byte) (Frame, error) { return p.carry.recv(b) }

// Resend has a frame of RecvMiss go on, as if it came just now. If there still is no route it is
// dropped.
func (p *Plane) Resend(f Frame) error {
	if f.Why != Miss && f.Why != Stranger {
		return fmt.Errorf("frame that has not missed (%d) cannot be sent again", f.Why)
	}
	return p.miss.send(f.raw)
}

// Deliver gives a packet that the agent brought to the slot it is for. The frame b is Room followed by the IPv4 packet, which o speaks of. It is dropped, and
// counted, if its destination is not bound here, or its source has no route that leads to the agent.
// A packet that is not what o says is an error.
func (p *Plane) Deliver(vni uint32, b []byte, o Offload) error { return p.give(deliver, vni, b, o) }

// Answer is as Deliver, for packets that the agent makes itself: they may be from anywhere.
func (p *Plane) Answer(vni uint32, b []byte, o Offload) error { return p.give(toAnswer, vni, b, o) }

func (p *Plane) give(why Why, vni uint32, b []byte, o Offload) error {
	if len(b) < Room+ipHeader || len(b) > Room+MaxPacket || vni == 0 || vni > MaxVNI {
		return fmt.Errorf("no packet for network %d in %d bytes", vni, len(b))
	}
	putHeader(b, why, vni)
	if err := o.put(b); err != nil {
		return fmt.Errorf("packet for network %d: %w", vni, err)
	}
	return p.carry.send(b)
}
