package wired

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// bridged are two hosts, each with a bridge and a VXLAN device in it, and a peer at that of the
// second: how overlay networks are commonly made.
type bridged struct {
	a, b  *host
	r     *rtnl // of a
	far   *os.File
	stop  func()
	made  []*os.File
	names []string // of namespaces that ip made
}

var bridgePeer = netip.MustParseAddr("10.200.0.1")

func (g *bridged) peer() netip.Addr { return bridgePeer }

func (g *bridged) prepare(int) error {
	for _, h := range []*host{g.a, g.b} {
		other := g.b
		if h == g.b {
			other = g.a
		}
		if err := in(h.ns, func() error { return bridge(h.at, other.at) }); err != nil {
			return fmt.Errorf("making a bridge: %w", err)
		}
	}
	err := in(g.a.ns, func() (err error) {
		g.r, err = openRTNL()
		return err
	})
	if err != nil {
		return err
	}
	if g.far, err = newNS(); err != nil {
		return err
	}
	err = in(g.b.ns, func() error {
		r, err := openRTNL()
		if err != nil {
			return err
		}
		defer r.close()
		return cniAdd(r, "far", g.far, bridgePeer)
	})
	if err != nil {
		return err
	}
	if g.stop, err = echo(g.far); err != nil {
		return err
	}
	return g.warmUp()
}

// warmUp waits until bridges and tunnel forward, which takes the kernel up to a second.
func (g *bridged) warmUp() error {
	ns, err := newNS()
	if err != nil {
		return err
	}
	g.made = append(g.made, ns)
	at := netip.MustParseAddr("10.98.0.1")
	if err := in(g.a.ns, func() error { return cniAdd(g.r, "warm", ns, at) }); err != nil {
		return err
	}
	return in(ns, func() error { return exchange(int(ns.Fd()), at, bridgePeer) })
}

// bridge makes br0 with vb0, a VXLAN device to the other host, in the thread's namespace.
func bridge(at, other netip.Addr) error {
	r, err := openRTNL()
	if err != nil {
		return err
	}
	defer r.close()
	local, remote := at.As4(), other.As4()
	br := request(unix.RTM_NEWLINK, createNew).link(900, unix.IFF_UP, unix.IFF_UP).text(unix.IFLA_IFNAME, "br0")
	br.nest(unix.IFLA_LINKINFO, func() { br.attr(unix.IFLA_INFO_KIND, []byte("bridge")...) })
	vx := request(unix.RTM_NEWLINK, createNew).link(901, 0, 0).text(unix.IFLA_IFNAME, "vb0").number(unix.IFLA_MTU, DefaultMTU)
	vx.nest(unix.IFLA_LINKINFO, func() {
		vx.attr(unix.IFLA_INFO_KIND, []byte("vxlan")...)
		vx.nest(unix.IFLA_INFO_DATA, func() {
			vx.number(1, 7).attr(4, local[:]...).attr(2, remote[:]...).attr(vxlanPort, 4790>>8, 4790&0xff) // ID, LOCAL, GROUP
		})
	})
	return r.batch(br, quiet(900), vx, quiet(901), setMaster(901, 900), setUp(901))
}

func setMaster(index, master int) *message {
	return request(unix.RTM_NEWLINK, 0).link(index, 0, 0).number(unix.IFLA_MASTER, uint32(master))
}

// cniAdd does what the bridge plugin of CNI does, a request after the other: a veth pair, one end
// moved to the namespace, named, addressed and raised, the other put into the bridge.
func cniAdd(r *rtnl, name string, ns *os.File, a netip.Addr) error {
	pair := request(unix.RTM_NEWLINK, createNew).link(0, 0, 0).text(unix.IFLA_IFNAME, "h"+name).number(unix.IFLA_MTU, DefaultMTU)
	pair.nest(unix.IFLA_LINKINFO, func() {
		pair.attr(unix.IFLA_INFO_KIND, []byte("veth")...)
		pair.nest(unix.IFLA_INFO_DATA, func() {
			pair.nest(vethInfoPeer, func() {
				pair.link(0, 0, 0).text(unix.IFLA_IFNAME, "p"+name).number(unix.IFLA_MTU, DefaultMTU)
			})
		})
	})
	if err := r.batch(pair); err != nil {
		return err
	}
	near, err := indexOf(r, "h"+name)
	if err != nil {
		return err
	}
	far, err := indexOf(r, "p"+name)
	if err != nil {
		return err
	}
	for _, m := range []*message{
		request(unix.RTM_NEWLINK, 0).link(far, 0, 0).number(unix.IFLA_NET_NS_FD, uint32(ns.Fd())),
		quiet(near), setMaster(near, 900), setUp(near),
	} {
		if err := r.batch(m); err != nil {
			return err
		}
	}
	return in(ns, func() error {
		r, err := openRTNL()
		if err != nil {
			return err
		}
		defer r.close()
		address := a.As4()
		add := request(unix.RTM_NEWADDR, createNew)
		add.b = append(add.b, unix.AF_INET, 8, 0, 0)
		add.uint32s(uint32(far)).attr(unix.IFA_LOCAL, address[:]...).attr(unix.IFA_ADDRESS, address[:]...)
		for _, m := range []*message{setUp(1), request(unix.RTM_NEWLINK, 0).link(far, 0, 0).text(unix.IFLA_IFNAME, eth0), quiet(far), add, setUp(far)} {
			if err := r.batch(m); err != nil {
				return err
			}
		}
		return askSoon()
	})
}

