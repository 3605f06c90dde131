// SPDX-License-Identifier: GPL-2.0
// The data plane of tenant networks. Four programs share three maps:
//   from_slot   ingress of the host end of a slot's veth: what the slot sends
//   from_agent  ingress of the TAPs: what the agent gives back or brings
//   from_wire   ingress of a trusted underlay: VXLAN, unpacked here
//   from_vxlan  ingress of the "vxlan external" device, which only sends
// Formats are drawn in the package comment.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SLOTS 2048
#define ROUTES 65536
#define OTHERHOST 3

// What a route leads to.
enum { LOCAL = 1, DIRECT, EXTERNAL, AGENT, NOWHERE };

// Why a frame goes up to the agent, or comes from it.
enum { MISS = 1, STRANGER, TOOBIG, CARRY, DELIVER, PROBE, UNWANTED, ANSWER };

// Why a packet was dropped. Slot 0 counts those that have no slot.
enum { UNBOUND, PROTOCOL, SOURCE, OUTSIDE, RATE, UNROUTED, REFUSED, ABSENT, SPOOFED, MALFORMED, FAILED, REASONS };

struct tally {
	__u64 n[REASONS];
};

struct slot {
	__u32 vni;    // 0: bound to no network
	__be32 ip;    // the only source that it may use
	__u32 window; // in which it has missed
	__u32 misses; // so often
	__u32 turn;    // in which the agent has carried for it
	__u32 carried; // so many frames
};

struct key {
	__u32 vni;
	__be32 ip;
};

struct route {
	__u32 kind;
	__be32 remote; // underlay address of the host, if not LOCAL
	__be32 source; // underlay address of this host towards it
	__u32 dev;     // DIRECT: the underlay; LOCAL: the slot's host end
	__u16 mtu;     // largest IP packet, 0: any
	__be16 port;   // DIRECT: VXLAN's at the remote host
	__u32 used;    // when it was last used, in 2^30 ns of CLOCK_MONOTONIC
	__u64 tx_packets, tx_bytes, rx_packets, rx_bytes; // bytes of IP packets
	struct tally lost; // of packets that had this route, or came from where it leads
};

// frames that the agent carries for a slot in 2^24 ns: 15,000 a second, of up to 64 KiB
#define CARRIED 256

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC); // all of it would be 8 MB
	__uint(max_entries, ROUTES);
	__type(key, struct key);
	__type(value, struct route);
} routes SEC(".maps");

// tried are the ways to hosts that are being tried; the oldest make room.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __be32);
	__type(value, struct route);
} tried SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct tally);
} drops SEC(".maps");

const volatile __u32 first_dev;   // ifindex of slot 0's host end, had it one
const volatile __u32 miss_dev;    // TAP of frames without a route
const volatile __u32 carry_dev;   // TAP of frames that the agent carries
const volatile __u32 vxlan_dev;   // "vxlan external", 0: none
const volatile __u16 port;        // of VXLAN here
const volatile __u32 miss_burst;  // misses of a slot in a window of 2^28 ns
const volatile __u32 probe_vni;   // in which hosts try the path between them
const volatile __be32 here[4];    // underlay addresses of this host

struct pair {
	__be32 s, d;
};

struct encap {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	__be32 flags, vni;
} __attribute__((packed)); // the inner frame follows

// What a push adds: IP, UDP, VXLAN and the inner Ethernet header, which is as long as encap.
#define PUSH (sizeof(struct encap))

static __always_inline int drop(__u32 slot, __u32 why)
{
	struct tally *t = bpf_map_lookup_elem(&drops, &slot);

	if (t && why < REASONS)
		__sync_fetch_and_add(&t->n[why], 1);
	return TC_ACT_SHOT;
}

// lose drops a packet that has a route.
static __always_inline int lose(struct route *r, __u32 slot, __u32 why)
{
	if (why < REASONS)
		__sync_fetch_and_add(&r->lost.n[why], 1);
	return drop(slot, why);
}

static __always_inline struct route *find(__u32 vni, __be32 ip)
{
	struct key k = { vni, ip };

	return bpf_map_lookup_elem(&routes, &k);
}

// touch notes that a route is in use, without making its cache line dirty for each packet.
static __always_inline void touch(struct route *r)
{
	__u32 now = bpf_ktime_get_coarse_ns() >> 30;

	if (r->used != now)
		r->used = now;
}

