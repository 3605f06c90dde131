package wired

import (
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel's headers call these and x/sys/unix does not have.
const (
	vethInfoPeer      = 1 // VETH_INFO_PEER
	inet6AddrGenMode  = 8 // IFLA_INET6_ADDR_GEN_MODE
	addrGenModeNone   = 1 // IN6_ADDR_GEN_MODE_NONE
	clsactHandle      = 0xffff0000
	clsactParent      = 0xfffffff1
	ingressParent     = 0xfffffff2 // the clsact qdisc's ingress
	vxlanPort         = 15         // IFLA_VXLAN_PORT, in network order
	vxlanLearning     = 7          // IFLA_VXLAN_LEARNING
	vxlanCollect      = 25         // IFLA_VXLAN_COLLECT_METADATA
	bpfFD             = 6          // TCA_BPF_FD
	bpfName           = 7          // TCA_BPF_NAME
	bpfFlags          = 8          // TCA_BPF_FLAGS
	bpfActDirect      = 1          // TCA_BPF_FLAG_ACT_DIRECT
	filterPriority    = 0x6767     // of our filters, that they be told from others'
	createNew         = unix.NLM_F_CREATE | unix.NLM_F_EXCL
	queuesOfSlot      = 1 // veth takes one for each CPU, all of which appear in sysfs
	eth0              = "eth0"
	offloads          = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO_ECN
	networkOrderProto = uint32(unix.ETH_P_ALL&0xff)<<8 | unix.ETH_P_ALL>>8
)

// SlotMAC is the Ethernet address of every slot's eth0. It has no ARP, so packets go from it to it
// whatever their destination, and nobody ever asks.
var SlotMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}

func setUp(index int) *message {
	return request(unix.RTM_NEWLINK, 0).link(index, unix.IFF_UP, unix.IFF_UP)
}

// quiet keeps IPv6 from giving the device an address, and so from asking around. There is no IPv6
// on a device of less than 1,280 bytes, or on some machines.
func quiet(index int) *message {
	m := request(unix.RTM_NEWLINK, 0).link(index, 0, 0)
	m.ok = unix.EAFNOSUPPORT
	return m.nest(unix.IFLA_AF_SPEC, func() {
		m.nest(unix.AF_INET6, func() { m.attr(inet6AddrGenMode, addrGenModeNone) })
	})
}

func setGroup(index int, group uint32) *message {
	return request(unix.RTM_NEWLINK, 0).link(index, 0, 0).number(unix.IFLA_GROUP, group)
}

func setMTU(index, mtu int) *message {
	return request(unix.RTM_NEWLINK, 0).link(index, 0, 0).number(unix.IFLA_MTU, uint32(mtu))
}

// removeGroup removes all devices of a group, all at once.
func removeGroup(group uint32) *message {
	return request(unix.RTM_DELLINK, 0).link(0, 0, 0).number(unix.IFLA_GROUP, group)
}

func removeLink(index int) *message { return request(unix.RTM_DELLINK, 0).link(index, 0, 0) }

// newVeth makes a veth pair, its host end of the given name and index, its other end eth0 in the
// namespace ns: it is born there, for to move it takes eleven times as long. Both ends are down: veth
// cannot be opened before it is a pair.
func newVeth(name string, index int, group uint32, mtu, ns int) *message {
	m := request(unix.RTM_NEWLINK, createNew).link(index, 0, 0)
	end := func(name string, mac net.HardwareAddr) {
		m.text(unix.IFLA_IFNAME, name)
		m.number(unix.IFLA_MTU, uint32(mtu))
		m.attr(unix.IFLA_ADDRESS, mac...)
		m.number(unix.IFLA_NUM_TX_QUEUES, queuesOfSlot)
		m.number(unix.IFLA_NUM_RX_QUEUES, queuesOfSlot)
	}
	end(name, net.HardwareAddr{2, 0, 0, 0, 0, 2})
	m.number(unix.IFLA_GROUP, group)
	return m.nest(unix.IFLA_LINKINFO, func() {
		m.attr(unix.IFLA_INFO_KIND, []byte("veth")...)
		m.nest(unix.IFLA_INFO_DATA, func() {
			m.nest(vethInfoPeer, func() {
				m.link(0, unix.IFF_NOARP, unix.IFF_NOARP)
				end(eth0, SlotMAC)
				m.number(unix.IFLA_NET_NS_FD, uint32(ns))
			})
		})
	})
}

// newVXLAN makes a device that takes tunnel and destination of each packet from BPF.
func newVXLAN(name string, index int, group uint32, mtu int, port uint16) *message {
	m := request(unix.RTM_NEWLINK, createNew).link(index, 0, 0).text(unix.IFLA_IFNAME, name)
	m.number(unix.IFLA_GROUP, group).number(unix.IFLA_MTU, uint32(mtu))
	return m.nest(unix.IFLA_LINKINFO, func() {
		m.attr(unix.IFLA_INFO_KIND, []byte("vxlan")...)
		m.nest(unix.IFLA_INFO_DATA, func() {
			m.attr(vxlanCollect, 1).attr(vxlanLearning, 0).attr(vxlanPort, byte(port>>8), byte(port))
		})
	})
}

// clsact gives a device the qdisc that programs are attached to; it queues nothing.
func clsact(index int, flags uint16) *message {
	return request(unix.RTM_NEWQDISC, flags).tc(index, clsactHandle, clsactParent, 0).text(unix.TCA_KIND, "clsact")
}

// filter attaches a program to what comes in from a device.
func filter(index int, handle uint32, program int, name string) *message {
	m := request(unix.RTM_NEWTFILTER, createNew).tc(index, handle, ingressParent, filterPriority<<16|networkOrderProto)
	m.text(unix.TCA_KIND, "bpf")
	return m.nest(unix.TCA_OPTIONS, func() {
		m.number(bpfFD, uint32(program)).text(bpfName, name).number(bpfFlags, bpfActDirect)
	})
}

func removeFilter(index int, handle uint32) *message {
	m := request(unix.RTM_DELTFILTER, 0).tc(index, handle, ingressParent, filterPriority<<16|networkOrderProto)
	return m.text(unix.TCA_KIND, "bpf")
}

// openTAP makes a TAP in the caller's namespace; it lasts as long as it is open. A large one takes and
// gives TCP and UDP in pieces of up to 64 KiB, and without checksums.
func openTAP(name string, index int, large bool) (fd int, err error) {
	fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	i := uint32(index)
	if err := ioctl(fd, unix.TUNSETIFINDEX, unsafe.Pointer(&i)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("choosing the index of TAP %s: %w", name, err)
	}
	var r ifreq
	copy(r.name[:], name)
	r.flags = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	if err := ioctl(fd, unix.TUNSETIFF, unsafe.Pointer(&r)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("making TAP %s: %w", name, err)
	}
	if !large {
		return fd, nil
	}
	// Kernels before 6.2 do not know segmentation of UDP.
	for _, flags := range []int{offloads | unix.TUN_F_USO4 | unix.TUN_F_USO6, offloads} {
		if err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags); err == nil {
			return fd, nil
		}
	}
	unix.Close(fd)
	return -1, fmt.Errorf("setting the offloads of TAP %s: %w", name, err)
}