// askSoon has ARP ask again after 10 ms, not after a second, in favour of ways whose bridge loses
// the first question because its port does not forward yet.
func askSoon() error {
	all, err := filepath.Glob("/proc/sys/net/ipv4/neigh/eth*/retrans_time_ms")
	for _, file := range all {
		err = errors.Join(err, os.WriteFile(file, []byte("10"), 0))
	}
	return err
}

func (g *bridged) remove() error { return nil }

// wait closes the namespaces, with which the pairs end, and waits for the kernel.
func (g *bridged) wait() error {
	for _, ns := range g.made {
		ns.Close()
	}
	of := func(name string) bool { return strings.HasPrefix(name, "h") }
	err := waitGone(g.a.ns, of)
	g.stop()
	g.r.close()
	// The kernel's table of neighbours is one for all namespaces, and has room for 1,024.
	return errors.Join(err, g.far.Close(), waitGone(g.b.ns, of))
}

// waitGone waits until a host has no such device.
func waitGone(ns *os.File, is func(name string) bool) error {
	return in(ns, func() error {
		for {
			all, err := net.Interfaces()
			left := 0
			for _, i := range all {
				if is(i.Name) {
					left++
				}
			}
			if err != nil || left == 0 {
				return err
			}
			unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
		}
	})
}

func addressOf(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 100, byte((i + 1) >> 8), byte(i + 1)})
}

// cni makes endpoints as plugins of CNI do, by netlink.
type cni struct{ bridged }

func (c *cni) make(i int) (int, netip.Addr, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return 0, netip.Addr{}, err
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return 0, netip.Addr{}, err
	}
	c.made = append(c.made, ns)
	if err := unix.Setns(int(c.a.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return 0, netip.Addr{}, err
	}
	return int(ns.Fd()), addressOf(i), cniAdd(c.r, strconv.Itoa(i), ns, addressOf(i))
}

// commands makes endpoints by ip.
type commands struct{ bridged }

func (c *commands) make(i int) (int, netip.Addr, error) {
	name := "gaggle-bench-" + strconv.Itoa(i)
	c.names = append(c.names, name)
	for _, line := range []string{
		"netns add " + name,
		fmt.Sprintf("link add h%d mtu %d type veth peer name eth0 mtu %d netns %s", i, DefaultMTU, DefaultMTU, name),
		fmt.Sprintf("link set h%d master br0 up", i),
		fmt.Sprintf("-n %s addr add %s/8 dev eth0", name, addressOf(i)),
		fmt.Sprintf("-n %s link set lo up", name),
		fmt.Sprintf("-n %s link set eth0 up", name),
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return 0, netip.Addr{}, fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	ns, err := os.Open("/run/netns/" + name)
	if err != nil {
		return 0, netip.Addr{}, err
	}
	c.made = append(c.made, ns)
	return int(ns.Fd()), addressOf(i), in(ns, askSoon)
}

func (c *commands) remove() error {
	for _, name := range c.names {
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
			return fmt.Errorf("ip netns del %s: %w: %s", name, err, out)
		}
	}
	return nil
}

// particle does the steps of Particle (SoCC'20): all endpoints of a tenant share a namespace and a
// veth, which is put into the bridge once; then each is an address there, all added in one batch, and known to the peer.
type particle struct {
	bridged
	n         int
	addresses func(r *rtnl, eth0 int) error // gives the tenant's namespace its addresses
}

func (p *particle) prepare(n int) error {
	p.n = n
	if p.addresses == nil {
		p.addresses = p.addAll
	}
	return p.bridged.prepare(n)
}

func (p *particle) make(i int) (int, netip.Addr, error) {
	if i == 0 {
		if err := p.tenant(); err != nil {
			return 0, netip.Addr{}, err
		}
	}
	return int(p.made[1].Fd()), addressOf(i), nil
}

func (p *particle) tenant() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	p.made = append(p.made, ns)
	if err := unix.Setns(int(p.a.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := cniAdd(p.r, "tenant", ns, netip.MustParseAddr("10.99.0.1")); err != nil {
		return err
	}
	return in(ns, func() error {
		r, err := openRTNL()
		if err != nil {
			return err
		}
		defer r.close()
		index, err := indexOf(r, eth0)
		if err != nil {
			return err
		}
		return p.addresses(r, index)
	})
}

func (p *particle) addAll(r *rtnl, eth0 int) error {
	var all []*message
	for i := range p.n {
		a := addressOf(i).As4()
		add := request(unix.RTM_NEWADDR, createNew)
		add.b = append(add.b, unix.AF_INET, 32, 0, 0)
		all = append(all, add.uint32s(uint32(eth0)).attr(unix.IFA_LOCAL, a[:]...).attr(unix.IFA_ADDRESS, a[:]...))
	}
	return r.batch(all...)
}