// spend takes one of the misses that a slot has in a window.
static __always_inline int spend(struct slot *s)
{
	__u32 now = bpf_ktime_get_coarse_ns() >> 28;

	if (s->window != now) {
		s->window = now;
		s->misses = 0;
	}
	return __sync_fetch_and_add(&s->misses, 1) < miss_burst;
}

// up gives a frame to the agent. Its addresses become: 2, kind, remote; 2, VNI (3), slot (2).
static __always_inline int up(struct __sk_buff *skb, __u32 dev, __u8 kind, __be32 remote, __u32 vni, __u32 slot)
{
	__u8 h[12] = { 2, kind, 0, 0, 0, 0, 2, vni >> 16, vni >> 8, vni, slot >> 8, slot };

	__builtin_memcpy(h + 2, &remote, 4);
	if (bpf_skb_store_bytes(skb, 0, h, sizeof(h), 0))
		return drop(slot, FAILED);
	return bpf_redirect(dev, 0);
}

// refuse drops a packet, of a route if there is one, and has the slot be told, as often as it may miss.
static __always_inline int refuse(struct __sk_buff *skb, __u32 slot, struct slot *s, struct route *r, __u32 why)
{
	int dropped = r ? lose(r, slot, why) : drop(slot, why);

	return spend(s) ? up(skb, miss_dev, UNWANTED, 0, s->vni, slot) : dropped;
}

// enter gives a frame to a slot. It carries no address of the host end, so it was classed
// OTHERHOST, and redirect_peer does not class it again: the slot's IP would drop it.
static __always_inline int enter(struct __sk_buff *skb, __u32 dev)
{
	bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
	return bpf_redirect_peer(dev, 0);
}

