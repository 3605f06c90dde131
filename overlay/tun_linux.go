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
	"gaggle/wire"
)

const (
	deviceName = "eth0"
	// deviceMTU is below what any path between hosts takes (the mesh needs QUIC's 1,200 bytes and
	// has streams for the rest), and what a host with another kind of device has.
	deviceMTU = 1400
)

// Lay is as in sandbox.Networks.
func (a *Agent) Lay(n *sandbox.Namespace) (_ sandbox.Cable, err error) {
	e := &endpoint{agent: a, space: n}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if err := a.takeSlot(e); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.slots[e.slot].CompareAndSwap(e, nil)
		}
	}()
	var flags uint32
	var how string
	mtu := deviceMTU
	switch k := a.plane.Load(); {
	case k != nil:
		how = "a device of the kernel's plane"
		e.dev, err = k.lay(n)
		mtu = k.plane.MTU()
	case n.Tun != nil:
		how = "a TUN device"
		e.dev, err = openTun(n)
	case n.Far != nil:
		how = "a pair of devices, which is slower than a TUN device, but /dev/net/tun is closed"
		e.dev, err = openPair(n)
		flags = unix.IFF_NOARP
	default:
		err = wire.Errorf(wire.CauseSandbox, "load the module tun, and let everybody use it: sudo modprobe tun && sudo chmod 666 /dev/net/tun",
			"/dev/net/tun is closed, and there is nothing in its place")
	}
	if err != nil {
		return nil, err
	}
	if err := configure(n, e.addr, mtu, flags); err != nil {
		return nil, errors.Join(err, e.dev.Close())
	}
	a.how.Store(how)
	return e, nil
}

// vnetHead is the length of struct virtio_net_hdr, which stands before a packet of a TUN device with
// IFF_VNET_HDR, in the order of bytes of the machine.
const vnetHead = 10

// A tun is a TUN device.
type tun struct {
	f   *os.File
	in  []byte     // of Read
	mu  sync.Mutex // guards the field below
	out []byte     // of Write
}

// openTun makes the namespace's device, with the kernel's offloads: it hands over TCP in pieces of up
// to 64 KiB without checksums.
func openTun(n *sandbox.Namespace) (device, error) {
	var open *os.File
	open, n.Tun = n.Tun, nil
	defer open.Close()
	r, err := unix.NewIfreq(deviceName)
	if err != nil {
		return nil, err
	}
	r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(int(open.Fd()), unix.TUNSETIFF, r); err != nil {
		return nil, fmt.Errorf("making a TUN device: %w", err)
	}
	// Without those of UDP, which the other host's kernel may not know before Linux 6.2.
	const offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO_ECN
	if err := unix.IoctlSetInt(int(open.Fd()), unix.TUNSETOFFLOAD, offloads); err != nil {
		return nil, fmt.Errorf("setting the offloads of a TUN device: %w", err)
	}
	f, err := polled(open)
	if err != nil {
		return nil, err
	}
	return &tun{f: f, in: make([]byte, vnetHead+maxPacket), out: make([]byte, vnetHead+maxPacket)}, nil
}

// polled returns the same file once more, for Go's poller to wait for. That takes a descriptor in once,
// when there must be something to wait for already.
func polled(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicating a descriptor: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("setting a descriptor's mode: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Read is as in device.
func (t *tun) Read() (packet, error) {
	n, err := t.f.Read(t.in)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		n, err = rest(t.f, t.in)
	}
	if err != nil {
		return packet{}, err
	}
	return readVnet(t.in[:n]), nil
}

// rest reads what is left after Stop.
func rest(f *os.File, b []byte) (n int, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	// Control, not Read, which heeds the deadline.
	if e := c.Control(func(fd uintptr) { n, err = unix.Read(int(fd), b) }); e != nil {
		return 0, e
	}
	if err == unix.EAGAIN {
		return 0, io.EOF
	}
	return n, err
}

// Stop is as in device.
func (t *tun) Stop() { _ = t.f.SetReadDeadline(time.Unix(1, 0)) }

// Write is as in device.
func (t *tun) Write(p packet) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	writeVnet(t.out, &p)
	n := copy(t.out[vnetHead:], p.b)
	_, err := t.f.Write(t.out[:vnetHead+n])
	return err
}

// Close is as in device.
func (t *tun) Close() error { return t.f.Close() }

// The header's fields: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.
const (
	vnetNeedsSum = 1
	vnetTCP4     = 1
	vnetECN      = 0x80
)

// readVnet takes off what the kernel says of a packet.
func readVnet(b []byte) (p packet) {
	if len(b) < vnetHead {
		return packet{}
	}
	p.b = b[vnetHead:]
	if b[0]&vnetNeedsSum != 0 {
		p.kind |= kindSum
	}
	if b[1]&^vnetECN == vnetTCP4 {
		p.kind |= kindCut
		p.segment = binary.NativeEndian.Uint16(b[4:])
		if b[1]&vnetECN != 0 {
			p.kind |= kindECN
		}
	}
	return p
}

// writeVnet tells the kernel of a packet that is sound. All lengths are taken from the packet.
func writeVnet(b []byte, p *packet) {
	clear(b[:vnetHead])
	if p.kind == 0 {
		return
	}
	length, sum := p.heads()
	b[0] = vnetNeedsSum
	binary.NativeEndian.PutUint16(b[6:], ipHead)
	binary.NativeEndian.PutUint16(b[8:], uint16(sum))
	if p.kind&kindCut == 0 {
		return
	}
	b[1] = vnetTCP4
	if p.kind&kindECN != 0 {
		b[1] |= vnetECN
	}
	binary.NativeEndian.PutUint16(b[2:], uint16(length))
	binary.NativeEndian.PutUint16(b[4:], p.segment)
}
