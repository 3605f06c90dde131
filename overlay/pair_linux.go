package overlay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/sandbox"
)

// A pair is an Ethernet device whose other end lies in a namespace of nobody's, with a packet socket
// on it: what stands in for a TUN device where /dev/net/tun is closed, as in most containers. A socket
// has room for 200 KiB and drops what is more, so pieces are smaller than a TUN device's.
type pair struct {
	f   *os.File
	in  []byte
	mu  sync.Mutex // guards the field below
	out []byte
}

const (
	etherHead  = 14
	farName    = "far0"
	pairPieces = 16 << 10 // bytes that eth0 hands over at once
)

// etherAddr is eth0's. It has no neighbours: with IFF_NOARP the kernel sends to that itself.
var etherAddr = [6]byte{2, 'g', 'a', 'g', 0, 1}

// openPair makes a device in the namespace, and its other end.
func openPair(n *sandbox.Namespace) (*pair, error) {
	var b batch
	b.veth(int(n.Far.NS.Fd()))
	if err := b.do(int(n.Route.Fd())); err != nil {
		return nil, fmt.Errorf("making a pair of devices: %w", err)
	}
	s := int(n.Far.Packets.Fd())
	r, err := unix.NewIfreq(farName)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, r); err != nil {
		return nil, fmt.Errorf("finding the other end: %w", err)
	}
	index := int(r.Uint32())
	var up batch
	up.link(index, deviceMTU, 0)
	if err := up.do(int(n.Far.Route.Fd())); err != nil {
		return nil, fmt.Errorf("bringing the other end up: %w", err)
	}
	// Without the queue of the other end, which works only up to a second after eth0 is up.
	for _, o := range []int{unix.PACKET_VNET_HDR, unix.PACKET_IGNORE_OUTGOING, unix.PACKET_QDISC_BYPASS} {
		if err := unix.SetsockoptInt(s, unix.SOL_PACKET, o, 1); err != nil {
			return nil, fmt.Errorf("setting a packet socket up: %w", err)
		}
	}
	const ethernetIPv4 = unix.ETH_P_IP>>8 | unix.ETH_P_IP&0xff<<8
	if err := unix.Bind(s, &unix.SockaddrLinklayer{Protocol: ethernetIPv4, Ifindex: index}); err != nil {
		return nil, fmt.Errorf("binding a packet socket: %w", err)
	}
	f, err := polled(n.Far.Packets)
	if err != nil {
		return nil, err
	}
	size := vnetHead + etherHead + maxPacket
	p := &pair{f: f, in: make([]byte, size), out: make([]byte, size)}
	copy(p.out[vnetHead:], etherAddr[:])
	copy(p.out[vnetHead+6:], etherAddr[:])
	binary.BigEndian.PutUint16(p.out[vnetHead+12:], unix.ETH_P_IP)
	return p, nil
}

// Read is as in device.
func (p *pair) Read() (packet, error) {
	for {
		n, err := p.f.Read(p.in)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			n, err = rest(p.f, p.in)
		}
		if errors.Is(err, unix.ENETDOWN) { // once, from before the device was up
			continue
		}
		if err != nil {
			return packet{}, err
		}
		if n == 0 {
			return packet{}, io.EOF
		}
		if n < vnetHead+etherHead {
			continue
		}
		k := readVnet(p.in[:n])
		k.b = k.b[etherHead:]
		if len(k.b) >= ipHead { // short frames are padded
			k.b = k.b[:min(len(k.b), max(ipHead, int(binary.BigEndian.Uint16(k.b[2:]))))]
		}
		return k, nil
	}
}

// Stop is as in device.
func (p *pair) Stop() { _ = p.f.SetReadDeadline(time.Unix(1, 0)) }

// Write is as in device.
func (p *pair) Write(k packet) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	writeVnet(p.out, &k)
	if k.kind != 0 { // what is counted from the first byte
		for _, at := range []int{2, 6} {
			if v := binary.NativeEndian.Uint16(p.out[at:]); v != 0 {
				binary.NativeEndian.PutUint16(p.out[at:], v+etherHead)
			}
		}
	}
	n := copy(p.out[vnetHead+etherHead:], k.b)
	_, err := p.f.Write(p.out[:vnetHead+etherHead+n])
	return err
}

// Close is as in device.
func (p *pair) Close() error { return p.f.Close() }

// veth makes a pair of devices, of which one end goes to the namespace far.
func (b *batch) veth(far int) {
	const infoPeer = 1 // VETH_INFO_PEER
	b.message(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, make([]byte, unix.SizeofIfInfomsg), func() {
		b.attribute(unix.IFLA_IFNAME, []byte(deviceName+"\x00"), nil)
		b.attribute(unix.IFLA_ADDRESS, etherAddr[:], nil)
		b.attribute(unix.IFLA_GSO_MAX_SIZE, number(pairPieces), nil)
		b.attribute(unix.IFLA_LINKINFO|unix.NLA_F_NESTED, nil, func() {
			b.attribute(unix.IFLA_INFO_KIND, []byte("veth\x00"), nil)
			b.attribute(unix.IFLA_INFO_DATA|unix.NLA_F_NESTED, nil, func() {
				b.attribute(infoPeer|unix.NLA_F_NESTED, make([]byte, unix.SizeofIfInfomsg), func() {
					b.attribute(unix.IFLA_IFNAME, []byte(farName+"\x00"), nil)
					b.attribute(unix.IFLA_NET_NS_FD, number(far), nil)
				})
			})
		})
	})
}
