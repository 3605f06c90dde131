// Package wired is the data plane of tenant networks for nodes that run as root: the kernel moves
// the packets, by programs of BPF, and knows which slot is of which network only from maps.
//
// A Slot is one end of a veth pair, eth0 of a command's network namespace. Its other end is in the
// namespace of the node, has no address, and hands every packet to a program, which looks up where
// its destination is in the slot's network: another slot here, a slot of another host, or unknown.
// Nothing it sends ever reaches the host's own network code. To bind a slot to a network is to
// write two entries of maps.
//
//	slots   number of the slot    -> network (VNI), address
//	routes  network, IPv4 address -> way, remote and own underlay address, device, MTU, last use, counters
//	drops   number of the slot    -> packets dropped, by Reason
//
// Between hosts in trusted networks packets go as VXLAN (RFC 7348), in the clear:
//
//	Ethernet | IPv4 | UDP to port 7071 or what the other host says | VXLAN: 08 00 00 00, VNI (3), 00 | Ethernet | IPv4 packet
//
// The programs write these headers themselves (Direct), or have a device of the kernel's write them
// (External); what arrives is the same. It is given to a slot only if the route to its source
// leads to the host that sent it.
//
// Packets without a route, and those that the agent carries, pass between programs and agent as
// Ethernet frames on two TAPs:
//
//	struct virtio_net_hdr (10) | 02 | why | IPv4 of the other host, or 0 (4) | 02 | VNI (3) | slot (2) | 08 00 | IPv4 packet
//
// so that the agent need keep nothing of a packet that waits for its route: it hands the same bytes
// back (Resend). What the agent carries comes in pieces of up to 64 KiB of TCP, without checksums
// (Offload), and goes into the other slot as it is.
//
// The package knows nothing of peers, names and tasks; package overlay decides where routes lead.
package wired
