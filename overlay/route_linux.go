package overlay

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/sandbox"
)

// loIndex is the index of lo in every namespace.
const loIndex = 1

// configure gives a namespace with a device its addresses and its only route, by one message to the
// kernel.
func configure(n *sandbox.Namespace, addr address, mtu int, flags uint32) error {
	index, err := indexOf(int(n.NamesUDP.Fd()))
	if err != nil {
		return fmt.Errorf("finding %s: %w", deviceName, err)
	}
	var b batch
	b.address(loIndex, sandbox.Resolver.As4())
	b.link(index, mtu, flags)
	b.address(index, addr.bytes())
	b.route(index, addr.bytes())
	if err := b.do(int(n.Route.Fd())); err != nil {
		return fmt.Errorf("configuring %s: %w", deviceName, err)
	}
	return nil
}

// indexOf asks for the index of the device in the namespace of a socket.
func indexOf(socket int) (int, error) {
	r, err := unix.NewIfreq(deviceName)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFINDEX, r); err != nil {
		return 0, err
	}
	return int(r.Uint32()), nil
}

// A batch is a number of rtnetlink(7) messages.
type batch struct {
	b     []byte
	count uint32
}

// message appends one, whose attributes f appends.
func (b *batch) message(kind, flags uint16, body []byte, f func()) {
	at := len(b.b)
	b.count++
	b.b = binary.NativeEndian.AppendUint32(b.b, 0) // the length
	b.b = binary.NativeEndian.AppendUint16(b.b, kind)
	b.b = binary.NativeEndian.AppendUint16(b.b, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b.b = binary.NativeEndian.AppendUint32(b.b, b.count)
	b.b = binary.NativeEndian.AppendUint32(b.b, 0)
	b.b = append(b.b, body...)
	f()
	binary.NativeEndian.PutUint32(b.b[at:], uint32(len(b.b)-at))
}

// attribute appends one with a value, or with attributes that f appends.
func (b *batch) attribute(kind uint16, value []byte, f func()) {
	at := len(b.b)
	b.b = binary.NativeEndian.AppendUint16(b.b, 0)
	b.b = binary.NativeEndian.AppendUint16(b.b, kind)
	b.b = append(b.b, value...)
	if f != nil {
		f()
	}
	binary.NativeEndian.PutUint16(b.b[at:], uint16(len(b.b)-at))
	for len(b.b)%unix.NLMSG_ALIGNTO != 0 {
		b.b = append(b.b, 0)
	}
}

func number(n int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

// link sets a device up, with more flags, without an address of IPv6: the kernel would send from it at once.
func (b *batch) link(index, mtu int, flags uint32) {
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	binary.NativeEndian.PutUint32(body[8:], unix.IFF_UP|flags)
	binary.NativeEndian.PutUint32(body[12:], unix.IFF_UP|flags)
	const addrGenNone = 1 // IN6_ADDR_GEN_MODE_NONE
	b.message(unix.RTM_NEWLINK, 0, body, func() {
		b.attribute(unix.IFLA_MTU, number(mtu), nil)
		b.attribute(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED, nil, func() {
			b.attribute(unix.AF_INET6|unix.NLA_F_NESTED, nil, func() {
				b.attribute(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{addrGenNone}, nil)
			})
		})
	})
}

func (b *batch) address(index int, addr [4]byte) {
	body := []byte{unix.AF_INET, 32, 0, unix.RT_SCOPE_UNIVERSE}
	body = append(body, number(index)...)
	b.message(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body, func() {
		b.attribute(unix.IFA_LOCAL, addr[:], nil)
		b.attribute(unix.IFA_ADDRESS, addr[:], nil)
	})
}

// route sends all to the device, which has no neighbours to be found.
func (b *batch) route(index int, from [4]byte) {
	body := []byte{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0}
	b.message(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body, func() {
		b.attribute(unix.RTA_OIF, number(index), nil)
		b.attribute(unix.RTA_PREFSRC, from[:], nil)
	})
}

// do sends the messages and waits for what the kernel says to each.
func (b *batch) do(socket int) error {
	limit := unix.NsecToTimeval((10 * time.Second).Nanoseconds()) // it answers at once
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return err
	}
	if err := unix.Sendto(socket, b.b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 16<<10)
	for left := b.count; left > 0; {
		n, _, err := unix.Recvfrom(socket, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		for m := buf[:n]; len(m) >= unix.SizeofNlMsghdr+4; left-- {
			size := int(binary.NativeEndian.Uint32(m))
			if binary.NativeEndian.Uint16(m[4:]) != unix.NLMSG_ERROR || size < unix.SizeofNlMsghdr+4 || size > len(m) {
				return unix.EBADMSG
			}
			if e := int32(binary.NativeEndian.Uint32(m[unix.SizeofNlMsghdr:])); e != 0 {
				return fmt.Errorf("step %d: %w", binary.NativeEndian.Uint32(m[8:]), unix.Errno(-e))
			}
			m = m[min(len(m), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
		}
	}
	return nil
}