static __always_inline int push(struct __sk_buff *skb, __u32 slot, __u32 vni, struct route *r)
{
	struct encap h = {};
	struct ethhdr inner;
	__u32 hash = bpf_get_hash_recalc(skb), plen = skb->len, sum, s = bpf_ntohl(r->source), d = bpf_ntohl(r->remote);

	if (bpf_skb_load_bytes(skb, 0, &inner, sizeof(inner)))
		return lose(r, slot, FAILED);
	// FIXED_GSO: the slot's MTU leaves room, so segments keep their size; without it GSO of UDP is
	// refused, too. ENCAP_L4_UDP and ENCAP_L2 make it a UDP tunnel with inner offsets, so that a
	// device that can does segmentation and checksums.
	if (bpf_skb_adjust_room(skb, PUSH, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 |
	    BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH |
	    BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return lose(r, slot, FAILED);
	h.eth.h_proto = bpf_htons(ETH_P_IP);
	h.ip.version = 4;
	h.ip.ihl = 5;
	h.ip.ttl = 64;
	h.ip.protocol = IPPROTO_UDP;
	h.ip.tot_len = bpf_htons(plen - ETH_HLEN + PUSH); // fits: gso_max_size is 65,536 and TCP keeps headers below it
	h.ip.saddr = r->source;
	h.ip.daddr = r->remote;
	// tos, id and frag_off are 0
	sum = 0x4500 + 0x4011 + plen - ETH_HLEN + PUSH + (s >> 16) + (s & 0xffff) + (d >> 16) + (d & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	h.ip.check = bpf_htons(~sum);
	h.udp.source = bpf_htons(32768 | ((hash ^ (hash >> 17)) & 0x7fff)); // spreads flows over queues and paths
	h.udp.dest = r->port;
	h.udp.len = bpf_htons(plen + sizeof(struct udphdr) + 8); // no checksum, as VXLAN allows
	h.flags = bpf_htonl(0x08000000);
	h.vni = bpf_htonl(vni << 8);
	if (bpf_skb_store_bytes(skb, 0, &h, sizeof(h), 0) || bpf_skb_store_bytes(skb, sizeof(h), &inner, sizeof(inner), 0))
		return lose(r, slot, FAILED);
	return bpf_redirect_neigh(r->dev, 0, 0, 0); // the kernel's tables fill in both addresses
}

static __always_inline int tunnel(struct __sk_buff *skb, __u32 slot, __u32 vni, struct route *r)
{
	struct bpf_tunnel_key t = { .tunnel_id = vni, .remote_ipv4 = bpf_ntohl(r->remote), .tunnel_ttl = 64 };

	if (bpf_skb_set_tunnel_key(skb, &t, sizeof(t), BPF_F_ZERO_CSUM_TX))
		return lose(r, slot, FAILED);
	return bpf_redirect(vxlan_dev, 0);
}

// inner reads the addresses of an IPv4 packet; they come before any options. A tag beside the
// packet would come out on the underlay.
static __always_inline int inner(struct __sk_buff *skb, struct pair *a)
{
	return skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present ||
	       bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, saddr), a, sizeof(*a));
}

// leave takes a packet from a slot to where its route leads. Again says that the agent has had
// it, so that it does not go in circles.
static __always_inline int leave(struct __sk_buff *skb, __u32 slot, struct slot *s, int again)
{
	__u32 vni = s->vni, to;
	struct slot *other;
	struct route *r;
	struct pair a;

	if (inner(skb, &a))
		return drop(slot, PROTOCOL);
	if (a.s != s->ip)
		return drop(slot, SOURCE);
	r = find(vni, a.d);
	if (!r) {
		if (again)
			return drop(slot, UNROUTED);
		if ((a.d & bpf_htonl(0xff000000)) != bpf_htonl(0x0a000000)) {
			if (bpf_ntohl(a.d) >= 0xe0000000) // nobody answers multicast and broadcast
				return drop(slot, OUTSIDE);
			return refuse(skb, slot, s, 0, OUTSIDE);
		}
		if (!spend(s))
			return drop(slot, RATE);
		return up(skb, miss_dev, MISS, 0, vni, slot);
	}
	touch(r);
	if (r->mtu && (skb->gso_size ? skb->gso_size + 28 : skb->len - ETH_HLEN) > r->mtu) {
		if (again || !spend(s))
			return lose(r, slot, RATE);
		return up(skb, miss_dev, TOOBIG, 0, vni, slot);
	}
	__sync_fetch_and_add(&r->tx_packets, 1);
	__sync_fetch_and_add(&r->tx_bytes, skb->len - ETH_HLEN);
	switch (r->kind) {
	case LOCAL:
		to = r->dev - first_dev;
		other = bpf_map_lookup_elem(&slots, &to);
		if (!other || other->vni != vni) // the slot has gone, its route not yet
			return lose(r, slot, UNROUTED);
		return enter(skb, r->dev);
	case DIRECT:
		return push(skb, slot, vni, r);
	case EXTERNAL:
		return tunnel(skb, slot, vni, r);
	case AGENT:
		to = bpf_ktime_get_coarse_ns() >> 24;
		if (s->turn != to) {
			s->turn = to;
			s->carried = 0;
		}
		if (__sync_fetch_and_add(&s->carried, 1) >= CARRIED)
			return lose(r, slot, RATE);
		return up(skb, carry_dev, CARRY, 0, vni, slot);
	}
	return refuse(skb, slot, s, r, REFUSED);
}

// accept checks a packet that came from another host: it must be for a slot that is here, from
// an address that lives where it came from: the host remote, or one that the agent speaks for. Before
// its IP packet are head bytes. It returns where to, or says why not in *why.
static __always_inline struct route *accept(struct __sk_buff *skb, __u32 head, __u32 vni, int agent, __be32 remote, struct pair *a, __u32 *slot, __u32 *why)
{
	struct route *d = find(vni, a->d), *s;
	struct slot *sl;

	*slot = 0;
	*why = ABSENT;
	if (!d || d->kind != LOCAL)
		return 0;
	*slot = d->dev - first_dev;
	sl = bpf_map_lookup_elem(&slots, slot);
	if (!sl || sl->vni != vni)
		return 0;
	s = find(vni, a->s);
	if (!s) {
		*why = spend(sl) ? REASONS /* ask */ : RATE;
		return d;
	}
	*why = SPOOFED;
	if (agent ? s->kind != AGENT : (s->kind != DIRECT && s->kind != EXTERNAL) || s->remote != remote) {
		__sync_fetch_and_add(&s->lost.n[SPOOFED], 1);
		return 0;
	}
	touch(s);
	__sync_fetch_and_add(&s->rx_packets, 1);
	__sync_fetch_and_add(&s->rx_bytes, skb->len - head);
	*why = 0;
	return d;
}

// probing bounds what other hosts ask, as if it were a slot's misses.
static __always_inline int probing(void)
{
	__u32 zero = 0;
	struct slot *s = bpf_map_lookup_elem(&slots, &zero);

	return s && spend(s);
}

static const __u8 slot_addresses[12] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1 };

SEC("tc") int from_slot(struct __sk_buff *skb)
{
	__u32 n = skb->ifindex - first_dev;
	struct slot *s = bpf_map_lookup_elem(&slots, &n);

	if (!s)
		return drop(0, UNBOUND);
	if (!s->vni)
		return drop(n, UNBOUND);
	return leave(skb, n, s, 0);
}

