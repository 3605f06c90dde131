package clustertest

import (
	"fmt"
	"strings"
	"time"
)

// A NAT is a router between hosts of its own and the lab's network, which it shows one address.
// Linux keeps the source port of a flow where it can, and so is a port-restricted cone; with other
// rules it is one that forwards a port, or one that draws a port for each flow (symmetric).
type NAT struct {
	Name string
	Addr string // on the lab's network
	ns   string
	lab  *Lab
	next int // last byte of the next inner address
}

// NATKind says which packets from outside a NAT lets in.
type NATKind string

// The kinds of NAT.
const (
	Forwarding NATKind = "forwarding" // port 7070 leads to its first host: reachable by all, as behind a full cone
	Restricted NATKind = "restricted" // from whom something was sent to, port for port
	Symmetric  NATKind = "symmetric"  // likewise, and each flow leaves by another port
)

// NAT adds a router. Packets that nobody inside has asked for are dropped without an answer.
func (l *Lab) NAT(name string, kind NATKind) *NAT {
	l.t.Helper()
	outer := l.Host(name)
	n := &NAT{Name: name, Addr: outer.Addr, ns: outer.ns, lab: l, next: 2}
	l.ip("-n", n.ns, "link", "add", "lan", "type", "bridge")
	l.ip("-n", n.ns, "addr", "add", "192.168.1.1/24", "dev", "lan")
	l.ip("-n", n.ns, "link", "set", "lan", "up")
	l.run("ip", "netns", "exec", n.ns, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	masquerade, forward := "masquerade", ""
	switch kind {
	case Symmetric:
		masquerade = "masquerade fully-random"
	case Forwarding:
		forward = `iifname "eth0" udp dport 7070 dnat to 192.168.1.2
			iifname "eth0" tcp dport 7070 dnat to 192.168.1.2`
	}
	n.nft(`table ip nat {
		chain pre { type nat hook prerouting priority dstnat;
			` + forward + `
		}
		chain post { type nat hook postrouting priority srcnat; oifname "eth0" ` + masquerade + `; }
	}
	table ip filter {
		chain in { type filter hook input priority filter; iifname "eth0" ct state new drop; }
		chain through { type filter hook forward priority filter; iifname "eth0" ct state new ct status & dnat != dnat drop; }
	}`)
	return n
}

func (n *NAT) nft(rules string) {
	n.lab.t.Helper()
	n.lab.run("ip", "netns", "exec", n.ns, "sh", "-c", "nft -f - <<'END'\n"+rules+"\nEND")
}

// Host adds a machine behind the NAT.
func (n *NAT) Host(name string) *Host {
	n.lab.t.Helper()
	last := n.next
	n.next++
	h := n.lab.bare(name, fmt.Sprintf("192.168.1.%d", last), n.ns, "lan", fmt.Sprintf("p%d", last))
	n.lab.ip("-n", h.ns, "route", "add", "default", "via", "192.168.1.1")
	return h
}

// Block has the host's own firewall drop what a match of nft names, both ways.
func (h *Host) Block(match string) {
	h.lab.t.Helper()
	rules := strings.ReplaceAll(`table inet block {
		chain in { type filter hook input priority filter; MATCH drop; }
		chain out { type filter hook output priority filter; MATCH drop; }
	}`, "MATCH", match)
	h.lab.run("ip", "netns", "exec", h.ns, "sh", "-c", "nft -f - <<'END'\n"+rules+"\nEND")
}

// Unplug takes a host behind the NAT off its network; Plug puts it back.
func (n *NAT) Unplug(h *Host) { n.lab.ip("-n", n.ns, "link", "set", h.port, "down") }

// Plug ends an Unplug.
func (n *NAT) Plug(h *Host) { n.lab.ip("-n", n.ns, "link", "set", h.port, "up") }

// Reboot has the router forget all flows and come back with another address on the lab's network, as
// from its provider.
func (n *NAT) Reboot(away time.Duration) {
	n.lab.t.Helper()
	n.lab.ip("-n", n.ns, "link", "set", "eth0", "down") // Linux drops what it has masqueraded
	time.Sleep(away)
	n.lab.ip("-n", n.ns, "addr", "flush", "dev", "eth0")
	n.Addr = fmt.Sprintf("%s.%d", n.lab.net, n.lab.next)
	n.lab.next++
	n.lab.ip("-n", n.ns, "addr", "add", n.Addr+"/24", "dev", "eth0")
	n.lab.ip("-n", n.ns, "link", "set", "eth0", "up")
	n.lab.ip("-n", n.ns, "route", "add", "default", "via", n.lab.net+".1")
}

// Readdress gives a host behind the NAT another address, as a lease that was not renewed does.
func (n *NAT) Readdress(h *Host) {
	n.lab.t.Helper()
	n.lab.ip("-n", h.ns, "addr", "flush", "dev", "eth0")
	h.Addr = fmt.Sprintf("192.168.1.%d", n.next)
	n.next++
	n.lab.ip("-n", h.ns, "addr", "add", h.Addr+"/24", "dev", "eth0")
	n.lab.ip("-n", h.ns, "route", "add", "default", "via", "192.168.1.1")
}