SEC("tc") int from_agent(struct __sk_buff *skb)
{
	__u32 vni, n, why;
	struct slot *s;
	struct route *d;
	struct pair a;
	__be32 remote;
	__u8 h[12];

	if (bpf_skb_load_bytes(skb, 0, h, sizeof(h)))
		return drop(0, MALFORMED);
	__builtin_memcpy(&remote, h + 2, 4);
	vni = h[7] << 16 | h[8] << 8 | h[9];
	n = h[10] << 8 | h[11];
	if (h[1] == MISS) {
		s = bpf_map_lookup_elem(&slots, &n);
		if (!s || !vni || s->vni != vni)
			return drop(0, UNBOUND);
		return leave(skb, n, s, 1);
	}
	if (inner(skb, &a))
		return drop(0, MALFORMED);
	if (h[1] == PROBE) {
		d = bpf_map_lookup_elem(&tried, &a.d);
		if (d && d->kind == DIRECT)
			return push(skb, 0, probe_vni, d);
		if (d && d->kind == EXTERNAL)
			return tunnel(skb, 0, probe_vni, d);
		return drop(0, UNROUTED);
	}
	if (h[1] == ANSWER) { // the agent's own, whatever its source
		d = find(vni, a.d);
		if (!d || d->kind != LOCAL)
			return drop(0, ABSENT);
	} else if (h[1] != DELIVER && h[1] != STRANGER) {
		return drop(0, MALFORMED);
	} else {
		d = accept(skb, ETH_HLEN, vni, h[1] == DELIVER, remote, &a, &n, &why);
		if (why)
			return drop(n, why == REASONS ? UNROUTED : why);
		if (!d)
			return drop(n, ABSENT);
	}
	if (bpf_skb_store_bytes(skb, 0, slot_addresses, sizeof(slot_addresses), 0))
		return drop(0, FAILED);
	return enter(skb, d->dev);
}

static __always_inline int mine(__be32 ip)
{
	return ip == here[0] || ip == here[1] || ip == here[2] || ip == here[3];
}

SEC("tc") int from_wire(struct __sk_buff *skb)
{
	__u32 vni, n, why, dev = 0;
	struct route *d;
	struct encap h;
	struct pair a;
	__be16 proto;

	// TC_ACT_UNSPEC: whoever is next in line, in the end the host.
	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->pkt_type == OTHERHOST || skb->vlan_present ||
	    bpf_skb_load_bytes(skb, 0, &h, sizeof(h)))
		return TC_ACT_UNSPEC;
	if (*(__u8 *)&h.ip != 0x45 || h.ip.protocol != IPPROTO_UDP || h.udp.dest != bpf_htons(port) ||
	    (h.ip.frag_off & bpf_htons(0x3fff)) || !mine(h.ip.daddr))
		return TC_ACT_UNSPEC;
	if (h.flags != bpf_htonl(0x08000000) || bpf_skb_load_bytes(skb, sizeof(h) + 12, &proto, 2) ||
	    proto != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, sizeof(h) + ETH_HLEN + 12, &a, sizeof(a)))
		return drop(0, MALFORMED);
	vni = bpf_ntohl(h.vni) >> 8;
	if (!vni)
		return drop(0, MALFORMED);
	if (vni != probe_vni) {
		d = accept(skb, sizeof(h) + ETH_HLEN, vni, 0, h.ip.saddr, &a, &n, &why);
		if (why && why != REASONS)
			return drop(n, why);
		if (!d)
			return drop(n, ABSENT);
		dev = d->dev;
	} else {
		if (!probing())
			return drop(0, RATE);
		n = 0;
		why = REASONS;
	}
	// Takes away what lies between the outer Ethernet header, which stays, and the inner packet.
	// A checksum that was found to be right was the outer one's, and is forgotten; one that is
	// yet to be made (PARTIAL) stays so.
	if (bpf_skb_adjust_room(skb, -(__s32)PUSH, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return drop(n, FAILED);
	if (why)
		return up(skb, miss_dev, vni == probe_vni ? PROBE : STRANGER, h.ip.saddr, vni, n);
	if (bpf_skb_store_bytes(skb, 0, slot_addresses, sizeof(slot_addresses), 0))
		return drop(n, FAILED);
	return enter(skb, dev);
}

// from_vxlan drops all: the device's socket listens on every interface, and only what from_wire has
// seen came by a trusted one.
SEC("tc") int from_vxlan(struct __sk_buff *skb)
{
	(void)skb;
	return drop(0, ABSENT);
}

char LICENSE[] SEC("license") = "GPL";
